//! The settings: which issuers are believed, for which tokens, and which names each may give.

use crate::{
    algorithm::Algorithm,
    fetch::{is_loopback, usable},
    pattern::Pattern,
};
use jiff::SignedDuration;
use portcullis_domain::{Person, length};
use serde::Deserialize;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// The namespaces of the platform's names (`arn:aws:…`), of those that it may have, and of ours.
const RESERVED: [&str; 5] = ["arn", "aws", "azure", "bot", "portcullis"];
/// How many issuers there may be.
const ISSUERS_MAX: usize = 32;
/// How many workloads an issuer may have.
const WORKLOADS_MAX: usize = 1000;
/// By how much the clocks of an issuer and of this server may differ, where the settings do not say, and at most.
const LEEWAY: (SignedDuration, SignedDuration) =
    (SignedDuration::from_secs(30), SignedDuration::from_mins(1));
/// The claim that is a person's name, where the settings do not say: people know it, and issuers say whether they verified it.
const NAME: &str = "email";

/// The settings of all issuers. Empty believes nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings(pub(crate) Vec<Issuer>);

/// Settings that cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}: docs/identity.md has examples")]
pub struct BadSettings(String);

/// One issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// Its `iss`, to the letter.
    pub url: String,
    /// Is it on this machine, and asked without TLS?
    pub is_clear: bool,
    pub audiences: Vec<String>,
    pub algorithms: Vec<Algorithm>,
    pub leeway: SignedDuration,
    /// The claims that policies may use.
    pub claims: Vec<String>,
    /// A file with more certificates that are trusted.
    pub ca_file: Option<PathBuf>,
    pub people: Option<People>,
    pub workloads: Vec<Workload>,
}

/// The people of an issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct People {
    pub names: Names,
    /// The claim that is the name.
    pub name: String,
    pub groups: Option<Groups>,
}

/// The names of an issuer's people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// Each begins so: small letters, digits, dots and dashes with a colon at the end.
    Prefixed(String),
    /// They are those of the token book: one name is one person.
    Shared,
}

/// The claim that lists groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    pub claim: String,
    pub form: GroupsForm,
}

/// The form of a claim that lists groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupsForm {
    /// A list of texts.
    #[default]
    List,
    /// One text, with commas between the groups.
    Commas,
    /// One text, with spaces between the groups.
    Spaces,
}

