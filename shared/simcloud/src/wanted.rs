//! Security rules as callers want them: what Azure takes, and what it refuses with which code.

use crate::{
    refused::Refused,
    rule::{Access, Direction, Ends, Properties, Reference, RuleProtocol},
};
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;
use std::{net::IpAddr, ops::RangeInclusive};

/// Which priorities a rule may have.
pub const PRIORITIES: RangeInclusive<i64> = 100..=4096;
/// How long a rule's name may be, in characters.
const NAME_MAX: usize = 80;
/// How long a description may be, in characters.
const DESCRIPTION_MAX: usize = 140;

/// The body of a PUT; what only Azure writes is taken and dropped.
#[derive(Deserialize)]
struct Body {
    properties: Option<Wanted>,
}

/// The body of a PUT of a security group.
#[derive(Deserialize)]
struct GroupBody {
    properties: Option<GroupProperties>,
    tags: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupProperties {
    security_rules: Option<Vec<Named>>,
    flush_connection: Option<bool>,
}

#[derive(Deserialize)]
struct Named {
    name: Option<String>,
    properties: Option<Wanted>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    description: Option<String>,
    protocol: Option<String>,
    source_port_range: Option<String>,
    source_port_ranges: Option<Vec<String>>,
    destination_port_range: Option<String>,
    destination_port_ranges: Option<Vec<String>>,
    source_address_prefix: Option<String>,
    source_address_prefixes: Option<Vec<String>>,
    source_application_security_groups: Option<Vec<Reference>>,
    destination_address_prefix: Option<String>,
    destination_address_prefixes: Option<Vec<String>>,
    destination_application_security_groups: Option<Vec<Reference>>,
    access: Option<String>,
    priority: Option<i64>,
    direction: Option<String>,
    #[serde(rename = "provisioningState")]
    _provisioning_state: Option<Value>,
}

/// A security group as a caller wants it.
#[derive(Debug)]
pub struct WantedGroup {
    /// By their names.
    pub rules: Vec<(String, Properties)>,
    /// Nothing, where they stay as they are.
    pub tags: Option<Value>,
    /// Are established flows judged anew whenever its rules change?
    pub flushes: bool,
}

/// What a rule's body says, if Azure would take it; `id` is for messages.
pub fn properties(id: &str, body: &[u8]) -> Result<Properties, Refused> {
    let body: Body = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
    checked(id, body.properties)
}

/// What a security group's body says, if Azure would take each of its rules.
pub fn group(id: &str, body: &[u8]) -> Result<WantedGroup, Refused> {
    let body: GroupBody = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
    let mut rules = vec![];
    let GroupProperties { security_rules, flush_connection } = body.properties.unwrap_or_default();
    for rule in security_rules.unwrap_or_default() {
        let name = rule.name.ok_or_else(|| missing(id, "name"))?;
        check_name(&name)?;
        let properties = checked(&format!("{id}/securityRules/{name}"), rule.properties)?;
        rules.push((name, properties));
    }
    Ok(WantedGroup { rules, tags: body.tags, flushes: flush_connection == Some(true) })
}

fn unreadable(error: &serde_json::Error) -> Refused {
    Refused::bad("InvalidRequestFormat", format!("Cannot parse the request: {error}"))
}

fn checked(id: &str, wanted: Option<Wanted>) -> Result<Properties, Refused> {
    let wanted = wanted.ok_or_else(|| missing(id, "properties"))?;
    if wanted.description.as_ref().is_some_and(|it| DESCRIPTION_MAX < it.chars().count()) {
        let message = format!(
            "Security rule {id} has invalid description. The description can have at most {DESCRIPTION_MAX} characters."
        );
        return Err(Refused::bad("SecurityRuleInvalidDescription", message));
    }
    let priority = wanted.priority.ok_or_else(|| missing(id, "priority"))?;
    let bounded = u16::try_from(priority).ok().filter(|_| PRIORITIES.contains(&priority)).ok_or_else(|| {
        let (least, most) = (PRIORITIES.start(), PRIORITIES.end());
        let message = format!(
            "Security rule {id} has invalid Priority. Value provided: {priority}. Allowed values {least}-{most}."
        );
        Refused::bad("SecurityRuleInvalidPriority", message)
    });
    Ok(Properties {
        priority: bounded?,
        protocol: protocol(id, wanted.protocol.as_deref())?,
        access: one_of(
            id,
            "access",
            wanted.access.as_deref(),
            &[("Allow", Access::Allow), ("Deny", Access::Deny)],
        )?,
        direction: one_of(
            id,
            "direction",
            wanted.direction.as_deref(),
            &[("Inbound", Direction::Inbound), ("Outbound", Direction::Outbound)],
        )?,
        ends: ends(id, &wanted)?,
        description: wanted.description,
    })
}

/// A name that Azure takes for a rule.
pub fn check_name(name: &str) -> Result<(), Refused> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let is_good = name.chars().count() <= NAME_MAX
        && name.starts_with(is_word)
        && name.ends_with(is_word)
        && name.chars().all(|c| is_word(c) || c == '.' || c == '-');
    let refused = || {
        let message = format!(
            "Resource name {name} is invalid. The name can be up to {NAME_MAX} characters long. It must begin with a word \
             character, and it must end with a word character or with '_'. The name may contain word characters or '.', '-', '_'."
        );
        Refused::bad("InvalidResourceName", message)
    };
    is_good.then_some(()).ok_or_else(refused)
}

