//! Machines in a list: how each is guarded, where to connect, and who was there last.

use crate::{
    moments,
    output::Output,
    ports,
    table::{Mark, Table},
    words,
};
use jiff::ZonedDateTime;
use portcullis_domain::{GrantState, TargetState};
use portcullis_wire::{GrantView, TargetView};
use std::collections::BTreeMap;

const HEADER: [&str; 9] =
    ["TARGET", "STATE", "LOCATION", "FIREWALL", "CONNECT", "OPEN", "7 DAYS", "LAST ACCESS", "NOTE"];
/// Where a terminal is narrow, the first of these goes first.
const LEFT_OUT_FIRST: [&str; 4] = ["LOCATION", "7 DAYS", "FIREWALL", "LAST ACCESS"];

/// Machines, a row each.
pub fn table(out: &Output, found: &[TargetView], now: &ZonedDateTime) -> Table {
    let mut table = Table::of(&HEADER).leaving_out(&LEFT_OUT_FIRST).keeping(&["CONNECT"]);
    let name = names(out, found);
    for it in found {
        let (mark, state, note) = match it.state {
            TargetState::Configured => (Mark::Good, "configured", guarded(it, now)),
            TargetState::NotConfigured => (Mark::Plain, "not configured", String::new()),
            TargetState::Unsupported => (Mark::Plain, "unsupported", it.reason.clone().unwrap_or_default()),
        };
        let is_alarm = it.healthy == Some(false) || it.healthy.is_none() && !it.troubles.is_empty();
        let troubles = || words::plain(&it.troubles.join("; "), now);
        let (mark, note) = if is_alarm { (Mark::Look, troubles()) } else { (mark, note) };
        let (open, closing) = (count(it, GrantState::Open), count(it, GrantState::Closing));
        // A port whose lease is over may be open until it is seen to be shut.
        let mark = if closing == 0 || mark != Mark::Good { mark } else { Mark::Look };
        let cells = [
            name(it),
            state.to_owned(),
            it.location.clone(),
            firewall(it.guarded_by.as_deref()),
            connect(it),
            leases(open, closing),
            some(it.requests_7_days),
            last_access(it, now),
            note,
        ];
        if is_alarm { table.alarm(mark, cells) } else { table.row(mark, cells) }
    }
    table
}

/// The name of each machine, or where several have one name, as much of its id as only it has.
fn names(out: &Output, found: &[TargetView]) -> impl Fn(&TargetView) -> String {
    let by_id = out.ids(found.iter().map(|it| it.id.as_str()));
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for it in found {
        *count.entry(it.name.to_lowercase()).or_default() += 1;
    }
    let is_wide = out.is_wide();
    move |it| {
        let is_unique = count.get(&it.name.to_lowercase()) == Some(&1);
        if is_unique && !is_wide { it.name.clone() } else { by_id.of(&it.id) }
    }
}

fn count(target: &TargetView, state: GrantState) -> usize {
    target.grants.iter().filter(|it| it.state == state).count()
}

fn leases(open: usize, closing: usize) -> String {
    match (open, closing) {
        (open, 0) => some(open),
        (0, closing) => format!("{closing} closing"),
        (open, closing) => format!("{open}, {closing} closing"),
    }
}

fn some(count: usize) -> String {
    if count == 0 { "-".to_owned() } else { count.to_string() }
}

/// The kind of firewall, as its maker calls it.
fn firewall(kind: Option<&str>) -> String {
    match kind {
        Some("nsg") => "NSG".to_owned(),
        Some("firewall") => "Azure Firewall".to_owned(),
        Some(other) => other.to_owned(),
        None => "-".to_owned(),
    }
}

/// Where a client connects: the doors of open leases at an Azure Firewall, else the machine's own address with its guarded ports.
fn connect(target: &TargetView) -> String {
    let door = |it: &GrantView| Some(at(it.public_ip_address.as_deref()?, &it.mapped_port?.to_string()));
    let mut doors: Vec<String> =
        target.grants.iter().filter(|it| it.state == GrantState::Open).filter_map(door).collect();
    doors.dedup();
    if !doors.is_empty() {
        return doors.join(", ");
    }
    let Some(address) = target.addresses.first() else { return "-".to_owned() };
    let mut ports: Vec<String> = target.ports.iter().map(|it| it.port.to_string()).collect();
    ports.dedup();
    if ports.is_empty() { address.clone() } else { at(address, &ports.join(",")) }
}

fn at(address: &str, port: &str) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

fn last_access(target: &TargetView, now: &ZonedDateTime) -> String {
    let Some(at) = target.last_access else { return "-".to_owned() };
    let by = target.last_user.as_deref().map(|by| format!(" by {by}")).unwrap_or_default();
    format!("{}{by}", moments::date(at, now))
}

