//! What decides beside the policies of the installation, in Cedar: its roles, and the rules of ports that name people.

use portcullis_domain::{Binding, Gate, Member, Role, Scope, TargetId};
use portcullis_policy::{in_cedar, of_port_rule};
use portcullis_wire::{PortRuleView, RoleView, RolesView, TargetView};

/// Each role as a policy, with its text in a line before it.
pub fn roles(found: &RolesView) -> Vec<String> {
    let operator = found.operator.as_ref().and_then(|it| it.parse().ok());
    let operator = operator.map(|it| Binding {
        role: Role::Operator,
        member: Member::Person(it),
        scope: Scope::Everything,
    });
    let bindings = operator.into_iter().chain(found.roles.iter().filter_map(binding));
    bindings.map(|it| format!("// {it}\n{}", in_cedar(&it))).collect()
}

/// The rules of the ports of these machines as policies.
pub fn ports(machines: &[TargetView]) -> Vec<String> {
    let all = machines.iter().flat_map(|machine| machine.ports.iter().map(move |rule| (machine, rule)));
    all.filter_map(|(machine, rule)| of_rule(machine, rule)).flatten().collect()
}

fn binding(view: &RoleView) -> Option<Binding> {
    let (role, member) = (view.role.parse().ok()?, view.member.parse().ok()?);
    Some(Binding { role, member, scope: view.on.parse().ok()? })
}

fn of_rule(machine: &TargetView, rule: &PortRuleView) -> Option<Vec<String>> {
    let target: TargetId = machine.id.parse().ok()?;
    let gate = Gate { port: rule.port.try_into().ok()?, protocol: rule.protocol };
    Some(of_port_rule(&target, gate, &rule.approvers, &rule.break_glass))
}
