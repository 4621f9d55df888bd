//! The policies of the installation: a server is asked.

#[cfg(feature = "policy")]
use super::beside;
use super::{
    difference::{Change, FileDifference, differences},
    sources::{FOLDER, Sources, ill_described, read},
};
use crate::{
    client::Client,
    moments,
    table::{Mark, Table},
    unpermitted::unpermitted,
};
use clap::Args;
use portcullis_domain::Justification;
use portcullis_program::{
    Exit, Failure,
    output::{self, printable},
};
use portcullis_wire::{
    PoliciesApplied, PoliciesBody, PoliciesView, PolicyVersionView, PolicyVersionsView, RollbackBody, UTC,
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Which files to apply, and why.
#[derive(Debug, Args)]
pub struct Apply {
    /// The folder of the policy files, or one file
    #[arg(value_name = "DIR|FILE", default_value = FOLDER)]
    path: PathBuf,
    #[command(flatten)]
    change: Changing,
}

/// Which version to go back to, and why.
#[derive(Debug, Args)]
pub struct Rollback {
    /// The version, as `policy history` lists it
    version: u64,
    #[command(flatten)]
    change: Changing,
}

#[derive(Debug, Args)]
struct Changing {
    /// The reason, for the journal
    #[arg(long, value_name = "TEXT")]
    why: Option<Justification>,
    /// The version that is replaced, as `policy diff` shows it: if another one is in force, nothing changes
    #[arg(long, value_name = "VERSION")]
    expect: Option<u64>,
}

/// The policies that are wanted.
#[derive(Debug)]
struct Wanted {
    files: BTreeMap<String, String>,
    zone: String,
    /// The version whose other files these have, where one file is named.
    beside: Option<u64>,
}

/// How files differ from the policies of the installation.
#[derive(Debug, Serialize)]
struct Difference {
    version: u64,
    same: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<Zones>,
    files: Vec<FileDifference>,
}

/// The policies of a version, and what decides beside them, as policies in Cedar.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    policies: PoliciesView,
    #[serde(flatten)]
    beside: Beside,
}

