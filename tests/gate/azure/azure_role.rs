//! The role that Portcullis asks for in Azure: with one action less something fails, and no action in it is
//! one that nothing needs.

use portcullis_app::{
    Error, Verdict,
    ports::{Adoption, Checkup, Firewalls},
};
use portcullis_azure::{Forbidden, Role};
use portcullis_domain::{Existing, Policy, PortRule, Terms};
use portcullis_simcloud::{Call, Faults, Permissions, Simcloud};
use portcullis_tests::door;
use portcullis_tests::{
    azure::{ANN, Azure},
    given::{self, named},
    guarded::Guarded,
};
use serde_json::json;
use std::{collections::BTreeSet, time::Duration};

const GRAPH: &str = "Microsoft.ResourceGraph/resources/read";
/// In milliseconds.
const MINUTE: i64 = 60_000;
/// What Azure asks for where a firewall is written, beside the action of that.
const JOINS: [&str; 3] = [
    "Microsoft.Network/ipGroups/join/action",
    "Microsoft.Network/publicIPAddresses/join/action",
    "Microsoft.Network/virtualNetworks/subnets/join/action",
];

fn permit(cloud: &Simcloud, actions: &[String]) {
    cloud.permit(Permissions { actions: Some(actions.to_vec()) });
}

fn without(actions: &[String], action: &str) -> Vec<String> {
    actions.iter().filter(|it| *it != action).cloned().collect()
}

/// What has been asked after the first `furnished` calls, and nothing of it in vain.
fn needed(azure: &Azure, furnished: usize) -> BTreeSet<String> {
    let calls = azure.cloud.calls().split_off(furnished);
    let refused: Vec<_> = calls.iter().filter(|it| it.status == 403).collect();
    assert!(refused.is_empty(), "the role has an action too few: {refused:?}");
    calls.into_iter().flat_map(actions).collect()
}

/// All that a call needed.
fn actions(call: Call) -> Vec<String> {
    std::iter::once(call.action.expect("every path names something")).chain(call.linked).collect()
}

/// The fleet, with a rule of somebody else's in the firewall that goes by a group of addresses; and
/// how many calls that took.
fn place() -> (Guarded, usize) {
    let place = Guarded::new();
    let path = place.azure.path("Microsoft.Network/azureFirewalls", "/edge-fw");
    let group = place.azure.path("Microsoft.Network/ipGroups", "/offices");
    let mut wall = place.azure.call("GET", &path, None).body;
    wall["properties"]["networkRuleCollections"] = json!([{
        "name": "out", "properties": { "priority": 300, "action": { "type": "Allow" }, "rules": [{
            "name": "https", "protocols": ["TCP"], "sourceIpGroups": [group.split('?').next()],
            "destinationAddresses": ["*"], "destinationPorts": ["443"],
        }] },
    }]);
    let before = place.azure.cloud.calls().len();
    assert_eq!(place.azure.call("PUT", &path, Some(&wall)).status, 200);
    assert_eq!(place.azure.cloud.calls()[before].linked.len(), 3, "a subnet, an address, a group");
    (place, before + 1)
}

fn rdp() -> Policy {
    Policy::of(vec![PortRule::offered(named("3389"), named("tcp"))], &Terms::default()).expect("valid")
}

/// What is only looked at.
async fn looks(place: &Guarded) -> Result<(), Error> {
    let (found, unseen) = door::discover(&*place.store, &place.outside, None, 100, place.now()).await?;
    assert!(10 < found.len() && unseen.is_empty(), "{unseen:?}");
    for machine in found.iter().filter(|it| it.machine.unsupported.is_none()) {
        assert!(machine.healthy.is_some(), "{:?}", machine.troubles);
    }
    let (id, other, by) = (place.azure.machine("vault-1"), place.azure.machine("web-1"), named("ann"));
    let plan = door::plan(&*place.store, &place.outside, &other, Some(&rdp()), &by, place.now()).await?;
    assert!(!plan.changes.is_empty());
    door::check(&*place.store, &place.outside, &id, named("3389/tcp"), named(ANN)).await?;
    assert!(place.outside.found().await?.unseen.is_empty());
    place.outside.ours().await.map(drop)
}

