//! Denies of others that a lease meets in a security group: a lock of theirs gives way, a block list of theirs wins
//! (INVARIANT a-block-list-wins).

use portcullis_domain::{Fact, ForeignDenies, Grant, GrantId, GrantState, Policy, PortRule, TargetId, Terms};
use portcullis_tests::{
    azure_place::{AzurePlace, admin_rule},
    door,
    given::{self, named},
};
use serde_json::{Value, json};

const ANN: &str = "198.51.100.9";
const BOB: &str = "203.0.113.77";

fn deny(priority: u16, from: &str) -> Value {
    rule("Deny", priority, from)
}

fn rule(access: &str, priority: u16, from: &str) -> Value {
    json!({
        "protocol": "*", "sourcePortRange": "*", "destinationPortRange": "22", "sourceAddressPrefix": from,
        "destinationAddressPrefix": "*", "access": access, "priority": priority, "direction": "Inbound",
    })
}

/// SSH, over block lists.
fn overriding() -> Policy {
    let ports = given::ssh().ports().to_vec();
    let over = |it: PortRule| PortRule { foreign_denies: ForeignDenies::Override, ..it };
    Policy::of(ports.into_iter().map(over).collect(), &Terms::default()).expect("a policy")
}

/// The denies over which a lease was opened, as its entry says.
async fn opened_over(place: &AzurePlace, id: &TargetId, of: &GrantId) -> Vec<String> {
    let opened = |it: Fact| {
        let Fact::Opened { grant, over, .. } = it else { return None };
        (grant == *of).then_some(over)
    };
    place.facts(id).await.into_iter().filter_map(opened).next_back().expect("it was opened")
}

/// Where a block stands makes no difference: above all of our rules, among them, or below.
#[tokio::test]
async fn lease_of_a_source_on_a_block_list_stays_shut_and_names_it_and_others_open() {
    for priority in [101, 150, 900] {
        let place = AzurePlace::new(1);
        let id = place.id("web-1");
        place.guard(&id, &given::ssh()).await;
        place.put_rule("web-1-nsg", "Banned", &deny(priority, "203.0.113.0/24"));
        let kept_out = place.open("bob", &id, "22", BOB).await;
        let open = place.open("ann", &id, "22", ANN).await;
        assert_eq!(place.state(&open).await, GrantState::Open, "{priority}");
        let told = place.grant(&kept_out).await;
        assert_eq!((told.state(place.now()), told.refused), (GrantState::OpenFailed, None), "{priority}");
        let by = told.open_failed.expect("told");
        assert!(by.starts_with("Banned in ") && by.ends_with("/web-1-nsg"), "{by}");
        assert!(place.passes("web-1", ANN, 22) && !place.passes("web-1", BOB, 22), "{priority}");
        // Their rule was neither edited nor overtaken by an allow of the same source.
        let allows =
            |it: &Value| it["properties"]["access"] == "Allow" && it.to_string().contains("203.0.113");
        assert!(!place.ours().iter().any(allows), "{priority}: {:#?}", place.ours());

        // Once its owner takes the source off the list, the lease opens by itself.
        place.put_rule("web-1-nsg", "Banned", &deny(priority, "192.0.2.0/24"));
        place.work(31).await;
        assert_eq!(place.state(&kept_out).await, GrantState::Open, "{priority}");
        assert!(place.passes("web-1", BOB, 22), "{priority}");
        assert_eq!(opened_over(&place, &id, &kept_out).await, Vec::<String>::new(), "{priority}");
    }
}

/// The port is open to the rest of them, and whoever looks has to hear that.
#[tokio::test]
async fn lease_of_which_a_block_list_names_some_sources_says_who_is_kept_out_and_that_the_others_get_in() {
    let place = AzurePlace::new(1);
    let id = place.id("web-1");
    place.guard(&id, &given::ssh()).await;
    place.put_rule("web-1-nsg", "Banned", &deny(900, BOB));
    let grant = place.open("carol", &id, "22", "203.0.113.0/24").await;
    let by = place.grant(&grant).await.open_failed.expect("told");
    assert!(
        by.starts_with("Banned in ") && by.ends_with(&format!(", for {BOB}; its other sources get in")),
        "{by}"
    );
    assert!(place.passes("web-1", "203.0.113.1", 22) && !place.passes("web-1", BOB, 22));
}

