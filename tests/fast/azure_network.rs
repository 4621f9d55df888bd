//! Whom the tag `VirtualNetwork` stands for: what a network says of itself, and what it cannot say.

use portcullis_app::ports::Firewalls;
use portcullis_azure::Bounds;
use portcullis_domain::{Existing, GrantState, Packet, Protocol};
use portcullis_tests::door;
use portcullis_tests::{
    azure::Azure,
    azure_place::AzurePlace,
    given::{self, named},
};
use serde_json::{Value, json};

/// Beyond a peering; addresses that nobody else has.
const BEYOND: &str = "11.77.0.4";
const ANN: &str = "198.51.100.9";

/// The network of most machines of the fleet.
fn network(snapshot: &mut Value) -> &mut Value {
    let mut all = snapshot["resources"].as_object_mut().expect("resources").iter_mut();
    let (_, network) = all.find(|(id, _)| id.ends_with("/virtualnetworks/main-vnet")).expect("is there");
    &mut network["body"]["properties"]
}

fn rule(access: &str, priority: u16, from: &str) -> Value {
    json!({
        "protocol": "*", "sourcePortRange": "*", "destinationPortRange": "22", "sourceAddressPrefix": from,
        "destinationAddressPrefix": "*", "access": access, "priority": priority, "direction": "Inbound",
    })
}

/// Between two bands of priorities that are left to others.
fn between() -> Bounds {
    let mut bounds = Bounds::with(Existing::Override);
    (bounds.bands.allows, bounds.bands.denies) = (1000..1100, 1100..1200);
    bounds
}

/// What somebody does to a network.
type Change = fn(&mut Value);

#[tokio::test]
async fn a_network_that_is_peered_is_part_of_it() {
    for (state, may_enter, is_in) in
        [("Connected", true, true), ("Connected", false, false), ("Disconnected", true, false)]
    {
        let place = AzurePlace::new(1).changed(|it| {
            network(it)["virtualNetworkPeerings"] = json!([{ "name": "to-spoke", "properties": {
                "peeringState": state, "allowVirtualNetworkAccess": may_enter,
                "remoteAddressSpace": { "addressPrefixes": ["11.77.0.0/16"] },
            }}]);
        });
        let id = place.id("web-1");
        for access in ["Deny", "Allow"] {
            place.put_rule("web-1-nsg", "Peers", &rule(access, 150, "VirtualNetwork"));
            let read = place.outside.read(&id).await.expect("reads");
            let packet = Packet { source: named(BEYOND), protocol: Protocol::Tcp, port: named("22") };
            let decided = read.decide(&(&id).into(), &packet);
            let truth = place.decided("web-1", BEYOND, 22);
            assert_eq!(
                (decided.passes, decided.rule == "Peers"),
                (truth.passes, truth.by == "Peers"),
                "{state}"
            );
            assert_eq!(truth.by == "Peers", is_in, "{state} {may_enter}: {truth:?}");
        }
    }
}

/// What is behind a gateway, or where routes lead, nobody tells: an allow may admit all of that, and a deny may
/// keep all of that out.
#[tokio::test]
async fn a_network_with_a_gateway_is_treated_as_the_worst_case() {
    let ways: [(&str, Change); 4] = [
        ("nothing", |_| ()),
        ("a gateway", |it| {
            let id = format!("{}/subnets/GatewaySubnet", it["subnets"][0]["id"].as_str().expect("an id"));
            let gateway = json!({ "id": id, "name": "GatewaySubnet", "properties": { "addressPrefix": "10.1.9.0/24" } });
            it["subnets"].as_array_mut().expect("a list").push(gateway);
        }),
        ("a gateway of a peer", |it| {
            it["virtualNetworkPeerings"] = json!([{ "properties": {
                "peeringState": "Connected", "allowVirtualNetworkAccess": true, "useRemoteGateways": true,
                "remoteAddressSpace": { "addressPrefixes": ["10.77.0.0/16"] },
            }}]);
        }),
        ("routes", |it| it["subnets"][0]["properties"]["routeTable"] = json!({ "id": "/any" })),
    ];
    for (what, change) in ways {
        let is_told = what == "nothing";
        let place = AzurePlace::on(Azure::new(1), between()).changed(|it| change(network(it)));
        let id = place.id("build-1");
        place.guard(&id, &given::ssh()).await;
        place.put_rule("build-1-nsg", "Insiders", &rule("Allow", 500, "VirtualNetwork"));
        let seen = door::discover_one(&place.store, &place.outside, &id, place.now()).await.expect("seen");
        let admitted = place.outside.read(&id).await.expect("reads").admitted(&(&id).into(), named("22/tcp"));
        assert!(
            seen.troubles.iter().any(|it| it.contains("is defeated by Insiders in ")),
            "{what}: {seen:?}"
        );
        assert_eq!(admitted.any.contains(named(ANN)), !is_told, "{what}");
        assert!(admitted.any.contains(named("10.1.2.3")), "{what}");
        // The same people, kept out.
        place.put_rule("build-1-nsg", "Insiders", &rule("Deny", 500, "VirtualNetwork"));
        let grant = place.open("ann", &id, "22", ANN).await;
        let (state, told) = (place.state(&grant).await, place.grant(&grant).await.open_failed);
        if is_told {
            assert_eq!((state, told), (GrantState::Open, None), "{what}");
        } else {
            assert_eq!(state, GrantState::OpenFailed, "{what}");
            assert!(told.as_ref().is_some_and(|it| it.starts_with("Insiders in ")), "{what}: {told:?}");
        }
        // And the other way round: whom such a deny does not surely stop, an allow under it admits.
        place.put_rule("build-1-nsg", "Backdoor", &rule("Allow", 600, "*"));
        let admitted = place.outside.read(&id).await.expect("reads").admitted(&(&id).into(), named("22/tcp"));
        assert!(admitted.any.contains(named("203.0.113.77")), "{what}");
        assert_eq!(admitted.all.contains(named("203.0.113.77")), is_told, "{what}");
        assert!(!admitted.any.contains(named("10.1.2.3")), "{what}: those are surely kept out");
    }
}
