//! Evidence of a long journal takes the processes that give it out, take it away and check it no more memory than that of a
//! short one.

use jiff::Timestamp;
use portcullis_app::{
    Error, Exporting, Format, MANIFEST, Manifest, export,
    ports::{Archive, Batch, Store},
};
use portcullis_domain::Chain;
use portcullis_local::RedbStore;
use portcullis_tests::{
    binary::{Up, program, text},
    long_journal::LongJournal,
    spent::{cpu_at_rest, peak},
};
use portcullis_wire::ExportLine;
use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::{Value, json};
use std::{
    fs,
    io::{self, BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Mutex, mpsc::channel},
    thread,
    time::{Duration, Instant},
};

/// How many entries a short journal has, and one ten times as long, of some 25 kB each: 4 MiB files of 164 of them.
const SHORT: usize = 700;
const LONG: usize = 10 * SHORT;
const REASONS: usize = 50;
/// How much more memory a process may have had for the long one, in bytes: what an allocator leaves unused between
/// files as they come and go. What is taken away is more than three times that.
const LOOSE_MAX: u64 = 48 << 20;
/// How much of its table `up` holds in memory at most: of the short one there is not that much.
const TABLE_MAX: u64 = 64 << 20;
/// How long anything may take.
const WAIT_MAX: Duration = Duration::from_mins(2);

fn wait(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < WAIT_MAX, "waited {WAIT_MAX:?} for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// What comes of a call that waits for another process.
fn awaited<T: Send + 'static>(what: &str, call: impl FnOnce() -> io::Result<T> + Send + 'static) -> T {
    let (done, waiting) = channel();
    thread::spawn(move || done.send(call()));
    let called = waiting.recv_timeout(WAIT_MAX);
    called.unwrap_or_else(|_| panic!("waited {WAIT_MAX:?} for {what}")).expect(what)
}

fn journal(entries: usize) -> LongJournal {
    LongJournal::of([Chain::rest()], entries, REASONS)
}

fn made<T>(work: impl Future<Output = Result<T, Error>>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(work).expect("done")
}

/// A command that speaks JSON, and has said nothing yet.
fn started(command: &mut Command) -> Child {
    command.arg("--json").stdout(Stdio::piped()).spawn().expect("starts")
}

/// What it says when it has succeeded.
fn said(process: Child) -> Value {
    let output = process.wait_with_output().expect("ends");
    assert!(output.status.success(), "{}", text(&output.stdout));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn no_more(what: &str, short: u64, long: u64, allowed: u64) {
    let told = format!("{what} took {long} bytes, {short} for a short journal");
    println!("{told}");
    assert!(long <= short + allowed, "{told}: more than {allowed} more");
}

/// Gives out files as the API does. Before the last, the manifest, it looks at whoever takes them.
struct Api<'a> {
    stream: &'a TcpStream,
    taker: u32,
    folder: &'a Path,
    given: Mutex<Vec<String>>,
    peak: Mutex<u64>,
}

impl Archive for Api<'_> {
    async fn put(&self, name: &str, content: Vec<u8>) -> Result<(), Error> {
        let mut given = self.given.lock().expect("no test has panicked in it");
        if name == MANIFEST {
            let last = self.folder.join(given.last().expect("a file"));
            wait("the last file", || last.exists());
            *self.peak.lock().expect("no test has panicked in it") = peak(self.taker);
        }
        given.push(name.to_owned());
        let line = ExportLine::File { name: name.to_owned(), content: text(&content) };
        let mut line = serde_json::to_vec(&line).expect("JSON");
        line.push(b'\n');
        chunk(self.stream, &line);
        Ok(())
    }
}

/// A part of an answer whose length is not told before; the empty one is its end.
fn chunk(mut stream: &TcpStream, part: &[u8]) {
    write!(stream, "{:x}\r\n", part.len()).expect("heard");
    stream.write_all(part).expect("heard");
    stream.write_all(b"\r\n").expect("heard");
}

/// What whoever asks wants, and that it comes.
fn greet(mut stream: &TcpStream) -> String {
    const COMES: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.set_read_timeout(Some(WAIT_MAX)).expect("a time");
    stream.set_write_timeout(Some(WAIT_MAX)).expect("a time");
    let head = BufReader::new(stream).lines().map(|line| line.expect("heard"));
    let head: Vec<String> = head.take_while(|line| !line.is_empty()).collect();
    stream.write_all(COMES).expect("heard");
    head.into_iter().next().expect("a call")
}

