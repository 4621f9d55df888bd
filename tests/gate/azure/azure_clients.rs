//! Microsoft's own clients, pinned and unmodified, on `portcullis simcloud --tls`; and what `infra/azure` deploys.
//! They are installed into the target folder, with what parses Bicep.

use portcullis_azure::{Bounds, Role};
use portcullis_domain::{Existing, Fact, GrantState, TargetId};
use portcullis_tests::{
    azure::{ANN, Azure},
    azure_place::AzurePlace,
    binary::{Simcloud, text},
    given,
    needs::lacking,
    python::programs,
};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Lines, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

/// Who has no lease, and gets in where nothing of ours stands.
const STRANGER: &str = "192.0.2.77";
/// Whom strangers are shut out of, and the group before it.
const MACHINE: (&str, &str) = ("web-1", "web-1-nsg");

#[test]
#[ignore = "needs pypi"]
fn microsofts_clients_list_machines_and_change_rules() {
    let python = python();
    let data = tempfile::tempdir().expect("a folder");
    let cloud = Simcloud::start(data.path());
    let run = Command::new(python)
        .arg(folder().join("clients.py"))
        .args([&cloud.url, &cloud.tenant, &cloud.subscription])
        .env("REQUESTS_CA_BUNDLE", data.path().join("simcloud.pem"))
        .env("NO_PROXY", "localhost")
        .output()
        .expect("runs");
    assert!(run.status.success(), "{}", text(&run.stderr));
    let seen: Value = serde_json::from_slice(&run.stdout).expect("JSON");
    assert_eq!(seen["machines"].as_array().map(Vec::len), Some(15), "{seen}");
    assert_eq!(seen["put"], json!(["From-Python", "Succeeded"]), "polled until it was done");
    assert_eq!(seen["read"], json!([100, ["203.0.113.9"]]));
    assert_eq!(seen["listed"], json!(["From-Python"]));
    assert_eq!(seen["clash"], "SecurityRuleConflict");
    assert_eq!(seen["gone"], "ResourceNotFound");
}

/// Who changes our rules in a portal does no lasting harm: it is found, told and mended.
#[tokio::test]
#[ignore = "needs pypi"]
async fn changes_of_our_rules_by_microsofts_clients_are_undone() {
    let python = python();
    let (mut hands, place) = (Hands::new(&python), below());
    let id = place.id(MACHINE.0);
    place.guard(&id, &given::ssh()).await;
    let grant = place.open("ann", &id, "22", ANN).await;
    let (lock, lease) = (named_as(&place, "Deny"), named_as(&place, "Allow"));
    let (allowed, locked) = (place.ours(), (false, true));
    assert_eq!(who(&place), locked);
    let sources = json!({ "source_address_prefix": null, "source_address_prefixes": [STRANGER] });
    let last = json!({ "priority": 4000 });
    let nothing = Value::Null;
    // What is done to which rule, and whether a stranger and ann get in then.
    for (what, rule, to, harm) in [
        ("delete", &lease, &nothing, (false, false)),
        ("delete", &lock, &nothing, (true, true)),
        ("change", &lease, &sources, (true, false)),
        ("change", &lease, &last, (false, false)),
        ("change", &lock, &last, (true, true)),
    ] {
        let told = format!("{what} {rule} to {to}");
        let before = place.facts(&id).await.len();
        hands.work(&place, what, rule, to);
        assert_eq!(who(&place), harm, "{told}");
        place.reconcile().await;
        assert_eq!(who(&place), locked, "{told}");
        let facts = &place.facts(&id).await[before..];
        let found =
            facts.iter().find_map(|it| if let Fact::DriftFound { rules } = it { Some(rules) } else { None });
        assert!(found.is_some_and(|it| it.iter().any(|it| it.contains(rule.as_str()))), "{told}: {facts:#?}");
        assert!(facts.contains(&Fact::DriftHealed), "{told}: {facts:#?}");
        assert_eq!(names(&place), names_of(&allowed), "{told}: nothing is left behind");
    }
    assert_eq!(place.state(&grant).await, GrantState::Open, "all the while");
}