fn ends(id: &str, wanted: &Wanted) -> Result<Ends, Refused> {
    let (source_port_range, source_port_ranges) = either(
        id,
        "SourcePortRange",
        wanted.source_port_range.as_ref(),
        wanted.source_port_ranges.as_ref(),
        check_ports,
    )?;
    let (destination_port_range, destination_port_ranges) = either(
        id,
        "DestinationPortRange",
        wanted.destination_port_range.as_ref(),
        wanted.destination_port_ranges.as_ref(),
        check_ports,
    )?;
    let source_application_security_groups =
        wanted.source_application_security_groups.clone().unwrap_or_default();
    let (source_address_prefix, source_address_prefixes) = addresses(
        id,
        "SourceAddressPrefix",
        wanted.source_address_prefix.as_ref(),
        wanted.source_address_prefixes.as_ref(),
        &source_application_security_groups,
    )?;
    let destination_application_security_groups =
        wanted.destination_application_security_groups.clone().unwrap_or_default();
    let (destination_address_prefix, destination_address_prefixes) = addresses(
        id,
        "DestinationAddressPrefix",
        wanted.destination_address_prefix.as_ref(),
        wanted.destination_address_prefixes.as_ref(),
        &destination_application_security_groups,
    )?;
    let ends = Ends {
        source_port_range,
        source_port_ranges,
        destination_port_range,
        destination_port_ranges,
        source_address_prefix,
        source_address_prefixes,
        source_application_security_groups,
        destination_address_prefix,
        destination_address_prefixes,
        destination_application_security_groups,
    };
    check_families(id, &ends)?;
    Ok(ends)
}

/// All addresses of a rule are of one family, those on both sides together; `*` and tags go with either.
fn check_families(id: &str, ends: &Ends) -> Result<(), Refused> {
    let singles = ends.source_address_prefix.iter().chain(&ends.destination_address_prefix);
    let mut prefixes = singles.chain(&ends.source_address_prefixes).chain(&ends.destination_address_prefixes);
    // No tag and no port has a colon.
    let (has_v6, has_v4) = (
        prefixes.clone().any(|it| it.contains(':')),
        prefixes.any(|it| it.starts_with(|c: char| c.is_ascii_digit()) && !it.contains(':')),
    );
    let refused = || {
        let message = format!(
            "Resource {id} contains IP addresses or prefixes that belong to different address families. All IP addresses or \
             prefixes in the resource should belong to the same address family."
        );
        Refused::bad("ResourceCannotContainAddressPrefixesFromDifferentAddressFamilies", message)
    };
    (!(has_v6 && has_v4)).then_some(()).ok_or_else(refused)
}

/// Checks a value of a field, for the rule with an id.
type Check = fn(&str, &str, &str, Among) -> Result<(), Refused>;

/// Where a value stands: `*` and tags stand alone.
#[derive(Clone, Copy, PartialEq)]
enum Among {
    None,
    Others,
}

/// A field or its plural: one of them, not both.
fn either(
    id: &str,
    field: &str,
    one: Option<&String>,
    many: Option<&Vec<String>>,
    check: Check,
) -> Result<(Option<String>, Vec<String>), Refused> {
    // What Azure shows has an empty list, or an empty text, in place of the one that was not given.
    let one = one.cloned().filter(|it| !it.is_empty());
    let many = many.cloned().unwrap_or_default();
    match (&one, many.is_empty()) {
        (Some(_), false) => {
            let message = format!("Security rule {id} has both {field} and its plural. Specify one of them.");
            Err(Refused::bad("SecurityRuleParametersConflict", message))
        }
        (None, true) => Err(missing(id, field)),
        (Some(value), true) => check(id, field, value, Among::None).map(|()| (one, many)),
        (None, false) => {
            many.iter().try_for_each(|it| check(id, field, it, Among::Others))?;
            Ok((one, many))
        }
    }
}

