//! What may be asked of one target.

use crate::{
    Accepted, ForeignDenies, Gate, LEASE_DEFAULT, LEASE_MAX, Person, Port, Protocol, Refusal, Refusals,
    Sources,
};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How many ports one target's policy may guard.
pub const PORTS_MAX: usize = 40;

/// What may be asked of one target: one rule per gate, and no two gates share a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Policy {
    ports: Vec<PortRule>,
}

/// What may be asked of one port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortRule {
    /// The port.
    pub port: Port,
    /// The protocol.
    pub protocol: Protocol,
    /// Whoever asks must be within these.
    pub sources: Sources,
    /// The longest lease.
    pub max: SignedDuration,
    /// Who has to say yes; absent where nobody has to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvers: Option<People>,
    /// Who may break the glass: open without the yes of an approver, and be heard of. Absent is nobody; where nobody has to
    /// say yes there is no glass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<People>,
    /// Whether a lease lets in whom a foreign block list denies.
    #[serde(default, skip_serializing_if = "ForeignDenies::is_default")]
    pub foreign_denies: ForeignDenies,
    /// Foreign rules that let sources in without a lease, as a person accepted it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<Accepted>,
}

/// Who may do something.
///
/// INVARIANT (empty-is-nothing): without a name in it nobody may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BTreeSet<Person>", into = "Vec<Person>")]
pub enum People {
    /// Whoever it is. On the wire `["*"]`.
    Anybody,
    /// These people.
    Only(BTreeSet<Person>),
}

/// The settings of an installation that a review depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// The shortest lease that may be asked for.
    pub lease_min: SignedDuration,
    /// How long a request waits for its approval.
    pub pending_for: SignedDuration,
}

impl Default for Terms {
    fn default() -> Self {
        Self { lease_min: crate::LEASE_MIN, pending_for: SignedDuration::from_hours(8) }
    }
}

impl PortRule {
    /// What is offered where nobody says otherwise: any source, three hours, no approval.
    pub fn offered(port: Port, protocol: Protocol) -> Self {
        let (sources, max) = (Sources::anywhere(), LEASE_DEFAULT);
        Self {
            port,
            protocol,
            sources,
            max,
            approvers: None,
            break_glass: None,
            foreign_denies: ForeignDenies::default(),
            accepted: vec![],
        }
    }

    /// Does it allow no more than another rule of its gate? Where that cannot be told it does not.
    fn is_within(&self, wider: &Self) -> bool {
        let glass = self.break_glass.is_none() || self.break_glass == wider.break_glass;
        let approvers = wider.approvers.is_none() || self.approvers == wider.approvers;
        let denies = self.foreign_denies <= wider.foreign_denies;
        wider.sources.cover(&self.sources) && self.max <= wider.max && approvers && glass && denies
    }

    /// What it guards.
    pub fn gate(&self) -> Gate {
        Gate { port: self.port, protocol: self.protocol }
    }

    /// May this person open it without the yes that it needs?
    ///
    /// INVARIANT (empty-is-nothing): who is not named may not.
    pub fn may_break_glass(&self, person: &Person) -> bool {
        self.break_glass.as_ref().is_some_and(|it| it.include(person))
    }
}

impl Policy {
    /// A policy of these rules, or every reason against it.
    pub fn of(mut ports: Vec<PortRule>, terms: &Terms) -> Result<Self, Refusals> {
        ports.sort_by_key(PortRule::gate);
        let mut reasons = vec![];
        if ports.is_empty() {
            reasons.push(Refusal::NoPorts);
        }
        if PORTS_MAX < ports.len() {
            reasons.push(Refusal::TooManyPorts { count: ports.len(), max: PORTS_MAX });
        }
        for (n, rule) in ports.iter().enumerate() {
            let gate = rule.gate();
            if ports.iter().take(n).any(|other| other.gate().meets(gate)) {
                reasons.push(Refusal::PortTwice { gate });
            }
            if rule.sources.is_empty() {
                reasons.push(Refusal::NoAllowedSources { gate });
            }
            if LEASE_MAX < rule.max {
                reasons.push(Refusal::TooLong { asked: rule.max, max: LEASE_MAX });
            }
            if rule.max < terms.lease_min {
                reasons.push(Refusal::TooShort { asked: rule.max, min: terms.lease_min });
            }
        }
        match Refusals::of(reasons) {
            Some(reasons) => Err(reasons),
            None => Ok(Self { ports }),
        }
    }

    /// The rules, sorted by port.
    pub fn ports(&self) -> &[PortRule] {
        &self.ports
    }

    /// What is shut unless a lease opens it.
    pub fn gates(&self) -> BTreeSet<Gate> {
        self.ports.iter().map(PortRule::gate).collect()
    }

    /// Does it guard all that `wider` guards, and allow no more there?
    pub fn is_within(&self, wider: &Self) -> bool {
        let is_within = |gate, wider| self.rule(gate).is_some_and(|rule| rule.is_within(wider));
        wider.ports.iter().all(|it| it.gate().transports().all(|gate| is_within(gate, it)))
    }