/// A rule above our bands is not ours to take away: it is named while it is there. One within them is overtaken.
#[tokio::test]
#[ignore = "needs pypi"]
async fn rules_of_microsofts_clients_above_ours_are_overtaken_or_named() {
    let python = python();
    let (mut hands, place) = (Hands::new(&python), below());
    let id = place.id(MACHINE.0);
    place.guard(&id, &given::ssh()).await;
    place.open("ann", &id, "22", ANN).await;
    let above = |priority: u64| {
        json!({
            "protocol": "*", "source_port_range": "*", "destination_port_range": "22",
            "source_address_prefix": "Internet", "destination_address_prefix": "*", "access": "Allow",
            "priority": priority, "direction": "Inbound",
        })
    };
    let lock = place.ours().into_iter().find(|it| it["properties"]["access"] == "Deny").expect("a lock");
    let at = lock["properties"]["priority"].as_u64().expect("a priority");
    hands.work(&place, "add", "Within", &above(at - 1));
    assert_eq!(who(&place), (true, true));
    place.reconcile().await;
    assert_eq!(who(&place), (false, true), "the lock stands above it now");
    assert_eq!(defeats(&place, &id).await, [None::<String>; 0]);
    hands.work(&place, "add", "Backdoor", &above(ABOVE));
    place.reconcile().await;
    assert_eq!(who(&place), (true, true));
    let told = defeats(&place, &id).await;
    let [Some(by)] = &told[..] else { panic!("{told:?}") };
    assert!(by.starts_with("Backdoor in /subscriptions/") && by.ends_with(MACHINE.1), "{by}");
    hands.work(&place, "delete", "Backdoor", &Value::Null);
    place.reconcile().await;
    assert_eq!((who(&place), defeats(&place, &id).await), ((false, true), vec![Some(by.clone()), None]));
}

/// A priority above all of ours in [`below`].
const ABOVE: u64 = 120;

/// A place where others have priorities above ours.
fn below() -> AzurePlace {
    let mut bounds = Bounds::with(Existing::Override);
    bounds.bands.allows = 150..200;
    AzurePlace::on(Azure::new(1), bounds)
}

/// Whether the stranger and ann get in.
fn who(place: &AzurePlace) -> (bool, bool) {
    (place.passes(MACHINE.0, STRANGER, 22), place.passes(MACHINE.0, ANN, 22))
}

/// What the rule of ours is called that does this.
fn named_as(place: &AzurePlace, access: &str) -> String {
    let ours = place.ours().into_iter().find(|it| it["properties"]["access"] == access);
    ours.expect("one").get("name").and_then(Value::as_str).expect("a name").to_owned()
}

fn names(place: &AzurePlace) -> Vec<String> {
    names_of(&place.ours())
}

fn names_of(rules: &[Value]) -> Vec<String> {
    rules.iter().map(|it| it["name"].to_string()).collect()
}

/// By which rules the lock was said to be defeated, one after the other.
async fn defeats(place: &AzurePlace, id: &TargetId) -> Vec<Option<String>> {
    let facts = place.facts(id).await.into_iter();
    facts.filter_map(|it| if let Fact::LockDefeated { by, .. } = it { Some(by) } else { None }).collect()
}

/// A Python with the clients.
fn python() -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("azure_clients");
    let programs = programs(&folder().join("requirements.txt"), &place);
    programs.unwrap_or_else(|why| lacking("pypi", &why)).join("python")
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("azure_clients")
}

