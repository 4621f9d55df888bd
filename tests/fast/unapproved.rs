//! Roles and policies say who may have a port opened without an approval; of others a request waits, whatever the rule of the port says.

use jiff::SignedDuration;
use portcullis_domain::{
    Chain, EndReason, Fact, Grant, GrantState, People, Policy, PortRule, Role, Scope, TargetId, Terms,
};
use portcullis_tests::{
    given::{all_entries, named, person, ssh, ssh_behind_glass},
    place::{Answered, Place},
    roles::{binding, only},
    schemas::Schemas,
};
use serde_json::{Value, json};

const HERE: &str = "203.0.113.9";

/// An hour opens at once, and more takes an approval.
const AN_HOUR: &str = r#"
@id("an-hour")
@reason("More than an hour takes an approval.")
forbid (principal, action == Action::"open-without-approval", resource)
when { context has minutes && context.minutes > 60 };
"#;

/// A machine, and the tokens of two requesters who may approve and of the operator.
struct Scene {
    place: Place,
    target: TargetId,
    ann: String,
    bob: String,
    operator: String,
}

impl Scene {
    async fn of(policy: &Policy) -> Self {
        let place = Place::new();
        let target = place.guard("web-1", policy).await;
        let (ann, bob) = (place.token("ann").await, place.token("bob").await);
        let operator = place.token("operator").await;
        Self { place, target, ann, bob, operator }
    }

    /// Applies one policy file; gives the leases that it ended.
    async fn apply(&self, text: &str) -> Vec<Value> {
        let body = json!({ "files": { "all.cedar": text } });
        let applied = self.place.call(&self.operator, "POST", "/v1/policies", Some(body)).await;
        assert_eq!(applied.status, 200, "{applied:?}");
        applied.body["ended"].as_array().cloned().unwrap_or_default()
    }

    async fn post(&self, token: &str, path: &str, body: Value) -> Answered {
        self.place.pass(SignedDuration::from_secs(1));
        self.place.call(token, "POST", path, Some(body)).await
    }

    /// Asks for SSH, with a reason.
    async fn ask(&self, token: &str, length: &str, break_glass: bool) -> Answered {
        let asks = json!([{ "target": self.target, "port": 22, "sources": [HERE], "for": length }]);
        let body = json!({ "asks": asks, "justification": "it is down", "break_glass": break_glass });
        self.post(token, "/v1/requests", body).await
    }

    /// Approves what was answered, as it was shown.
    async fn approve(&self, token: &str, asked: &Answered) -> Answered {
        let request = &asked.body["request"];
        let path = format!("/v1/requests/{}/approve", request["id"].as_str().expect("an id"));
        self.post(token, &path, json!({ "shown": request["shown"] })).await
    }

    async fn facts(&self) -> Vec<Fact> {
        let entries = all_entries(self.place.store(), &Chain::from(&self.target)).await;
        entries.into_iter().map(|it| it.fact).collect()
    }

    /// Those whose leases were ended for want of a right.
    async fn ended(&self) -> Vec<String> {
        let target = self.place.target(&self.target).await;
        let unpermitted =
            target.grants().values().filter(|it| it.end_reason == Some(EndReason::NotPermitted));
        unpermitted.map(|it| it.by.to_string()).collect()
    }
}

