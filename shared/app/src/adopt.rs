//! What somebody else's just-in-time access guards: what it does, and how Portcullis takes it over.

use crate::{
    Call, Error,
    guard::{self, Guarding},
    ports::{
        Adoptable, AdoptableMachine, AdoptablePort, AdoptableRule, Adoption, Firewalls, Inventory, Store,
    },
    record::{Record, record},
};
use jiff::Timestamp;
use portcullis_domain::{
    Action, Fact, LEASE_MAX, Policy, Port, PortRule, Protocol, Refusals, Sources, TARGETS_MAX, TargetId,
    Terms, diff, length,
};
use std::collections::BTreeSet;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// Each machine.
    pub machines: Vec<AdoptedMachine>,
    /// What was deleted, in a line each.
    pub deleted: Vec<String>,
    /// Why nothing was deleted although somebody asked for it; what holds now may hold later.
    pub kept: Vec<String>,
}

/// What became of one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptedMachine {
    /// The machine.
    pub target: TargetId,
    /// Is it guarded here now?
    pub guarded: bool,
    /// What was not taken over, and why.
    pub left: Vec<String>,
    /// What to know before it is too late.
    pub warnings: Vec<String>,
}

/// Guards here what somebody else's just-in-time access guards, with the same ports, and deletes that
/// afterwards where somebody says so.
///
/// INVARIANT (shut-by-default): nothing is deleted before a read-back shows our own lock on every machine that
/// it locks. Taking over twice is taking over once.
pub(crate) async fn adopt(
    store: &impl Store,
    outside: &(impl Firewalls + Inventory + Adoption),
    terms: &Terms,
    what: &str,
    deletes: bool,
    call: &Call,
) -> Result<Adopted, Error> {
    let found = outside.found().await?;
    let named = |it: &&Adoptable| it.policy.as_ref().is_some_and(|id| id.eq_ignore_ascii_case(what));
    let machine =
        found.items.iter().flat_map(Adoptable::targets).find(|it| it.as_str().eq_ignore_ascii_case(what));
    let chosen: Vec<&Adoptable> = match machine {
        Some(machine) => found.items.iter().filter(|it| it.targets().any(|it| it == machine)).collect(),
        None => found.items.iter().filter(named).collect(),
    };
    if chosen.is_empty() {
        return Err(Error::NotFound { what: "policy, or machine in a policy,", name: what.to_owned() });
    }
    let mut adopted = Adopted { machines: vec![], deleted: vec![], kept: vec![] };
    for policy in &chosen {
        for it in policy.machines.iter().filter(|it| machine.is_none_or(|machine| *machine == it.target)) {
            let done = take_over(store, outside, terms, (policy, it), call).await?;
            adopted.machines.push(done);
        }
    }
    if deletes {
        for it in chosen {
            delete(store, outside, it, machine, call, &mut adopted).await?;
        }
    }
    Ok(adopted)
}

/// Guards a machine as a policy does.
async fn take_over(
    store: &impl Store,
    outside: &(impl Firewalls + Inventory),
    terms: &Terms,
    (from, machine): (&Adoptable, &AdoptableMachine),
    call: &Call,
) -> Result<AdoptedMachine, Error> {
    let (target, now) = (machine.target.clone(), call.now);
    let mut adopted =
        AdoptedMachine { target: target.clone(), guarded: false, left: vec![], warnings: vec![] };
    let known = store.target(&target).await?.and_then(|(it, _)| it.policy().cloned());
    if let Some(known) = known {
        adopted.guarded = true;
        let others = machine.ports.iter().filter(|it| !it.is_shut_by(&known));
        adopted.left.extend(others.map(|it| {
            format!("port `{}` is not in its policy in Portcullis: add it with `edit`", it.gate())
        }));
        return Ok(adopted);
    }
    let mut rules = vec![];
    for port in &machine.ports {
        match port.rule(terms) {
            Ok(rule) => rules.push(rule),
            Err(reasons) => adopted.left.extend(reasons),
        }
    }
    if machine.ports.is_empty() {
        let line = "no policy of Microsoft's names its ports: guard it with `enable`";
        adopted.left.push(line.to_owned());
    }
    if rules.is_empty() {
        return Ok(adopted);
    }
    let policy = match Policy::of(rules, terms) {
        Ok(policy) => policy,
        Err(reasons) => {
            adopted.left.extend(lines(&reasons));
            return Ok(adopted);
        }
    };
    let guarding = Guarding { adopts: true, ..Guarding::of(target.clone(), call) };
    match guard::enable(store, outside, &guarding, &policy, now).await {
        Ok(guarded) => {
            let name = from.policy.clone().unwrap_or_else(|| from.name.clone());
            let fact = Fact::Adopted { policy: name, by: call.by().clone(), via: Some(call.via.clone()) };
            record(store, &Record::of(&target, fact), now).await?;
            adopted.guarded = true;
            adopted.warnings = guarded.warnings;
        }
        // INVARIANT (nothing-unrecorded): cited here, because the answer goes on with the next machine.
        Err(Error::Refused(reasons)) => {
            record(store, &guard::refused(&target, call.speaker(), &reasons), now).await?;
            adopted.left.extend(lines(&reasons));
        }
        Err(Error::NotFound { .. }) => adopted.left.push("the machine no longer exists".to_owned()),
        Err(error) => return Err(error),
    }
    Ok(adopted)
}

