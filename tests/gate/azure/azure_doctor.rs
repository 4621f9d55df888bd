//! The checkup: all is well, and then each thing broken, by itself.

use jiff::{SignedDuration, Timestamp};
use portcullis_app::{Finding, Verdict};
use portcullis_azure::{Arm, Bounds, Role, Settings};
use portcullis_domain::{Existing, LEASE_MIN, Owner, RuleName, TargetId};
use portcullis_simcloud::{Faults, Lock, LockLevel, Permissions, Restrictions};
use portcullis_tests::door;
use portcullis_tests::{
    azure::{ANN, Azure, allow},
    binary::{program, text},
    given::{self, named},
    guarded::Guarded,
};
use serde_json::{Value, json};
use std::{process::Command, sync::Arc, time::Duration};

const WRITE: &str = "Microsoft.Network/networkSecurityGroups/securityRules/write";

async fn doctor(place: &Guarded) -> Vec<Finding> {
    door::doctor(&*place.store, &place.outside, place.store.probe().await, place.now()).await
}

/// What is not as it should be.
async fn bad(place: &Guarded) -> Vec<Finding> {
    doctor(place).await.into_iter().filter(|it| it.verdict != Verdict::Ok).collect()
}

/// The only thing that is not as it should be.
async fn only(place: &Guarded) -> Finding {
    let mut bad = bad(place).await;
    assert_eq!(bad.len(), 1, "{bad:?}");
    bad.remove(0)
}

fn permit(place: &Guarded, is_given: impl Fn(&str) -> bool) {
    let actions = Role::guards().actions.into_iter().filter(|it| is_given(it)).collect();
    place.azure.cloud.permit(Permissions { actions: Some(actions) });
}

/// With this clock, and what is changed of the settings.
fn with(
    change: impl FnOnce(&mut Settings),
    clock: impl Fn() -> Timestamp + Send + Sync + 'static,
) -> Guarded {
    let azure = Azure::new(1);
    azure.cloud.plan(Faults::quick());
    let mut settings = Settings::of_simulator(&azure.url, &azure.cloud.tenant());
    change(&mut settings);
    let arm = Arm::new(&settings).expect("the settings are good");
    let outside = portcullis_azure::Azure::new(arm, Bounds::with(Existing::Override), Arc::new(clock));
    Guarded::of(azure, outside)
}

fn beginning() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("a time")
}

#[tokio::test]
async fn all_is_well() {
    let place = Guarded::new();
    place.enable("web-1", &given::ssh()).await.expect("enabled");
    permit(&place, |_| true);
    let findings = doctor(&place).await;
    let checks: Vec<&str> = findings.iter().map(|it| it.check).collect();
    let manager = findings.iter().find(|it| it.check == "resource manager").expect("a check");
    assert!(manager.found.ends_with("1 subscription"), "{manager:?}");
    for check in [
        "table",
        "credentials",
        "resource manager",
        "resource graph",
        "permissions",
        "management locks",
        "network paths",
        "clock",
        "limits",
        "closings",
        "owners",
        "locks",
        "settled",
    ] {
        assert!(checks.contains(&check), "{check}: {checks:?}");
    }
    assert!(findings.iter().all(|it| it.verdict == Verdict::Ok && it.advice.is_none()), "{findings:?}");
}