/// Machines behind a security group of their own, behind that of a subnet, and behind a firewall.
async fn lives(place: &Guarded) -> Result<(), Error> {
    looks(place).await?;
    for (name, policy, port) in
        [("web-1", given::ssh(), 22), ("db-1", given::ssh(), 22), ("vault-1", rdp(), 3389)]
    {
        let id = place.enable(name, &policy).await?;
        let grant = place.open(&id, port, ANN).await?;
        assert!(place.target(&id).await.grant_of(&grant).expect("live").opened_at.is_some(), "{name}");
        let other = place.open(&id, port, "198.51.100.7").await?;
        place.close(&grant).await?;
        place.reconcile().await?;
        place.azure.pass(6 * MINUTE);
        place.expire().await?;
        assert!(place.target(&id).await.grant_of(&other).is_none(), "{name}: it was shut on time");
        place.disable(&id).await?;
    }
    Ok(())
}

/// The rules of a machine that is gone.
async fn machine_gone(place: &Guarded) -> Result<(), Error> {
    let id = place.enable("build-1", &given::ssh()).await?;
    // Who deletes machines is somebody else, with rights of their own.
    let before: serde_json::Value = serde_json::from_str(&place.azure.cloud.snapshot()).expect("JSON");
    let mut after = before;
    let key = id.as_str().to_ascii_lowercase();
    after["resources"].as_object_mut().expect("resources").remove(&key).expect("it was there");
    let azure = Azure::with(|clock| Simcloud::restore(&after.to_string(), clock).expect("a cloud"));
    azure.pass(i64::try_from(place.now().duration_since(azure.now()).as_millis()).expect("short"));
    permit(&azure.cloud, &Role::guards().actions);
    let outside = azure.guarded(Existing::Override);
    let gone = outside.read(&id).await?;
    let owner = (&id).into();
    let changes = portcullis_domain::diff(&gone, &owner, &portcullis_domain::RuleSet::new()).changes;
    assert!(!changes.is_empty(), "its lock is still there");
    outside.write(Some(&id), &changes).await?;
    drop(needed(&azure, 0));
    Ok(())
}

/// Writes that are not done at once, told of in either way, and one that meets somebody else's.
async fn writes_that_take_time(place: &Guarded) -> Result<(), Error> {
    let slow = Faults { operation_millis: 2_600, ..Faults::quick() };
    for faults in [slow.clone(), Faults { location_only: true, ..slow }] {
        place.azure.cloud.plan(faults);
        let lives = async {
            let id = place.enable("web-1", &given::ssh()).await?;
            place.disable(&id).await
        };
        passing(&place.azure, lives).await?;
    }
    place.azure.cloud.plan(Faults { one_etag_per_group: true, ..Faults::quick() });
    let one = place.enable("farm-1", &given::ssh()).await?;
    let seen = place.outside.read(&one).await?;
    place.enable("farm-2", &given::ssh()).await?;
    let changes = portcullis_domain::diff(&seen, &(&one).into(), &portcullis_domain::RuleSet::new()).changes;
    place.outside.write(Some(&one), &changes).await
}

/// Lets time pass meanwhile.
async fn passing<T>(azure: &Azure, what: impl Future<Output = T>) -> T {
    let passes = async {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            azure.pass(20);
        }
    };
    tokio::select! {
        it = what => it,
        () = passes => unreachable!("time has no end"),
    }
}

