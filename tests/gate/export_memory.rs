//! Evidence is made and checked, and a journal verified, in as much memory for a long journal as for a short one, but for lines of its manifest.

use jiff::Timestamp;
use peak_alloc::PeakAlloc;
use portcullis_app::{
    Error, Evidence, Exporting, Format, MANIFEST, Manifest, Verified, export,
    ports::{Archive, PART_BYTES_MAX},
    verify,
};
use portcullis_domain::{Chain, Hash};
use portcullis_tests::{given::named, long_journal::LongJournal};
use std::sync::{Mutex, PoisonError};

/// What tells how much of it is in use, of all threads together.
#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Whoever measures is alone in this process.
static ALONE: Mutex<()> = Mutex::new(());

/// How long a file is at least when it is ended.
const FILE: usize = 4 << 20;
/// How much memory an export may take, however long the journal is, if no entry is longer than those here: a file, while the text
/// that it is made in moves from half of its room to all of it, and the entries of one read.
const MEMORY_MAX: usize = 5 * FILE;
/// How much a line of the manifest may take for a file, and for a chain: twice what it is, while their lists grow.
const LINE_OF_FILE: usize = 2 << 10;
const LINE_OF_CHAIN: usize = 512;
/// How many reasons each entry has. Those of a long chain are some 25 kB long, those of the many chains 3 kB. Neither divides a
/// file into a power of two: there, a record more or less would be a file's memory more or less.
const REASONS: usize = 50;
const REASONS_OF_MANY: usize = 6;

const RECORDS: [Format; 3] = [Format::Jsonl, Format::FlatJsonl, Format::Csv];

/// Keeps of each file only what the manifest should say of it.
#[derive(Debug, Default)]
struct Counting(Mutex<Vec<(String, u64, Hash)>>);

impl Archive for Counting {
    async fn put(&self, name: &str, content: Vec<u8>) -> Result<(), Error> {
        if name != MANIFEST {
            let counted = (name.to_owned(), content.len() as u64, Hash::of(&content));
            self.0.lock().expect("no test has panicked in it").push(counted);
        }
        Ok(())
    }
}

/// Checks each file and keeps none.
#[derive(Debug)]
struct Checking(Mutex<Evidence>);

impl Archive for Checking {
    async fn put(&self, name: &str, content: Vec<u8>) -> Result<(), Error> {
        if name != MANIFEST {
            let mut evidence = self.0.lock().expect("no test has panicked in it");
            assert_eq!(evidence.next_file(), Some(name));
            evidence.file(&content).expect("it is what was written");
        }
        Ok(())
    }
}

/// What comes of some work, and how much more memory than before it was in use at once meanwhile.
fn peak_of<T>(work: impl Future<Output = T>) -> (T, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let done = runtime.block_on(work);
    (done, HEAP.peak_usage() - before)
}

/// An export of all of a journal, and how much memory making it took, and making it again while each file is checked.
#[derive(Debug)]
struct Exported {
    manifest: Manifest,
    making: usize,
    checking: usize,
}

impl Exported {
    fn of(journal: &LongJournal, format: Format) -> Self {
        let asked = Exporting { from: Timestamp::UNIX_EPOCH, to: Timestamp::MAX, format };
        let counting = Counting::default();
        let (manifest, making) = peak_of(export(journal, &counting, &asked));
        let manifest = manifest.expect("exported");
        let counted = counting.0.into_inner().expect("no test has panicked in it");
        let told = manifest.files.iter().map(|it| (it.name.clone(), it.bytes, it.sha256));
        assert_eq!(counted, told.collect::<Vec<_>>());

        let text = serde_json::to_vec(&manifest).expect("JSON");
        let checking = Checking(Mutex::new(Evidence::of(&text).expect("a manifest")));
        let (again, peak) = peak_of(export(journal, &checking, &asked));
        assert_eq!(again.expect("exported").files, manifest.files);
        let evidence = checking.0.into_inner().expect("no test has panicked in it");
        assert_eq!(evidence.finish().as_ref(), Ok(&manifest));
        Self { manifest, making, checking: peak }
    }