/// Before anybody asks: of those whom a deny speaks of the sources that are asked for alone, and which of the two would win.
#[tokio::test]
async fn explained_request_names_the_denies_that_its_lease_would_meet_and_nothing_is_written() {
    for (policy, from, deny_from, wanted) in [
        (given::ssh(), BOB, "203.0.113.0/24", Some((BOB, true))),
        (overriding(), BOB, "203.0.113.0/24", Some((BOB, false))),
        (given::ssh(), ANN, "203.0.113.0/24", None),
        (given::ssh(), ANN, "*", Some((ANN, false))),
    ] {
        let place = AzurePlace::new(1);
        let id = place.id("web-1");
        place.guard(&id, &policy).await;
        place.put_rule("web-1-nsg", "Banned", &deny(900, deny_from));
        let asked = given::request("ann", "foreseen", id.as_str(), place.now());
        let grant = Grant { sources: named(from), ..given::grant(&asked, &id, place.now()) };
        let before = place.ours();
        let met = door::foresee(&place.store, &place.outside, &[grant], place.now()).await.expect("read");
        let found: Vec<(&str, bool)> =
            met.iter().map(|it| (it.deny.sources.as_str(), it.deny.wins)).collect();
        assert_eq!(found, wanted.into_iter().collect::<Vec<_>>(), "{from} and {deny_from}");
        assert!(met.iter().all(|it| it.target == id && it.deny.rule.starts_with("Banned in ")), "{met:?}");
        assert_eq!(place.ours(), before, "nothing is written");
    }
}

/// A rule of a network manager decides before every rule that could be written: a policy that overrides denies does not change that.
#[tokio::test]
async fn explained_request_under_a_deny_of_a_network_manager_is_told_that_no_policy_overrides_it() {
    let place = AzurePlace::new(1);
    let id = place.id("web-1");
    place.guard(&id, &overriding()).await;
    place.put_rule("web-1-nsg", "Banned", &deny(101, BOB));
    // What lets in past the security groups keeps nobody out, and names no deny twice.
    let rules =
        [("no-ssh", 10, "Deny", BOB), ("noc", 20, "AlwaysAllow", "10.9.0.0/24"), ("vpn", 30, "Allow", BOB)];
    let rules = rules.map(|(name, priority, access, from)| admin_rule(name, priority, access, from));
    place.administer("main-vnet", rules.into());
    let asked = given::request("bob", "foreseen", id.as_str(), place.now());
    let grant = Grant { sources: named(BOB), ..given::grant(&asked, &id, place.now()) };
    let met = door::foresee(&place.store, &place.outside, &[grant], place.now()).await.expect("read");
    let mut found: Vec<(&str, bool, bool)> = met
        .iter()
        .map(|it| (it.deny.rule.split(" in ").next().unwrap_or_default(), it.deny.wins, it.deny.overridable))
        .collect();
    found.sort_unstable();
    assert_eq!(found, [("Banned", false, true), ("corp/no-ssh", true, false)]);
}

#[tokio::test]
async fn block_list_that_gains_the_source_of_an_open_lease_shuts_it_and_is_named() {
    let place = AzurePlace::new(1);
    let id = place.id("web-1");
    place.guard(&id, &given::ssh()).await;
    let grant = place.open("bob", &id, "22", BOB).await;
    assert_eq!(place.state(&grant).await, GrantState::Open);
    place.put_rule("web-1-nsg", "Banned", &deny(900, BOB));
    place.work(61).await;
    let told = place.grant(&grant).await;
    assert_eq!(told.state(place.now()), GrantState::OpenFailed);
    assert!(told.open_failed.as_ref().is_some_and(|it| it.starts_with("Banned in ")), "{told:?}");
    assert!(!place.passes("web-1", BOB, 22));
}

