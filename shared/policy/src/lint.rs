//! What is right as Cedar and yet hardly meant: policies without an effect, and requests without an approver.

mod coverage;
mod remark;
mod requests;

pub use remark::{Bound, Kind, Remark};

use crate::{
    fault::Faults,
    file::{self, Written, check},
    installation::Installation,
    schema::{PARSED, Type},
};
use cedar_policy::{Effect, PolicyId, PolicySet, PrincipalConstraint, ValidationMode, Validator};
use coverage::Scope;
use requests::{unapproved, wide};
use std::collections::{BTreeMap, BTreeSet};

/// The remarks on these policy files in this installation, sorted; `Err` if the files do not pass the check. Requests from sources wider than
/// `bound` are remarked on, of which there are none where it is 0.
pub fn lint(
    files: &BTreeMap<String, String>,
    installation: &Installation,
    bound: Bound,
) -> Result<Vec<Remark>, Faults> {
    check(files, &installation.known())?;
    let policies = file::read(files)?;
    let mut remarks = impossible(files, &policies);
    remarks.extend(policies.iter().filter_map(|it| without_members(files, it, installation)));
    remarks.extend(policies.iter().filter_map(|it| evaded(files, it)));
    remarks.extend(policies.iter().filter_map(|it| covered(files, it, &policies)));
    remarks.extend(
        installation
            .bindings()
            .iter()
            .filter(|it| installation.is_nobody(&it.member))
            .map(|it| Remark::of(Kind::NoMember, format!("the role `{it}` has no member"))),
    );
    remarks.extend(unapproved(files, installation)?);
    remarks.extend(wide(files, installation, bound)?);
    remarks.sort();
    remarks.dedup();
    Ok(remarks)
}

/// Policies that are false whatever is asked.
fn impossible(files: &BTreeMap<String, String>, policies: &[Written]) -> Vec<Remark> {
    let numbered = policies.iter().enumerate().map(|(n, it)| it.policy.new_id(PolicyId::new(n.to_string())));
    let Ok(set) = PolicySet::from_policies(numbered) else { return vec![] };
    let result = Validator::new(PARSED.clone()).validate(&set, ValidationMode::Strict);
    let impossible = result.validation_warnings().filter(|it| {
        // Others are about look-alike letters; this one has no name that a program can see.
        it.to_string().contains("policy is impossible")
    });
    let numbers = impossible.filter_map(|it| AsRef::<str>::as_ref(it.policy_id()).parse::<usize>().ok());
    numbers
        .filter_map(|it| policies.get(it))
        .map(|it| Remark::at(files, it, Kind::NeverMatches, "applies to no question"))
        .collect()
}

/// A policy about a group that has no members.
fn without_members(
    files: &BTreeMap<String, String>,
    written: &Written,
    installation: &Installation,
) -> Option<Remark> {
    let group = match written.policy.principal_constraint() {
        PrincipalConstraint::Any | PrincipalConstraint::Is(_) | PrincipalConstraint::Eq(_) => return None,
        PrincipalConstraint::In(it) | PrincipalConstraint::IsIn(_, it) => it,
    };
    let id: &str = group.id().unescaped();
    let is_empty =
        Type::of(&group) == Some(Type::Group) && installation.members(id).is_some_and(BTreeSet::is_empty);
    let message = format!("applies to no question: the group `{id}` has no member");
    is_empty.then(|| Remark::at(files, written, Kind::NeverMatches, &message))
}

/// A forbid of a person that does not hold where a bot speaks for them.
fn evaded(files: &BTreeMap<String, String>, written: &Written) -> Option<Remark> {
    let person = match (written.policy.effect(), written.policy.principal_constraint()) {
        (Effect::Forbid, PrincipalConstraint::Eq(it)) => {
            Some(it).filter(|it| Type::of(it) == Some(Type::Person))?
        }
        (Effect::Forbid | Effect::Permit, _) => return None,
    };
    let message = format!("does not forbid a bot that speaks for the person: write `principal in {person}`");
    Some(Remark::at(files, written, Kind::BotEvades, &message))
}

