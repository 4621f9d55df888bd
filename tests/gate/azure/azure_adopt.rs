//! What Microsoft's own just-in-time access left, as it writes it: what it does, and how it is taken over.

use portcullis_app::{self as app, Adoptable, AdoptableRule, Adopted, Error, ports::Adoption};
use portcullis_domain::{Action, Fact, LEASE_MAX, TargetId, Terms};
use portcullis_simcloud::Faults;
use portcullis_tests::door::{self, Adopting};
use portcullis_tests::{
    azure::{ANN, Azure},
    binary::{program, text},
    given::{self, named},
    guarded::Guarded,
};
use serde_json::{Value, json};
use std::{process::Command, sync::Arc};

const HEX: &str = "0123456789ABCDEF0123456789ABCDEF";

fn policy_path(azure: &Azure, name: &str) -> String {
    azure.path("Microsoft.Security", &format!("/locations/westeurope/jitNetworkAccessPolicies/{name}"))
}

fn machine_id(azure: &Azure, name: &str) -> String {
    let subscription = azure.cloud.subscription();
    format!(
        "/subscriptions/{subscription}/resourceGroups/demo/providers/Microsoft.Compute/virtualMachines/{name}"
    )
}

fn port(number: u16, protocol: &str, longest: &str) -> Value {
    json!({
        "number": number, "protocol": protocol, "allowedSourceAddressPrefix": "*", "maxRequestAccessDuration": longest,
    })
}

fn put_policy(azure: &Azure, name: &str, machines: &[(&str, Vec<Value>)], requests: &Value) {
    let machine =
        |(name, ports): &(&str, Vec<Value>)| json!({ "id": machine_id(azure, name), "ports": ports });
    let machines: Vec<Value> = machines.iter().map(machine).collect();
    let body =
        json!({ "kind": "Basic", "properties": { "virtualMachines": machines, "requests": requests } });
    assert_eq!(azure.call("PUT", &policy_path(azure, name), Some(&body)).status, 200);
}

fn put_rule(azure: &Azure, group: &str, name: &str, said: &Value) {
    let mut properties = json!({
        "protocol": "*", "sourcePortRange": "*", "direction": "Inbound",
    });
    for (field, value) in said.as_object().expect("fields") {
        properties[field] = value.clone();
    }
    let put = azure.call("PUT", &azure.rule(group, name), Some(&json!({ "properties": properties })));
    assert!(put.status < 300, "{put:?}");
}

fn private_address(azure: &Azure, name: &str) -> String {
    let nic =
        azure.call("GET", &azure.path("Microsoft.Network/networkInterfaces", &format!("/{name}-nic")), None);
    let address = &nic.body["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"];
    address.as_str().expect("an address").to_owned()
}

fn item<'a>(all: &'a [Adoptable], name: &str) -> &'a Adoptable {
    all.iter().find(|it| it.name == name).unwrap_or_else(|| panic!("{name} in {all:?}"))
}

/// What a rule does, and when it ends.
fn does(rule: &AdoptableRule) -> (Action, Vec<&str>, Vec<&str>, Option<String>) {
    (
        rule.action,
        rule.sources.iter().map(String::as_str).collect(),
        rule.ports.iter().map(String::as_str).collect(),
        rule.until.map(|it| it.to_string()),
    )
}

async fn adopt(place: &Guarded, what: &str, delete: bool) -> Result<Adopted, Error> {
    let adopting = Adopting { what: what.to_owned(), by: named("ann"), delete };
    door::adopt(&*place.store, &place.outside, &Terms::default(), &adopting, place.now()).await
}

async fn policy_id(place: &Guarded, name: &str) -> String {
    let found = place.outside.found().await.expect("found");
    item(&found.items, name).policy.clone().expect("a policy")
}

