//! Results of the use cases in the shapes of the wire, which knows none of them.

use crate::wire::{
    AdoptableMachineView, AdoptablePortView, AdoptableRuleView, AdoptableView, AdoptedMachineView,
    AdoptedView, AnswerView, EventView, ForeseenDenyView, GrantView, GuardedView, HappenedView,
    InterfaceView, NameView, PortRuleView, Reason, RequestView, ReviewView, RevokedView, RoleView,
    TargetView, VerifyView, WhoamiView,
};
use jiff::Timestamp;
use portcullis_app::{
    Adoptable, AdoptableMachine, AdoptablePort, AdoptableRule, Adopted, AdoptedMachine, Answer, Discovered,
    Error, Event, Guarded, Happened, Met, Name, Principal, Revoked, Verified,
    ports::{Interface, Store},
};
use portcullis_domain::{Binding, Explained, Outcome, Person, Policy, Refusal, Request, Review, What};
use std::collections::BTreeSet;

/// A discovered machine as it is at `now`.
pub(crate) fn target(found: &Discovered, now: Timestamp) -> TargetView {
    let last = found.recent.iter().filter(|it| it.opened_at.is_some()).max_by_key(|it| it.opened_at);
    let requests: BTreeSet<_> = found.recent.iter().map(|it| &it.request).collect();
    TargetView {
        id: found.machine.id.to_string(),
        name: found.machine.name.clone(),
        state: found.state,
        location: found.machine.location.clone(),
        reason: found.machine.unsupported.map(|it| it.word().to_owned()),
        os: found.machine.os.word().to_owned(),
        addresses: texts(&found.machine.addresses),
        guarded_by: found.machine.guarded_by.clone(),
        interfaces: found.machine.interfaces.iter().map(interface).collect(),
        tags: found.machine.tags.clone(),
        healthy: found.healthy,
        troubles: found.troubles.clone(),
        ports: ports(found.policy.as_ref()),
        policy_version: found.policy_version,
        confirm_by: found.confirm_by,
        settled: found.settled,
        grants: found.grants.iter().map(|it| GrantView::of(it, now)).collect(),
        requests_7_days: requests.len(),
        last_access: last.and_then(|it| it.opened_at),
        last_user: last.map(|it| it.by.to_string()),
        unseen: found.unseen.clone(),
    }
}

/// A machine by its names.
pub(crate) fn name(Name { id, facts, state, policy }: Name) -> NameView {
    NameView {
        id: id.to_string(),
        name: facts.name,
        state,
        os: facts.os.word().to_owned(),
        addresses: texts(&facts.addresses),
        ports: ports(policy.as_ref()),
    }
}

/// A target as it is now guarded.
pub(crate) fn guarded(Guarded { target, changed, warnings }: Guarded) -> GuardedView {
    GuardedView {
        target: target.id.to_string(),
        ports: ports(target.policy()),
        policy_version: target.policy_version(),
        confirm_by: target.trial().map(|it| it.until),
        changed,
        warnings,
    }
}

/// A request, that of an extension with the grant that it is for, as that is at `now`.
pub(crate) async fn request(
    store: &impl Store,
    request: &Request,
    now: Timestamp,
) -> Result<RequestView, Error> {
    let view = RequestView::from(request);
    let What::Extend { grant, .. } = &request.what else { return Ok(view) };
    Ok(match store.grant(grant).await? {
        Some(grant) => view.extending(&grant, now),
        None => view,
    })
}

/// A request with its grants as they are at `now`. It was decided: nothing that cannot be read any more makes that a failure.
pub(crate) async fn answer(store: &impl Store, answer: &Answer, now: Timestamp) -> AnswerView {
    let request = request(store, &answer.request, now).await.unwrap_or_else(|_| (&answer.request).into());
    AnswerView { request, grants: answer.grants.iter().map(|it| GrantView::of(it, now)).collect() }
}

/// The caller, as the authority that vouches for the name says.
pub(crate) fn whoami(caller: Principal, address: Option<String>, roles: &[Binding]) -> WhoamiView {
    let Principal { kind, id, issuer, groups, groups_known, claims } = caller;
    WhoamiView {
        person: id.to_string(),
        address,
        kind: kind.word().to_owned(),
        issuer: issuer.to_string(),
        groups: groups.into_iter().collect(),
        groups_known: groups_known.word().to_owned(),
        claims,
        roles: roles.iter().map(RoleView::from).collect(),
    }
}

/// The access that a revoked token left behind, as it is at `now`.
pub(crate) fn revoked(person: &Person, keeps_access: bool, revoked: &Revoked, now: Timestamp) -> RevokedView {
    RevokedView {
        person: person.to_string(),
        kept: keeps_access,
        grants: revoked.grants.iter().map(|it| GrantView::of(it, now)).collect(),
        requests: revoked.requests.iter().map(RequestView::from).collect(),
    }
}