/// Deletes a policy with its rules, or says why not.
async fn delete(
    store: &impl Store,
    outside: &(impl Firewalls + Inventory + Adoption),
    what: &Adoptable,
    only: Option<&TargetId>,
    call: &Call,
    adopted: &mut Adopted,
) -> Result<(), Error> {
    let (mut kept, now) = (vec![], call.now);
    let others = what.targets().filter(|it| only.is_some_and(|only| only != *it)).count();
    if 0 < others {
        kept.push(format!(
            "`{}` guards {others} more machines: name the policy instead of a machine",
            what.name
        ));
    }
    for target in what.targets() {
        let why = unlocked(store, outside, what, target, now).await?;
        kept.extend(why.map(|why| format!("`{target}`: {why}")));
    }
    if !kept.is_empty() {
        adopted.kept.extend(kept);
        return Ok(());
    }
    let rules: Vec<String> = what.rules.iter().map(|it| format!("{} in {}", it.name, it.firewall)).collect();
    let (policy, by, via) = (what.policy.clone(), call.by().clone(), Some(call.via.clone()));
    let fact = Fact::ForeignDeleted { policy, rules: rules.clone(), by, via };
    let targets: Vec<TargetId> = what.targets().cloned().collect();
    for some in targets.chunks(TARGETS_MAX) {
        record(store, &Record { targets: some.to_vec(), fact: fact.clone() }, now).await?;
    }
    outside.remove(what).await?;
    adopted.deleted.extend(what.policy.iter().map(|it| format!("policy {it}")));
    adopted.deleted.extend(rules);
    Ok(())
}

/// Why a machine would be less shut without what is to be deleted; none where it would not be.
async fn unlocked(
    store: &impl Store,
    outside: &(impl Firewalls + Inventory),
    what: &Adoptable,
    id: &TargetId,
    now: Timestamp,
) -> Result<Option<String>, Error> {
    if outside.machine(id).await?.is_none() {
        // That it is not listed proves nothing; that no way leads to it does.
        let is_gone = outside.read(id).await.is_ok_and(|it| it.ways.is_empty());
        let why = "it is not among the machines that the identity can read, and may exist all the same";
        return Ok((!is_gone).then(|| why.to_owned()));
    }
    let Some((target, _)) = store.target(id).await? else {
        return Ok(Some("Portcullis does not guard it: `enable` it first".to_owned()));
    };
    let Some(policy) = target.policy() else {
        return Ok(Some("Portcullis does not guard it: `enable` it first".to_owned()));
    };
    if target.trial().is_some() {
        return Ok(Some("its policy in Portcullis waits for a confirmation: `confirm` it first".to_owned()));
    }
    let ports = what.machines.iter().filter(|it| it.target == *id).flat_map(|it| &it.ports);
    let asked = ports.filter(|it| !it.is_shut_by(policy)).map(AdoptablePort::gate);
    let mine = what.rules.iter().filter(|it| it.target.as_ref() == Some(id) && it.action == Action::Deny);
    let denied = mine.flat_map(|it| it.ports_left_by(policy, what.policy.is_some()));
    let open: BTreeSet<String> = asked.chain(denied).collect();
    if !open.is_empty() {
        let open = open.into_iter().collect::<Vec<_>>().join("`, `");
        return Ok(Some(format!(
            "its policy in Portcullis does not guard `{open}`: add the port with `edit` first"
        )));
    }
    let mut snapshot = outside.read(id).await?;
    if !diff(&snapshot, &target.owner(), &target.rules(now)).is_empty() {
        return Ok(Some("its lock is not confirmed yet: try again in a minute".to_owned()));
    }
    for firewall in &mut snapshot.firewalls {
        let is_theirs = |name: &str| {
            what.rules.iter().any(|it| it.name == name && it.firewall.to_string() == firewall.id.to_string())
        };
        firewall.foreign.retain(|it| !is_theirs(&it.name));
    }
    let defeats = target.defeats_in(&snapshot, now).into_iter().next();
    Ok(defeats.map(|(gate, by)| format!("without Microsoft's rules, {by} would open `{gate}`")))
}

