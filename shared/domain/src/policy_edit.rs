//! A policy as somebody wants it: ports to add, to change and to remove.

use crate::{
    ForeignDenies, Gate, Os, People, Policy, Port, PortRule, Protocol, Refusal, Refusals, Sources, TargetId,
    Terms,
};
use jiff::SignedDuration;

/// One port of a policy as it shall be. Everything that is absent is as offered, or for a port that is guarded already as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortEdit {
    /// The port.
    pub port: Port,
    /// The protocol; absent is TCP for a new port, and every rule of a port that is guarded.
    pub protocol: Option<Protocol>,
    /// The ranges that a caller may ask for.
    pub sources: Option<Sources>,
    /// The longest lease.
    pub max: Option<SignedDuration>,
    /// The approvers.
    pub approvers: ApproversEdit,
    /// The people who may break the glass; an empty list is nobody.
    pub break_glass: Option<People>,
    /// What becomes of foreign block lists.
    pub foreign_denies: Option<ForeignDenies>,
}

/// The approvers of a port as they shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApproversEdit {
    /// Those that it has; none for a new port.
    Keep,
    /// No approval is needed any longer, so that there is no glass to break either.
    Drop,
    /// These people approve.
    Set(People),
}

/// A change of a policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyEdit {
    /// Ports to add or to change.
    pub ports: Vec<PortEdit>,
    /// Ports to remove.
    pub remove: Vec<Gate>,
}

impl PortEdit {
    /// The port as it is offered, or as it is.
    pub fn of(port: Port, protocol: Option<Protocol>) -> Self {
        let approvers = ApproversEdit::Keep;
        Self { port, protocol, sources: None, max: None, approvers, break_glass: None, foreign_denies: None }
    }

    /// The rule that it makes of another one, or of what is offered.
    fn over(&self, before: Option<&PortRule>) -> PortRule {
        let offered = PortRule::offered(self.port, self.protocol.unwrap_or(Protocol::Tcp));
        let before = before.cloned().unwrap_or(offered);
        let (approvers, glass) = match &self.approvers {
            ApproversEdit::Keep => (before.approvers, before.break_glass),
            ApproversEdit::Set(people) => (Some(people.clone()), before.break_glass),
            // An approval that is asked for again later says anew who may do without it.
            ApproversEdit::Drop => (None, None),
        };
        // INVARIANT (empty-is-nothing): a list of nobody is nobody, named or not.
        let named = |it: &People| (!it.people().is_empty()).then(|| it.clone());
        let break_glass = self.break_glass.as_ref().map_or(glass, named);
        PortRule {
            sources: self.sources.clone().unwrap_or(before.sources),
            max: self.max.unwrap_or(before.max),
            approvers,
            break_glass,
            foreign_denies: self.foreign_denies.unwrap_or(before.foreign_denies),
            ..before
        }
    }
}

impl PolicyEdit {
    /// The policy of a machine that is not guarded yet: these ports, or without any the one that its system is managed through.
    pub fn first(ports: &[PortEdit], os: Os, terms: &Terms) -> Result<Policy, Refusals> {
        let rules = match ports {
            [] => {
                let Gate { port, protocol } = os.default_gate();
                vec![PortRule::offered(port, protocol)]
            }
            [..] => ports.iter().map(|it| it.over(None)).collect(),
        };
        Policy::of(rules, terms)
    }

