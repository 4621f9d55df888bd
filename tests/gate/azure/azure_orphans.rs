//! Rules of ours in Azure whose machine the table does not know: of another installation, or of a table that was lost.

use jiff::SignedDuration;
use portcullis_app::{self as app, Error, Finding, ports::Firewalls, ports::Store};
use portcullis_azure::Role;
use portcullis_domain::{Chain, Fact, Refusal, TargetId};
use portcullis_local::RedbStore;
use portcullis_simcloud::Permissions;
use portcullis_tests::door::{self, Guarding};
use portcullis_tests::{
    azure::ANN,
    azure_place::{AzurePlace, LEASE},
    given::{self, Still},
};
use serde_json::{Value, json};

const READ_MACHINE: &str = "Microsoft.Compute/virtualMachines/read";

/// Another installation on the same cloud: it knows of nothing.
struct Other {
    store: RedbStore,
    _folder: tempfile::TempDir,
}

impl Other {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = RedbStore::open(&folder.path().join("other.redb")).expect("opens");
        Self { store, _folder: folder }
    }

    async fn enable(&self, place: &AzurePlace, id: &TargetId, take_over: bool) -> Result<(), Error> {
        let by = given::named("owner");
        let guarding = Guarding { target: id.clone(), by, confirm_within: None, take_over };
        let enabled = door::enable(&self.store, &place.outside, &guarding, &given::ssh(), place.now()).await;
        enabled.map(drop)
    }

    async fn disable(&self, place: &AzurePlace, id: &TargetId) {
        let disabled =
            door::disable(&self.store, &place.outside, id, &given::named("owner"), place.now()).await;
        disabled.unwrap_or_else(|error| panic!("{}", error.full()));
    }

    async fn reconcile(&self, place: &AzurePlace) {
        let reconciled = app::reconcile(
            &self.store,
            &place.outside,
            &app::Rights::default(),
            &place.worker(),
            &Still(place.now()),
        )
        .await;
        reconciled.unwrap_or_else(|error| panic!("{}", error.full()));
    }

    async fn expire(&self, place: &AzurePlace) {
        let expired = app::expire(&self.store, &place.outside, &place.worker(), place.now()).await;
        expired.unwrap_or_else(|error| panic!("{}", error.full()));
    }

    /// The names of the rules that it deleted.
    async fn deleted(&self) -> Vec<String> {
        let rest = self.store.entries(&Chain::rest(), 0, 100).await.expect("listed");
        let deleted = |it| if let Fact::OrphanDeleted { rule, .. } = it { Some(rule) } else { None };
        rest.into_iter().filter_map(|it| deleted(it.fact)).collect()
    }

    async fn owners(&self, place: &AzurePlace) -> Vec<Finding> {
        self.findings(place, "owners").await
    }

    async fn findings(&self, place: &AzurePlace, check: &str) -> Vec<Finding> {
        let findings = door::doctor(&self.store, &place.outside, Ok(()), place.now()).await;
        findings.into_iter().filter(|it| it.check == check).collect()
    }
}

/// A machine with a lease.
async fn guarded(name: &str) -> (AzurePlace, TargetId) {
    let place = AzurePlace::new(1);
    let id = place.id(name);
    place.guard(&id, &given::ssh()).await;
    place.open("ann", &id, "22", ANN).await;
    (place, id)
}

/// Takes a machine away, with its interface.
fn without(place: AzurePlace, name: &str) -> AzurePlace {
    place.changed(|snapshot| {
        let resources = snapshot["resources"].as_object_mut().expect("resources");
        let (machine, nic) = (format!("/{name}"), format!("/{name}-nic"));
        resources.retain(|id, _| !id.ends_with(&machine) && !id.ends_with(&nic));
    })
}

fn rule(place: &AzurePlace, group: &str, access: &str) -> String {
    let ours = place.ours().into_iter().find(|it| it["properties"]["access"] == access);
    let name = ours.expect("there")["name"].as_str().expect("a name").to_owned();
    place.azure.rule(group, &name)
}

