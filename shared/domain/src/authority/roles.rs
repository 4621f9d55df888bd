//! Answers by the bindings of roles alone.

use super::{Authority, Binding, Decide, Judgement, Member, PrincipalKind, Question, Scope, Subject};
use crate::Person;

/// Decides by the bindings of roles, and by the operator whom the installation itself names.
#[derive(Debug, Clone)]
pub struct Roles {
    authority: Authority,
    operator: Option<Person>,
}

/// The deciding id where the operator of the installation itself acts.
pub const OPERATOR: &str = "the operator of the installation";

impl Roles {
    /// The bindings, and the operator whom the installation itself names: nobody can take that person's role away.
    pub fn of(authority: Authority, operator: Option<Person>) -> Self {
        Self { authority, operator }
    }
}

impl Decide for Roles {
    fn decide(&self, question: &Question) -> Judgement {
        let operator = self.operator.clone().map(Member::Person);
        let is_operator = operator.is_some_and(|it| it.is(&question.subject));
        let anchor = is_operator.then(|| OPERATOR.to_owned());
        let bound = self.authority.bindings.iter().filter(|it| it.permits(question)).map(ToString::to_string);
        let deciding: Vec<String> = anchor.into_iter().chain(bound).collect();
        Judgement { is_permitted: !deciding.is_empty(), deciding, ..Judgement::default() }
    }

    /// The installation is on no scope but everything, and nothing forbids. What is one's own is only asked of a machine.
    fn is_plain(&self) -> bool {
        true
    }

    fn needs_facts(&self) -> bool {
        self.authority.bindings.iter().any(|it| matches!(it.scope, Scope::Tag { .. }))
    }
}

impl Binding {
    /// Does it permit this?
    pub fn permits(&self, question: &Question) -> bool {
        let Question { subject, right, object, circumstances } = question;
        let is_theirs = !self.role.is_for_own_alone(*right) || circumstances.is_own;
        self.role.rights().contains(right) && is_theirs && self.member.is(subject) && self.scope.holds(object)
    }
}

impl Member {
    /// Is this caller one of them?
    pub fn is(&self, subject: &Subject) -> bool {
        match self {
            Self::Everyone => true,
            Self::Person(name) => subject.kind != PrincipalKind::Workload && subject.name == *name,
            Self::Group(group) => subject.groups.contains(group),
            Self::Workload(name) => subject.kind == PrincipalKind::Workload && subject.name == *name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Circumstances, Object, Right};
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn workload_with_the_name_of_the_operator_is_not_the_operator() {
        let olga: Person = "olga".parse().expect("a person");
        let roles = Roles::of(Authority::default(), Some(olga.clone()));
        let is_permitted = |kind| {
            let (issuer, groups, claims) =
                ("https://ci.example.org".to_owned(), BTreeSet::new(), BTreeMap::new());
            let subject = Subject { kind, name: olga.clone(), issuer, groups, claims };
            let (object, circumstances) = (Object::Installation, Circumstances::default());
            roles.decide(&Question { subject, right: Right::Administer, object, circumstances }).is_permitted
        };
        assert_eq!([PrincipalKind::Person, PrincipalKind::Workload].map(is_permitted), [true, false]);
    }
}