    /// The policy that it makes of another one; refused if it removes a port that is not guarded, or for every reason of
    /// [`Policy::of`].
    pub fn apply(&self, before: &Policy, target: &TargetId, terms: &Terms) -> Result<Policy, Refusals> {
        let mut rules: Vec<PortRule> = before.ports().to_vec();
        for gate in &self.remove {
            if !before.gates().contains(gate) {
                let guarded = before.gates().into_iter().collect();
                return Err(Refusal::NoSuchPort { target: target.clone(), port: gate.port, guarded }.into());
            }
            rules.retain(|it| it.gate() != *gate);
        }
        for edit in &self.ports {
            let is_meant = |it: &PortRule| {
                it.port == edit.port && edit.protocol.is_none_or(|protocol| protocol == it.protocol)
            };
            if rules.iter().any(is_meant) {
                // As in a request: without a protocol every rule of the port is meant.
                rules.iter_mut().filter(|it| is_meant(it)).for_each(|it| *it = edit.over(Some(it)));
            } else {
                rules.push(edit.over(None));
            }
        }
        Policy::of(rules, terms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people(names: &[&str]) -> People {
        People::Only(names.iter().map(|it| it.parse().expect("a person")).collect())
    }

    fn edit(gate: &str) -> PortEdit {
        let Gate { port, protocol } = gate.parse().expect("a gate");
        PortEdit::of(port, Some(protocol))
    }

    fn guarded(edits: &[PortEdit]) -> Policy {
        PolicyEdit::first(edits, Os::Linux, &Terms::default()).expect("a policy")
    }

    fn applied(before: &Policy, edit: &PolicyEdit) -> Result<Policy, Refusals> {
        edit.apply(before, &"web-1".parse().expect("a target"), &Terms::default())
    }

    #[test]
    fn first_policy_without_ports_guards_the_port_that_the_system_is_managed_through() {
        let gates = |os| PolicyEdit::first(&[], os, &Terms::default()).expect("a policy").gates();
        assert_eq!(gates(Os::Linux), ["22/tcp".parse().expect("a gate")].into());
        assert_eq!(gates(Os::Windows), ["3389/tcp".parse().expect("a gate")].into());
    }

    #[test]
    fn edit_of_a_port_keeps_everything_that_it_does_not_name() {
        let approvers = ApproversEdit::Set(people(&["carol"]));
        let break_glass = Some(people(&["ann"]));
        let before = guarded(&[PortEdit { approvers, break_glass, ..edit("22/tcp") }, edit("3389/tcp")]);
        let max = Some(SignedDuration::from_hours(1));
        let change = PolicyEdit { ports: vec![PortEdit { max, ..edit("22/tcp") }], remove: vec![] };
        let after = applied(&before, &change).expect("allowed");
        let rule = |it: &Policy| it.rule("22/tcp".parse().expect("a gate")).expect("guarded").clone();
        assert_eq!(rule(&after), PortRule { max: SignedDuration::from_hours(1), ..rule(&before) });
        assert_eq!(after.gates(), before.gates());
    }

    #[test]
    fn edit_without_a_protocol_changes_every_rule_of_the_port() {
        let before = guarded(&[edit("53/tcp"), edit("53/udp")]);
        let max = Some(SignedDuration::from_mins(30));
        let change = PortEdit { protocol: None, max, ..edit("53/tcp") };
        let after = applied(&before, &PolicyEdit { ports: vec![change], remove: vec![] }).expect("allowed");
        assert!(after.ports().iter().all(|it| it.max == SignedDuration::from_mins(30)), "{after:?}");
    }

    #[test]
    fn dropping_the_approvers_drops_the_glass_and_an_empty_list_is_nobody() {
        let approvers = ApproversEdit::Set(people(&["carol"]));
        let before =
            guarded(&[PortEdit { approvers, break_glass: Some(people(&["ann"])), ..edit("22/tcp") }]);
        let rule = |change: PortEdit| {
            let change = PolicyEdit { ports: vec![change], remove: vec![] };
            applied(&before, &change).expect("allowed").ports()[0].clone()
        };
        let dropped = rule(PortEdit { approvers: ApproversEdit::Drop, ..edit("22/tcp") });
        assert_eq!((dropped.approvers, dropped.break_glass), (None, None));
        let emptied = rule(PortEdit { break_glass: Some(people(&[])), ..edit("22/tcp") });
        assert_eq!((emptied.approvers, emptied.break_glass), (Some(people(&["carol"])), None));
    }

    #[test]
    fn removing_a_port_that_is_not_guarded_is_refused_with_those_that_are() {
        let change = PolicyEdit { ports: vec![], remove: vec!["80/tcp".parse().expect("a gate")] };
        let refused = applied(&guarded(&[edit("22/tcp")]), &change).expect_err("refused").to_string();
        assert!(refused.contains("80") && refused.contains("22/tcp"), "{refused}");
    }
}