#[tokio::test]
async fn deny_of_everybody_or_of_a_whole_network_gives_way_to_a_lease_and_is_recorded() {
    for (from, source) in [("*", ANN), ("Internet", ANN), ("0.0.0.0/0", ANN), ("VirtualNetwork", "10.1.2.3")]
    {
        let place = AzurePlace::new(1);
        let id = place.id("web-1");
        place.guard(&id, &given::ssh()).await;
        place.put_rule("web-1-nsg", "Theirs", &deny(150, from));
        let grant = place.open("ann", &id, "22", source).await;
        assert_eq!(place.state(&grant).await, GrantState::Open, "{from}");
        assert!(place.passes("web-1", source, 22), "{from}");
        let over = opened_over(&place, &id, &grant).await;
        assert!(over.iter().any(|it| it.starts_with("Theirs in ")), "{from}: {over:?}");
        assert_eq!(place.grant(&grant).await.over, over, "{from}");
        let verified = portcullis_app::verify(&place.store).await.expect("verifies");
        assert!(verified.bad.is_empty(), "{from}: {verified:?}");
    }
}

#[tokio::test]
async fn policy_that_overrides_foreign_denies_opens_a_source_on_a_block_list_and_records_it() {
    let place = AzurePlace::new(1);
    let id = place.id("web-1");
    place.guard(&id, &overriding()).await;
    place.put_rule("web-1-nsg", "Banned", &deny(101, "203.0.113.0/24"));
    let grant = place.open("bob", &id, "22", BOB).await;
    assert_eq!(place.state(&grant).await, GrantState::Open);
    assert!(place.passes("web-1", BOB, 22));
    let over = opened_over(&place, &id, &grant).await;
    assert!(over.iter().any(|it| it.starts_with("Banned in ")), "{over:?}");
}

#[tokio::test]
async fn plan_names_every_foreign_deny_and_which_of_the_two_wins() {
    let place = AzurePlace::new(1);
    let id = place.id("web-1");
    place.put_rule("web-1-nsg", "Banned", &deny(150, "203.0.113.0/24"));
    place.put_rule("web-1-nsg", "Everybody", &deny(160, "*"));
    // Nobody told the addresses behind this tag.
    place.put_rule("web-1-nsg", "Tag", &deny(170, "AzureDevOps"));
    for (policy, is_blocked) in [(given::ssh(), true), (overriding(), false)] {
        let by = named("ann");
        let plan = door::plan(&place.store, &place.outside, &id, Some(&policy), &by, place.now()).await;
        let plan = plan.expect("planned");
        let met = plan.gates[0]
            .denies
            .iter()
            .map(|it| (it.rule.split(" in ").next().unwrap_or_default(), it.sources.as_str(), it.wins));
        let of_theirs: Vec<_> = met.filter(|it| ["Banned", "Everybody", "Tag"].contains(&it.0)).collect();
        let wanted = [
            ("Banned", "203.0.113.0/24", is_blocked),
            ("Everybody", "anywhere", false),
            ("Tag", "addresses that are not known here", false),
        ];
        assert_eq!(of_theirs, wanted);
    }
}

#[tokio::test]
async fn read_back_beside_a_foreign_allow_says_who_gets_in_and_who_should() {
    let place = AzurePlace::new(1);
    let id = place.id("web-1");
    // No priority is left above it, so that it defeats the lock.
    place.put_rule("web-1-nsg", "Insiders", &rule("Allow", 100, "192.0.2.0/24"));
    drop(place.enable(&id, &given::ssh()).await.expect("guarded"));
    place.expire().await;
    let _ = place.open("ann", &id, "22", ANN).await;
    let read_back = |it: &Fact| {
        let Fact::ReadBack { admitted, wanted, .. } = it else { return None };
        Some((admitted.clone(), wanted.clone()))
    };
    let (admitted, wanted) =
        place.facts(&id).await.iter().filter_map(read_back).next_back().expect("it was read back");
    let gate = named("22/tcp");
    assert!(admitted[&gate].contains("192.0.2.0/24") && admitted[&gate].contains(ANN), "{admitted:?}");
    assert_eq!(wanted.get(&gate).map(String::as_str), Some(ANN), "{wanted:?}");
}
