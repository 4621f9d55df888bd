//! Which machines of Azure are guarded, could be, and cannot be; by example.

use portcullis_app::{Discovered, Error, TargetState, ports::Unsupported};
use portcullis_domain::GrantState;
use portcullis_tests::door;
use portcullis_tests::{azure_place::AzurePlace, given};
use std::collections::BTreeMap;

/// All machines of the sample fleet, the classic one too.
const MACHINES: usize = 16;
/// Those that nobody can guard, and why.
const UNSUPPORTED: [(&str, Unsupported, &str); 5] = [
    ("lab-1", Unsupported::NoFirewall, "no_firewall"),
    ("old-1", Unsupported::Classic, "classic"),
    ("hub-1", Unsupported::FirewallManager, "firewall_manager"),
    ("quiet-1", Unsupported::DisabledByPolicy, "disabled_by_policy"),
    ("spare-1", Unsupported::NoNic, "no_nic"),
];
/// Those whose management port lets somebody in who has no lease.
const UNHEALTHY: [&str; 11] =
    ["web-1", "win-1", "db-1", "app-1", "farm-1", "farm-2", "farm-3", "duo-1", "vault-1", "jit-1", "build-1"];

async fn found(place: &AzurePlace) -> (BTreeMap<String, Discovered>, Vec<String>) {
    let found = door::discover(&place.store, &place.outside, None, 100, place.now()).await;
    let (found, unseen) = found.unwrap_or_else(|error| panic!("{}", error.full()));
    (found.into_iter().map(|it| (it.machine.name.clone(), it)).collect(), unseen)
}

/// What each machine is, in a line.
fn told(found: &BTreeMap<String, Discovered>) -> Vec<String> {
    let told = |(name, it): (&String, &Discovered)| {
        let Discovered { machine, state, healthy, troubles, .. } = it;
        format!(
            "{name}: {state:?} {healthy:?} {troubles:?} {:?} {:?} {:?} {:?}",
            machine.unsupported, machine.os, machine.addresses, machine.guarded_by
        )
    };
    found.iter().map(told).collect()
}

#[tokio::test]
async fn machines_are_guarded_or_could_be_or_cannot() {
    let place = AzurePlace::new(1);
    let (all, unseen) = found(&place).await;
    assert_eq!((all.len(), unseen), (MACHINES, vec![]));
    for (name, reason, word) in UNSUPPORTED {
        let it = &all[name];
        assert_eq!((it.state, it.healthy), (TargetState::Unsupported, None), "{name}");
        assert_eq!(it.machine.unsupported, Some(reason), "{name}");
        assert_eq!(it.machine.guarded_by, None, "{name}");
        let refused = place.enable(&it.machine.id, &given::ssh()).await.expect_err("cannot be guarded");
        let Error::Refused(reasons) = refused else { panic!("{name}: {}", refused.full()) };
        let told: Vec<String> = reasons.iter().map(ToString::to_string).collect();
        assert!(told[0].contains(&format!("({word})")), "{told:?}");
    }
    let others: Vec<&Discovered> = all.values().filter(|it| it.machine.unsupported.is_none()).collect();
    assert_eq!(others.len() + UNSUPPORTED.len(), MACHINES);
    for it in others {
        let (name, port) = (it.machine.name.as_str(), it.machine.os.default_gate().port.number());
        assert_eq!(it.state, TargetState::NotConfigured, "{name}");
        let by = if name == "vault-1" { "firewall" } else { "nsg" };
        assert_eq!(it.machine.guarded_by.as_deref(), Some(by), "{name}");
        let is_reached =
            ["203.0.113.9", "198.51.100.7", "192.0.2.1", "10.1.2.3", "10.2.2.77", "168.63.129.16"]
                .iter()
                .any(|from| place.passes(name, from, port));
        assert_eq!(it.healthy, Some(!is_reached), "{name}: {:?}", it.troubles);
        assert_eq!(it.healthy, Some(!UNHEALTHY.contains(&name)), "{name}: {:?}", it.troubles);
        assert_eq!(it.troubles.is_empty(), !is_reached, "{name}");
    }
}

#[tokio::test]
async fn a_guarded_machine_is_healthy_and_says_who_was_there() {
    let place = AzurePlace::new(1);
    let id = place.id("web-1");
    place.guard(&id, &given::ssh()).await;
    let grant = place.open("ann", &id, "22", "203.0.113.9").await;
    let all = found(&place).await.0;
    let it = &all["web-1"];
    assert_eq!((it.state, it.healthy, it.settled), (TargetState::Configured, Some(true), true));
    assert_eq!(it.grants.iter().map(|it| &it.id).collect::<Vec<_>>(), [&grant]);
    place.close(&grant).await;
    let it = &found(&place).await.0["web-1"];
    assert_eq!((it.grants.len(), it.recent.len()), (0, 1), "it stays among the last ones");
    assert_eq!(it.recent[0].state(place.now()), GrantState::Closed);
    // What was guarded and may be so no longer, since its owner says so now, still says so.
    place.disable(&id).await;
    let it = &found(&place).await.0["web-1"];
    assert_eq!((it.state, it.healthy), (TargetState::NotConfigured, Some(false)));
}

#[tokio::test]
async fn the_same_is_found_without_resource_graph() {
    let graph = AzurePlace::new(1);
    let lists = AzurePlace::new(1);
    lists.azure.permit(&[
        "Microsoft.Compute/*/read",
        "Microsoft.ClassicCompute/*/read",
        "Microsoft.Network/*/read",
        "Microsoft.Resources/*/read",
    ]);
    let (one, two) = (found(&graph).await, found(&lists).await);
    assert_eq!(told(&one.0), told(&two.0));
    assert_eq!(two.1, Vec::<String>::new());
    let count = |of: &AzurePlace, path: &str| {
        of.azure.cloud.calls().iter().filter(|it| it.path.ends_with(path) && it.status == 200).count()
    };
    assert_eq!(
        (count(&graph, "Microsoft.ResourceGraph/resources"), count(&graph, "virtualMachines")),
        (1, 0)
    );
    assert_eq!(count(&lists, "Microsoft.ResourceGraph/resources"), 0);
}

#[tokio::test]
async fn resources_that_could_not_be_read_are_reported() {
    let place = AzurePlace::new(1);
    place.azure.permit(&[
        "Microsoft.Compute/*/read",
        "Microsoft.Network/networkInterfaces/read",
        "Microsoft.Network/virtualNetworks/read",
        "Microsoft.Network/networkSecurityGroups/read",
        "Microsoft.Network/publicIPAddresses/read",
        "Microsoft.Resources/subscriptions/read",
    ]);
    let (all, unseen) = found(&place).await;
    let subscription = place.azure.cloud.subscription();
    for kind in [
        "Microsoft.ClassicCompute/virtualMachines",
        "Microsoft.Network/azureFirewalls",
        "Microsoft.Network/loadBalancers",
    ] {
        let line = unseen.iter().find(|it| it.starts_with(&format!("{kind} of `{subscription}`")));
        let line = line.unwrap_or_else(|| panic!("{kind} in {unseen:?}"));
        assert!(line.contains(&format!("{kind}/read")), "the right that is missing is named: {line}");
    }
    assert_eq!((unseen.len(), all.len()), (3, MACHINES - 1), "{unseen:?}");
    assert_eq!(all["web-1"].state, TargetState::NotConfigured, "the others are there");
}
