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
        let anchor = (self.operator.as_ref() == Some(&question.subject.name)).then(|| OPERATOR.to_owned());
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
