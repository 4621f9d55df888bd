//! The journal as evidence: taking it away, and checking it where it is.

use crate::{
    client::Client, folder::Folder, globals::Globals, moments, output::Output, problem, spinner::spinner,
};
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use portcullis_domain::{BadExport, Evidence, Format, Hash, MANIFEST, Manifest};
use portcullis_program::{
    Exit, Failure,
    output::{self, printable},
};
use portcullis_wire::{ExportLine, ExportQuery};
use serde_json::json;
use std::{
    fs,
    io::{self, BufRead, BufReader, IsTerminal as _, Read as _},
    path::{Path, PathBuf},
};

/// How long a file of an export may be, in bytes: some MiB, and a long record.
const FILE_MAX: u64 = 64 << 20;

/// What to take away.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Export {
    /// The beginning: a length of time ago, a time or a date. Default: the beginning of the journal
    #[arg(long, value_name = "TIME", value_parser = moments::past)]
    from: Option<Timestamp>,
    /// The end, not included. Default: now
    #[arg(long, value_name = "TIME", value_parser = moments::past)]
    to: Option<Timestamp>,
    /// The format of the lines
    #[arg(long, value_name = "FORMAT", default_value = "jsonl")]
    format: FormatArg,
    /// The folder for the export; `-` prints the records or grants alone
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
}

/// The format of the lines.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum FormatArg {
    /// Records as they are stored, one JSON object per line
    Jsonl,
    /// Records in columns of one type each, one JSON object per line
    FlatJsonl,
    /// Records in the same columns, as comma-separated values
    Csv,
    /// One row per grant of the period, as comma-separated values, for auditors
    GrantsCsv,
}

const EXAMPLES: &str = "\
Times without an offset are local times. `portcullis verify PATH` checks the folder on any machine.

Examples:
  portcullis export --from 2026-05-01 --to 2026-06-01 --out may
  portcullis export --from 2026-05-01 --to 2026-06-01 --format grants-csv --out may-grants
  portcullis export --from 24h --format csv --out -";

impl Export {
    /// Takes the journal away, file by file.
    pub fn run(&self, client: &Client) -> Result<Exit, Failure> {
        let format = match self.format {
            FormatArg::Jsonl => Format::Jsonl,
            FormatArg::FlatJsonl => Format::FlatJsonl,
            FormatArg::Csv => Format::Csv,
            FormatArg::GrantsCsv => Format::GrantsCsv,
        };
        let from = self.from.unwrap_or(Timestamp::UNIX_EPOCH);
        let query = ExportQuery { from, to: self.to.unwrap_or_else(Timestamp::now), format };
        if query.to <= query.from {
            let now = client.out.now();
            let (from, to) = (moments::clock(query.from, &now), moments::clock(query.to, &now));
            return Err(Failure::usage(format!(
                "the period begins at {from} and ends at {to}, so it is empty"
            ))
            .next("give a --from before --to; without --to the period ends now"));
        }
        let is_printed = self.out == Path::new("-");
        if !is_printed {
            self.check_folder()?;
        }
        let spinner = spinner();
        let mut lines = BufReader::new(client.http.stream("/v1/export", &query)?);
        // Made with the first file that is kept in it: a command that fails before leaves nothing behind.
        let mut made: Option<Folder> = None;
        let (mut bytes, mut manifest) = (0, None);
        while let Some(line) = next_line(&mut lines)? {
            let (name, content) = match line {
                ExportLine::File { name, content } => (name, content),
                ExportLine::Failed(problem) => return Err(problem::failure(problem)),
            };
            bytes += content.len();
            spinner.set_message(format!("exporting: {} kB", bytes / 1_000));
            let is_manifest = name == MANIFEST;
            if !is_printed {
                let folder = match made.take() {
                    Some(folder) => folder,
                    None => self.folder()?,
                };
                keep(&folder, &self.out, &name, &content)?;
                made = Some(folder);
            } else if !is_manifest {
                // A terminal must not be steered; whatever else it is gets each byte as it is hashed.
                let shown =
                    if io::stdout().is_terminal() { printable(&content) } else { content.as_str().into() };
                output::print(&shown)?;
            }
            if is_manifest {
                manifest = Some(content);
            }
        }
        spinner.finish_and_clear();
        let manifest =
            manifest.ok_or_else(|| Failure::unavailable("the export was interrupted").next(ANEW))?;
        if !is_printed {
            let seen = Evidence::of(manifest.as_bytes()).map_err(|bad| Failure::broken(bad.to_string()))?;
            let Manifest { records, chains, format, .. } = seen.manifest();
            let (records, chains, lines) = (*records, chains.len(), format.lines());
            let digest = Hash::of(manifest.as_bytes());
            let view = json!({ "records": records, "chains": chains, "path": self.out, "sha256": digest });
            client.out.show(&view, || {
                let path = self.out.display();
                format!("{records} {lines} of {chains} chains are in `{path}`.\n{}", digest_words(digest))
            })?;
        }
        Ok(Exit::Done)
    }

    /// Only a folder that has no evidence yet: what is there is never overwritten.
    fn check_folder(&self) -> Result<(), Failure> {
        let path = self.out.display();
        if fs::read_dir(&self.out).is_ok_and(|mut it| it.next().is_some()) {
            return Err(Failure::usage(format!("`{path}` is not empty")).next("name a new folder with --out"));
        }
        Ok(())
    }