#[tokio::test]
async fn another_installation_keeps_its_leases_and_its_locks() {
    // In a security group, in two, and in a firewall.
    for name in ["web-1", "app-1", "vault-1"] {
        let (place, _) = guarded(name).await;
        let (other, before) = (Other::new(), place.holdings());
        other.reconcile(&place).await;
        assert_eq!((place.holdings(), other.deleted().await.len()), (before, 0), "{name}");
        let said = other.owners(&place).await;
        let says = |what: &str| said.iter().any(|it| it.advice.as_ref().is_some_and(|it| it.contains(what)));
        assert!(
            says("it stays until its end, 2026-") && says("`enable` its machine, `/subscriptions/"),
            "{said:?}"
        );
        // Nobody came to shut it.
        place.pass(LEASE);
        let said = other.owners(&place).await;
        assert!(
            said.iter().any(|it| it
                .advice
                .as_ref()
                .is_some_and(|it| it.starts_with("the next reconcile deletes it")))
        );
        other.reconcile(&place).await;
        let deleted = other.deleted().await;
        assert!(
            !deleted.is_empty() && deleted.iter().all(|it| it.ends_with("-tcp-22")),
            "{name}: {deleted:?}"
        );
        let left = place.outside.ours().await.expect("listed");
        assert!(!left.is_empty() && left.iter().all(|it| it.name.gate.is_none()), "{name}: {left:?}");
        assert!(!place.passes(name, ANN, 22), "{name} is locked");
    }
}

/// What it guarded once it guards no longer: whoever guards it now keeps their rules, and is not joined.
#[tokio::test]
async fn a_machine_that_was_disabled_here_and_is_guarded_by_another_installation_is_left_alone_and_refused() {
    let place = AzurePlace::new(1);
    let (id, other) = (place.id("web-1"), Other::new());
    other.enable(&place, &id, false).await.expect("nobody guards it");
    other.reconcile(&place).await;
    other.disable(&place, &id).await;
    // What was written may land for minutes, and is looked for.
    for wait in [0, 1, 5] {
        place.pass(SignedDuration::from_mins(wait));
        other.expire(&place).await;
    }
    assert_eq!(place.ours(), Vec::<Value>::new());
    place.guard(&id, &given::ssh()).await;
    place.open("ann", &id, "22", ANN).await;
    let before = place.holdings();
    other.reconcile(&place).await;
    assert!(place.holdings() == before, "its lock and its lease are another installation's");
    let said = other.owners(&place).await;
    assert!(said.iter().any(|it| it.found.contains("does not guard")), "{said:?}");
    let refused = other.enable(&place, &id, false).await.expect_err("it is guarded");
    let Error::Refused(reasons) = &refused else { panic!("{}", refused.full()) };
    assert_eq!(reasons.iter().map(Refusal::code).collect::<Vec<_>>(), ["guarded-elsewhere"]);
    other.enable(&place, &id, true).await.expect("taken over");
    // What is disabled and not yet seen to be so is ours still.
    other.reconcile(&place).await;
    other.disable(&place, &id).await;
    other.enable(&place, &id, false).await.expect("its own rules are in nobody's way");
}

/// Two installations on one machine would delete each other's leases, or open what the other one shut.
#[tokio::test]
async fn a_machine_that_another_installation_guards_is_refused_and_a_lost_table_is_taken_over() {
    let (place, id) = guarded("web-1").await;
    let (other, before) = (Other::new(), place.holdings());
    let refused = other.enable(&place, &id, false).await.expect_err("it is guarded");
    let Error::Refused(reasons) = &refused else { panic!("{}", refused.full()) };
    assert_eq!(reasons.iter().map(Refusal::code).collect::<Vec<_>>(), ["guarded-elsewhere"]);
    let told = reasons.to_string();
    assert!(told.contains("another installation") && told.contains("-lockdown`"), "{told}");
    other.reconcile(&place).await;
    assert_eq!(place.holdings(), before, "nothing was changed");
    let rest = other.store.entries(&Chain::from(&id), 0, 10).await.expect("listed");
    assert_eq!(rest.len(), 0, "it is no target of this table");
    let noted = other.store.entries(&Chain::rest(), 0, 10).await.expect("listed");
    assert!(matches!(noted[0].fact, Fact::PolicyRefused { .. }), "a refusal is recorded: {noted:?}");
    let by = given::named("owner");
    let plan = door::plan(&other.store, &place.outside, &id, Some(&given::ssh()), &by, place.now()).await;
    let warnings = plan.expect("planned").warnings;
    assert!(warnings.iter().any(|it| it.contains("another installation")), "{warnings:?}");
    // Its table is lost: then nobody else wants these rules.
    other.enable(&place, &id, true).await.expect("taken over");
    other.reconcile(&place).await;
    assert!(!place.passes("web-1", ANN, 22), "the lock holds, and leases of the lost table are over");
    other.disable(&place, &id).await;
    other.reconcile(&place).await;
    assert_eq!(place.ours(), Vec::<Value>::new());
    other.enable(&place, &id, false).await.expect("nobody guards it");
}

