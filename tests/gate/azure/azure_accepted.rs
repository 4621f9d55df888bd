//! Foreign rules that are accepted: a standing way in that is meant, such as the one for the subnet of Azure Bastion.

use portcullis_app::{Accepting, Error, Guarded, Verdict};
use portcullis_azure::Bounds;
use portcullis_domain::{Accept, Existing, Fact, GrantState, TargetId};
use portcullis_tests::{
    azure::Azure,
    azure_place::{AzurePlace, LEASE, admin_rule},
    door::{self, Guarding},
    given::{self, named},
};
use serde_json::{Value, json};

/// In the subnet of the bastion.
const BASTION: &str = "10.7.0.20";
const ANN: &str = "198.51.100.9";
const RULE: &str = "AllowBastion";
/// Told nowhere.
const NOTHING: [Vec<String>; 4] = [const { vec![] }; 4];

fn allow(priority: u16, from: &str) -> Value {
    json!({
        "protocol": "Tcp", "sourcePortRange": "*", "destinationPortRange": "22", "sourceAddressPrefix": from,
        "destinationAddressPrefix": "*", "access": "Allow", "priority": priority, "direction": "Inbound",
    })
}

/// A guarded machine whose network lets the subnet of a bastion in above our rules.
async fn place() -> (AzurePlace, TargetId) {
    let (place, id) = unguarded();
    place.guard(&id, &given::ssh()).await;
    (place, id)
}

/// The same before anybody guards it.
fn unguarded() -> (AzurePlace, TargetId) {
    let mut bounds = Bounds::with(Existing::Override);
    (bounds.bands.allows, bounds.bands.denies) = (1000..1100, 1100..1200);
    let place = AzurePlace::on(Azure::new(1), bounds);
    let id = place.id("web-1");
    place.azure.call("DELETE", &place.azure.rule("web-1-nsg", "SSH"), None);
    place.put_rule("web-1-nsg", RULE, &allow(500, "10.7.0.0/26"));
    (place, id)
}

fn accepting(rules: &[&str]) -> Accepting {
    let why = Some(named("the bastion of the platform team"));
    let accept = rules.iter().map(|it| Accept { rule: (*it).to_owned(), why: why.clone() });
    Accepting { accept: accept.collect(), no_longer: vec![] }
}

async fn edit(place: &AzurePlace, id: &TargetId, accepting: &Accepting) -> Result<bool, Error> {
    let edited = door::accept(&place.store, &place.outside, id, accepting, place.now()).await;
    place.expire().await;
    edited.map(|it| it.changed)
}

async fn accept(place: &AzurePlace, id: &TargetId, rules: &[&str]) -> bool {
    edit(place, id, &accepting(rules)).await.unwrap_or_else(|error| panic!("{}", error.full()))
}

async fn refused(place: &AzurePlace, id: &TargetId, accepting: &Accepting) -> String {
    match edit(place, id, accepting).await {
        Err(error @ Error::Refused(_)) => error.full(),
        other => panic!("{other:?}"),
    }
}

/// Guards a machine, and accepts rules in the same command.
async fn enable(place: &AzurePlace, id: &TargetId, rules: &[&str]) -> Result<Guarded, Error> {
    let guarding =
        Guarding { target: id.clone(), by: named("owner"), confirm_within: None, take_over: false };
    let (policy, accept) = (given::ssh(), accepting(rules).accept);
    let enabled =
        door::enable_accepting(&place.store, &place.outside, &guarding, &policy, accept, place.now()).await;
    place.expire().await;
    enabled
}

/// Every place where a defeated lock is told: the list of machines, the checkup, a plan, the last entry about it.
async fn told(place: &AzurePlace, id: &TargetId) -> [Vec<String>; 4] {
    let seen = door::discover_one(&place.store, &place.outside, id, place.now()).await.expect("seen");
    assert_eq!(seen.healthy, Some(seen.troubles.is_empty()));
    let findings = door::doctor(&place.store, &place.outside, Ok(()), place.now()).await.into_iter();
    let locks = findings.filter(|it| it.check == "locks" && it.verdict == Verdict::Failed).map(|it| it.found);
    let plan = door::plan(&place.store, &place.outside, id, None, &named("owner"), place.now()).await;
    let planned = plan.expect("planned").gates.into_iter().flat_map(|it| it.defeated_by);
    let last = |it: Fact| if let Fact::LockDefeated { by, .. } = it { Some(by) } else { None };
    let last = place.facts(id).await.into_iter().filter_map(last).next_back().flatten();
    [seen.troubles, locks.collect(), planned.collect(), last.into_iter().collect()]
}