#[tokio::test]
async fn every_kind_of_policy_and_rule_is_found_and_reported() {
    let place = Guarded::new();
    let azure = &place.azure;
    let jit: TargetId = azure.machine("jit-1");
    let found = place.outside.found().await.expect("found");
    assert!(found.unseen.is_empty(), "{:?}", found.unseen);
    let [policy] = found.items.as_slice() else { panic!("{:?}", found.items) };
    assert_eq!((policy.name.as_str(), policy.machines.len()), ("default", 1));
    let ports: Vec<_> = policy.machines[0].ports.iter().map(|it| (it.number, it.protocol.as_str())).collect();
    assert_eq!((&policy.machines[0].target, ports), (&jit, vec![(22, "*"), (3389, "*")]));
    let mut rules: Vec<_> = policy.rules.iter().map(does).collect();
    rules.sort_by_key(|it| it.0 == Action::Deny);
    assert_eq!(
        rules,
        [
            (Action::Allow, vec![ANN], vec!["22"], Some("2026-01-01T03:00:00Z".to_owned())),
            (Action::Deny, vec!["*"], vec!["22", "3389"], None),
        ]
    );
    assert!(policy.rules.iter().all(|it| it.target.as_ref() == Some(&jit)));

    // The names from before 2023, a request that is over, several sources; rules without a policy.
    let request = json!([{ "virtualMachines": [{ "id": machine_id(azure, "web-1"), "ports": [{
        "number": 22, "allowedSourceAddressPrefixes": ["198.51.100.0/24", "203.0.113.7"],
        "endTimeUtc": "2025-12-31T23:00:00.0000000Z", "status": "Revoked", "statusReason": "Expired",
    }] }], "startTimeUtc": "2025-12-31T20:00:00.0000000Z", "requestor": "bob@example.com" }]);
    put_policy(azure, "old", &[("web-1", vec![port(22, "TCP", "PT1H")])], &request);
    let to = private_address(azure, "web-1");
    put_rule(
        azure,
        "web-1-nsg",
        &format!("SecurityCenter-JITRule--12345-{HEX}"),
        &json!({
            "access": "Allow", "priority": 101, "destinationPortRange": "22", "destinationAddressPrefix": to,
            "sourceAddressPrefixes": ["203.0.113.7", "198.51.100.0/24"],
            "description": "ASC JIT Network Access rule created by an initiation request for policy 'old' of VM 'web-1'.",
        }),
    );
    put_rule(
        azure,
        "build-1-nsg",
        &format!("SecurityCenter-JITRule_99_{HEX}"),
        &json!({
            "access": "Deny", "priority": 4096, "destinationPortRanges": ["22", "5985"], "sourceAddressPrefix": "*",
            "destinationAddressPrefix": private_address(azure, "build-1"),
            "description": "ASC JIT Network Access rule for policy 'gone' of VM 'build-1'.",
        }),
    );
    put_rule(
        azure,
        "win-1-nsg",
        "somebodys-own",
        &json!({
            "access": "Deny", "priority": 4096, "destinationPortRange": "22", "sourceAddressPrefix": "*",
            "destinationAddressPrefix": "*",
        }),
    );
    let found = place.outside.found().await.expect("found").items;
    let old = item(&found, "old");
    assert_eq!(old.rules.len(), 1);
    assert_eq!(old.rules[0].until, Some(named("2025-12-31T23:00:00Z")), "it is over, and still there");
    assert!(old.rules[0].until < Some(place.now()));
    let build = item(&found, "build-1");
    assert_eq!((build.policy.as_ref(), build.machines[0].target.clone()), (None, azure.machine("build-1")));
    assert_eq!(does(&build.rules[0]), (Action::Deny, vec!["*"], vec!["22", "5985"], None));
    assert_eq!(found.len(), 3, "what is somebody else's is not Microsoft's: {found:?}");
}