/// Two that guard one machine already are told of: what one writes is drift to the other.
#[tokio::test]
async fn doctor_reports_two_installations_that_undo_each_others_rules() {
    let (place, id) = guarded("web-1").await;
    let other = Other::new();
    other.enable(&place, &id, true).await.expect("taken over, though its table is not lost");
    for _ in 0..3 {
        assert!(other.findings(&place, "drift").await.is_empty());
        other.reconcile(&place).await;
        assert!(!place.passes("web-1", ANN, 22), "one deletes the lease");
        place.pass(SignedDuration::from_secs(60));
        place.reconcile().await;
        assert!(place.passes("web-1", ANN, 22), "and the other one writes it again");
        place.pass(SignedDuration::from_secs(60));
    }
    other.reconcile(&place).await;
    let said = other.findings(&place, "drift").await;
    assert!(said.len() == 1 && said[0].found.contains("changed by another party 3 times"), "{said:?}");
    assert!(said[0].advice.as_ref().is_some_and(|it| it.contains("another installation")), "{said:?}");
    place.pass(SignedDuration::from_mins(20));
    assert!(other.findings(&place, "drift").await.is_empty(), "nothing lately");
}

/// An end that no lease has, or none, is nobody's lease.
#[tokio::test]
async fn an_allow_of_nobody_goes_at_once() {
    for description in
        [json!("Portcullis: 22/tcp of web-1 until 2027-01-01T00:00:00Z"), json!("until further notice")]
    {
        let (place, _) = guarded("web-1").await;
        let path = rule(&place, "web-1-nsg", "Allow");
        let mut body = place.azure.call("GET", &path, None).body;
        body["properties"]["description"] = description;
        assert!(place.azure.call("PUT", &path, Some(&body)).status < 300);
        let other = Other::new();
        other.reconcile(&place).await;
        assert_eq!(other.deleted().await.len(), 1, "{body}");
        assert_eq!(place.ours().len(), 1, "the lock alone");
    }
}

#[tokio::test]
async fn a_lock_goes_once_its_machine_is_known_to_be_gone() {
    let (place, _) = guarded("farm-1").await;
    let place = without(place, "farm-1");
    place.pass(LEASE);
    let other = Other::new();
    let said = other.owners(&place).await;
    assert!(
        said.iter()
            .all(|it| it.advice.as_ref().is_some_and(|it| it.starts_with("the next reconcile deletes it"))),
        "{said:?}"
    );
    other.reconcile(&place).await;
    let mut deleted = other.deleted().await;
    deleted.sort();
    assert!(deleted.len() == 2 && deleted[0].ends_with("-lockdown"), "{deleted:?}");
    assert_eq!(place.ours(), Vec::<Value>::new());
}

/// That a machine is not in a list says nothing: it may be in nobody's sight.
#[tokio::test]
async fn the_lock_of_a_machine_that_merely_cannot_be_seen_stays() {
    // It answers, though no list has it.
    let (place, _) = guarded("farm-1").await;
    let listed_as = |name: &'static str| {
        move |snapshot: &mut Value| {
            let resources = snapshot["resources"].as_object_mut().expect("resources");
            let found = resources.iter_mut().find(|(id, _)| id.ends_with("/virtualmachines/farm-1"));
            let body = &mut found.expect("farm-1").1["body"];
            let (rest, _) = body["id"].as_str().and_then(|it| it.rsplit_once('/')).expect("an id");
            body["id"] = json!(format!("{rest}/{name}"));
        }
    };
    let place = place.changed(listed_as("farm-1-as-listed"));
    stays(&place, "`enable` its machine, `/subscriptions/").await;

    // Nobody here may see whether it is there.
    let (place, _) = guarded("farm-1").await;
    let place = without(place, "farm-1");
    let actions = Role::guards().actions.into_iter().filter(|it| *it != READ_MACHINE).collect();
    place.azure.cloud.permit(Permissions { actions: Some(actions) });
    stays(&place, "`enable` its machine, `/subscriptions/").await;

    // Its rule does not tell which machine it is for.
    let (place, _) = guarded("farm-1").await;
    let path = rule(&place, "farm-subnet-nsg", "Deny");
    let mut body = place.azure.call("GET", &path, None).body;
    body["properties"]["description"] = json!("Portcullis: nobody passes without a lease to farm…");
    assert!(place.azure.call("PUT", &path, Some(&body)).status < 300);
    let place = without(place, "farm-1");
    stays(&place, "does not identify its machine").await;
}

async fn stays(place: &AzurePlace, advice: &str) {
    place.pass(LEASE);
    let other = Other::new();
    other.reconcile(place).await;
    assert!(other.deleted().await.iter().all(|it| it.ends_with("-tcp-22")), "no lock");
    let left = place.ours();
    assert_eq!((left.len(), &left[0]["properties"]["access"]), (1, &json!("Deny")), "{left:?}");
    let said = other.owners(place).await;
    assert!(said.len() == 1 && said[0].advice.as_ref().is_some_and(|it| it.contains(advice)), "{said:?}");
}