/// The policies that refuse, and what would pass instead, each once.
fn by_policies<'a>(reasons: impl Iterator<Item = &'a Refusal>) -> (Vec<String>, Vec<String>) {
    let (mut policies, mut instead) = (BTreeSet::new(), BTreeSet::new());
    for refusal in reasons {
        if let Refusal::NotPermitted { why, .. } = refusal {
            policies.extend(why.policies.iter().cloned());
            instead.extend(why.nearest.iter().map(ToString::to_string));
        }
    }
    (policies.into_iter().collect(), instead.into_iter().collect())
}

/// The review of a request that was not made.
pub(crate) fn review(review: &Review, now: Timestamp) -> ReviewView {
    let grants = |outcome: &Outcome| match outcome {
        Outcome::Granted(grants) => grants.iter().map(|it| GrantView::of(it, now)).collect(),
        Outcome::Extended { .. } => vec![],
    };
    let reason = |it: &Refusal| Reason { code: it.code().to_owned(), message: it.to_string() };
    let view = |answer: Explained| ReviewView {
        answer: answer.word().to_owned(),
        reasons: vec![],
        policies: vec![],
        permitted_by: vec![],
        nearest: vec![],
        approvers: vec![],
        breaks_glass: false,
        grants: vec![],
        denies: vec![],
        unseen: None,
    };
    match review {
        Review::Allowed(outcome) => {
            let breaks_glass = outcome.broken().next().is_some();
            ReviewView { grants: grants(outcome), breaks_glass, ..view(Explained::Allowed) }
        }
        Review::NeedsApproval { outcome, approvers, because } => {
            let approvers = texts(&approvers.people());
            let (policies, nearest) = by_policies(because.iter());
            let reasons = because.iter().map(reason).collect();
            let grants = grants(outcome);
            ReviewView { grants, approvers, reasons, policies, nearest, ..view(Explained::NeedsApproval) }
        }
        Review::Refused(reasons) => {
            let (policies, nearest) = by_policies(reasons.iter());
            let reasons = reasons.iter().map(reason).collect();
            ReviewView { reasons, policies, nearest, ..view(Explained::Refused) }
        }
    }
}

/// A foreign deny that a lease would meet.
pub(crate) fn foreseen(Met { target, gate, deny }: Met) -> ForeseenDenyView {
    ForeseenDenyView { target: target.to_string(), gate: gate.to_string(), deny: deny.into() }
}

/// A part of what happened.
pub(crate) fn happened(Happened { events, next, reached, more }: Happened) -> HappenedView {
    // Serialising cannot fail: every map has text for keys, and there are no floats.
    let view = |it: Event| EventView {
        kind: it.kind.to_owned(),
        detail: serde_json::to_value(it.detail).unwrap_or_default(),
    };
    let events = events.into_iter().map(view).collect();
    HappenedView { events, next, cursor: reached.to_string(), more }
}

/// Whether the journal is whole.
pub fn verified(verified: &Verified) -> VerifyView {
    VerifyView {
        whole: verified.bad.is_empty(),
        chains: verified.chains,
        entries: verified.entries,
        bad: texts(&verified.bad),
    }
}

/// A policy of somebody else's just-in-time access.
pub(crate) fn adoptable(it: Adoptable) -> AdoptableView {
    AdoptableView {
        policy: it.policy,
        name: it.name,
        machines: it.machines.into_iter().map(adoptable_machine).collect(),
        rules: it.rules.into_iter().map(adoptable_rule).collect(),
    }
}

fn adoptable_machine(it: AdoptableMachine) -> AdoptableMachineView {
    let port = |it: AdoptablePort| AdoptablePortView {
        port: it.number,
        protocol: it.protocol,
        sources: it.sources,
        max: it.longest,
    };
    AdoptableMachineView { target: it.target.to_string(), ports: it.ports.into_iter().map(port).collect() }
}

fn adoptable_rule(it: AdoptableRule) -> AdoptableRuleView {
    AdoptableRuleView {
        firewall: it.firewall.to_string(),
        name: it.name,
        action: it.action,
        protocol: it.protocol,
        sources: it.sources,
        ports: it.ports,
        target: it.target.map(|it| it.to_string()),
        until: it.until,
    }
}

/// What became of taking something over.
pub(crate) fn adopted(Adopted { machines, deleted, kept }: Adopted) -> AdoptedView {
    let machine = |it: AdoptedMachine| AdoptedMachineView {
        target: it.target.to_string(),
        guarded: it.guarded,
        left: it.left,
        warnings: it.warnings,
    };
    AdoptedView { machines: machines.into_iter().map(machine).collect(), deleted, kept }
}

fn interface(it: &Interface) -> InterfaceView {
    InterfaceView {
        name: it.name.clone(),
        private: texts(&it.private),
        public: texts(&it.public),
        firewalls: texts(&it.firewalls),
    }
}

fn ports(policy: Option<&Policy>) -> Vec<PortRuleView> {
    policy.iter().flat_map(|it| it.ports().iter().map(PortRuleView::from)).collect()
}

fn texts(items: &[impl ToString]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}
