//! People whom policies name, and the callers who may come by those names.

use crate::{
    Bots,
    load::all,
    ports::{Store, Tokens},
};
use portcullis_domain::{Finding, Gate, People, Person, Policy, TargetId};
use std::collections::{BTreeMap, BTreeSet};

/// What vouches for the names of callers, beside the token book.
#[derive(Debug, Clone)]
pub struct Vouchers {
    /// The bots, which may speak for people.
    bots: Bots,
    /// How names begin for which the platform vouches.
    platform: Option<&'static str>,
    /// How names begin for which an issuer of tokens vouches.
    issuers: Vec<String>,
    /// May an issuer vouch for any name that has no namespace?
    is_shared: bool,
}

impl Bots {
    /// The bots, as what vouches for the names of callers.
    pub fn vouchers(&self) -> Vouchers {
        Vouchers { bots: self.clone(), platform: None, issuers: vec![], is_shared: false }
    }
}

impl Vouchers {
    /// The same, and a platform that vouches for names that begin so.
    #[must_use]
    pub fn and_platform(self, beginning: &'static str) -> Self {
        Self { platform: Some(beginning), ..self }
    }

    /// The same, and issuers of tokens that vouch for names that begin so; `is_shared` where one vouches for names without a
    /// beginning of their own.
    #[must_use]
    pub fn and_issuers(self, issuers: Vec<String>, is_shared: bool) -> Self {
        Self { issuers, is_shared, ..self }
    }

    fn vouch_for(&self, person: &Person) -> bool {
        let name = person.as_str();
        self.bots.speak_for(person)
            || self.platform.is_some_and(|it| name.starts_with(it))
            || self
                .issuers
                .iter()
                .any(|it| name.get(..it.len()).is_some_and(|name| name.eq_ignore_ascii_case(it)))
            || self.is_shared && person.namespace().is_none()
    }
}

/// What to know of a policy that names people by whose names no caller can come: nothing where it is not known what vouches.
pub(crate) async fn warnings(
    tokens: &impl Tokens,
    vouchers: Option<&Vouchers>,
    policy: Option<&Policy>,
) -> Vec<String> {
    let named = policy.map(named).unwrap_or_default();
    let strangers = strangers(tokens, vouchers, named.iter().map(|(it, _, _)| it)).await;
    let warning = |(person, deed, gate): &(Person, &str, Gate)| {
        format!(
            "`{person}` {deed} `{gate}`, and no token, issuer, bot or platform vouches for that name: make a token with \
             `portcullis token create`, or correct the name"
        )
    };
    named.iter().filter(|(it, _, _)| strangers.contains(it)).map(warning).collect()
}

/// The same of every policy in the table, for a checkup.
pub(crate) async fn findings(
    store: &impl Store,
    tokens: &impl Tokens,
    vouchers: Option<&Vouchers>,
) -> Vec<Finding> {
    let Ok(known) = all(store).await else { return vec![] };
    let mut named_by = BTreeMap::<Person, BTreeSet<TargetId>>::new();
    for target in &known {
        for (person, _, _) in target.policy().map(named).unwrap_or_default() {
            named_by.entry(person).or_default().insert(target.id.clone());
        }
    }
    let strangers = strangers(tokens, vouchers, named_by.keys()).await;
    let finding = |(person, targets): (&Person, &BTreeSet<TargetId>)| {
        let more = match targets.len().saturating_sub(1) {
            0 => String::new(),
            more => format!(" and of {more} more"),
        };
        let first = targets.first().map(ToString::to_string).unwrap_or_default();
        Finding::warning(
            "people",
            format!(
                "the policy of `{first}`{more} names `{person}`, and no token, issuer, bot or platform vouches for that name"
            ),
            "make a token with `portcullis token create`, or correct the name with `portcullis edit`",
        )
    };
    named_by.iter().filter(|(it, _)| strangers.contains(it)).map(finding).collect()
}

/// Those of them for whom nothing vouches. A token book that cannot be read accuses nobody.
pub(crate) async fn strangers<'a>(
    tokens: &impl Tokens,
    vouchers: Option<&Vouchers>,
    people: impl Iterator<Item = &'a Person>,
) -> BTreeSet<Person> {
    let Some(vouchers) = vouchers else { return BTreeSet::new() };
    let mut strangers: BTreeSet<Person> = people.filter(|it| !vouchers.vouch_for(it)).cloned().collect();
    if strangers.is_empty() {
        return strangers;
    }
    match tokens.list().await {
        Ok(known) => strangers.retain(|it| known.iter().all(|token| token.person != *it)),
        Err(_) => strangers.clear(),
    }
    strangers
}

/// The people whom a policy names, with what each may do and where.
fn named(policy: &Policy) -> Vec<(Person, &'static str, Gate)> {
    let mut named = vec![];
    for rule in policy.ports() {
        for (people, deed) in
            [(&rule.approvers, "may approve"), (&rule.break_glass, "may use break-glass on")]
        {
            if let Some(People::Only(people)) = people {
                named.extend(people.iter().map(|it| (it.clone(), deed, rule.gate())));
            }
        }
    }
    named
}