    /// The same after a change of the accepted rules of each port.
    pub(crate) fn with_accepted(mut self, change: impl Fn(Gate, &mut Vec<Accepted>)) -> Self {
        for rule in &mut self.ports {
            let gate = rule.gate();
            change(gate, &mut rule.accepted);
        }
        self
    }

    /// The foreign rules that are accepted at a gate.
    pub(crate) fn accepted(&self, gate: Gate) -> &[Accepted] {
        self.rule(gate).map(|it| it.accepted.as_slice()).unwrap_or_default()
    }

    /// The rule that all packets of a gate come under: `3389/tcp` comes under a rule of `3389/*`.
    pub fn rule(&self, gate: Gate) -> Option<&PortRule> {
        self.ports.iter().find(|it| it.gate().covers(gate))
    }

    /// The rules of a port.
    pub fn rules_of(&self, port: Port) -> impl Iterator<Item = &PortRule> {
        self.ports.iter().filter(move |it| it.port == port)
    }

    /// What a request for a port may open: without a protocol every gate of the port; with one no more than that, and nothing
    /// where some of it is not guarded.
    pub fn gates_of(&self, port: Port, protocol: Option<Protocol>) -> Vec<Gate> {
        let Some(protocol) = protocol else { return self.rules_of(port).map(PortRule::gate).collect() };
        let asked = Gate { port, protocol };
        let each = || asked.transports();
        if self.rule(asked).is_some() {
            vec![asked]
        } else if each().all(|it| self.rule(it).is_some()) {
            each().collect()
        } else {
            vec![]
        }
    }
}

impl People {
    /// Is this one of them?
    pub fn include(&self, person: &Person) -> bool {
        match self {
            Self::Anybody => true,
            Self::Only(people) => people.contains(person),
        }
    }

    /// May this person approve what `requester` asks? Nobody approves their own request.
    pub fn admit(&self, person: &Person, requester: &Person) -> bool {
        person != requester && self.include(person)
    }

    /// Is there anybody who may approve what `requester` asks?
    pub fn could_approve(&self, requester: &Person) -> bool {
        self.has_another_than([requester])
    }

    /// Is there one of them who is none of these?
    pub fn has_another_than<const N: usize>(&self, people: [&Person; N]) -> bool {
        match self {
            Self::Anybody => true,
            Self::Only(ours) => ours.iter().any(|it| !people.contains(&it)),
        }
    }

    /// Those who are in both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Anybody, it) | (it, Self::Anybody) => it.clone(),
            (Self::Only(one), Self::Only(two)) => Self::Only(one.intersection(two).cloned().collect()),
        }
    }

    /// Those who are in either.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Anybody, Self::Anybody | Self::Only(_)) | (Self::Only(_), Self::Anybody) => Self::Anybody,
            (Self::Only(one), Self::Only(two)) => Self::Only(one.union(two).cloned().collect()),
        }
    }

    /// As they are listed to people.
    pub fn people(&self) -> Vec<Person> {
        self.clone().into()
    }
}

impl From<BTreeSet<Person>> for People {
    fn from(people: BTreeSet<Person>) -> Self {
        if people.iter().any(Person::is_anybody) { Self::Anybody } else { Self::Only(people) }
    }
}

