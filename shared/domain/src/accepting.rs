//! What a person accepts, and accepts no longer, in a policy.

use crate::{
    Accepted, ForeignRule, Gate, Justification, Person, Policy, PortRule, Refusal, Refusals, Snapshot,
    journal::short,
};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// How many acceptances one policy holds, counted at each of its ports.
pub const ACCEPTED_MAX: usize = 64;
/// A foreign rule to accept, as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accept {
    /// The rule as a plan prints it, or any part of that which only one has.
    pub rule: String,
    /// The reason, in the person's words.
    pub why: Option<Justification>,
}

impl Policy {
    /// Does it say of leases what the other one says, whatever foreign rules are accepted in each?
    pub fn leases_as(&self, other: &Self) -> bool {
        let of = |it: &PortRule| PortRule { accepted: vec![], ..it.clone() };
        self.ports().iter().map(of).eq(other.ports().iter().map(of))
    }

    /// The same with the rules that another policy accepts at the same gates.
    #[must_use]
    pub fn keeping_accepted(self, other: Option<&Self>) -> Self {
        let had = |gate| other.and_then(|it| it.ports().iter().find(|it| it.gate() == gate));
        self.with_accepted(|gate, held| *held = had(gate).map(|it| it.accepted.clone()).unwrap_or_default())
    }

    /// The same where these rules are accepted too, at each port that they lead to. `standing` has the foreign rules by which
    /// sources get in without a lease, for each gate. Refused for every name that is none of theirs, or that of several.
    ///
    /// A rule that is accepted already, as it is now, stays as it was accepted, unless another reason is given.
    pub fn accepting(
        self,
        asked: &[Accept],
        standing: &BTreeMap<Gate, Vec<ForeignRule>>,
        seen: &Snapshot,
        by: &Person,
        at: Timestamp,
    ) -> Result<Self, Refusals> {
        let all: BTreeSet<&ForeignRule> = standing.values().flatten().collect();
        let (mut meant, mut reasons) = (vec![], vec![]);
        for Accept { rule, why } in asked {
            match one_of(&all, rule) {
                Ok(it) => meant.extend(Accepted::now(it, seen, by, at, why.clone())),
                Err(Misnamed::Several(may)) => {
                    reasons.push(Refusal::SeveralRules { asked: rule.clone(), may });
                }
                Err(Misnamed::None) => {
                    let may = all.iter().map(ToString::to_string).collect();
                    reasons.push(Refusal::NoSuchRule { asked: rule.clone(), may });
                }
            }
        }
        if let Some(reasons) = Refusals::of(reasons) {
            return Err(reasons);
        }
        let accepted = self.with_accepted(|gate, held| {
            let leading_here = standing.get(&gate).map(Vec::as_slice).unwrap_or_default();
            for it in meant.iter().filter(|it| leading_here.contains(&it.of())) {
                match held.iter_mut().find(|had| had.of() == it.of()) {
                    Some(had) if had.says_as(it) && (it.why.is_none() || had.why == it.why) => {}
                    Some(had) => had.clone_from(it),
                    None => held.push(it.clone()),
                }
            }
        });
        let count = accepted.ports().iter().map(|it| it.accepted.len()).sum();
        if ACCEPTED_MAX < count {
            return Err(Refusal::TooManyAccepted { count, max: ACCEPTED_MAX }.into());
        }
        Ok(accepted)
    }

    /// The same where these rules are accepted no longer. Refused for every name that is no accepted rule's, or that of several.
    pub fn no_longer_accepting(self, asked: &[String]) -> Result<Self, Refusals> {
        let held: BTreeSet<ForeignRule> =
            self.ports().iter().flat_map(|it| &it.accepted).map(Accepted::of).collect();
        let all = held.iter().collect();
        let (mut meant, mut reasons) = (BTreeSet::new(), vec![]);
        for text in asked {
            match one_of(&all, text) {
                Ok(it) => drop(meant.insert(it.clone())),
                Err(Misnamed::Several(may)) => {
                    reasons.push(Refusal::SeveralRules { asked: text.clone(), may });
                }
                Err(Misnamed::None) => {
                    let accepted = all.iter().map(ToString::to_string).collect();
                    reasons.push(Refusal::NotAccepted { asked: text.clone(), accepted });
                }
            }
        }
        match Refusals::of(reasons) {
            Some(reasons) => Err(reasons),
            None => Ok(self.with_accepted(|_, held| held.retain(|it| !meant.contains(&it.of())))),
        }
    }
}

/// Why a text names no rule.
enum Misnamed {
    None,
    Several(Vec<String>),
}

/// The one rule that a text names: all of it as it is stored or printed, its name, or else a part of what is printed that no other has.
/// An id has parts that nobody reads, such as the subscription: those name no rule.
fn one_of<'a>(rules: &BTreeSet<&'a ForeignRule>, text: &str) -> Result<&'a ForeignRule, Misnamed> {
    // A plan prints after some rules when they let sources in, and after others that they were accepted.
    let text = text.split_once(" (").map_or(text, |(rule, _)| rule).trim().to_lowercase();
    let printed = |it: &ForeignRule| format!("{} in {}", it.name, short(it.firewall.as_str())).to_lowercase();
    let tries: [&dyn Fn(&ForeignRule) -> bool; 4] = [
        &|it| it.to_string().to_lowercase() == text,
        &|it| it.name.to_lowercase() == text,
        &|it| printed(it) == text,
        &|it| printed(it).contains(&text),
    ];
    for fits in tries.iter().filter(|_| !text.is_empty()) {
        let found: Vec<&ForeignRule> = rules.iter().copied().filter(|it| fits(it)).collect();
        match found.as_slice() {
            [] => {}
            [one] => return Ok(one),
            several => return Err(Misnamed::Several(several.iter().map(ToString::to_string).collect())),
        }
    }
    Err(Misnamed::None)
}