#[tokio::test]
async fn accepted_rule_is_told_as_accepted_everywhere_and_no_firewall_is_written() {
    let (place, id) = place().await;
    for told in told(&place, &id).await {
        assert!(told.iter().any(|it| it.contains(RULE)), "{told:?}");
    }
    // Whoever waits for the firewalls after an edit waits for the rules, which are there, and not for the lock to hold.
    let (seen, target) =
        (door::discover_one(&place.store, &place.outside, &id, place.now()).await, place.target(&id).await);
    assert!(seen.expect("found").settled && !target.is_settled(place.now()));
    let before = place.holdings();
    assert!(accept(&place, &id, &[RULE]).await);
    assert_eq!(told(&place, &id).await, NOTHING);
    place.reconcile().await;
    assert_eq!(place.holdings(), before, "an acceptance writes nothing");

    let plan = door::plan(&place.store, &place.outside, &id, None, &named("owner"), place.now()).await;
    let accepted = &plan.expect("planned").gates[0].accepted;
    assert!(matches!(&accepted[..], [it] if it.rule == RULE && it.by == named("owner")), "{accepted:?}");
    let check = door::check(&place.store, &place.outside, &id, named("22/tcp"), named(BASTION)).await;
    let check = check.expect("checked");
    let by = check.accepted.expect("by an accepted rule");
    assert!(check.decision.passes && place.passes("web-1", BASTION, 22));
    assert!(by.rule.rule == RULE && !by.is_changed && by.beside.is_none(), "{by:?}");
    let findings = door::doctor(&place.store, &place.outside, Ok(()), place.now()).await;
    let lock = findings.iter().find(|it| it.found.contains(RULE)).expect("told by the checkup");
    assert_eq!(lock.verdict, Verdict::Ok);
    assert!(lock.found.contains("10.7.0.0/26") && lock.found.contains("the platform team"), "{lock:?}");
    let facts = place.facts(&id).await;
    let holds =
        |it: &Fact| matches!(it, Fact::LockDefeated { by: None, accepted, .. } if accepted.len() == 1);
    assert!(facts.iter().any(holds), "{facts:?}");

    // Accepting twice is accepting once, and who accepted first stays.
    assert!(!accept(&place, &id, &[RULE]).await);
    let why = Some(named("another reason"));
    let again =
        Accepting { accept: vec![Accept { rule: RULE.to_owned(), why: why.clone() }], no_longer: vec![] };
    assert!(edit(&place, &id, &again).await.expect("edited"), "another reason is another acceptance");
    let policy = place.target(&id).await.policy().expect("guarded").clone();
    assert_eq!(policy.ports()[0].accepted[0].why, why);
    let no_longer = Accepting { accept: vec![], no_longer: vec!["bastion".to_owned()] };
    edit(&place, &id, &no_longer).await.expect("edited");
    for told in told(&place, &id).await {
        assert!(told.iter().any(|it| it.contains(RULE)), "{told:?}");
    }
    assert!(
        refused(&place, &id, &no_longer).await.contains("`bastion` is no accepted rule: accepted is none")
    );
}

/// Twice is once; and another rule, or the same one as it is by now, is accepted by an edit.
#[tokio::test]
async fn rule_that_is_accepted_as_its_machine_is_enabled_never_defeats_the_lock() {
    let (place, id) = unguarded();
    let no = enable(&place, &id, &["Bastoin"]).await.expect_err("no such rule").full();
    assert!(no.contains("`Bastoin` is no foreign rule that lets sources in without a lease: `"), "{no}");
    assert!(place.ours().is_empty(), "a name of no rule guards nothing");

    let guarded = enable(&place, &id, &[RULE]).await.expect("guarded");
    assert!(guarded.changed && guarded.warnings.is_empty(), "{guarded:?}");
    let policy = guarded.target.policy().expect("guarded");
    assert!(matches!(&policy.ports()[0].accepted[..], [it] if it.rule == RULE && it.by == named("owner")));
    assert_eq!(told(&place, &id).await, NOTHING);
    let defeats = |it: &Fact| matches!(it, Fact::LockDefeated { by: Some(_), .. });
    assert!(!place.facts(&id).await.iter().any(defeats));
    assert!(place.passes("web-1", BASTION, 22) && !place.passes("web-1", ANN, 22));

    assert!(!enable(&place, &id, &[RULE]).await.expect("is so already").changed);
    assert!(!enable(&place, &id, &[]).await.expect("is so already").changed);
    place.put_rule("web-1-nsg", RULE, &allow(500, "10.7.0.0/24"));
    let no = enable(&place, &id, &[RULE]).await.expect_err("another rule by now").full();
    assert!(no.contains("is guarded already"), "{no}");
}

