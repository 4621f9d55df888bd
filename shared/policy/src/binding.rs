//! Bindings of roles as policies.

use crate::schema::{Type, action};
use portcullis_domain::{Binding, Member, Person, PrincipalKind, Right, Role, Scope};

/// The policy that this binding amounts to, as text in Cedar.
pub fn in_cedar(binding: &Binding) -> String {
    let Binding { role, member, scope } = binding;
    let of = |of: Type, id: &str| of.entity(id).to_string();
    let who = match member {
        Member::Everyone => "principal".to_owned(),
        // A bot is in the person whom it speaks for.
        Member::Person(name) => format!("principal in {}", of(Type::Person, name.folded())),
        Member::Group(group) => format!("principal in {}", of(Type::Group, group)),
        Member::Workload(name) => format!("principal == {}", of(Type::Workload, name.folded())),
    };
    let what = match role {
        Role::Operator => "action".to_owned(),
        Role::Reader | Role::Requester | Role::Approver | Role::Configurator | Role::Auditor => {
            let actions: Vec<String> = role.rights().iter().map(|it| action(*it).to_string()).collect();
            format!("action in [{}]", actions.join(", "))
        }
    };
    let (on, when) = match scope {
        Scope::Everything => ("resource".to_owned(), vec![]),
        Scope::Account(account) => ("resource is Machine".to_owned(), vec![attribute("account", account)]),
        Scope::ResourceGroup { account, group } => {
            ("resource is Machine".to_owned(), vec![attribute("account", account), attribute("group", group)])
        }
        Scope::Tag { key, value } => {
            let (key, value) = (quoted(key), quoted(value));
            let tag = format!("resource.hasTag({key}) && resource.getTag({key}) == {value}");
            ("resource is Machine".to_owned(), vec![tag])
        }
        Scope::Target(id) => (format!("resource == {}", of(Type::Machine, id.as_str())), vec![]),
    };
    let own: Vec<String> = Right::ALL
        .iter()
        .filter(|it| role.is_for_own_alone(**it))
        .map(|it| format!("action == {} && !context.is_own", action(*it)))
        .collect();
    let when = when.iter().map(|it| format!("\nwhen {{ {it} }}"));
    let unless = own.iter().map(|it| format!("\nunless {{ {it} }}"));
    let conditions: String = when.chain(unless).collect();
    format!("permit ({who}, {what}, {on}){conditions};")
}

/// The binding that the operator whom the installation itself names amounts to.
pub(crate) fn of_the_operator(operator: &Person) -> Binding {
    Binding { role: Role::Operator, member: Member::Person(operator.clone()), scope: Scope::Everything }
}

/// The kind of caller that stands for a person where a bot or the cloud speaks in their name.
pub(crate) fn speaks_for(kind: PrincipalKind) -> bool {
    match kind {
        PrincipalKind::Bot | PrincipalKind::Platform => true,
        PrincipalKind::Person | PrincipalKind::Workload => false,
    }
}

fn attribute(name: &str, value: &str) -> String {
    format!("resource has {name} && resource.{name} == {}", quoted(value))
}

/// A literal of this text: Cedar reads Rust's escapes.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_debug())
}