/// What may be asked for, and what has to be confirmed.
fn guarded(target: &TargetView, now: &ZonedDateTime) -> String {
    let ports: Vec<String> = target.ports.iter().map(ports::words).collect();
    let confirm =
        target.confirm_by.map(|by| format!("; waits for a confirmation {}", moments::until(by, now)));
    format!("{}{}", ports.join("; "), confirm.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_program::output::Paint;
    use serde_json::{Value, json};

    fn machine(group: &str, name: &str, more: &Value) -> TargetView {
        let id = format!(
            "/subscriptions/11111111-1111-1111-1111-111111111111/resourcegroups/{group}/providers/\
             microsoft.compute/virtualmachines/{name}"
        );
        let mut view = json!({
            "id": id, "name": name, "state": "configured", "location": "westeurope", "reason": null, "os": "linux",
            "addresses": ["10.0.1.4"], "guarded_by": "nsg", "healthy": true, "troubles": [], "policy_version": 1,
            "ports": [
                { "port": 22, "protocol": "TCP", "sources": ["0.0.0.0/0", "::/0"], "max": "PT3H", "approvers": ["*"] },
            ],
            "confirm_by": null, "settled": true, "grants": [], "requests_7_days": 12,
            "last_access": "2026-04-30T11:05:30Z", "last_user": "ann.of.accounting@example.com",
        });
        let more = more.as_object().expect("fields").clone();
        view.as_object_mut().expect("an object").extend(more);
        serde_json::from_value(view).expect("a target")
    }

    fn grant(state: &str, door: Option<(&str, u16)>) -> Value {
        json!({
            "id": "r-1", "request": "r", "target": "t", "port": 22, "protocol": "TCP", "state": state, "by": "ann",
            "sources": ["10.0.0.1/32"], "start": "1970-01-01T00:00:00Z", "end": "1970-01-01T01:00:00Z",
            "justification": null, "opened_at": null, "open_failed": null, "closed_at": null, "reason": null,
            "public_ip_address": door.map(|it| it.0), "mapped_port": door.map(|it| it.1),
        })
    }

    fn lines(found: &[TargetView], width: Option<usize>, is_wide: bool) -> String {
        let now = "2026-05-01T13:05:30+02:00[Europe/Berlin]".parse().expect("a time");
        table(&Output::for_people(is_wide), found, &now).lines(Paint::NONE, width)
    }

    #[test]
    fn row_has_connection_count_and_date_of_the_last_access() {
        let text = lines(&[machine("rg-a", "web-1", &json!({}))], None, false);
        let row = text.lines().nth(1).expect("a row");
        let wanted = "● web-1   configured  westeurope  NSG       10.0.1.4:22  -     12      \
            2026-04-30 13:05 by ann.of.accounting@example.com  22/tcp, from anywhere, at most 3h, with an approval";
        assert_eq!(row, wanted);
    }

    #[test]
    fn machine_behind_an_azure_firewall_is_marked_and_connected_to_where_its_lease_is_open() {
        let grants = json!([grant("open", Some(("203.0.113.1", 5022))), grant("closing", None)]);
        let it = machine("rg-a", "vault-1", &json!({ "guarded_by": "firewall", "grants": grants }));
        let text = lines(&[it], None, false);
        for part in ["Azure Firewall", "203.0.113.1:5022", "1, 1 closing", "▲"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let six =
            machine("rg-a", "six-1", &json!({ "addresses": ["2001:db8::4"], "guarded_by": "nftables" }));
        assert!(lines(&[six], None, false).contains("[2001:db8::4]:22"));
    }

    #[test]
    fn machines_of_one_name_are_shown_with_as_much_of_their_ids_as_differs() {
        let found = [machine("rg-a", "web-1", &json!({})), machine("rg-b", "web-1", &json!({}))];
        let text = lines(&found, None, false);
        assert!(text.contains("● rg-b/providers/microsoft.compute/virtualmachines/web-1 "), "{text}");
        let wide = lines(&found[..1], None, true);
        assert!(wide.contains(&format!("● {} ", found[0].id)), "{wide}");
    }

    #[test]
    fn list_fits_a_terminal_of_80_and_of_100_columns_with_the_names_whole() {
        let trouble =
            json!({ "healthy": false, "troubles": ["port `22/tcp` is open to anywhere over IPv4 by `SSH`"] });
        let found = [
            machine("rg-a", "web-1", &json!({ "state": "not_configured", "ports": [] })),
            machine("rg-a", "build-agent-17", &trouble),
            machine("rg-a", "vault-1", &json!({ "guarded_by": "firewall" })),
        ];
        for width in [80, 100] {
            let text = lines(&found, Some(width), false);
            for line in text.lines() {
                assert!(console::measure_text_width(line) <= width, "{width}: {line}");
            }
            for part in ["build-agent-17", "not configured", "10.0.1.4:22", "…", "anywhere", "`SSH`"] {
                assert!(text.contains(part), "{part} at {width}: {text}");
            }
            assert!(text.contains("--wide also shows LOCATION"), "{text}");
        }
    }
}