/// Above every security group, where no rule of ours can be written.
#[tokio::test]
async fn rule_of_a_network_manager_is_accepted_and_told_as_changed_once_it_says_something_else() {
    const NOC: &str = "192.0.2.77";
    let place = AzurePlace::new(1);
    let id = place.id("web-1");
    let always = |from: &str| vec![admin_rule("ssh-from-noc", 10, "AlwaysAllow", from)];
    place.administer("main-vnet", always("192.0.2.0/24"));
    place.guard(&id, &given::ssh()).await;
    for told in told(&place, &id).await {
        assert!(told.iter().any(|it| it.contains("corp/ssh-from-noc in ")), "{told:?}");
    }
    assert!(accept(&place, &id, &["corp/ssh-from-noc"]).await);
    assert_eq!(told(&place, &id).await, NOTHING);
    let check = async || {
        let check = door::check(&place.store, &place.outside, &id, named("22/tcp"), named(NOC)).await;
        check.expect("checked").accepted.expect("by an accepted rule")
    };
    assert!(!check().await.is_changed && place.passes("web-1", NOC, 22));
    let grant = place.open("ann", &id, "22", ANN).await;
    assert_eq!(place.state(&grant).await, GrantState::Open);
    place.pass(LEASE);
    place.expire().await;
    assert_eq!(place.state(&grant).await, GrantState::Closed);

    // Another rule beside it is no change of it.
    let beside = admin_rule("no-ssh-from-there", 5, "Deny", "203.0.113.0/24");
    place.administer("main-vnet", [always("192.0.2.0/24"), vec![beside]].concat());
    place.reconcile().await;
    assert_eq!(told(&place, &id).await, NOTHING);

    place.administer("main-vnet", always("192.0.0.0/16"));
    place.reconcile().await;
    for told in told(&place, &id).await {
        let is_told = |it: &String| {
            it.contains("corp/ssh-from-noc in ")
                && it.contains("`owner` accepted it as it was, and it was changed since")
        };
        assert!(told.iter().any(is_told), "{told:?}");
    }
    assert!(check().await.is_changed);
}

#[tokio::test]
async fn accepted_rule_that_says_something_else_is_an_alarm_again() {
    let (place, id) = place().await;
    accept(&place, &id, &[RULE]).await;
    for changed in [
        allow(500, "10.7.0.0/24"),
        allow(501, "10.7.0.0/26"),
        json!({ "destinationPortRange": "22-23", "priority": 500, "sourceAddressPrefix": "10.7.0.0/26",
                "protocol": "Tcp", "sourcePortRange": "*", "destinationAddressPrefix": "*", "access": "Allow",
                "direction": "Inbound" }),
    ] {
        place.put_rule("web-1-nsg", RULE, &changed);
        place.reconcile().await;
        for told in told(&place, &id).await {
            let is_told = |it: &String| {
                it.contains(RULE) && it.contains("`owner` accepted it as it was, and it was changed since")
            };
            assert!(told.iter().any(is_told), "{told:?}");
        }
        let check = door::check(&place.store, &place.outside, &id, named("22/tcp"), named(BASTION)).await;
        assert!(check.expect("checked").accepted.is_some_and(|it| it.is_changed));
        // As it is now it may be accepted, too.
        assert!(accept(&place, &id, &[RULE]).await);
        assert_eq!(told(&place, &id).await, NOTHING);
    }
    place.azure.call("DELETE", &place.azure.rule("web-1-nsg", RULE), None);
    let findings = door::doctor(&place.store, &place.outside, Ok(()), place.now()).await;
    let gone = findings.iter().find(|it| it.found.contains("no longer lets sources in")).expect("told");
    assert_eq!(gone.verdict, Verdict::Warning);
}

/// Whether the other rule stands above or below, lets in the same, fewer or more.
#[tokio::test]
async fn another_rule_for_the_same_sources_is_told_beside_an_accepted_one() {
    for (priority, from) in
        [(510, "10.7.0.0/26"), (510, "10.7.0.0/28"), (510, "10.0.0.0/8"), (490, "10.7.0.16/28")]
    {
        let (place, id) = place().await;
        accept(&place, &id, &[RULE]).await;
        place.put_rule("web-1-nsg", "Second", &allow(priority, from));
        place.reconcile().await;
        for told in told(&place, &id).await {
            let is_told = told.iter().any(|it| it.contains("Second in "));
            let is_other = told.iter().any(|it| it.contains(RULE));
            assert!(is_told && !is_other, "{priority} {from}: {told:?}");
        }
        if priority == 510 && from == "10.7.0.0/26" {
            let check = door::check(&place.store, &place.outside, &id, named("22/tcp"), named(BASTION)).await;
            let beside = check.expect("checked").accepted.expect("by an accepted rule").beside;
            assert_eq!(beside.expect("the other one").name, "Second");
        }
    }
}