/// A workload: tokens with such a subject are called so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    pub name: Person,
    /// An audience of the issuer that its tokens must have; any of them where none is said.
    pub audience: Option<String>,
    pub subject: Pattern,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    issuer: Vec<IssuerText>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct IssuerText {
    url: String,
    audiences: Vec<String>,
    algorithms: Option<Vec<String>>,
    leeway: Option<String>,
    #[serde(default)]
    claims: Vec<String>,
    ca_file: Option<PathBuf>,
    people: Option<PeopleText>,
    #[serde(default)]
    workload: Vec<WorkloadText>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct PeopleText {
    prefix: Option<String>,
    names: Option<SharedText>,
    name: Option<String>,
    groups: Option<String>,
    groups_form: Option<GroupsForm>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SharedText {
    Shared,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkloadText {
    name: String,
    audience: Option<String>,
    subject: String,
}

impl Settings {
    /// The settings in a text of TOML. `operator` is a name that no workload may have.
    pub fn read(text: &str, operator: &Person) -> Result<Self, BadSettings> {
        let file: File = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|it| text.get(..it.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            BadSettings(format!("line {line}: {}", error.message()))
        })?;
        if ISSUERS_MAX < file.issuer.len() {
            return Err(BadSettings(format!("there are more than {ISSUERS_MAX} issuers")));
        }
        let issuers: Vec<Issuer> = file
            .issuer
            .into_iter()
            .map(|it| {
                let url = it.url.clone();
                Issuer::of(it).map_err(|why| BadSettings(format!("issuer `{url}`: {why}")))
            })
            .collect::<Result<_, _>>()?;
        apart(&issuers, operator)?;
        Ok(Self(issuers))
    }

    /// Is nobody believed?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How names begin for which an issuer vouches, or a workload has; and whether an issuer shares the names of the token book.
    pub fn names(&self) -> (Vec<String>, bool) {
        let prefix = |it: &Issuer| match it.people.as_ref().map(|it| &it.names) {
            Some(Names::Prefixed(prefix)) => Some(prefix.clone()),
            Some(Names::Shared) | None => None,
        };
        let prefixes = self.0.iter().filter_map(prefix);
        let workloads = self.0.iter().flat_map(|it| &it.workloads).map(|it| it.name.to_string());
        let is_shared = |it: &Issuer| it.people.as_ref().is_some_and(|it| it.names == Names::Shared);
        (prefixes.chain(workloads).collect(), self.0.iter().any(is_shared))
    }

    /// The same, with the files that it names found in a folder where they are not absolute.
    #[must_use]
    pub fn beside(mut self, folder: &Path) -> Self {
        for issuer in &mut self.0 {
            issuer.ca_file = issuer.ca_file.take().map(|it| folder.join(it));
        }
        self
    }
}

/// No two issuers may give one name.
fn apart(issuers: &[Issuer], operator: &Person) -> Result<(), BadSettings> {
    let (mut urls, mut prefixes, mut names) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut shares = None;
    for Issuer { url, people, workloads, .. } in issuers {
        let bad = |why: String| Err(BadSettings(format!("issuer `{url}`: {why}")));
        if !urls.insert(url) {
            return bad("it is there twice".to_owned());
        }
        match people.as_ref().map(|it| &it.names) {
            Some(Names::Prefixed(prefix)) if !prefixes.insert(prefix.trim_end_matches(':')) => {
                return bad(format!("`prefix` is `{prefix}`, which another issuer has: give each its own"));
            }
            Some(Names::Shared) => {
                if let Some(other) = shares.replace(url) {
                    return bad(format!(
                        "`names` is `shared`, as with `{other}`: one issuer at most may share them"
                    ));
                }
            }
            Some(Names::Prefixed(_)) | None => {}
        }
        for Workload { name, .. } in workloads {
            if name == operator || !names.insert(name) {
                return bad(format!("the name `{name}` of a workload is taken: give each workload its own"));
            }
        }
    }
    let taken = names.iter().find(|it| it.namespace().is_some_and(|it| prefixes.contains(it)));
    match taken {
        Some(name) => Err(BadSettings(format!(
            "the name `{name}` of a workload begins as those of people do: choose another beginning, such as `ci:`"
        ))),
        None => Ok(()),
    }
}

impl Issuer {
    fn of(text: IssuerText) -> Result<Self, String> {
        let IssuerText { url, audiences, algorithms, leeway, claims, ca_file, people, workload } = text;
        let place = usable(&url, true).map_err(|it| it.to_string())?;
        if place.query().is_some() || url.contains('#') {
            return Err("`url` must have no query and no fragment".to_owned());
        }
        let is_clear = place.scheme_str() == Some("http") && is_loopback(&place);
        if audiences.is_empty() || audiences.iter().any(String::is_empty) {
            return Err("`audiences` must name for whom its tokens are, such as the client id".to_owned());
        }
        let algorithms = algorithms.unwrap_or_else(|| vec![Algorithm::Rs256.to_string()]);
        let algorithms: Vec<Algorithm> = algorithms
            .iter()
            .map(|it| it.parse().map_err(|it: crate::algorithm::BadAlgorithm| format!("`algorithms`: {it}")))
            .collect::<Result<_, _>>()?;
        if algorithms.is_empty() {
            return Err("`algorithms` is empty: leave it out for `RS256`".to_owned());
        }
        let leeway = match leeway.map(|it| length(&it)).transpose() {
            Ok(leeway) => leeway.unwrap_or(LEEWAY.0),
            Err(why) => return Err(format!("`leeway`: {why}")),
        };
        if leeway.is_negative() || LEEWAY.1 < leeway {
            return Err(format!("`leeway` is `{leeway:#}`: 0s to {:#}", LEEWAY.1));
        }
        if people.is_none() && workload.is_empty() {
            return Err("it admits no caller: add `[issuer.people]` or `[[issuer.workload]]`".to_owned());
        }
        if WORKLOADS_MAX < workload.len() {
            return Err(format!("it has more than {WORKLOADS_MAX} workloads"));
        }
        let workloads =
            workload.into_iter().map(|it| Workload::of(it, &audiences)).collect::<Result<_, _>>()?;
        let people = people.map(People::of).transpose()?;
        Ok(Self { url, is_clear, audiences, algorithms, leeway, claims, ca_file, people, workloads })
    }
}

impl People {
    fn of(PeopleText { prefix, names, name, groups, groups_form }: PeopleText) -> Result<Self, String> {
        let names = match (prefix, names) {
            (Some(prefix), None) => Names::Prefixed(checked(prefix)?),
            (None, Some(SharedText::Shared)) => Names::Shared,
            (Some(_), Some(SharedText::Shared)) => {
                return Err("it has both `prefix` and `names`: leave one of them out".to_owned());
            }
            (None, None) => {
                return Err(
                    "its people need a `prefix` for their names, such as `corp:`; one issuer may have \
                    `names = \"shared\"` instead"
                        .to_owned(),
                );
            }
        };
        let groups = match (groups, groups_form) {
            (Some(claim), form) => Some(Groups { claim, form: form.unwrap_or_default() }),
            (None, None) => None,
            (None, Some(_)) => {
                return Err("`groups-form` needs `groups`, the name of the claim that lists them".to_owned());
            }
        };
        Ok(Self { names, name: name.unwrap_or_else(|| NAME.to_owned()), groups })
    }
}

fn checked(prefix: String) -> Result<String, String> {
    let word = prefix.strip_suffix(':').unwrap_or_default();
    let is_fit = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || matches!(it, '.' | '-');
    if word.is_empty() || !word.chars().all(is_fit) {
        return Err(format!(
            "`prefix` is `{prefix}`: it has to be small letters, digits, dots and dashes with a colon at the end, such as `corp:`"
        ));
    }
    if RESERVED.contains(&word) {
        return Err(format!("`prefix` is `{prefix}`, with which other names begin: choose another one"));
    }
    Ok(prefix)
}

impl Workload {
    fn of(
        WorkloadText { name, audience, subject }: WorkloadText,
        audiences: &[String],
    ) -> Result<Self, String> {
        let name: Person = name.parse().map_err(|it| format!("workload: {it}"))?;
        match name.namespace() {
            None => {
                return Err(format!(
                    "workload `{name}`: its name needs a beginning with a colon, such as `ci:`"
                ));
            }
            Some(it) if RESERVED.contains(&it) => {
                return Err(format!("workload `{name}`: `{it}:` is the beginning of other names"));
            }
            Some(_) => {}
        }
        if let Some(it) = audience.as_ref().filter(|it| !audiences.contains(it)) {
            return Err(format!("workload `{name}`: `audience` is `{it}`, which `audiences` does not have"));
        }
        let subject = subject.parse().map_err(|it| format!("workload `{name}`: `subject`: {it}"))?;
        Ok(Self { name, audience, subject })
    }
}

#[cfg(test)]
#[path = "settings/tests.rs"]
mod tests;