#[tokio::test]
async fn of_a_firewall_its_collections_are_found_and_nothing_else_is_taken_away() {
    let place = Guarded::new();
    let azure = &place.azure;
    let edge = azure.path("Microsoft.Network/azureFirewalls", "/edge-fw");
    let mut body = azure.call("GET", &edge, None).body;
    let public =
        body["properties"]["natRuleCollections"][0]["properties"]["rules"][0]["destinationAddresses"].clone();
    body["properties"]["natRuleCollections"].as_array_mut().expect("collections").push(json!({
        "name": "MDC-JIT-nat", "properties": { "priority": 300, "action": { "type": "Dnat" }, "rules": [{
            "name": "vault", "protocols": ["TCP"], "sourceAddresses": [ANN], "destinationAddresses": public,
            "destinationPorts": ["13389"], "translatedAddress": "10.2.2.4", "translatedPort": "3389",
        }] },
    }));
    body["properties"]["networkRuleCollections"] = json!([{
        "name": "ASC-JIT-net", "properties": { "priority": 400, "action": { "type": "Deny" }, "rules": [{
            "name": "vault", "protocols": ["Any"], "sourceAddresses": ["*"], "destinationAddresses": ["10.2.2.4"],
            "destinationPorts": ["3389"],
        }] },
    }]);
    assert_eq!(azure.call("PUT", &edge, Some(&body)).status, 200);

    let found = place.outside.found().await.expect("found").items;
    let vault = item(&found, "vault-1");
    assert_eq!(vault.machines[0].target, azure.machine("vault-1"));
    let rules: Vec<_> = vault.rules.iter().map(|it| (it.name.as_str(), does(it))).collect();
    assert_eq!(
        rules,
        [
            ("MDC-JIT-nat/vault", (Action::Allow, vec![ANN], vec!["3389"], None)),
            ("ASC-JIT-net/vault", (Action::Deny, vec!["*"], vec!["3389"], None)),
        ]
    );
    // Of the firewall nothing but the collections is taken away.
    let before = azure.call("GET", &edge, None).body;
    place.outside.remove(vault).await.expect("removed");
    place.outside.remove(vault).await.expect("gone already");
    let after = azure.call("GET", &edge, None).body;
    assert_eq!(after["properties"]["networkRuleCollections"], json!([]));
    let names = |it: &Value| {
        let all = it["properties"]["natRuleCollections"].as_array().expect("collections");
        all.iter().map(|it| it["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        (names(&before), names(&after)),
        (vec!["management".to_owned(), "MDC-JIT-nat".to_owned()], vec!["management".to_owned()])
    );
}

#[tokio::test]
async fn a_policy_is_taken_over_and_deleted_only_behind_our_own_lock() {
    let place = Guarded::new();
    place.azure.cloud.plan(Faults { one_etag_per_group: true, ..Faults::quick() });
    let (id, jit) = (policy_id(&place, "default").await, place.azure.machine("jit-1"));
    let asked = adopt(&place, &id, true).await.expect("taken over");
    assert!(asked.machines[0].guarded && asked.machines[0].left.is_empty(), "{asked:?}");
    assert!(asked.deleted.is_empty() && asked.kept[0].contains("lock"), "nothing is locked yet: {asked:?}");
    let ports = place.target(&jit).await.policy().expect("guarded").ports().to_vec();
    let told: Vec<_> =
        ports.iter().map(|it| (it.gate().to_string(), it.sources.to_string(), it.max)).collect();
    let wanted = |port: &str| (port.to_owned(), "anywhere".to_owned(), given::HOUR * 3);
    assert_eq!(told, [wanted("22/*"), wanted("3389/*")]);
    assert_eq!(
        place.outside.found().await.expect("found").items[0].rules.len(),
        2,
        "all of it is still there"
    );

    place.expire().await.expect("settled");
    let passes = async || {
        door::check(&*place.store, &place.outside, &jit, named("22/tcp"), named(ANN))
            .await
            .expect("read")
            .decision
            .passes
    };
    assert!(passes().await, "Microsoft's allow stands above everything");
    let done = adopt(&place, &id, true).await.expect("deleted");
    assert!(done.kept.is_empty() && done.deleted.len() == 3, "{done:?}");
    assert!(place.outside.found().await.expect("found").items.is_empty());
    assert!(!passes().await, "and now our own lock alone decides");
    assert!(matches!(adopt(&place, &id, true).await, Err(Error::NotFound { .. })));

    let facts = place.facts(&jit).await;
    let ann = given::person("ann");
    assert!(
        facts.iter().any(|it| matches!(it, Fact::Adopted { policy, by, .. } if *policy == id && *by == ann))
    );
    assert!(facts.iter().any(
        |it| matches!(it, Fact::ForeignDeleted { policy: Some(it), rules, by, .. } if *it == id && rules.len() == 2 && *by == ann)
    ));
    assert!(app::verify(&*place.store).await.expect("read").bad.is_empty());
}

#[tokio::test]
async fn a_port_that_cannot_be_taken_over_is_reported_and_keeps_its_policy_from_deletion() {
    let place = Guarded::new();
    let tagged = json!({
        "number": 5985, "protocol": "TCP", "allowedSourceAddressPrefix": "VirtualNetwork", "maxRequestAccessDuration": "PT1H",
    });
    let ranges = json!({
        "number": 443, "protocol": "TCP", "allowedSourceAddressPrefixes": ["10.0.0.0/8", "203.0.113.7"],
        "maxRequestAccessDuration": "PT30M",
    });
    let ports = vec![port(0, "*", "PT3H"), port(22, "TCP", "PT25H"), tagged, ranges];
    put_policy(
        &place.azure,
        "odd",
        &[("web-1", ports), ("quiet-1", vec![port(22, "TCP", "PT3H")])],
        &json!([]),
    );
    let id = policy_id(&place, "odd").await;
    let adopted = adopt(&place, &id, false).await.expect("taken over");
    let [web, quiet] = adopted.machines.as_slice() else { panic!("{adopted:?}") };
    assert!(web.guarded && !quiet.guarded);
    let left = web.left.join("\n");
    for part in ["port `0/*`: ports are 1 to 65535", "`25h` are too long: at most 24h", "`VirtualNetwork`"] {
        assert!(left.contains(part), "{part}: {left}");
    }
    assert_eq!(web.left.len(), 3, "{left}");
    assert!(quiet.left[0].contains("disabled_by_policy"), "{quiet:?}");
    let target = place.target(&place.azure.machine("web-1")).await;
    let ports = target.policy().expect("guarded").ports();
    assert_eq!(ports.len(), 1);
    assert_eq!(ports[0].sources.to_string(), "10.0.0.0/8, 203.0.113.7");

    place.expire().await.expect("settled");
    let kept = adopt(&place, &id, true).await.expect("said").kept;
    assert!(
        kept.iter()
            .any(|it| it.contains("does not guard `0/*`, `22/tcp`, `5985/tcp`") || it.contains("22/tcp")),
        "{kept:?}"
    );
    assert!(kept.iter().any(|it| it.contains("does not guard it")), "{kept:?}");
    assert_eq!(policy_id(&place, "odd").await, id, "it is still there");
    let one = adopt(&place, place.azure.machine("web-1").as_str(), true).await.expect("said");
    assert_eq!(one.machines.len(), 1, "only the machine that was named");
    assert!(one.kept.iter().any(|it| it.contains("guards 1 more machines")), "{:?}", one.kept);
}

#[tokio::test]
async fn policy_whose_longest_lease_is_a_day_keeps_its_port() {
    let place = Guarded::new();
    let ports = vec![port(22, "TCP", "P1D"), port(443, "TCP", "P1W"), port(3389, "TCP", "P1M")];
    put_policy(&place.azure, "days", &[("web-1", ports)], &json!([]));
    let id = policy_id(&place, "days").await;
    let adopted = adopt(&place, &id, false).await.expect("taken over");
    let left = adopted.machines[0].left.join("\n");
    for part in ["`168h` are too long: at most 24h", "months and years have no fixed length"] {
        assert!(left.contains(part), "{part}: {left}");
    }
    let target = place.target(&place.azure.machine("web-1")).await;
    let [rule] = target.policy().expect("guarded").ports() else { panic!("{target:?}") };
    assert_eq!((rule.gate().to_string().as_str(), rule.max), ("22/tcp", LEASE_MAX));
}

#[tokio::test]
async fn a_policy_that_was_changed_meanwhile_is_not_deleted() {
    let place = Guarded::new();
    let found = place.outside.found().await.expect("found");
    let default = item(&found.items, "default");
    put_policy(&place.azure, "default", &[("jit-1", vec![port(22, "*", "PT2H")])], &json!([]));
    assert!(matches!(place.outside.remove(default).await, Err(Error::Conflict)));
    assert_eq!(item(&place.outside.found().await.expect("found").items, "default").rules.len(), 2);

    let rule = &default.rules.iter().find(|it| it.action == Action::Deny).expect("a deny").name;
    put_rule(
        &place.azure,
        "jit-1-nsg",
        rule,
        &json!({
            "access": "Deny", "priority": 4096, "destinationPortRange": "443", "sourceAddressPrefix": "*",
            "destinationAddressPrefix": private_address(&place.azure, "jit-1"),
        }),
    );
    let rules = Adoptable { policy: None, ..default.clone() };
    assert!(matches!(place.outside.remove(&rules).await, Err(Error::Conflict)));
    assert_eq!(place.azure.call("GET", &place.azure.rule("jit-1-nsg", rule), None).status, 200);
}

#[tokio::test]
async fn rules_without_a_policy_go_once_their_machine_is_guarded() {
    let place = Guarded::new();
    let azure = &place.azure;
    let name = format!("SecurityCenter-JITRule_99_{HEX}");
    put_rule(
        azure,
        "build-1-nsg",
        &name,
        &json!({
            "access": "Deny", "priority": 4096, "destinationPortRange": "22", "sourceAddressPrefix": "*",
            "destinationAddressPrefix": private_address(azure, "build-1"), "protocol": "Tcp",
        }),
    );
    let build = azure.machine("build-1");
    let left = adopt(&place, build.as_str(), true).await.expect("said");
    assert!(
        left.machines[0].left[0].contains("enable") && left.kept[0].contains("does not guard it"),
        "{left:?}"
    );
    place.enable("build-1", &given::ssh()).await.expect("enabled");
    let done = adopt(&place, build.as_str(), true).await.expect("deleted");
    assert_eq!((done.kept.len(), done.deleted.len()), (0, 1), "{done:?}");
    assert_eq!(azure.call("GET", &azure.rule("build-1-nsg", &name), None).status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_taken_over_from_the_command_line() {
    let place = Arc::new(Guarded::new());
    let (url, token) = place.serve().await;
    let run = async |arguments: &[&str]| {
        let mut command = Command::new(program());
        command.args(arguments).env("PORTCULLIS_URL", &url).env("PORTCULLIS_TOKEN", &token);
        tokio::task::spawn_blocking(move || command.output().expect("runs")).await.expect("ran")
    };
    let listed = run(&["adopt"]).await;
    let table = text(&listed.stdout);
    for part in [
        "default",
        "jit-1",
        "permits requests for 22/* from anywhere, at most 3h",
        "denies port 22, 3389 from anywhere",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let json: Value = serde_json::from_slice(&run(&["adopt", "--json"]).await.stdout).expect("JSON");
    assert_eq!(json[0]["machines"][0]["ports"][0]["max"], "PT3H");
    let planned = run(&["plan", "jit-1"]).await;
    let hint = "Microsoft's own just-in-time access has rules for this machine: `portcullis adopt`";
    assert!(text(&planned.stderr).contains(hint), "{}", text(&planned.stderr));
    assert!(!text(&run(&["plan", "web-1"]).await.stderr).contains("just-in-time"));
    let beside = run(&["adopt", "default"]).await;
    let told = text(&beside.stdout) + &text(&beside.stderr);
    assert!(!told.contains(hint), "it is taken over already: {told}");
    for part in [
        "jit-1 is guarded by Portcullis.",
        "Microsoft's policy is still there",
        "in jit-1-nsg denies port 22, 3389 from anywhere",
        "`portcullis adopt default --delete`",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let asked = run(&["adopt", "default", "--delete"]).await;
    assert_eq!(asked.status.code(), Some(2), "nobody is there to be asked: {}", text(&asked.stderr));
    let done = run(&["adopt", "default", "--delete", "--yes"]).await;
    assert_eq!(done.status.code(), Some(0), "{}{}", text(&done.stdout), text(&done.stderr));
    assert!(text(&done.stdout).contains("jit-1 is guarded by Portcullis."), "{}", text(&done.stdout));
    assert!(place.outside.found().await.expect("found").items.is_empty());
    let empty = text(&run(&["adopt"]).await.stdout);
    assert!(empty.contains("nothing to take over"), "{empty}");
    let activity = text(&run(&["activity", "jit-1"]).await.stdout);
    assert!(
        activity.contains("taken over from default") && activity.contains("2 of its rules"),
        "{activity}"
    );
}
