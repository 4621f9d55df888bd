//! Whether every question that one scope fits also fits another.

use crate::{schema::Type, slices::Scoped};
use cedar_policy::{EntityTypeName, EntityUid, Policy, PrincipalConstraint, ResourceConstraint};
use portcullis_domain::Right;

/// The scope of a policy.
#[derive(Debug)]
pub struct Scope {
    rights: Vec<Right>,
    principal: Side,
    resource: Side,
}

/// Callers or machines: of a type, within an entity, or exactly one entity.
#[derive(Debug)]
struct Side {
    of: Option<EntityTypeName>,
    within: Option<EntityUid>,
    one: Option<EntityUid>,
}

impl Scope {
    /// The scope of this policy.
    pub fn of(policy: &Policy) -> Self {
        let side = |of, within, one| Side { of, within, one };
        let principal = match policy.principal_constraint() {
            PrincipalConstraint::Any => side(None, None, None),
            PrincipalConstraint::In(it) => side(None, Some(it), None),
            PrincipalConstraint::Eq(it) => side(None, None, Some(it)),
            PrincipalConstraint::Is(of) => side(Some(of), None, None),
            PrincipalConstraint::IsIn(of, it) => side(Some(of), Some(it), None),
        };
        let resource = match policy.resource_constraint() {
            ResourceConstraint::Any => side(None, None, None),
            // No machine is in another one.
            ResourceConstraint::In(it) | ResourceConstraint::Eq(it) | ResourceConstraint::IsIn(_, it) => {
                side(None, None, Some(it))
            }
            ResourceConstraint::Is(of) => side(Some(of), None, None),
        };
        Self { rights: Scoped::of(policy).rights, principal, resource }
    }

    /// Does every question that fits the other one surely fit this one?
    pub fn covers(&self, other: &Self) -> bool {
        other.rights.iter().all(|it| self.rights.contains(it))
            && self.principal.covers(&other.principal)
            && self.resource.covers(&other.resource)
    }
}

impl Side {
    fn covers(&self, other: &Self) -> bool {
        let type_of = other.one.as_ref().map(EntityUid::type_name).or(other.of.as_ref());
        let is_of = self.of.is_none() || self.of.as_ref() == type_of;
        let is_within = match (&self.within, &other.within, &other.one) {
            (None, _, _) => true,
            (Some(wanted), Some(within), _) => wanted == within,
            // A person is in themselves.
            (Some(wanted), None, Some(one)) => wanted == one && Type::of(one) == Some(Type::Person),
            (Some(_), None, None) => false,
        };
        let is_one = self.one.is_none() || self.one == other.one;
        is_of && is_within && is_one
    }
}
