//! Policies by what they can be about, so that a question is asked of few of them.

use crate::schema::{Type, action};
use cedar_policy::{
    ActionConstraint, EntityUid, Policy, PolicyId, PolicySet, PrincipalConstraint, ResourceConstraint,
};
use portcullis_domain::{Binding, Member, Right, Scope};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::OnceLock,
};

/// Policies by their action and by the caller, group or machine that their scope names; those that name none of these stand under none.
///
/// Cedar evaluates every policy of a set for each question. A policy whose scope does not fit has no say and no error, so it may be left out.
#[derive(Debug, Default)]
pub struct Slices {
    all: BTreeMap<Right, BTreeMap<Option<EntityUid>, Slice>>,
}

/// Policies that are asked together.
#[derive(Debug, Default)]
pub struct Slice {
    /// Their numbers, which are their ids in the set.
    numbers: Vec<usize>,
    /// Made when a question first needs it; `Err` says which policy could not be read.
    set: OnceLock<Result<PolicySet, String>>,
}

impl Slices {
    /// Adds the policy of this number.
    pub fn add(&mut self, number: usize, scope: &Scoped) {
        for right in &scope.rights {
            let slices = self.all.entry(*right).or_default();
            slices.entry(scope.names.clone()).or_default().numbers.push(number);
        }
    }

    /// The slices in which a policy can be about this right and one of these entities.
    pub fn of<'a>(&'a self, right: Right, names: &'a BTreeSet<EntityUid>) -> impl Iterator<Item = &'a Slice> {
        let slices = self.all.get(&right);
        let keys = std::iter::once(None).chain(names.iter().cloned().map(Some));
        keys.filter_map(move |it| slices?.get(&it))
    }
}

impl Slice {
    /// The policies; `read` gives the one of a number.
    pub fn set(&self, read: &dyn Fn(usize) -> Result<Policy, String>) -> Result<&PolicySet, String> {
        let make = || {
            let policies = self.numbers.iter().map(|it| Ok(read(*it)?.new_id(PolicyId::new(it.to_string()))));
            let policies = policies.collect::<Result<Vec<_>, String>>()?;
            PolicySet::from_policies(policies).map_err(|error| error.to_string())
        };
        self.set.get_or_init(make).as_ref().map_err(Clone::clone)
    }
}

/// What the scope of a policy says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scoped {
    /// The actions.
    pub rights: Vec<Right>,
    /// The caller or group, or else the machine, without which it says nothing.
    pub names: Option<EntityUid>,
}

impl Scoped {
    /// The scope of the policy that this binding amounts to.
    pub fn of_binding(binding: &Binding) -> Self {
        let names = match (&binding.member, &binding.scope) {
            (Member::Person(name), _) => Some(Type::Person.entity(name.folded())),
            (Member::Group(group), _) => Some(Type::Group.entity(group)),
            (Member::Workload(name), _) => Some(Type::Workload.entity(name.folded())),
            (Member::Everyone, Scope::Target(id)) => Some(Type::Machine.entity(id.as_str())),
            (
                Member::Everyone,
                Scope::Everything | Scope::Account(_) | Scope::ResourceGroup { .. } | Scope::Tag { .. },
            ) => None,
        };
        Self { rights: binding.role.rights().to_vec(), names }
    }

    /// The scope of this policy.
    pub fn of(policy: &Policy) -> Self {
        let fits = |right: &Right| match policy.action_constraint() {
            ActionConstraint::Any => true,
            ActionConstraint::In(all) => all.contains(&action(*right)),
            ActionConstraint::Eq(one) => one == action(*right),
        };
        let principal = match policy.principal_constraint() {
            PrincipalConstraint::Any | PrincipalConstraint::Is(_) => None,
            PrincipalConstraint::In(it) | PrincipalConstraint::Eq(it) | PrincipalConstraint::IsIn(_, it) => {
                Some(it)
            }
        };
        let resource = match policy.resource_constraint() {
            ResourceConstraint::Any | ResourceConstraint::Is(_) => None,
            ResourceConstraint::In(it) | ResourceConstraint::Eq(it) | ResourceConstraint::IsIn(_, it) => {
                Some(it)
            }
        };
        let rights = Right::ALL.iter().copied().filter(fits).collect();
        Self { rights, names: principal.or(resource) }
    }
}