#[tokio::test]
async fn a_missing_action_is_named() {
    let place = Guarded::new();
    permit(&place, |it| it != WRITE);
    let it = only(&place).await;
    assert_eq!((it.check, it.verdict), ("permissions", Verdict::Failed));
    assert!(it.found.contains(WRITE) && it.found.contains("reads and requests work"), "{it:?}");
    assert!(it.advice.expect("advice").contains("portcullis role azure"));

    // Also by what a read says, where it may not even look what it may.
    let (permissions, groups) =
        ("Microsoft.Authorization/permissions/read", "Microsoft.Network/networkSecurityGroups/read");
    permit(&place, |it| it != permissions && it != groups);
    let bad = bad(&place).await;
    let said = |check: &str, action: &str| {
        bad.iter().any(|it| it.check == check && it.verdict == Verdict::Failed && it.found.contains(action))
    };
    assert!(said("permissions", permissions) && said("limits", groups) && said("owners", groups), "{bad:?}");

    // Without Resource Graph machines are listed.
    permit(&place, |it| it != "Microsoft.ResourceGraph/resources/read");
    let bad = self::bad(&place).await;
    let graph = bad.iter().find(|it| it.check == "resource graph").expect("said");
    assert_eq!(graph.verdict, Verdict::Warning);
    assert!(graph.advice.as_deref().expect("advice").contains("listed"));

    // Nothing at all.
    permit(&place, |_| false);
    let bad = self::bad(&place).await;
    let subscriptions = "Microsoft.Resources/subscriptions/read";
    assert!(bad.iter().any(|it| it.check == "permissions" && it.found.contains(subscriptions)), "{bad:?}");
    assert!(bad.iter().all(|it| it.check != "credentials"), "who is refused is known: {bad:?}");
}

#[tokio::test]
async fn a_management_lock_on_a_firewall_is_reported_beforehand() {
    let place = Guarded::new();
    let subscription = format!("/subscriptions/{}", place.azure.cloud.subscription());
    let lock = |scope: &str, level| {
        let lock = Lock { name: "keep".to_owned(), scope: format!("{subscription}{scope}"), level };
        place.azure.cloud.restrict(Restrictions { locks: vec![lock], ..Restrictions::default() });
    };
    let network = "/resourceGroups/demo/providers/Microsoft.Network";
    for scope in ["", "/resourceGroups/DEMO", &format!("{network}/networkSecurityGroups/web-1-nsg")] {
        lock(scope, LockLevel::CanNotDelete);
        let it = only(&place).await;
        assert_eq!((it.check, it.verdict), ("management locks", Verdict::Warning), "{scope}");
        assert!(it.found.contains("`keep`") && it.found.contains("can be deleted"), "{it:?}");
        lock(scope, LockLevel::ReadOnly);
        let it = only(&place).await;
        assert_eq!((it.check, it.verdict), ("management locks", Verdict::Failed), "{scope}");
        assert!(it.advice.expect("advice").contains("CanNotDelete"));
    }
    lock(&format!("{network}/publicIPAddresses/somebody-elses"), LockLevel::ReadOnly);
    assert_eq!(bad(&place).await, [], "nobody writes there");
}

#[tokio::test]
async fn a_wrong_clock_is_reported() {
    for (secs, is_bad) in [(0, false), (1, false), (10, true), (-10, true)] {
        let place = with(|_| (), move || beginning() + SignedDuration::from_secs(secs));
        let findings = doctor(&place).await;
        let clock = findings.iter().find(|it| it.check == "clock").expect("looked at");
        assert_eq!(clock.verdict == Verdict::Failed, is_bad, "{secs}: {clock:?}");
    }
}

#[tokio::test]
async fn near_limits_are_reported() {
    let place = Guarded::new();
    place.azure.cloud.plan(Faults { reads_remaining: 100, writes_remaining: 30, ..Faults::quick() });
    place.enable("web-1", &given::ssh()).await.expect("enabled");
    let findings = bad(&place).await;
    let [reads, writes] = findings.as_slice() else { panic!("{findings:?}") };
    assert!(
        reads.found.contains("reads are left") && writes.found.contains("writes are left"),
        "{findings:?}"
    );
    assert!(findings.iter().all(|it| (it.check, it.verdict) == ("limits", Verdict::Warning)));

    let place = Guarded::new();
    let prefixes = |count: u32| {
        let each = |n: u32| format!("10.{}.{}.0/24", n / 250, n % 250);
        let mut rule = allow(4000);
        rule["properties"]["sourceAddressPrefixes"] = (0..count).map(each).collect();
        rule
    };
    let rule = place.azure.rule("web-1-nsg", "many");
    assert!(place.azure.call("PUT", &rule, Some(&prefixes(3100))).status < 300);
    assert_eq!(bad(&place).await, [], "that is less than 80 percent");
    assert!(place.azure.call("PUT", &rule, Some(&prefixes(3300))).status < 300);
    let it = only(&place).await;
    assert_eq!((it.check, it.verdict), ("limits", Verdict::Warning));
    assert!(it.found.contains("web-1-nsg") && it.found.contains("source prefixes: at most 4000"), "{it:?}");

    let group = place.azure.path("Microsoft.Network/networkSecurityGroups", "/farm-subnet-nsg");
    let mut body = place.azure.call("GET", &group, None).body;
    let rules: Vec<Value> = (0..850_u16)
        .map(|n| {
            let mut rule = allow(500 + n);
            rule["name"] = json!(format!("rule-{n}"));
            rule
        })
        .collect();
    body["properties"]["securityRules"] = json!(rules);
    let put = place.azure.call("PUT", &group, Some(&body));
    assert!(put.status < 300, "{put:?}");
    let findings = bad(&place).await;
    assert!(findings.iter().any(|it| it.found.contains("has 850 rules: at most 1000")), "{findings:?}");
}