fn state(answer: &Answered) -> &str {
    answer.body["request"]["state"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn request_that_a_policy_forbids_to_open_at_once_waits_says_why_and_opens_once_it_is_approved() {
    let it = Scene::of(&ssh()).await;
    it.apply(AN_HOUR).await;
    let hour = it.ask(&it.ann, "PT1H", false).await;
    assert_eq!((hour.status.as_u16(), state(&hour)), (202, "approved"), "{hour:?}");
    let long = it.ask(&it.ann, "PT2H", false).await;
    assert_eq!((long.status.as_u16(), state(&long)), (202, "pending"), "{long:?}");
    let request = &long.body["request"];
    let because = format!(
        "`ann` may not open ports without an approval on `{}`: forbidden by the policy `an-hour`: More than an hour takes an approval.",
        it.target
    );
    assert_eq!((&request["approvers"], &request["because"]), (&json!(["*"]), &json!([because])));
    assert_eq!(state(&it.approve(&it.ann, &long).await), "", "nobody approves their own");
    let approved = it.approve(&it.bob, &long).await;
    assert_eq!((state(&approved), &approved.body["request"]["because"]), ("approved", &Value::Null));
    it.place.expire().await;
    let (target, now) = (it.place.target(&it.target).await, it.place.now());
    let states: Vec<GrantState> = target.grants().values().map(|it| it.state(now)).collect();
    assert_eq!(states, [GrantState::Open; 2]);
    let told = it.place.call(&it.operator, "GET", "/v1/events?since=2020-01-01T00:00:00Z", None).await;
    let told = told.body["events"].as_array().expect("events");
    let waits = told.iter().find(|it| it["kind"] == "request.needs_approval").expect("it was published");
    Schemas::ours().hold("request.needs_approval", &waits["detail"]);
    let fact = &waits["detail"]["fact"];
    assert_eq!((&fact["because"], &fact["authority"]), (&json!([because]), &json!(1)));
    assert!(waits["detail"]["sentence"].as_str().is_some_and(|it| it.ends_with(&because)), "{waits}");
    for event in told.iter().filter(|it| it["kind"] == "request.approved") {
        Schemas::ours().hold("request.approved", &event["detail"]);
    }
}

#[tokio::test]
async fn explanation_of_a_request_that_policies_have_wait_names_them_and_what_would_open_at_once() {
    let it = Scene::of(&ssh()).await;
    it.apply(AN_HOUR).await;
    let asks = json!([{ "target": it.target, "port": 22, "sources": [HERE], "for": "PT2H" }]);
    let explained = it.post(&it.ann, "/v1/requests/explain", json!({ "asks": asks })).await.body;
    assert_eq!((&explained["answer"], &explained["approvers"]), (&json!("needs_approval"), &json!(["*"])));
    assert_eq!(explained["permitted_by"], json!(["requester for everyone on everything"]));
    assert_eq!((&explained["policies"], &explained["nearest"]), (&json!(["an-hour"]), &json!(["for 1h"])));
    let reason = &explained["reasons"][0];
    assert_eq!(reason["code"], "not-permitted");
    let message = reason["message"].as_str().expect("a reason");
    assert!(
        message.ends_with("More than an hour takes an approval.; it would open at once for 1h"),
        "{message}"
    );
}

/// It is eight in the morning, and three at night is nineteen hours away.
#[tokio::test]
async fn lease_that_starts_later_is_judged_by_the_hour_of_its_start_and_its_approval_by_that_of_the_approval()
{
    const AT_NIGHT: &str = r#"
        @id("night") forbid (principal, action == Action::"open-without-approval", resource) when { context.minute_of_day < 480 };
        @id("no-approval-at-night") forbid (principal, action == Action::"approve", resource) when { context.minute_of_day < 480 };
    "#;
    let it = Scene::of(&ssh()).await;
    it.apply(AT_NIGHT).await;
    let ask = async |hours: i64| {
        let start = it.place.now() + SignedDuration::from_hours(hours);
        let asks = json!([{ "target": it.target, "port": 22, "sources": [HERE], "start": start.to_string(), "for": "PT1H" }]);
        it.post(&it.ann, "/v1/requests", json!({ "asks": asks })).await
    };
    let (by_day, by_night) = (ask(2).await, ask(19).await);
    assert_eq!((state(&by_day), state(&by_night)), ("approved", "pending"), "{by_night:?}");
    assert_eq!(state(&it.approve(&it.bob, &by_night).await), "approved");
    it.place.reconcile().await;
    assert_eq!(it.ended().await, [""; 0]);
}

#[tokio::test]
async fn one_ask_that_waits_has_its_whole_request_wait() {
    let rules = ["22", "5432"].map(|port| PortRule::offered(named(port), named("tcp")));
    let it = Scene::of(&Policy::of(rules.into(), &Terms::default()).expect("valid")).await;
    it.apply("forbid (principal, action == Action::\"open-without-approval\", resource) when { context has port && context.port == 5432 };").await;
    let ask = |port: u16| json!({ "target": it.target, "port": port, "sources": [HERE], "for": "PT1H" });
    let ssh = it.post(&it.ann, "/v1/requests", json!({ "asks": [ask(22)] })).await;
    let both = it.post(&it.ann, "/v1/requests", json!({ "asks": [ask(22), ask(5432)] })).await;
    assert_eq!((state(&ssh), state(&both)), ("approved", "pending"));
    assert_eq!(both.body["request"]["because"].as_array().map(Vec::len), Some(1), "{both:?}");
}

#[tokio::test]
async fn extension_that_a_policy_forbids_to_open_at_once_waits() {
    let it = Scene::of(&ssh()).await;
    it.apply(AN_HOUR).await;
    let asked = it.ask(&it.ann, "PT1H", false).await;
    let grant = asked.body["grants"][0].clone();
    it.place.expire().await;
    it.place.pass(SignedDuration::from_mins(30));
    let path = format!("/v1/grants/{}/extend", grant["id"].as_str().expect("an id"));
    let until = |minutes| (it.place.now() + SignedDuration::from_mins(minutes)).to_string();
    let short = it.post(&it.ann, &path, json!({ "until": until(50) })).await;
    assert_eq!(state(&short), "approved", "{short:?}");
    let long = it.post(&it.ann, &path, json!({ "until": until(90) })).await;
    assert_eq!(state(&long), "pending", "{long:?}");
    assert_eq!(state(&it.approve(&it.bob, &long).await), "approved");
    it.place.reconcile().await;
    assert_eq!(it.ended().await, [""; 0], "somebody approved that it is longer");
    let verified = it.place.call(&it.operator, "GET", "/v1/verify", None).await;
    assert_eq!(verified.body["whole"], true, "{verified:?}");
    // A version that did not keep who approved an extension stored less, which permits less; more than is told is forged.
    let target = it.place.target(&it.target).await;
    let told = target.grants().values().next().expect("extended");
    let without = Grant { approved: false, ..told.clone() };
    assert!(told.approved && without.agrees_with(told) && !told.agrees_with(&without));
    assert!(!Grant { by: person("bob"), ..without }.agrees_with(told));
}

#[tokio::test]
async fn caller_whom_nothing_permits_to_open_at_once_waits_also_where_no_policy_speaks() {
    let it = Scene::of(&ssh()).await;
    only(&it.place, [binding(Role::Approver, "person:bob", Scope::Everything)]).await;
    it.apply(
        "permit (principal == Person::\"ann\", action in [Action::\"read\", Action::\"request\"], resource);",
    )
    .await;
    let asked = it.ask(&it.ann, "PT1H", false).await;
    assert_eq!(state(&asked), "pending", "{asked:?}");
    let because = asked.body["request"]["because"][0].as_str().expect("a reason");
    assert!(because.contains("that takes the role `requester` or `operator` there"), "{because}");
    assert_eq!(state(&it.approve(&it.bob, &asked).await), "approved");
}

#[tokio::test]
async fn break_glass_opens_what_policies_have_wait_for_those_alone_whom_the_rule_of_the_port_names() {
    const ALWAYS: &str = "forbid (principal, action == Action::\"open-without-approval\", resource);";
    let without_approvers = |policy: &Policy| {
        let rules = policy.ports().iter().map(|it| PortRule { approvers: None, ..it.clone() });
        Policy::of(rules.collect(), &Terms::default()).expect("valid")
    };
    let it = Scene::of(&without_approvers(&ssh_behind_glass(&["ann"]))).await;
    it.apply(ALWAYS).await;
    assert_eq!(state(&it.ask(&it.ann, "PT1H", false).await), "pending");
    let refused = it.ask(&it.bob, "PT1H", true).await;
    assert_eq!(refused.body["reasons"][0]["code"], "may-not-break-glass", "{refused:?}");
    let broken = it.ask(&it.ann, "PT1H", true).await;
    assert_eq!((state(&broken), &broken.body["request"]["broke_glass"]), ("approved", &json!(true)));
    let facts = it.facts().await;
    let skipped = facts.iter().find_map(|it| {
        let Fact::GlassBroken { by, skipped, .. } = it else { return None };
        (*by == person("ann")).then_some(skipped)
    });
    assert_eq!(skipped, Some(&People::Anybody), "anybody could have approved it");
    it.place.reconcile().await;
    assert_eq!(it.ended().await, [""; 0], "it does not depend on the right to open at once");
}

#[tokio::test]
async fn lease_that_opened_at_once_ends_with_that_right_and_an_approved_one_does_not() {
    let it = Scene::of(&ssh()).await;
    it.apply(AN_HOUR).await;
    assert_eq!(state(&it.ask(&it.ann, "PT1H", false).await), "approved");
    let long = it.ask(&it.bob, "PT2H", false).await;
    assert_eq!(state(&it.approve(&it.ann, &long).await), "approved");
    it.place.expire().await;
    let ended = it.apply("forbid (principal, action == Action::\"open-without-approval\", resource);").await;
    assert_eq!(ended.iter().map(|it| &it["by"]).collect::<Vec<_>>(), [&json!("ann")]);
    assert_eq!(it.ended().await, ["ann"]);
}