/// The addresses of a side: its prefixes, or none where it names application security groups.
fn addresses(
    id: &str,
    field: &str,
    one: Option<&String>,
    many: Option<&Vec<String>>,
    groups: &[Reference],
) -> Result<(Option<String>, Vec<String>), Refused> {
    if groups.is_empty() {
        return either(id, field, one, many, check_prefix);
    }
    if one.is_none_or(String::is_empty) && many.is_none_or(Vec::is_empty) {
        return Ok((None, vec![]));
    }
    let message =
        format!("Security rule {id} has both {field} and application security groups. Specify one of them.");
    Err(Refused::bad("SecurityRuleParametersConflict", message))
}

fn check_ports(id: &str, _: &str, value: &str, among: Among) -> Result<(), Refused> {
    let is_range = match value.split_once('-') {
        Some((first, last)) => {
            matches!((port(first), port(last)), (Some(first), Some(last)) if first <= last)
        }
        None => port(value).is_some() || value == "*" && among == Among::None,
    };
    let refused = || {
        let message = format!(
            "Security rule {id} has invalid Port range. Value provided: {value}. Value should be an integer OR integer range \
             with '-' delimiter. Valid range 0-65535."
        );
        Refused::bad("SecurityRuleInvalidPortRange", message)
    };
    is_range.then_some(()).ok_or_else(refused)
}

/// A number as Azure takes it: digits alone.
pub fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|_| text.bytes().all(|it| it.is_ascii_digit()))
}

/// A network, whose address the standard library reads: the parser of [`IpNet`] takes zeros before a number.
pub fn network(text: &str) -> Option<IpNet> {
    let (address, bits) = text.split_once('/')?;
    IpNet::new(address.parse().ok()?, bits.parse().ok()?).ok()
}

/// An address, or a network without a host's bits: Azure refuses `10.0.0.1/8`.
fn check_prefix(id: &str, field: &str, value: &str, among: Among) -> Result<(), Refused> {
    let is_network = network(value).is_some_and(|it| it.trunc() == it);
    let is_word = value == "*" || is_tag(value);
    if is_network || value.parse::<IpAddr>().is_ok() || is_word && among == Among::None {
        return Ok(());
    }
    if is_word {
        let message = format!(
            "Security rule parameter {field} for rule with Id {id} cannot specify existing VIRTUALNETWORK, INTERNET, \
             AZURELOADBALANCER, '*' or system tags. Unsupported value used: {value}."
        );
        return Err(Refused::bad("SecurityRuleParameterContainsUnsupportedValue", message));
    }
    let message = format!("Security rule {id} has invalid Address prefix. Value provided: {value}");
    Err(Refused::bad("SecurityRuleInvalidAddressPrefix", message))
}

/// A service tag, such as `Internet` or `Storage.WestEurope`: Azure adds to them every month.
fn is_tag(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '.')
}

fn protocol(id: &str, text: Option<&str>) -> Result<RuleProtocol, Refused> {
    let known = [
        ("*", RuleProtocol::Any),
        ("Tcp", RuleProtocol::Tcp),
        ("Udp", RuleProtocol::Udp),
        ("Icmp", RuleProtocol::Icmp),
        ("Esp", RuleProtocol::Esp),
        ("Ah", RuleProtocol::Ah),
    ];
    one_of(id, "protocol", text, &known)
}

/// A word in any case, as Azure takes them.
fn one_of<T: Copy>(id: &str, field: &str, text: Option<&str>, known: &[(&str, T)]) -> Result<T, Refused> {
    let text = text.ok_or_else(|| missing(id, field))?;
    let found = known.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
    found.map(|(_, it)| *it).ok_or_else(|| {
        let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
        let words = words.join(", ");
        let message = format!(
            "Security rule {id} has invalid {field}. Value provided: {text}. Allowed values: {words}."
        );
        Refused::bad("SecurityRuleParameterContainsUnsupportedValue", message)
    })
}