#[tokio::test]
async fn orphaned_rules_are_reported() {
    let place = Guarded::new();
    let owner = Owner::from(&named::<TargetId>("nobody"));
    let name = RuleName { owner, gate: Some(named("22/tcp")) };
    let put = place.azure.call("PUT", &place.azure.rule("web-1-nsg", &name.to_string()), Some(&allow(150)));
    assert!(put.status < 300, "{put:?}");
    let it = only(&place).await;
    assert_eq!((it.check, it.verdict), ("owners", Verdict::Warning));
    assert!(it.found.contains(&name.to_string()) && it.found.contains("web-1-nsg"), "{it:?}");
}

#[tokio::test]
async fn a_defeated_lock_is_reported_with_the_rule() {
    let place = Guarded::new();
    let put = place.azure.call("PUT", &place.azure.rule("web-1-nsg", "backdoor"), Some(&allow(100)));
    assert!(put.status < 300, "{put:?}");
    let id = place.enable("web-1", &given::ssh()).await.expect("enabled");
    let check =
        door::check(&*place.store, &place.outside, &id, named("22/tcp"), named(ANN)).await.expect("read");
    assert!(check.decision.passes, "{check:?}");
    let findings = bad(&place).await;
    let lock = findings.iter().find(|it| it.check == "locks").expect("said");
    assert_eq!(lock.verdict, Verdict::Failed);
    assert!(lock.found.contains("22/tcp") && lock.found.contains("backdoor"), "{lock:?}");

    // A lock that somebody took away, before anybody looked again.
    let place = Guarded::new();
    let id = place.enable("web-1", &given::ssh()).await.expect("enabled");
    let lock = RuleName { owner: Owner::from(&id), gate: None };
    place.azure.call("DELETE", &place.azure.rule("web-1-nsg", &lock.to_string()), None);
    let findings = bad(&place).await;
    assert!(findings.iter().any(|it| it.found.contains("changed by another party")), "{findings:?}");
}

#[tokio::test]
async fn an_unsettled_machine_is_reported() {
    let place = Guarded::new();
    permit(&place, |it| it != WRITE);
    let id = place.enable("web-1", &given::ssh()).await.expect("granted, and not done");
    let findings = bad(&place).await;
    let it = findings.iter().find(|it| it.check == "settled").expect("said");
    assert_eq!(it.verdict, Verdict::Failed);
    assert!(it.found.contains(id.as_str()) && it.found.contains("in a row"), "{it:?}");
}

