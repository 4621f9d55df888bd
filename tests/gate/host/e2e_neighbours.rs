//! Packet filters of others on the machine: what they refuse stays refused, and is said.

use crate::e2e_host::{Guarded, OTHER_PORT, PORT, wait};
use portcullis_tests::network::{VISITORS, plays_a_part};
use serde_json::Value;

/// As firewalld does: after the filters at 0, one that lets in what it knows by name and rejects the rest.
fn strict() -> String {
    format!(
        "add table inet strict; \
         add chain inet strict input {{ type filter hook input priority filter + 10 ; }}; \
         add chain inet strict known; \
         add rule inet strict input ct state established,related accept; \
         add rule inet strict input iifname lo accept; \
         add rule inet strict input meta l4proto {{ icmp, ipv6-icmp }} accept; \
         add rule inet strict input jump known; \
         add rule inet strict known tcp dport {OTHER_PORT} accept; \
         add rule inet strict input ct state invalid drop; \
         add rule inet strict input reject with icmpx type admin-prohibited"
    )
}

/// The sentences of a list.
fn sentences(of: &Value) -> Vec<&str> {
    of.as_array().map(|it| it.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

#[test]
#[ignore = "needs nft"]
fn table_of_others_that_refuses_the_port_of_a_lease_is_named_with_the_command_that_opens_it() {
    const TEST: &str = "e2e_neighbours::table_of_others_that_refuses_the_port_of_a_lease_is_named_with_the_command_that_opens_it";
    if plays_a_part() {
        return;
    }
    let it = Guarded::machine(TEST, &[]);
    it.network.nft(&strict());
    let remedy = format!("insert rule inet strict input tcp dport {PORT} accept");
    let wanted = format!("`inet strict` may still refuse port `{PORT}/tcp`: `nft {remedy}` opens it there");
    let planned = |port: u16| it.up().json(&["plan", &it.host, "--port", &port.to_string()]);
    // What others refuse is read once a second.
    wait("the other table to be read", || sentences(&planned(PORT)["gates"][0]["may_refuse"]) == [&wanted]);
    // A port that the table names is refused by none.
    let plan = planned(OTHER_PORT);
    assert_eq!(plan["gates"][0]["may_refuse"], Value::Null, "{plan:#}");
    it.enable();

    let grant = it.request(VISITORS[0], "1h");
    assert_eq!((&grant["state"], sentences(&grant["may_refuse"])), (&"open".into(), vec![wanted.as_str()]));
    assert!(!it.reaches(VISITORS[0]), "the other table refuses it");
    let check = it.up().json(&["check", &it.host, &PORT.to_string(), "--from", VISITORS[0]]);
    assert_eq!((&check["passes"], sentences(&check["may_refuse"])), (&true.into(), vec![wanted.as_str()]));
    let doctor = it.up().ask(&["doctor", "--json"]);
    let findings: Value = serde_json::from_slice(&doctor.stdout).expect("JSON");
    assert!(findings.to_string().contains("inet strict"), "{findings:#}");
    let activity = it.up().ask(&["activity", &it.host]);
    assert!(String::from_utf8_lossy(&activity.stdout).contains("may still refuse"), "{activity:?}");

    it.network.nft(&remedy);
    assert!(it.reaches(VISITORS[0]) && !it.reaches(VISITORS[1]), "open for the lease alone");
}