impl From<People> for Vec<Person> {
    /// In the order of the names as they are written, which is how a policy is stored.
    fn from(people: People) -> Self {
        match people {
            People::Anybody => vec![Person::anybody()],
            People::Only(people) => {
                let mut people: Self = people.into_iter().collect();
                people.sort_by(|one, other| one.as_str().cmp(other.as_str()));
                people
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(gate: &str) -> PortRule {
        let gate: Gate = gate.parse().expect("valid");
        PortRule::offered(gate.port, gate.protocol)
    }

    #[test]
    fn a_policy_is_within_another_one_that_guards_less_or_allows_more() {
        let policy = |rules: Vec<PortRule>| Policy::of(rules, &Terms::default()).expect("valid");
        let people = |name: &str| Some(People::Only([name.parse().expect("valid")].into()));
        let wide = policy(vec![rule("22")]);
        let sources: Sources = "10.0.0.0/8".parse().expect("valid");
        for narrower in [
            vec![rule("22")],
            vec![rule("22"), rule("443")],
            vec![PortRule { sources: sources.clone(), ..rule("22") }],
            vec![PortRule { max: SignedDuration::from_mins(30), ..rule("22") }],
            vec![PortRule { approvers: people("ann"), ..rule("22") }],
        ] {
            let narrower = policy(narrower);
            assert!(narrower.is_within(&wide), "{narrower:?}");
            assert!(narrower == wide || !wide.is_within(&narrower), "{narrower:?}");
        }
        // A port that is guarded no longer is open.
        assert!(!policy(vec![rule("443")]).is_within(&wide));
        let approved = |name| policy(vec![PortRule { approvers: people(name), ..rule("22") }]);
        assert!(!approved("bob").is_within(&approved("ann")), "it cannot be told");
        let glass = PortRule { approvers: people("ann"), break_glass: people("bob"), ..rule("22") };
        assert!(!policy(vec![glass]).is_within(&approved("ann")));
    }

    #[test]
    fn request_opens_no_more_than_it_names_and_only_where_all_of_it_is_guarded() {
        let policy = |rules: Vec<PortRule>| Policy::of(rules, &Terms::default()).expect("valid");
        let opened = |policy: &Policy, asked: &str| {
            let (port, protocol) = asked.split_once('/').unwrap_or((asked, ""));
            let gates = policy.gates_of(port.parse().expect("a port"), protocol.parse().ok());
            gates.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let any = policy(vec![rule("53/*")]);
        assert_eq!(opened(&any, "53"), ["53/*"]);
        assert_eq!(opened(&any, "53/tcp"), ["53/tcp"]);
        assert_eq!(opened(&any, "53/*"), ["53/*"]);
        let both = policy(vec![rule("53/tcp"), rule("53/udp")]);
        assert_eq!(opened(&both, "53"), ["53/tcp", "53/udp"]);
        assert_eq!(opened(&both, "53/*"), ["53/tcp", "53/udp"]);
        let tcp = policy(vec![rule("53/tcp")]);
        assert_eq!(opened(&tcp, "53/*"), [""; 0], "udp is not guarded, so that no lease opens it");
        assert_eq!(opened(&tcp, "53/udp"), [""; 0]);
        assert!(any.is_within(&both) && both.is_within(&any) && any.is_within(&tcp) && !tcp.is_within(&any));
    }

    #[test]
    fn empty_is_nothing() {
        let terms = Terms::default();
        assert_eq!(Policy::of(vec![], &terms), Err(Refusal::NoPorts.into()));
        let nobody = PortRule { sources: Sources::default(), ..rule("22") };
        assert!(Policy::of(vec![nobody], &terms).is_err());
        let (ann, bob) = ("ann".parse().expect("valid"), "bob".parse().expect("valid"));
        assert!(!People::Only(BTreeSet::new()).admit(&ann, &bob));
        assert!(!People::Only(BTreeSet::new()).could_approve(&bob));
        assert!(!rule("22").may_break_glass(&ann), "whom nobody named");
        let nobody = PortRule { break_glass: Some(People::Only(BTreeSet::new())), ..rule("22") };
        assert!(!nobody.may_break_glass(&ann));
        let anybody = PortRule { break_glass: Some(People::Anybody), ..rule("22") };
        assert!(anybody.may_break_glass(&ann));
    }

    #[test]
    fn list_of_people_is_written_in_the_order_of_its_spellings() {
        let stored = r#"["Zoe","ann","bob"]"#;
        let read: People = serde_json::from_str(stored).expect("reads");
        assert_eq!(serde_json::to_string(&read).expect("writes"), stored);
        let twice: People = serde_json::from_str(r#"["ann","Ann"]"#).expect("reads");
        assert_eq!(twice.people().iter().map(Person::as_str).collect::<Vec<_>>(), ["ann"]);
    }

    #[test]
    fn second_spelling_of_a_name_is_in_the_list_and_approves_nothing_of_its_own() {
        let person = |name: &str| name.parse::<Person>().expect("valid");
        let people = People::Only([person("Ann"), person("bob")].into());
        assert!(people.include(&person("ann")) && people.admit(&person("BOB"), &person("ann")));
        assert!(!people.admit(&person("ann"), &person("\u{430}nn")), "with a letter that looks alike");
        assert!(!People::Only([person("Ann")].into()).could_approve(&person("ann")));
        assert!(!People::Anybody.admit(&person("Ann"), &person("ann")));
    }

    #[test]
    fn a_stored_rule_without_glass_is_still_read_and_is_written_as_before() {
        let stored = r#"{"port":22,"protocol":"TCP","sources":["0.0.0.0/0"],"max":"PT3H","approvers":["*"]}"#;
        let read: PortRule = serde_json::from_str(stored).expect("reads");
        assert_eq!(read.break_glass, None);
        assert_eq!(serde_json::to_string(&read).expect("writes"), stored);
    }

    #[test]
    fn no_two_rules_share_a_packet() {
        let terms = Terms::default();
        assert!(Policy::of(vec![rule("3389/tcp"), rule("3389/udp")], &terms).is_ok());
        assert!(Policy::of(vec![rule("53/*"), rule("53/udp")], &terms).is_err());
    }

    #[test]
    fn every_reason_is_given() {
        let long =
            PortRule { max: SignedDuration::from_hours(25), sources: Sources::default(), ..rule("22") };
        let reasons = Policy::of(vec![long], &Terms::default()).expect_err("two reasons");
        let codes: Vec<_> = reasons.iter().map(Refusal::code).collect();
        assert_eq!(codes, ["no-allowed-sources", "too-long"]);
    }
}