/// Nothing here can compile Bicep, so it is parsed, and worked out as far as it goes: it gives exactly the role,
/// and trusts exactly the functions that it is told of.
#[test]
#[ignore = "needs pypi"]
fn the_template_gives_the_role_and_trusts_the_functions_that_it_is_told_of() {
    let python = python();
    let file = portcullis_tests::root().join("infra/azure/main.bicep");
    let deployed = |parameters: &Value| {
        let run = Command::new(&python)
            .arg(folder().join("infra.py"))
            .arg(&file)
            .arg(parameters.to_string())
            .output()
            .expect("runs");
        assert!(run.status.success(), "{}", text(&run.stderr));
        serde_json::from_slice::<Value>(&run.stdout).expect("JSON")
    };
    let of = |deployed: &Value, kind: &str| {
        let all = deployed["resources"].as_array().expect("a list").iter();
        all.filter(|it| it["type"] == kind).map(|it| it["properties"].clone()).collect::<Vec<_>>()
    };
    let issuer = "https://id.tokens.sts.global.api.aws";
    let functions = ["arn:aws:iam::1:role/portcullis-settle", "arn:aws:iam::1:role/portcullis-expire"];
    let reader = "arn:aws:iam::1:role/portcullis-api";
    let from_aws = deployed(&json!({
        "awsIssuer": issuer, "awsRoles": functions, "awsReaderRoles": [reader], "requesterId": "somebody",
    }));
    let roles = of(&from_aws, "Microsoft.Authorization/roleDefinitions");
    let wanted = [Role::guards(), Role::asks()].map(|it| {
        json!({
            "roleName": it.name, "description": it.description, "type": "CustomRole",
            "permissions": [{ "actions": it.actions, "notActions": [] }], "assignableScopes": ["/subscriptions/S"],
        })
    });
    assert_eq!(roles, wanted);
    let trusted =
        of(&from_aws, "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials");
    let wanted = [functions[0], functions[1], reader]
        .map(|it| json!({ "issuer": issuer, "subject": it, "audiences": ["api://AzureADTokenExchange"] }));
    assert_eq!(trusted, wanted);
    let assigned = |deployed: &Value| {
        let assigned = of(deployed, "Microsoft.Authorization/roleAssignments").into_iter();
        assigned.map(|it| json!([it["roleDefinitionId"], it["principalId"]])).collect::<Vec<_>>()
    };
    let wanted = [
        json!(["guards.id", "identity.principalId"]),
        json!(["asks.id", "somebody"]),
        json!(["asks.id", "reader.principalId"]),
    ];
    assert_eq!(assigned(&from_aws), wanted);
    assert_eq!(
        from_aws["outputs"],
        json!({ "clientId": "identity.clientId", "readerClientId": "reader.clientId", "tenantId": "T" })
    );
    // Whoever is there already needs no identity.
    let here = deployed(&json!({ "principalId": "me" }));
    assert_eq!(assigned(&here), [json!(["guards.id", "me"])]);
    assert_eq!(
        (here["resources"].as_array().map(Vec::len), &here["outputs"]["clientId"]),
        (Some(3), &json!(""))
    );
}

/// `hands.py`, killed when it is dropped.
struct Hands {
    process: Child,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Hands {
    fn new(python: &Path) -> Self {
        let mut process = Command::new(python)
            .arg(folder().join("hands.py"))
            .env("NO_PROXY", "127.0.0.1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let answers = BufReader::new(process.stdout.take().expect("piped")).lines();
        Self { process, answers }
    }

    /// Does something to a rule before [`MACHINE`], and waits until it is done.
    fn work(&mut self, place: &AzurePlace, what: &str, rule: &str, to: &Value) {
        let cloud = &place.azure.cloud;
        let wanted = json!({
            "endpoint": place.azure.url, "token": cloud.issue_token(), "subscription": cloud.subscription(),
            "group": MACHINE.1, "rule": rule, "do": what, "to": to,
        });
        writeln!(self.process.stdin.as_mut().expect("piped"), "{wanted}").expect("it reads");
        let answer = self.answers.next().expect("it lives").expect("it answers");
        assert_eq!(answer, "done", "{what} {rule} to {to}");
    }
}

impl Drop for Hands {
    fn drop(&mut self) {
        // It may be gone already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
