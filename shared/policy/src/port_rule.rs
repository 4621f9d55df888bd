//! The rules of ports as policies: what approvers and break-glass in the policy of a machine amount to.

use crate::{
    binding::quoted,
    schema::{Type, action},
};
use portcullis_domain::{Gate, Protocol, Right, TargetId};
use std::collections::BTreeSet;

/// The names of people in a rule of a port; `*` is every person.
type Names = Option<BTreeSet<String>>;

/// The policies in Cedar that the rule of a port amounts to: each with a line before it that says what it does. A rule without approvers opens
/// at once, and one without names permits no break-glass.
pub fn of_port_rule(target: &TargetId, gate: Gate, approvers: &Names, break_glass: &Names) -> Vec<String> {
    let forbid = |what: &str, right: Right, unless: &str| {
        let (machine, port) = (Type::Machine.entity(target.as_str()), gate.port.number());
        let of_protocol = match gate.protocol {
            Protocol::Tcp | Protocol::Udp => {
                format!(" && context has protocol && context.protocol == \"{}\"", gate.protocol)
            }
            Protocol::Any => String::new(),
        };
        let unless = if unless.is_empty() { String::new() } else { format!("\nunless {{ {unless} }}") };
        format!(
            "// {what}\nforbid (principal, action == {}, resource == {machine})\nwhen {{ context has port && context.port == {port}{of_protocol} }}{unless};",
            action(right)
        )
    };
    let mut policies = vec![];
    if let Some(people) = approvers {
        policies.push(forbid("It waits for an approval.", Right::OpenWithoutApproval, ""));
        let unless = if is_anybody(people) { "!context.is_own".to_owned() } else { among(people) };
        policies.push(forbid("These people approve it.", Right::Approve, &unless));
    }
    match break_glass {
        Some(people) if is_anybody(people) => {}
        Some(people) if !people.is_empty() => {
            policies.push(forbid("These people may use break-glass.", Right::BreakGlass, &among(people)));
        }
        Some(_) | None => policies.push(forbid("No person may use break-glass.", Right::BreakGlass, "")),
    }
    policies
}

fn is_anybody(people: &BTreeSet<String>) -> bool {
    people.contains("*")
}

/// One of these people, also by a bot. No name allows nobody.
fn among(people: &BTreeSet<String>) -> String {
    let names: Vec<String> = people.iter().map(|it| format!("principal in Person::{}", quoted(it))).collect();
    if names.is_empty() { "false".to_owned() } else { names.join(" || ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check, known::Known, tests::given::of};
    use std::collections::BTreeMap;

    fn names(all: &[&str]) -> BTreeSet<String> {
        all.iter().map(|it| (*it).to_owned()).collect()
    }

    #[test]
    fn policies_of_a_port_rule_are_valid_and_say_who_approves_and_who_breaks_glass() {
        let target: TargetId = of("web-1");
        for (approvers, break_glass, expected) in [
            (None, None, vec!["break-glass"]),
            (None, Some(names(&["*"])), vec![]),
            (
                Some(names(&["bob", "car\"ol"])),
                Some(names(&["ann"])),
                vec!["open-without-approval", "approve", "break-glass"],
            ),
            (Some(names(&["*"])), Some(names(&[])), vec!["open-without-approval", "approve", "break-glass"]),
            (Some(names(&[])), Some(names(&["*"])), vec!["open-without-approval", "approve"]),
        ] {
            for gate in ["22/tcp", "22/udp", "22/*"] {
                let policies = of_port_rule(&target, of(gate), &approvers, &break_glass);
                let files = BTreeMap::from([("a.cedar".to_owned(), policies.join("\n"))]);
                let count = check(&files, &Known::default()).unwrap_or_else(|faults| panic!("{faults}"));
                assert_eq!(count, expected.len());
                for (policy, right) in policies.iter().zip(&expected) {
                    assert!(policy.contains(&format!("Action::\"{right}\"")), "{policy}");
                    assert_eq!(policy.contains("context.protocol"), gate != "22/*", "{policy}");
                }
            }
        }
        let text = of_port_rule(&target, of("22/tcp"), &Some(names(&["bob"])), &None)[1].clone();
        let expected = "// These people approve it.\n\
            forbid (principal, action == Action::\"approve\", resource == Machine::\"web-1\")\n\
            when { context has port && context.port == 22 && context has protocol && context.protocol == \"tcp\" }\n\
            unless { principal in Person::\"bob\" };";
        assert_eq!(text, expected);
    }
}