#[tokio::test]
async fn lease_beside_an_accepted_rule_opens_and_is_closed_on_time() {
    let (place, id) = place().await;
    accept(&place, &id, &[RULE]).await;
    // One from elsewhere, and one from where the rule lets everyone in.
    for from in [ANN, BASTION] {
        let grant = place.open("ann", &id, "22", from).await;
        assert_eq!(place.state(&grant).await, GrantState::Open);
        place.pass(LEASE);
        place.expire().await;
        assert_eq!(place.state(&grant).await, GrantState::Closed, "{from}");
    }
    assert!(!place.passes("web-1", ANN, 22) && place.passes("web-1", BASTION, 22));
    let facts = place.facts(&id).await;
    let late = facts.iter().filter(|it| matches!(it, Fact::Closed { late_ms: 0, delay: None, .. })).count();
    assert_eq!(late, 2, "{facts:?}");
    let read_back = |it: &Fact| matches!(it, Fact::ReadBack { wanted, accepted, .. } if wanted.is_empty() && !accepted.is_empty());
    assert!(facts.iter().any(read_back), "{facts:?}");
}

#[tokio::test]
async fn name_of_no_rule_or_of_several_is_refused_with_those_that_there_are() {
    let (place, id) = place().await;
    place.put_rule("web-1-nsg", "AllowBastionToo", &allow(520, "10.8.0.0/26"));
    let no = refused(&place, &id, &accepting(&["Bastoin"])).await;
    assert!(
        no.contains("`Bastoin` is no foreign rule that lets sources in without a lease: `AllowBastion in "),
        "{no}"
    );
    let no = refused(&place, &id, &accepting(&["bastion"])).await;
    assert!(
        no.contains("`bastion` may be any of `AllowBastion in ") && no.contains("`AllowBastionToo in "),
        "{no}"
    );
    // An id has parts that no plan prints: they name no rule.
    let no = refused(&place, &id, &accepting(&["resourcegroups"])).await;
    assert!(no.contains("`resourcegroups` is no foreign rule"), "{no}");
    let both = Accepting { no_longer: vec!["bastion".to_owned()], ..accepting(&["Bastion"]) };
    let no = refused(&place, &id, &both).await;
    assert!(no.contains("`Bastion` is to be accepted, and accepted no longer"), "{no}");
    let refusals = place.facts(&id).await.into_iter().filter(|it| matches!(it, Fact::PolicyRefused { .. }));
    assert_eq!(refusals.count(), 4, "each is recorded");
    // The name as it is, in any case and with the end of its firewall's id, is that of one.
    for name in ["allowbastion", "AllowBastion in web-1-nsg"] {
        accept(&place, &id, &[name]).await;
    }
    let policy = place.target(&id).await.policy().expect("guarded").clone();
    assert_eq!(policy.ports()[0].accepted.len(), 1);
    // A lock of ours that somebody altered is drift: it cannot be accepted.
    let lock = place.ours()[0]["name"].as_str().expect("a name").to_owned();
    place.put_rule("web-1-nsg", &lock, &allow(1100, "*"));
    let no = refused(&place, &id, &accepting(&[&lock])).await;
    assert!(no.contains("is no foreign rule"), "{no}");
}

/// A NAT rule of an Azure Firewall defeats a lock only while a lease is open.
#[tokio::test]
async fn nat_rule_in_front_can_be_accepted() {
    let place = AzurePlace::new(1);
    let id = place.id("vault-1");
    let ports = vec![portcullis_domain::PortRule::offered(named("3389"), named("tcp"))];
    let policy = portcullis_domain::Policy::of(ports, &portcullis_domain::Terms::default()).expect("valid");
    place.guard(&id, &policy).await;
    accept(&place, &id, &["management/rdp-to-vault-1"]).await;
    let grant = place.open("ann", &id, "3389", ANN).await;
    assert_eq!(place.state(&grant).await, GrantState::Open);
    assert!(place.passes("vault-1", "203.0.113.10", 3389), "anybody comes through the rule in front");
    assert_eq!(told(&place, &id).await, NOTHING);
    place.pass(LEASE);
    place.expire().await;
    assert_eq!(place.state(&grant).await, GrantState::Closed);
}