#[tokio::test]
async fn a_refused_token_and_an_absent_server_have_different_findings() {
    let other = Azure::new(2);
    let elsewhere = other.url.clone();
    let place = with(move |it| it.endpoints.authority = elsewhere, beginning);
    let it = bad(&place).await.remove(0);
    assert_eq!((it.check, it.verdict), ("credentials", Verdict::Failed), "{it:?}");
    assert!(it.found.contains("401"), "{it:?}");

    let place = with(|it| it.endpoints.arm = "http://127.0.0.1:1".to_owned(), beginning);
    let it = bad(&place).await.remove(0);
    assert_eq!((it.check, it.verdict), ("resource manager", Verdict::Failed), "{it:?}");

    let place = with(|it| it.endpoints.authority = "http://127.0.0.1:1".to_owned(), beginning);
    let it = bad(&place).await.remove(0);
    assert_eq!((it.check, it.verdict), ("credentials", Verdict::Failed), "{it:?}");
    assert!(it.found.contains("no token"), "{it:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_run_from_the_command_line() {
    let place = Arc::new(Guarded::new());
    let (url, token) = place.serve().await;
    let run = async |arguments: &[&str]| {
        let mut command = Command::new(program());
        command.args(arguments).env("PORTCULLIS_URL", &url).env("PORTCULLIS_TOKEN", &token);
        tokio::task::spawn_blocking(move || command.output().expect("runs")).await.expect("ran")
    };
    let well = run(&["doctor"]).await;
    assert_eq!(well.status.code(), Some(0), "{}", text(&well.stdout));
    assert!(text(&well.stdout).contains("All checks passed."));
    permit(&place, |it| it != WRITE);
    let ill = run(&["doctor"]).await;
    assert_eq!(ill.status.code(), Some(1));
    assert!(text(&ill.stdout).contains(WRITE) && text(&ill.stdout).contains("A check failed. To do:"));
    let ill = run(&["doctor", "--json"]).await;
    let json: Value = serde_json::from_slice(&ill.stdout).expect("JSON");
    assert_eq!((ill.status.code(), &json["healthy"]), (Some(1), &json!(false)));
    let findings = json["findings"].as_array().expect("findings");
    assert!(findings.iter().any(|it| it["check"] == "permissions" && it["verdict"] == "failed"), "{json}");
}

#[tokio::test]
async fn a_lease_that_is_over_and_not_seen_closed_is_named_also_while_nobody_answers() {
    let place = Guarded::new();
    let id = place.enable("web-1", &given::ssh()).await.expect("enabled");
    place.open(&id, 22, "203.0.113.9").await.expect("opened");
    let closings = async || {
        let findings = doctor(&place).await;
        findings.into_iter().find(|it| it.check == "closings").expect("looked at")
    };
    assert_eq!(closings().await.verdict, Verdict::Ok);
    place.azure.pass(i64::try_from(LEASE_MIN.as_millis()).expect("short") + 1_000);
    assert_eq!(closings().await.verdict, Verdict::Ok, "a closing may take so long");
    place.azure.pass(11_000);
    for is_answering in [true, false] {
        permit(&place, |_| is_answering);
        let it = closings().await;
        assert_eq!(it.verdict, Verdict::Failed, "{it:?}");
        assert!(
            it.found.contains("`22/tcp` of `web-1` may be open") && it.found.contains("12s ago"),
            "{it:?}"
        );
        let shown = door::discover_one(&*place.store, &place.outside, &id, place.now()).await.expect("known");
        assert_ne!(shown.healthy, Some(true));
        assert!(shown.troubles.contains(&it.found), "{shown:?}");
    }
    permit(&place, |_| true);
    place.expire().await.expect("closed");
    assert_eq!(closings().await.verdict, Verdict::Ok);
}

#[tokio::test]
async fn a_write_that_is_under_way_is_no_fault_until_it_takes_too_long() {
    let place = Guarded::new();
    let id = place.enable("web-1", &given::ssh()).await.expect("enabled");
    place.azure.cloud.plan(Faults { operation_millis: 60_000, ..Faults::default() });
    // A worker that is at it: its write is accepted, and time stands still.
    let opened = tokio::time::timeout(Duration::from_secs(2), place.open(&id, 22, "203.0.113.9"));
    assert!(opened.await.is_err(), "it is being written");
    let locks = async || {
        let findings = doctor(&place).await;
        let of_locks = findings.into_iter().filter(|it| it.check == "locks");
        of_locks.map(|it| (it.verdict, it.found)).collect::<Vec<_>>()
    };
    let found = locks().await;
    assert!(matches!(&found[..], [(Verdict::Warning, it)] if it.contains("is being written")), "{found:?}");
    place.azure.pass(4_000);
    assert_eq!(locks().await, found, "an ordinary write may take so long");
    place.azure.pass(2_000);
    let found = locks().await;
    assert!(matches!(&found[..], [(Verdict::Failed, it)] if it.contains("still being written")), "{found:?}");
}