/// A permit that another policy without conditions leaves nothing to say.
fn covered(files: &BTreeMap<String, String>, written: &Written, all: &[Written]) -> Option<Remark> {
    if written.policy.effect() == Effect::Forbid {
        return None;
    }
    let scope = Scope::of(&written.policy);
    let covers = |it: &&Written| {
        it.id != written.id && !it.policy.has_non_scope_constraint() && Scope::of(&it.policy).covers(&scope)
    };
    let by = |effect: Effect| all.iter().filter(|it| it.policy.effect() == effect).find(covers);
    if let Some(it) = by(Effect::Forbid) {
        let message = format!("permits nothing: `{}` forbids all of it", it.id);
        return Some(Remark::at(files, written, Kind::Shadowed, &message));
    }
    let it = by(Effect::Permit)?;
    // Of two that say the same the later one is redundant.
    let is_first = scope.covers(&Scope::of(&it.policy))
        && !written.policy.has_non_scope_constraint()
        && (&written.file, written.offset) < (&it.file, it.offset);
    let message = format!("permits nothing that `{}` does not permit", it.id);
    (!is_first).then(|| Remark::at(files, written, Kind::Redundant, &message))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Remarks on one file, in an installation of two people who are on call, and one who is not.
    fn remarks(policies: &str, installation: &str) -> Vec<String> {
        let people =
            "people = [\"ann\", \"bob\", \"cleo\"]\ngroups = { ops = [\"ann\", \"bob\"], none = [] }\n";
        let installation = Installation::read(&format!("{people}{installation}")).expect("an installation");
        let files = BTreeMap::from([("a.cedar".to_owned(), policies.to_owned())]);
        let bound = Bound { ipv4: 24, ipv6: 64 };
        let found = lint(&files, &installation, bound).unwrap_or_else(|faults| panic!("{faults}"));
        found.iter().map(|it| format!("{:?} {it}", it.kind)).collect()
    }

    const WEB: &str = "machine = [{ id = \"web-1\" }]\n";

    #[test]
    fn policies_without_an_effect_are_named_with_their_lines() {
        let policies = r#"
@id("empty") forbid (principal in Group::"none", action, resource);
@id("false") forbid (principal, action, resource) when { context.is_own && !context.is_own && false };
@id("once") permit (principal in Group::"ops", action == Action::"read", resource);
@id("again") permit (principal is Person in Group::"ops", action == Action::"read", resource is Machine) when { context.is_own };
@id("shut") forbid (principal, action == Action::"export", resource);
@id("in-vain") permit (principal == Person::"ann", action == Action::"export", resource);
@id("by-bot") forbid (principal == Person::"ann", action == Action::"close", resource);
@id("meant") permit (principal in Group::"ops", action == Action::"read", resource) when { context.weekday < 6 };
"#;
        assert_eq!(
            remarks(policies, ""),
            [
                "NeverMatches a.cedar:2: policy `empty` applies to no question: the group `none` has no member",
                "NeverMatches a.cedar:3: policy `false` applies to no question",
                "Redundant a.cedar:5: policy `again` permits nothing that `once` does not permit",
                "Shadowed a.cedar:7: policy `in-vain` permits nothing: `shut` forbids all of it",
                "BotEvades a.cedar:8: policy `by-bot` does not forbid a bot that speaks for the person: write `principal in Person::\"ann\"`",
                "Redundant a.cedar:9: policy `meant` permits nothing that `once` does not permit",
            ]
        );
    }

    #[test]
    fn of_two_policies_that_say_the_same_the_later_one_is_redundant() {
        let policies = "permit (principal, action, resource);\npermit (principal, action, resource);";
        assert_eq!(
            remarks(policies, ""),
            ["Redundant a.cedar:2: policy `a.cedar#2` permits nothing that `a.cedar#1` does not permit"]
        );
    }

    #[test]
    fn request_that_no_other_caller_may_approve_is_named_and_one_that_some_hour_approves_is_not() {
        let bindings = r#"
[[binding]]
role = "requester"
member = "group:ops"
scope = "everything"
"#;
        let forbid = r#"forbid (principal, action == Action::"open-without-approval", resource);"#;
        let installation = format!("{WEB}{bindings}");
        let nobody = [
            "NoApprover no caller may approve a request of `ann` for `web-1`",
            "NoApprover no caller may approve a request of `bob` for `web-1`",
        ];
        let wide = remarks(forbid, &installation);
        let wide = &wide[nobody.len()..];
        assert_eq!(remarks(forbid, &installation)[..nobody.len()], nobody);
        assert_eq!(wide.len(), 2, "{wide:?}");
        assert_eq!(
            wide[0],
            "WideSource `requester for group:ops on everything` permits requests from 0.0.0.0/0, which is wider than /24"
        );
        let night = r#"permit (principal == Person::"ann", action == Action::"approve", resource) when { context.weekday == 3 && context.minute_of_day < 60 };"#;
        let found = remarks(&format!("{forbid}\n{night}"), &installation);
        assert_eq!(found[0], "NoApprover no other caller may approve a request of `ann` for `web-1`");
        assert_eq!(found.len(), 1 + wide.len());
    }

    #[test]
    fn role_without_a_member_and_a_request_from_a_wide_network_of_a_policy_are_named() {
        let installation = format!(
            "{WEB}[[binding]]\nrole = \"reader\"\nmember = \"person:dora\"\nscope = \"everything\"\n"
        );
        let policies = r#"@id("office") permit (principal, action in [Action::"request", Action::"open-without-approval"], resource) when { context has source && context.source.isInRange(ip("10.0.0.0/8")) };"#;
        assert_eq!(
            remarks(policies, &installation),
            [
                "NoMember the role `reader for person:dora on everything` has no member",
                "WideSource `office` permits requests from 10.0.0.0/8, which is wider than /24",
            ]
        );
    }
}