#[tokio::test]
async fn the_role_has_no_action_too_few_and_none_too_many() {
    let role = Role::guards().actions;
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let (place, furnished) = place();
    permit(&place.azure.cloud, &role);
    lives(&place).await.expect("all that is needed is allowed");
    machine_gone(&place).await.expect("all that is needed is allowed");
    let found = place.outside.found().await.expect("found");
    place.outside.remove(&found.items[0]).await.expect("all that is needed is allowed");
    for it in place.outside.checkup().await {
        assert_eq!(it.verdict, Verdict::Ok, "{it:?}");
    }
    writes_that_take_time(&place).await.expect("all that is needed is allowed");
    seen.extend(needed(&place.azure, furnished));

    // Whoever has no Resource Graph goes by lists.
    let place = Guarded::new();
    permit(&place.azure.cloud, &without(&role, GRAPH));
    lives(&place).await.expect("lists say the same");
    let listed = place.azure.cloud.calls();
    assert!(listed.iter().all(|it| it.status != 403 || it.action.as_deref() == Some(GRAPH)));
    seen.extend(listed.into_iter().flat_map(actions));
    assert_eq!(seen, role.into_iter().collect(), "left is what is needed, right is what the role has");
}

#[tokio::test]
async fn a_firewall_needs_what_it_joins() {
    let role = Role::guards().actions;
    for join in JOINS {
        let (place, _) = place();
        permit(&place.azure.cloud, &without(&role, join));
        let id = place.enable("vault-1", &rdp()).await.expect("a lock is in the security group alone");
        let seen = place.outside.read(&id).await.expect("reads");
        // Not from where somebody else's NAT rule lets in.
        let grant = place.open(&id, 3389, "198.51.100.7").await.expect("granted");
        let target = place.target(&id).await;
        assert_eq!(target.grant_of(&grant).expect("live").opened_at, None, "and so it is not open");
        let changes = portcullis_domain::diff(&seen, &target.owner(), &target.rules(place.now())).changes;
        let error = place.outside.write(Some(&id), &changes).await.expect_err("not allowed");
        let Error::Broken { source, .. } = error else { panic!("{error:?}") };
        let forbidden = source.downcast::<Forbidden>().expect("typed");
        assert_eq!(forbidden.action.as_deref(), Some(join));
    }
}

#[tokio::test]
async fn the_read_only_role_reads_everything_and_changes_nothing() {
    let role = Role::asks().actions;
    let place = Guarded::new();
    let locked = place.enable("vault-1", &rdp()).await.expect("enabled");
    let (mut seen, mut from) = (BTreeSet::new(), place.azure.cloud.calls().len());
    for actions in [role.clone(), without(&role, GRAPH)] {
        permit(&place.azure.cloud, &actions);
        place.azure.pass(MINUTE);
        looks(&place).await.expect("all that is needed is allowed");
        drop(place.outside.checkup().await);
        let calls = place.azure.cloud.calls();
        let refused = calls[from..].iter().filter(|it| it.status == 403);
        assert!(
            refused.clone().all(|it| it.action.as_deref() == Some(GRAPH)),
            "{:?}",
            refused.collect::<Vec<_>>()
        );
        seen.extend(calls[from..].iter().filter_map(|it| it.action.clone()));
        from = calls.len();
    }
    // That a machine is not there is looked up by itself.
    let nobody = place.azure.machine("nobody");
    let gone = place.outside.read(&nobody).await.expect("it may be asked for");
    assert!(gone.firewalls.is_empty(), "nothing is left of what never was");
    seen.extend(place.azure.cloud.calls()[from..].iter().filter_map(|it| it.action.clone()));
    assert_eq!(seen, role.iter().cloned().collect(), "left is what is needed, right is what the role has");

    permit(&place.azure.cloud, &role);
    let grant = place.open(&locked, 3389, ANN).await.expect("granted");
    assert!(
        place.target(&locked).await.grant_of(&grant).expect("live").refused.is_some(),
        "nothing is written"
    );
    let group = place.azure.rule("web-1-nsg", "Portcullis");
    let edge = place.azure.path("Microsoft.Network/azureFirewalls", "/edge-fw");
    for (method, path) in [("PUT", &group), ("DELETE", &group), ("PUT", &edge)] {
        assert_eq!(place.azure.call(method, path, Some(&json!({}))).status, 403, "{method} {path}");
    }
}
