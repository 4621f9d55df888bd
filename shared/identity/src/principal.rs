//! The principal that the claims of a token stand for: who may have which name.

use crate::{
    claims::Claims,
    settings::{Groups, GroupsForm, Issuer as Settings, Names, People, Workload},
};
use portcullis_app::{BadToken, GroupsKnown, Issuer, Principal, PrincipalKind};
use portcullis_domain::Person;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The principal of a token of this issuer, whose signature, audience and time were checked.
pub fn principal(of: &Settings, claims: &Claims, reserved: &Reserved) -> Result<Principal, BadToken> {
    if claims.get("cnf").is_some() {
        return Err(BadToken::Bound);
    }
    let subject = claims.wanted("sub")?;
    let issuer = Issuer::Oidc(of.url.clone());
    let kept = of.claims.iter().map(String::as_str).chain(["sub"]);
    let kept: BTreeMap<String, String> =
        kept.filter_map(|it| Some((it.to_owned(), claims.plain(it)?))).collect();
    if let Some(workload) = of.workloads.iter().find(|it| it.is_of(subject, claims)) {
        let principal = Principal::person(workload.name.clone(), issuer);
        return Ok(Principal { kind: PrincipalKind::Workload, claims: kept, ..principal });
    }
    let Some(people) = &of.people else { return Err(BadToken::Subject) };
    if is_of_program(subject, claims) {
        return Err(BadToken::Workload);
    }
    let id = name(people, claims, reserved)?;
    let (groups, groups_known) = match &people.groups {
        None => (BTreeSet::new(), GroupsKnown::Nobody),
        Some(groups) => groups_of(groups, &people.names, claims, reserved)?,
    };
    Ok(Principal { groups, groups_known, claims: kept, ..Principal::person(id, issuer) })
}

/// Names that no issuer gives.
#[derive(Debug, Clone)]
pub struct Reserved {
    /// The operator's.
    pub operator: Person,
    /// How the groups begin of issuers that have a beginning of their own.
    pub prefixes: Vec<String>,
}

impl Workload {
    fn is_of(&self, subject: &str, claims: &Claims) -> bool {
        let is_for = self.audience.as_ref().is_none_or(|it| claims.is_for(it));
        is_for && self.subject.fits(subject)
    }
}

/// Did a program get this token for itself? Such a token names no person, whatever its claims are called.
///
/// - RFC 9068, section 2.2: `sub` is the client where no resource owner is involved; also as `azp` (Google's service accounts),
///   `appid` (Entra ID, version 1), `cid` (Okta).
/// - Entra ID: `idtyp` is `app`. <https://learn.microsoft.com/entra/identity-platform/optional-claims-reference>
/// - Auth0: `gty` is `client-credentials`.
/// - Keycloak: the user behind a client is called `service-account-…`.
fn is_of_program(subject: &str, claims: &Claims) -> bool {
    let is = |name: &str, value: &str| claims.text(name) == Some(value);
    ["client_id", "azp", "appid", "cid"].iter().any(|it| is(it, subject))
        || is("idtyp", "app")
        || is("gty", "client-credentials")
        || claims.text("preferred_username").is_some_and(|it| it.starts_with("service-account-"))
}

/// The name of a person.
///
/// INVARIANT (a-name-has-one-authority): an issuer gives names with its own beginning, or, where the settings say that it shares
/// its names with the token book, names that have no such beginning and are not the operator's.
fn name(people: &People, claims: &Claims, reserved: &Reserved) -> Result<Person, BadToken> {
    let claim = &people.name;
    let said = claims.wanted(claim)?;
    // Anybody may write any address into their account with some providers.
    let is_verified = claims.plain("email_verified").is_some_and(|it| it == "true");
    if claim == "email" && !is_verified {
        return Err(BadToken::Unverified);
    }
    let bad = || BadToken::Name(claim.clone());
    // With a beginning before it, a name of nothing would be one, and a space no longer at the end.
    if said.is_empty() || said.trim() != said {
        return Err(bad());
    }
    match &people.names {
        Names::Prefixed(prefix) => format!("{prefix}{said}").parse().map_err(|_| bad()),
        Names::Shared => {
            let person: Person = said.parse().map_err(|_| bad())?;
            let is_taken =
                person.namespace().is_some() || person == reserved.operator || person == Person::portcullis();
            if is_taken { Err(bad()) } else { Ok(person) }
        }
    }
}

/// The groups, and whether those are all. They begin as the names do: a group of one issuer is no group of another.
fn groups_of(
    groups: &Groups,
    names: &Names,
    claims: &Claims,
    reserved: &Reserved,
) -> Result<(BTreeSet<String>, GroupsKnown), BadToken> {
    if is_overage(&groups.claim, claims) {
        return Ok((BTreeSet::new(), GroupsKnown::Overage));
    }
    let bad = || BadToken::Claim(groups.claim.clone());
    let Some(value) = claims.get(&groups.claim) else { return Ok((BTreeSet::new(), GroupsKnown::Missing)) };
    let said: Vec<&str> = match groups.form {
        GroupsForm::List => {
            let list = value.as_array().ok_or_else(bad)?;
            list.iter().map(Value::as_str).collect::<Option<_>>().ok_or_else(bad)?
        }
        GroupsForm::Commas => value.as_str().ok_or_else(bad)?.split(',').map(str::trim).collect(),
        GroupsForm::Spaces => value.as_str().ok_or_else(bad)?.split(' ').collect(),
    };
    let said = said.into_iter().filter(|it| !it.is_empty());
    let is_fit = |it: &String| match names {
        Names::Prefixed(_) => true,
        Names::Shared => !reserved.prefixes.iter().any(|prefix| it.starts_with(prefix)),
    };
    let prefix = match names {
        Names::Prefixed(prefix) => prefix.as_str(),
        Names::Shared => "",
    };
    Ok((said.map(|it| format!("{prefix}{it}")).filter(is_fit).collect(), GroupsKnown::All))
}

/// Does Entra ID say that there are too many groups for a token? It then names a place to ask, or says `hasgroups`.
/// <https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference>
fn is_overage(claim: &str, claims: &Claims) -> bool {
    let is_elsewhere = claims.get("_claim_names").is_some_and(|it| it.get(claim).is_some());
    is_elsewhere || claims.plain("hasgroups").is_some_and(|it| it == "true")
}