impl Adoptable {
    /// Every machine that it is about.
    fn targets(&self) -> impl Iterator<Item = &TargetId> {
        let all: BTreeSet<&TargetId> = self.machines.iter().map(|it| &it.target).collect();
        all.into_iter()
    }
}

impl AdoptablePort {
    /// The rule that it is here, or every reason why it is none.
    fn rule(&self, terms: &Terms) -> Result<PortRule, Vec<String>> {
        let mut reasons = vec![];
        let mut because = |why: String| reasons.push(format!("port `{}`: {why}", self.gate()));
        let port = self.port();
        if port.is_none() {
            because("ports are 1 to 65535".to_owned());
        }
        let protocol = self.protocol.parse::<Protocol>().map_err(|error| because(error.to_string()));
        let sources = Sources::try_from(self.sources.clone()).map_err(|error| because(error.to_string()));
        let longest = length(&self.longest).map_err(|error| because(error.to_string()));
        if let Ok(longest) = longest {
            if LEASE_MAX < longest {
                because(format!("leases of `{longest:#}` are too long: at most {LEASE_MAX:#}"));
            }
            if longest < terms.lease_min {
                because(format!("leases of `{longest:#}` are too short: at least {:#}", terms.lease_min));
            }
        }
        match (port, protocol, sources, longest) {
            (Some(port), Ok(protocol), Ok(sources), Ok(max)) if reasons.is_empty() => {
                Ok(PortRule { sources, max, ..PortRule::offered(port, protocol) })
            }
            _ => Err(reasons),
        }
    }

    fn port(&self) -> Option<Port> {
        Port::try_from(self.number).ok()
    }

    /// Such as `22/tcp`.
    fn gate(&self) -> String {
        format!("{}/{}", self.number, self.protocol.to_ascii_lowercase())
    }

    /// Does a policy of ours shut all of it?
    fn is_shut_by(&self, policy: &Policy) -> bool {
        match (self.port(), self.protocol.parse::<Protocol>()) {
            (Some(port), Ok(protocol)) => is_shut(policy, port, protocol),
            (Some(_) | None, _) => false,
        }
    }
}

impl AdoptableRule {
    /// What it denies and a policy of ours does not. It denies every protocol, whichever its own policy speaks
    /// of: where there is one, that says which matter.
    fn ports_left_by(&self, policy: &Policy, has_own: bool) -> Vec<String> {
        let protocol = self.protocol.parse().unwrap_or(Protocol::Any);
        let shuts = |port: Port| {
            if has_own { policy.rules_of(port).next().is_some() } else { is_shut(policy, port, protocol) }
        };
        let is_left = |it: &&String| !it.parse::<u16>().is_ok_and(|it| Port::try_from(it).is_ok_and(shuts));
        self.ports.iter().filter(is_left).cloned().collect()
    }
}

fn is_shut(policy: &Policy, port: Port, protocol: Protocol) -> bool {
    !policy.gates_of(port, Some(protocol)).is_empty()
}

fn lines(reasons: &Refusals) -> impl Iterator<Item = String> {
    reasons.iter().map(ToString::to_string)
}