/// Takes a journal away into a folder: how much memory that took until the manifest came, and the manifest.
fn taken_away(journal: &LongJournal, folder: &Path) -> (u64, Manifest) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let called = [("PORTCULLIS_URL", url.as_str()), ("PORTCULLIS_TOKEN", "a-token")];
    let taking = started(Command::new(program()).envs(called).args(["export", "--out"]).arg(folder));
    let (stream, _) = awaited("its call", move || listener.accept());
    let wanted = greet(&stream);
    assert!(wanted.starts_with("GET /v1/export?"), "{wanted}");
    let api =
        Api { stream: &stream, taker: taking.id(), folder, given: Mutex::default(), peak: Mutex::default() };
    let asked = Exporting { from: Timestamp::UNIX_EPOCH, to: Timestamp::MAX, format: Format::Jsonl };
    let manifest = made(export(journal, &api, &asked));
    chunk(&stream, b"");
    assert_eq!(said(taking)["records"], manifest.records);
    let peak = *api.peak.lock().expect("no test has panicked in it");
    (peak, manifest)
}

/// Checks what is in a folder: how much memory that took until the last file, which is a pipe.
fn checked(folder: &Path, manifest: &Manifest) -> u64 {
    let last = folder.join(&manifest.files.last().expect("a file").name);
    let content = fs::read(&last).expect("a file");
    fs::remove_file(&last).expect("removed");
    mkfifoat(CWD, &last, Mode::RUSR | Mode::WUSR).expect("a pipe");
    let checking = started(Command::new(program()).arg("verify").arg(folder));
    let mut pipe =
        awaited("whoever reads the last file", move || fs::OpenOptions::new().write(true).open(last));
    let peak = peak(checking.id());
    pipe.write_all(&content).expect("read");
    drop(pipe);
    let said = said(checking);
    let (whole, records, chains) = (json!(true), json!(manifest.records), json!(1));
    assert_eq!((&said["whole"], &said["records"], &said["chains"]), (&whole, &records, &chains), "{said}");
    peak
}

#[test]
fn downloading_and_verifying_an_export_hold_one_file_at_a_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let [(taking_short, checking_short), (taking_long, checking_long)] = [("short", SHORT), ("long", LONG)]
        .map(|(name, entries)| {
            let folder = folder.path().join(name);
            let (taking, manifest) = taken_away(&journal(entries), &folder);
            assert!(4 * entries <= manifest.files.len() * SHORT, "most of what is measured is files");
            (taking, checked(&folder, &manifest))
        });
    no_more("taking it away", taking_short, taking_long, LOOSE_MAX);
    no_more("checking it", checking_short, checking_long, LOOSE_MAX);
}

/// Makes the table of a data folder, with this journal.
async fn fill(data: &Path, journal: &LongJournal) -> Result<(), Error> {
    const TOGETHER: usize = 100;
    let store = RedbStore::open(&data.join("portcullis.redb"))?;
    let mut next = 0;
    loop {
        let rest = journal.entries(&Chain::rest(), next, TOGETHER).await?;
        let Some(last) = rest.last() else { return Ok(()) };
        next = last.n + 1;
        store.commit(Batch { rest, ..Batch::default() }).await?;
    }
}

/// Takes so many entries away over HTTP; how much memory the server had at most until then.
fn given_out(up: &Up, token: &str, entries: usize) -> u64 {
    let (from, to) = (LongJournal::at(0), LongJournal::at(entries as u64));
    let url = format!("{}/v1/export?from={from}&to={to}&format=jsonl", up.url());
    let answer = ureq::get(url).header("authorization", format!("Bearer {token}")).call().expect("answers");
    // Nobody reads, so there is nothing more to do: what is made and not read is all in its memory now.
    wait("the server to wait for its reader", || is_at_rest(up.id()));
    let mut lines = BufReader::new(answer.into_body().into_reader());
    let (mut line, mut files, mut is_whole) = (vec![], 0, false);
    while 0 < lines.read_until(b'\n', &mut line).expect("reads") {
        files += 1;
        is_whole = line.starts_with(br#"{"file":{"name":"manifest.json","#);
        line.clear();
    }
    assert!(is_whole && 4 * entries < files * SHORT, "most of what is measured is files: {files}");
    peak(up.id())
}

/// Does it wait, and took next to nothing of a processor for a while?
fn is_at_rest(process: u32) -> bool {
    const WHILE: Duration = Duration::from_millis(300);
    const NEXT_TO_NOTHING: Duration = Duration::from_millis(5);
    let before = cpu_at_rest(process);
    thread::sleep(WHILE);
    let spent = before.zip(cpu_at_rest(process)).map(|(before, now)| now.saturating_sub(before));
    spent.is_some_and(|it| it < NEXT_TO_NOTHING)
}

#[test]
fn serving_an_export_holds_a_few_files_at_a_time() {
    let data = tempfile::tempdir().expect("a folder");
    made(fill(data.path(), &journal(LONG)));
    let up = Up::start(data.path(), &[], &[]);
    let token = fs::read_to_string(data.path().join("token")).expect("a token");
    let [short, long] = [SHORT, LONG].map(|entries| given_out(&up, token.trim(), entries));
    no_more("giving it out", short, long, TABLE_MAX + LOOSE_MAX);
}
