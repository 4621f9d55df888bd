//! Breaking the glass: whoever a port's policy names for it opens without the yes of an approver, says why, and is heard of.

use crate::{Fact, Gate, Grant, Outcome, People, Policy, Request, TargetId};
use serde::{Deserialize, Serialize};

/// How many of the people whose yes was skipped are told of: an event has a bound, and each port has approvers of its own.
const SKIPPED_MAX: usize = 100;

/// A port of a machine that is opened without the yes that it needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pane {
    /// The machine.
    pub target: TargetId,
    /// The port.
    pub gate: Gate,
}

impl Outcome {
    /// The grants for which the glass is broken.
    pub fn broken(&self) -> impl Iterator<Item = &Grant> {
        let grants = match self {
            Self::Granted(grants) => grants.as_slice(),
            Self::Extended { .. } => &[],
        };
        grants.iter().filter(|it| it.broke_glass)
    }

    /// What has to be told of the broken glass, and in whose journal: once, at the first of its machines. `policy` is that by
    /// which it was reviewed.
    ///
    /// INVARIANT (break-glass-is-loud): this is committed together with the grants.
    pub fn glass_broken<'a>(
        &self,
        request: &Request,
        policy: impl Fn(&TargetId) -> Option<&'a Policy>,
    ) -> Option<(TargetId, Fact)> {
        let first = self.broken().next()?.target.clone();
        let rules = self.broken().filter_map(|it| policy(&it.target)?.rule(it.gate));
        // Of a rule without approvers roles and policies say who approves it.
        let skipped = rules.map(|it| it.approvers.clone().unwrap_or(People::Anybody));
        let skipped = skipped.reduce(|all, it| all.or(&it));
        let skipped = match skipped {
            Some(People::Only(people)) => People::Only(people.into_iter().take(SKIPPED_MAX).collect()),
            Some(People::Anybody) => People::Anybody,
            None => People::Only([].into()),
        };
        let fact = Fact::GlassBroken {
            request: request.id.clone(),
            by: request.by.clone(),
            why: request.justification.as_ref().map(ToString::to_string).unwrap_or_default(),
            opened: self.broken().map(Pane::of).collect(),
            skipped,
            correlation: request.correlation.clone(),
            via: request.via.clone(),
        };
        Some((first, fact))
    }
}

impl Pane {
    fn of(grant: &Grant) -> Self {
        Self { target: grant.target.clone(), gate: grant.gate }
    }
}