fn missing(id: &str, field: &str) -> Refused {
    let message = format!(
        "Required security rule parameters are missing for security rule with Id: {id}. Security rule must specify {field}."
    );
    Refused::bad("SecurityRuleParameterNotSpecified", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ssh() -> Value {
        json!({
            "description": "d", "protocol": "tcp", "sourcePortRange": "*", "destinationPortRange": "22",
            "sourceAddressPrefix": "203.0.113.9", "destinationAddressPrefix": "*", "access": "allow", "priority": 100,
            "direction": "Inbound", "provisioningState": "Succeeded",
        })
    }

    fn code_with(field: &str, value: Value) -> &'static str {
        let mut wanted = ssh();
        wanted[field] = value;
        let body = json!({ "properties": wanted }).to_string();
        properties("/r", body.as_bytes()).err().map_or("taken", |it| it.code)
    }

    /// With these prefixes in place of all others; everywhere, where a side is not named.
    fn code_between(ends: &Value) -> &'static str {
        let mut wanted = ssh();
        for side in ["source", "destination"] {
            let (one, many) = (format!("{side}AddressPrefix"), format!("{side}AddressPrefixes"));
            let is_named = !ends[&one].is_null() || !ends[&many].is_null();
            wanted[&one] = if is_named { ends[&one].clone() } else { json!("*") };
            wanted[many.as_str()] = ends[&many].clone();
        }
        let body = json!({ "properties": wanted }).to_string();
        properties("/r", body.as_bytes()).err().map_or("taken", |it| it.code)
    }

    #[test]
    fn each_field_is_held_to_azures_bounds() {
        assert_eq!(code_with("priority", json!(4096)), "taken");
        for priority in [0, 99, 4097, -1, 70_000] {
            assert_eq!(code_with("priority", json!(priority)), "SecurityRuleInvalidPriority");
        }
        assert_eq!(code_with("priority", Value::Null), "SecurityRuleParameterNotSpecified");
        assert_eq!(code_with("description", json!("ä".repeat(140))), "taken");
        assert_eq!(code_with("description", json!("a".repeat(141))), "SecurityRuleInvalidDescription");
        assert_eq!(code_with("protocol", json!("sctp")), "SecurityRuleParameterContainsUnsupportedValue");
        assert_eq!(code_with("sourcePrefix", json!("*")), "InvalidRequestFormat");
    }

    #[test]
    fn prefixes_are_networks_addresses_or_one_tag() {
        for good in [
            "*",
            "internet",
            "VirtualNetwork",
            "Sql",
            "Storage.WestEurope",
            "10.0.0.0/8",
            "2001:db8::/32",
            "2001:db8::1",
        ] {
            assert_eq!(code_with("sourceAddressPrefix", json!(good)), "taken", "{good}");
        }
        for bad in ["10.0.0.1/8", "10.0.0.0/33", "10.0.0/8", "VIRTUAL_NETWORK", "web-1"] {
            assert_eq!(
                code_with("sourceAddressPrefix", json!(bad)),
                "SecurityRuleInvalidAddressPrefix",
                "{bad}"
            );
        }
    }

    #[test]
    fn a_field_and_its_plural_exclude_each_other() {
        let conflict = code_with("sourceAddressPrefixes", json!(["10.0.0.0/8"]));
        assert_eq!(conflict, "SecurityRuleParametersConflict");
        assert_eq!(code_with("sourceAddressPrefixes", json!([])), "taken");
        assert_eq!(code_with("sourceAddressPrefix", Value::Null), "SecurityRuleParameterNotSpecified");
        for many in [&["10.0.0.0/8", "Internet"][..], &["Internet"], &["*", "*"], &["VirtualNetwork", "*"]] {
            let code = code_between(&json!({ "sourceAddressPrefixes": many }));
            assert_eq!(code, "SecurityRuleParameterContainsUnsupportedValue", "{many:?}");
        }
    }

    #[test]
    fn all_addresses_of_a_rule_are_of_one_family() {
        let mixed = "ResourceCannotContainAddressPrefixesFromDifferentAddressFamilies";
        let (v4, v6) = ("192.0.2.0/24", "2001:db8::1");
        for (from, to, code) in [
            (&[v4, v6][..], &["*"][..], mixed),
            (&["*"], &[v6, v4], mixed),
            (&[v4], &[v6], mixed),
            (&[v6, "fd00::/8"], &["10.0.0.1", "10.0.0.2"], mixed),
            (&[v6, "::/0"], &["VirtualNetwork"], "taken"),
            (&["Internet"], &[v4, "10.0.0.1"], "taken"),
            (&["*"], &["::1"], "taken"),
        ] {
            let field = |side: &str, prefixes: &[&str]| match prefixes {
                [one] => (format!("{side}AddressPrefix"), json!(one)),
                many => (format!("{side}AddressPrefixes"), json!(many)),
            };
            let ends = Value::from_iter([field("source", from), field("destination", to)]);
            assert_eq!(code_between(&ends), code, "{ends}");
        }
    }

    #[test]
    fn ports_are_numbers_and_ranges() {
        for good in ["*", "0", "22", "20-22", "0-65535"] {
            assert_eq!(code_with("destinationPortRange", json!(good)), "taken", "{good}");
        }
        for bad in ["65536", "22-20", "+22", "22,23", "ssh"] {
            assert_eq!(
                code_with("destinationPortRange", json!(bad)),
                "SecurityRuleInvalidPortRange",
                "{bad}"
            );
        }
    }

    #[test]
    fn names_are_words() {
        for good in ["SSH", "_", "Portcullis-abc.d_", &"a".repeat(80)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", "a/b", &"a".repeat(81)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
