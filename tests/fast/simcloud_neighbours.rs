//! The simulated Azure beyond the rules of one caller: what others write, and what decides before and beside a security group.

use portcullis_simcloud::{Fault, Faults, On, Packet, PacketProtocol, Planned};
use portcullis_tests::azure::{ANN, Azure, allow, brisk};
use serde_json::json;

const SECOND: i64 = 1000;

fn decides(azure: &Azure, vm: &str) -> String {
    let packet = Packet { from: ANN.parse().expect("valid"), protocol: PacketProtocol::Tcp, port: 22 };
    azure.cloud.passes(vm, packet).expect("a machine").by
}

/// The next write is undone by a client that writes back what it read before, so many milliseconds after it was done.
fn written_back(azure: &Azure, millis: u32, faults: &Faults) {
    let planned = vec![Planned { on: On::Write, skip: 0, times: 1, fault: Fault::WrittenBack { millis } }];
    azure.cloud.plan(Faults { planned, ..faults.clone() });
}

#[test]
fn a_group_that_another_client_writes_back_loses_what_was_written_meanwhile() {
    let azure = Azure::new(1);
    let (path, rule) = (
        azure.path("Microsoft.Network/networkSecurityGroups", "/web-1-nsg"),
        azure.rule("web-1-nsg", "Ours"),
    );
    written_back(&azure, 5_000, &brisk());
    assert_eq!(azure.call("PUT", &rule, Some(&allow(100))).status, 201);
    azure.pass(SECOND);
    assert_eq!(decides(&azure, "web-1"), "Ours");
    azure.pass(5 * SECOND);
    assert_eq!((azure.call("GET", &rule, None).status, decides(&azure, "web-1")), (404, "SSH".to_owned()));
    let shown = azure.call("GET", &path, None).body;
    assert_eq!(shown["tags"], json!({ "updated": "by another client" }), "all that it wanted to change");

    // What was deleted meanwhile comes back, as a new version.
    assert_eq!(azure.call("PUT", &rule, Some(&allow(100))).status, 201);
    azure.pass(SECOND);
    let before = azure.call("GET", &rule, None).body["etag"].clone();
    written_back(&azure, 5_000, &brisk());
    assert_eq!(azure.call("DELETE", &rule, None).status, 202);
    azure.pass(SECOND);
    assert_eq!(decides(&azure, "web-1"), "SSH");
    azure.pass(5 * SECOND);
    let after = azure.call("GET", &rule, None);
    assert_eq!((after.status, decides(&azure, "web-1")), (200, "Ours".to_owned()));
    assert_ne!(after.body["etag"], before);
}

#[test]
fn a_group_that_is_written_back_at_once_shows_nothing_of_the_write() {
    let azure = Azure::new(1);
    let rule = azure.rule("web-1-nsg", "Ours");
    written_back(&azure, 0, &Faults::quick());
    assert_eq!(azure.call("PUT", &rule, Some(&allow(100))).status, 201, "it is told as done");
    assert_eq!((azure.call("GET", &rule, None).status, decides(&azure, "web-1")), (404, "SSH".to_owned()));
}