#[derive(Debug, Default, Serialize)]
struct Beside {
    roles: Vec<String>,
    ports: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Zones {
    before: String,
    after: String,
}

impl Apply {
    /// Applies them.
    pub fn run(&self, client: &Client, faithful: &Client) -> Result<Exit, Failure> {
        let Changing { why, expect } = &self.change;
        let Wanted { files, zone, beside } = Wanted::of(&self.path, faithful)?;
        let body = PoliciesBody { files, zone: Some(zone), expect: expect.or(beside), why: why.clone() };
        applied(client, &client.http.post("/v1/policies", Some(&body))?)
    }
}

impl Rollback {
    /// Goes back to it.
    pub fn run(&self, client: &Client) -> Result<Exit, Failure> {
        let Self { version, change: Changing { why, expect } } = self;
        let body = RollbackBody { version: *version, expect: *expect, why: why.clone() };
        let back: PoliciesApplied =
            client.http.post("/v1/policies/rollback", Some(&body)).map_err(of_history)?;
        applied(client, &back)
    }
}

/// Shows how the files differ from the policies of the installation.
pub fn diff(path: &Path, client: &Client) -> Result<Exit, Failure> {
    let before: PoliciesView = client.http.get("/v1/policies")?;
    let Wanted { files, zone, beside: _ } = Wanted::of(path, client)?;
    let zone = (zone != before.zone).then(|| Zones { before: before.zone.clone(), after: zone });
    let files = differences(&before.files, &files);
    let same = files.is_empty() && zone.is_none();
    let found = Difference { version: before.of.version, same, zone, files };
    client.out.show(&found, || in_words(&found, path))?;
    Ok(if same { Exit::Done } else { Exit::Broken })
}

/// Lists the versions.
pub fn history(client: &Client) -> Result<Exit, Failure> {
    let mut all: Vec<PolicyVersionView> = vec![];
    let mut path = "/v1/policies/history".to_owned();
    loop {
        let part: PolicyVersionsView = client.http.get(&path)?;
        all.extend(part.items);
        let Some(next) = part.next else { break };
        path = format!("/v1/policies/history?before={next}");
    }
    let empty =
        "The policies of the installation were never changed. Apply some with `portcullis policy apply`.";
    client.out.list(&all, empty, || {
        let now = client.out.now();
        let mut table = Table::of(&["VERSION", "BY", "WHEN", "CHANGES", "REASON"]);
        for it in &all {
            let by = it.by.clone().unwrap_or_default();
            let at = it.at.map(|at| moments::ago(at, &now)).unwrap_or_default();
            let why = it.why.clone().unwrap_or_else(|| "-".to_owned());
            table.row(Mark::Plain, [it.version.to_string(), by, at, changes(it), why]);
        }
        table
    })?;
    Ok(Exit::Done)
}

/// Prints the policies of a version.
pub fn show(version: Option<u64>, client: &Client) -> Result<Exit, Failure> {
    let query = version.map(|it| format!("?version={it}")).unwrap_or_default();
    let found: PoliciesView = client.http.get(&format!("/v1/policies{query}")).map_err(of_history)?;
    // Of an earlier version the roles and the rules of that time are not known.
    #[cfg(feature = "policy")]
    let beside = if version.is_none() { beside(client)? } else { Beside::default() };
    #[cfg(not(feature = "policy"))]
    let beside = Beside::default();
    let shown = Shown { policies: found, beside };
    client.out.show(&shown, || {
        let Shown { policies: PoliciesView { of, zone, files }, beside: Beside { roles, ports } } = &shown;
        let head = match (&of.by, of.at) {
            (Some(by), Some(at)) => format!("// Version {}, by {by} at {at}. Time zone: {zone}.", of.version),
            (Some(_) | None, _) => "// No policy was ever applied: roles alone decide.".to_owned(),
        };
        let of_file = |(file, text): (&String, &String)| format!("// {file}\n{}", text.trim_end());
        let titled = |title: &str, all: &Vec<String>| {
            (!all.is_empty()).then(|| format!("// {title}\n\n{}", all.join("\n\n")))
        };
        let beside = [titled("Roles, as policies:", roles), titled("Rules of ports, as policies:", ports)];
        let files = files.iter().map(of_file);
        let parts: Vec<String> =
            [head].into_iter().chain(files).chain(beside.into_iter().flatten()).collect();
        printable(&parts.join("\n\n")).into_owned()
    })?;
    Ok(Exit::Done)
}

/// What decides beside the policies.
#[cfg(feature = "policy")]
fn beside(client: &Client) -> Result<Beside, Failure> {
    let roles = beside::roles(&client.http.get("/v1/roles")?);
    let machines: Vec<portcullis_wire::TargetView> = client.http.list("/v1/targets", &(), None)?;
    Ok(Beside { roles, ports: beside::ports(&machines) })
}

impl Wanted {
    /// The policies of a folder, or those of the installation with one file in place of its own, by a client that leaves texts as they are.
    fn of(path: &Path, client: &Client) -> Result<Self, Failure> {
        if path.is_dir() {
            let Sources { files, described } = Sources::of(path)?;
            let described: toml::Table = described
                .unwrap_or_default()
                .parse()
                .map_err(|error: toml::de::Error| ill_described(path, &error.to_string()))?;
            let zone = match described.get("zone") {
                Some(toml::Value::String(zone)) => zone.clone(),
                Some(_) => {
                    let why = "`zone` is not a time zone, such as `\"Europe/Berlin\"`";
                    return Err(ill_described(path, why));
                }
                None => UTC.to_owned(),
            };
            return Ok(Self { files, zone, beside: None });
        }
        let text = read(path)?;
        let name = path.file_name().and_then(|it| it.to_str()).unwrap_or_default().to_owned();
        let PoliciesView { of, zone, mut files } = client.http.get("/v1/policies")?;
        files.insert(name, text);
        Ok(Self { files, zone, beside: Some(of.version) })
    }
}

fn applied(client: &Client, applied: &PoliciesApplied) -> Result<Exit, Failure> {
    let PoliciesApplied { of, is_new, warnings, ended } = applied;
    client.out.show(applied, || {
        if *is_new {
            format!("The policies are version {} now: {}.", of.version, changes(of)) + &unpermitted(ended)
        } else {
            format!("The policies are already so, since version {}.", of.version) + &unpermitted(ended)
        }
    })?;
    if !client.out.is_json() {
        for warning in warnings {
            output::note(printable(warning));
        }
    }
    Ok(Exit::Done)
}

/// Such as `added on-call; removed a.cedar#1`.
fn changes(of: &PolicyVersionView) -> String {
    let PolicyVersionView { added, changed, removed, back_to, .. } = of;
    let named = [("added", added), ("changed", changed), ("removed", removed)].into_iter();
    let named = named.filter(|(_, ids)| !ids.is_empty());
    let named: Vec<String> = named.map(|(word, ids)| format!("{word} {}", ids.join(", "))).collect();
    let named = if named.is_empty() { "no policy differs".to_owned() } else { named.join("; ") };
    match back_to {
        Some(version) => format!("those of version {version} again; {named}"),
        None => named,
    }
}

fn in_words(found: &Difference, path: &Path) -> String {
    let Difference { version, same, zone, files } = found;
    if *same {
        return format!("No difference from version {version}.");
    }
    let zone = zone.iter().map(|it| format!("time zone: {} before, {} after", it.before, it.after));
    let of_file = |it: &FileDifference| {
        let change = match it.change {
            Change::Added => "added",
            Change::Changed => "changed",
            Change::Removed => "removed",
        };
        let head = format!("{}: {change}", it.file);
        [head].into_iter().chain(it.lines.iter().map(|it| format!("  {it}"))).collect::<Vec<_>>()
    };
    let next = format!(
        "To apply this in place of version {version}: portcullis policy apply {} --expect {version}",
        path.display()
    );
    let lines: Vec<String> = zone.chain(files.iter().flat_map(of_file)).chain([next]).collect();
    printable(&lines.join("\n")).into_owned()
}

fn of_history(failure: Failure) -> Failure {
    if failure.exit() == Exit::NotFound {
        return failure.next("`portcullis policy history` lists the versions");
    }
    failure
}