    /// It took no more memory than a shorter one, but for lines of the manifest.
    fn is_like(&self, short: &Self) {
        let more = |of: fn(&Manifest) -> usize| of(&self.manifest) - of(&short.manifest);
        let lines = more(|it| it.files.len()) * LINE_OF_FILE + more(|it| it.chains.len()) * LINE_OF_CHAIN;
        for (what, peak, of_short) in
            [("making", self.making, short.making), ("checking", self.checking, short.checking)]
        {
            let format = self.manifest.format;
            let told = format!("{what} {format:?} took {peak} bytes, {of_short} for a short journal");
            println!("{told}");
            assert!(peak <= of_short + lines, "{told}: more than {lines} more");
            assert!(peak <= MEMORY_MAX, "{told}: more than {MEMORY_MAX}");
        }
    }
}

#[test]
fn a_long_journal_takes_no_more_memory_than_a_short_one() {
    const SHORT: usize = 700;
    const LONG: usize = 10 * SHORT;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let [short, long] = [SHORT, LONG].map(|entries| LongJournal::of([Chain::rest()], entries, REASONS));
    for format in RECORDS {
        let [short, long] = [&short, &long].map(|journal| Exported::of(journal, format));
        let files = [&short, &long].map(|it| it.manifest.files.len());
        assert!(4 < files[0] && 40 < files[1], "{files:?}: most of what is measured is files");
        long.is_like(&short);
    }
}

/// A row of each is some 25 kB long. Grants that are open are in memory, but no more of them than a machine has room for.
#[test]
fn grants_of_a_long_journal_take_no_more_memory_than_those_of_a_short_one() {
    const SHORT: usize = 700;
    const LONG: usize = 10 * SHORT;
    const RANGES: u32 = 1_700;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let chain = || -> Chain { named("vm") };
    let [short, long] = [SHORT, LONG].map(|grants| {
        let journal = LongJournal::of_grants(chain(), grants, RANGES);
        let exported = Exported::of(&journal, Format::GrantsCsv);
        assert_eq!(exported.manifest.records, grants as u64);
        exported
    });
    let files = [&short, &long].map(|it| it.manifest.files.len());
    assert!(4 < files[0] && 40 < files[1], "{files:?}: most of what is measured is files");
    long.is_like(&short);
}

#[test]
fn verifying_a_long_journal_takes_no_more_memory_than_a_short_one() {
    const SHORT: usize = 700;
    const LONG: usize = 10 * SHORT;
    /// As much as is read at a time, as text and parsed, with room for what the text becomes when it is hashed.
    const VERIFY_MAX: usize = 6 * PART_BYTES_MAX;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let peaks = [SHORT, LONG].map(|entries| {
        let journal = LongJournal::of([Chain::rest()], entries, REASONS);
        let (verified, peak) = peak_of(verify(&journal));
        let wanted = Verified { chains: 1, entries: entries as u64, bad: vec![] };
        assert_eq!(verified.expect("verified"), wanted);
        println!("verifying {entries} entries took {peak} bytes");
        peak
    });
    assert!(peaks.iter().all(|peak| *peak <= VERIFY_MAX), "{peaks:?}: more than {VERIFY_MAX}");
}

#[test]
fn many_chains_take_no_more_memory_than_their_lines_in_the_manifest() {
    const FEW: usize = 2_000;
    const MANY: usize = 10_000;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let name =
        |n: usize| -> Chain { named(&format!("/subscriptions/lab/providers/virtualMachines/vm-{n:05}")) };
    let [few, many] = [FEW, MANY].map(|chains| LongJournal::of((0..chains).map(name), 1, REASONS_OF_MANY));
    for format in RECORDS {
        let [few, many] = [&few, &many].map(|journal| Exported::of(journal, format));
        assert_eq!([&few, &many].map(|it| it.manifest.chains.len()), [FEW, MANY]);
        assert!(1 < few.manifest.files.len(), "a file was full");
        many.is_like(&few);
    }
}
