//! The commands on policy files.

use super::{
    asked::{Lint, WhoCan},
    files::{Files, faulty},
    sources::{read, unusable},
};
use crate::{
    output::Output,
    table::{Mark, Table},
};
use jiff::Timestamp;
use portcullis_domain::{Circumstances, Protocol, address_range};
use portcullis_policy::{self as policy, Bound, Cases, Fault, Faults, SCHEMA, Tried};
use portcullis_program::{Exit, Failure, output};
use serde::Serialize;
use std::path::Path;

/// The answer of a check.
#[derive(Debug, Serialize)]
struct Checked {
    files: usize,
    policies: usize,
    faults: Vec<Fault>,
}

/// Shows each fault of the policy files.
pub fn check(folder: &Path, out: &Output) -> Result<Exit, Failure> {
    let found = Files::of(folder)?;
    let checked = policy::check(&found.policies, &found.installation.known());
    let (policies, faults) = match checked {
        Ok(policies) => (policies, vec![]),
        Err(Faults(faults)) => (0, faults),
    };
    let checked = Checked { files: found.policies.len(), policies, faults };
    out.show(&checked, || match checked.faults.as_slice() {
        [] => format!("Policies: {}, files: {}. All are valid.", checked.policies, checked.files),
        faults => lines(faults),
    })?;
    Ok(exit(checked.faults.is_empty()))
}

/// Shows each remark on the policy files.
pub fn lint(asked: &Lint, out: &Output) -> Result<Exit, Failure> {
    let found = Files::of(&asked.folder)?;
    // A family without a bound has one that nothing is wider than.
    let bound = Bound { ipv4: asked.widest_ipv4.unwrap_or(0), ipv6: asked.widest_ipv6.unwrap_or(0) };
    let remarks = policy::lint(&found.policies, &found.installation, bound);
    let remarks = remarks.map_err(|faults| faulty(&faults))?;
    out.show(&remarks, || if remarks.is_empty() { "No remarks.".to_owned() } else { lines(&remarks) })?;
    Ok(exit(remarks.is_empty()))
}

/// Shows how each case of a file went.
pub fn test(file: &Path, out: &Output) -> Result<Exit, Failure> {
    let text = read(file)?;
    let cases = Cases::read(&text).map_err(|why| unusable(file, &why))?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let folder = cases.policies.as_ref().map_or_else(|| folder.to_owned(), |it| folder.join(it));
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
    let found = Files::of(folder)?;
    let engine = found.engine()?;
    let tried = cases.run(&text, &engine, &found.installation).map_err(|why| unusable(file, &why))?;
    if tried.is_empty() {
        return Err(unusable(file, "there is no `[[case]]` in it"));
    }
    out.show(&tried, || in_words(file, &tried, out))?;
    Ok(exit(tried.iter().all(|it| it.passed)))
}

/// Lists who may do what about a port.
pub fn who_can(asked: &WhoCan, out: &Output) -> Result<Exit, Failure> {
    let found = Files::of(&asked.policies)?;
    let machine = found.installation.machine(&asked.target).map_err(Failure::not_found)?;
    let source = address_range(&asked.from).ok_or_else(|| {
        let wanted = "an address or a network, such as `203.0.113.9` or `10.0.0.0/8`";
        Failure::usage(format!("`{}` is not {wanted}", asked.from))
    })?;
    let circumstances = Circumstances {
        now: asked.at.unwrap_or_else(Timestamp::now),
        channel: "cli".to_owned(),
        port: Some(asked.port.port.number()),
        protocol: Some(word(asked.port.protocol).to_owned()),
        source: Some(source),
        minutes: Some(policy::minutes(asked.length)),
        minutes_ahead: Some(0),
        ..Circumstances::default()
    };
    let engine = found.engine()?;
    let all = policy::who_can(&engine, &found.installation, &machine, &circumstances);
    out.list(&all, "No caller in `installation.toml` may request, open or approve it.", || {
        let mut table = Table::of(&["WHO", "MAY", "BY"]);
        for it in &all {
            let by = it.deciding.join(", ");
            table.row(Mark::Plain, [it.who.clone(), it.right.to_string(), by]);
        }
        table
    })?;
    Ok(Exit::Done)
}

/// Prints the schema.
pub fn schema() -> Result<Exit, Failure> {
    output::print(SCHEMA).map(|()| Exit::Done)
}

/// Cases in words: a row each, and the differences below.
fn in_words(file: &Path, tried: &[Tried], out: &Output) -> String {
    let mut table = Table::of(&["CASE", "ANSWER", "BY"]);
    for it in tried {
        let mark = if it.passed { Mark::Good } else { Mark::Bad };
        let answer = if it.permitted { "permitted" } else { "refused" };
        table.row(mark, [it.name.clone(), answer.to_owned(), it.deciding.join(", ")]);
    }
    let failed = tried.iter().filter(|it| !it.passed).map(|it| {
        let place = format!("{}:{}: `{}`", file.display(), it.line, it.name);
        let nearest = (!it.nearest.is_empty()).then(|| format!("it would pass {}", it.nearest.join(", or ")));
        let differences: Vec<String> = it.differences.iter().cloned().chain(nearest).collect();
        format!("{place}: {}", differences.join("; "))
    });
    let passed = tried.iter().filter(|it| it.passed).count();
    let count = format!("Cases: {}, passed: {passed}.", tried.len());
    let below: Vec<String> = failed.chain([count]).collect();
    format!("{}\n{}", out.table(&table), lines(&below))
}

/// A protocol as policies have it.
fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Any => "*",
    }
}

fn lines(all: &[impl ToString]) -> String {
    let lines: Vec<String> = all.iter().map(|it| output::printable(&it.to_string()).into_owned()).collect();
    lines.join("\n")
}

fn exit(is_good: bool) -> Exit {
    if is_good { Exit::Done } else { Exit::Broken }
}