    fn folder(&self) -> Result<Folder, Failure> {
        Folder::at(&self.out).map_err(|error| unkept(&self.out, &error))
    }
}

const ANEW: &str = "export again, into another folder";

fn keep(folder: &Folder, out: &Path, name: &str, content: &str) -> Result<(), Failure> {
    // Whoever answers does not choose where on this machine it is written.
    let is_plain =
        !name.starts_with('.') && name.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c));
    if !is_plain {
        return Err(Failure::broken(format!("a file of an export is not called `{}`", printable(name))));
    }
    folder.keep(name, content.as_bytes()).map_err(|error| {
        let path = out.join(name);
        if error.kind() == io::ErrorKind::AlreadyExists {
            return Failure::usage(format!("`{}` exists already", path.display())).next(ANEW);
        }
        unkept(&path, &error)
    })
}

fn unkept(path: &Path, error: &io::Error) -> Failure {
    Failure::broken(format!("could not write evidence: `{}`: {error}", path.display()))
}

fn next_line(lines: &mut impl BufRead) -> Result<Option<ExportLine>, Failure> {
    // In JSON a character may take six times its bytes.
    const LINE_MAX: u64 = 6 * FILE_MAX;
    let mut line = String::new();
    let read = lines.take(LINE_MAX).read_line(&mut line);
    let broken_off =
        |why: String| Failure::unavailable(format!("the export was interrupted: {why}")).next(ANEW);
    if read.map_err(|error| broken_off(error.to_string()))? == 0 {
        return Ok(None);
    }
    serde_json::from_str(&line).map(Some).map_err(|error| broken_off(error.to_string()))
}

/// Checks an export by itself.
pub fn verify(path: &Path, globals: &Globals) -> Result<Exit, Failure> {
    // Who names the manifest means the folder that it is in.
    let path = if path.file_name().is_some_and(|it| it == MANIFEST) && !path.is_dir() {
        path.parent().filter(|it| *it != Path::new("")).unwrap_or(Path::new("."))
    } else {
        path
    };
    let manifest = read(&path.join(MANIFEST))?
        .ok_or_else(|| Failure::not_found(format!("there is no `{MANIFEST}` in `{}`", path.display())))?;
    let checked = check(path, &manifest)?;
    let digest = Hash::of(&manifest);
    let view = match &checked {
        Ok(Manifest { from, to, format, records, files, chains, .. }) => json!({
            "whole": true, "from": from, "to": to, "format": format, "records": records, "files": files.len(),
            "chains": chains.len(), "sha256": digest,
        }),
        Err(bad) => json!({ "whole": false, "bad": bad.to_string(), "sha256": digest }),
    };
    Output::of(globals).show(&view, || match &checked {
        Ok(Manifest { from, to, records: 0, format, .. }) => format!(
            "The export has no {} to verify.\n  period   {from} to {to}, as its manifest states\n{}",
            format.lines(),
            digest_words(digest)
        ),
        Ok(Manifest { from, to, records, files, chains, format, .. }) => format!(
            "The export is whole: {records} {} of {} chains.\n  period   {from} to {to}, as its manifest states\n  \
             files    {}\n{}",
            format.lines(),
            chains.len(),
            files.len(),
            digest_words(digest)
        ),
        Err(bad) => {
            format!("The export differs from the one that was written:\n  {}", printable(&bad.to_string()))
        }
    })?;
    Ok(match checked {
        // An export without a record proves nothing, so it is no success.
        Ok(Manifest { records: 0, .. }) => Exit::NotFound,
        Ok(_) => Exit::Done,
        Err(_) => Exit::Broken,
    })
}

/// What tells this export from every other one, also from one that was changed consistently.
fn digest_words(digest: Hash) -> String {
    format!(
        "  SHA-256  {digest} of `{MANIFEST}`: a copy of this digest kept elsewhere proves that this is \
        the same export"
    )
}

/// What there is, or the first thing that is wrong.
fn check(path: &Path, manifest: &[u8]) -> Result<Result<Manifest, BadExport>, Failure> {
    let mut evidence = match Evidence::of(manifest) {
        Ok(evidence) => evidence,
        Err(bad) => return Ok(Err(bad)),
    };
    let mut names = vec![];
    while let Some(file) = evidence.next_file().map(str::to_owned) {
        let Some(content) = read(&path.join(&file))? else { return Ok(Err(BadExport::Missing { file })) };
        if let Err(bad) = evidence.file(&content) {
            return Ok(Err(bad));
        }
        names.push(file);
    }
    let unreadable = |error: io::Error| Failure::broken(format!("cannot read `{}`: {error}", path.display()));
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned();
        if file != MANIFEST && !names.contains(&file) {
            return Ok(Err(BadExport::Unlisted { file }));
        }
    }
    Ok(evidence.finish())
}

/// All of a file; nothing if it is not there.
fn read(file: &Path) -> Result<Option<Vec<u8>>, Failure> {
    let unreadable = |error: io::Error| Failure::broken(format!("cannot read `{}`: {error}", file.display()));
    let opened = match fs::File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(unreadable)?,
    };
    let mut content = vec![];
    opened.take(FILE_MAX).read_to_end(&mut content).map_err(unreadable)?;
    Ok(Some(content))
}
