//! Leases end with the right to ask for them: at the change that takes it away, and at every reconcile.

use jiff::SignedDuration;
use portcullis_app::{Answer, Call, Error, Parts, Principal, Rights, command, perform, ports::Store as _};
use portcullis_domain::{
    Chain, EndReason, Fact, Grant, GrantState, Refusal, Role, Scope, SignIn, TargetId, Via, What,
};
use portcullis_tests::{
    door,
    given::{self, all_entries, asked, named, person, ssh, ssh_with_approval},
    place::Place,
    roles::{binding, only},
    schemas::Schemas,
};
use serde_json::{Value, json};

const HERE: &str = "203.0.113.9";

/// A machine with open leases of ann's and carol's, who are requesters, each by a role of their own.
async fn two_leases() -> (Place, TargetId, String) {
    let place = Place::new();
    let target = place.guard("web-1", &ssh()).await;
    let requester = |name| binding(Role::Requester, name, Scope::Everything);
    only(&place, [requester("person:ann"), requester("person:carol")]).await;
    for name in ["ann", "carol"] {
        let token = place.token(name).await;
        let ask = json!({ "asks": [{ "target": target, "port": 22, "sources": [HERE], "for": "PT1H" }] });
        let answer = place.call(&token, "POST", "/v1/requests", Some(ask)).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        place.pass(SignedDuration::from_secs(1));
    }
    place.expire().await;
    let operator = place.token("operator").await;
    (place, target, operator)
}

/// The state of everybody's lease, by name.
async fn states(place: &Place, target: &TargetId) -> Vec<(String, GrantState)> {
    let (target, _) = place.store().target(target).await.expect("loads").expect("is there");
    let mut states: Vec<_> =
        target.grants().values().map(|it| (it.by.to_string(), it.state(place.now()))).collect();
    states.sort();
    states
}

/// The people who ended leases for want of a right, and whose leases.
async fn endings(place: &Place, target: &TargetId) -> Vec<String> {
    let entries = all_entries(place.store(), &Chain::from(target)).await;
    let ended = entries.into_iter().filter_map(|it| {
        let Fact::Ended { reason: EndReason::NotPermitted, by, .. } = it.fact else { return None };
        Some(by.to_string())
    });
    ended.collect()
}

#[tokio::test]
async fn revoking_a_role_ends_the_leases_that_nothing_else_permits_and_names_them() {
    let (place, target, operator) = two_leases().await;
    let role = |member: &str| json!({ "role": "requester", "member": member, "on": "everything" });
    // Carol has the right by a second role too.
    let operators = json!({ "role": "operator", "member": "person:carol", "on": format!("target:{target}") });
    assert_eq!(place.call(&operator, "POST", "/v1/roles", Some(operators)).await.status, 200);
    let mut ended = vec![];
    for member in ["person:ann", "person:carol"] {
        let revoked = place.call(&operator, "POST", "/v1/roles/revoke", Some(role(member))).await;
        assert_eq!(revoked.status, 200, "{revoked:?}");
        ended.extend(revoked.body["ended"].as_array().cloned().unwrap_or_default());
    }
    let seen: Vec<(&Value, &Value)> = ended.iter().map(|it| (&it["by"], &it["reason"])).collect();
    assert_eq!(seen, [(&json!("ann"), &json!("not_permitted"))]);
    assert_eq!(endings(&place, &target).await, ["operator"]);
    place.expire().await;
    assert_eq!(
        states(&place, &target).await,
        [("carol".to_owned(), GrantState::Open)],
        "ann's is closed, and told so"
    );
}

#[tokio::test]
async fn lease_that_has_not_started_ends_with_the_right_too() {
    let (place, target, operator) = two_leases().await;
    let ann = place.token("ann").await;
    let start = place.now() + SignedDuration::from_hours(2);
    let ask = json!({ "asks": [{ "target": target, "port": 22, "sources": ["203.0.113.10"], "for": "PT1H", "start": start }] });
    let asked = place.call(&ann, "POST", "/v1/requests", Some(ask)).await;
    assert_eq!(asked.status, 202, "{asked:?}");
    let role = json!({ "role": "requester", "member": "person:ann", "on": "everything" });
    let revoked = place.call(&operator, "POST", "/v1/roles/revoke", Some(role)).await;
    assert_eq!(revoked.body["ended"].as_array().map(Vec::len), Some(2), "{revoked:?}");
    place.expire().await;
    place.pass(SignedDuration::from_mins(150));
    place.expire().await;
    assert!(!place.check(&target, "203.0.113.10").await.passes);
}

#[tokio::test]
async fn reconcile_ends_what_a_change_that_died_half_way_left_open() {
    let (place, target, operator) = two_leases().await;
    only(&place, [binding(Role::Requester, "person:carol", Scope::Everything)]).await;
    place.reconcile().await;
    place.expire().await;
    let states: Vec<_> = states(&place, &target).await.into_iter().map(|it| it.0).collect();
    assert_eq!(states, ["carol"]);
    assert_eq!(endings(&place, &target).await, ["portcullis"]);
    // Whoever revokes once more what is gone is told so, since nothing was left to do.
    let role = json!({ "role": "requester", "member": "person:ann", "on": "everything" });
    let again = place.call(&operator, "POST", "/v1/roles/revoke", Some(role)).await;
    assert_eq!(again.status, 404, "{again:?}");
}

#[tokio::test]
async fn revoking_a_role_that_is_gone_ends_the_leases_that_it_left_behind() {
    let (place, target, operator) = two_leases().await;
    only(&place, [binding(Role::Requester, "person:carol", Scope::Everything)]).await;
    let role = json!({ "role": "requester", "member": "person:ann", "on": "everything" });
    let revoked = place.call(&operator, "POST", "/v1/roles/revoke", Some(role)).await;
    assert_eq!(
        (revoked.status.as_u16(), &revoked.body["ended"][0]["by"]),
        (200, &json!("ann")),
        "{revoked:?}"
    );
    assert_eq!(endings(&place, &target).await, ["operator"]);
}

#[tokio::test]
async fn request_of_somebody_who_lost_the_right_is_not_approved() {
    let place = Place::new();
    let target = place.guard("web-1", &ssh_with_approval()).await;
    let (ann, bob) = (place.token("ann").await, place.token("bob").await);
    let ask = json!({ "asks": [{ "target": target, "port": 22, "sources": [HERE], "for": "PT1H" }] });
    let asked = place.call(&ann, "POST", "/v1/requests", Some(ask)).await;
    let (id, shown) = (&asked.body["request"]["id"], &asked.body["request"]["shown"]);
    only(&place, [binding(Role::Approver, "person:bob", Scope::Everything)]).await;
    let path = format!("/v1/requests/{}/approve", id.as_str().expect("an id"));
    let refused = place.call(&bob, "POST", &path, Some(json!({ "shown": shown }))).await;
    let why = &refused.body["reasons"][0];
    assert_eq!((refused.status.as_u16(), &why["code"]), (403, &json!("not-permitted")), "{refused:?}");
    assert!(
        why["message"].as_str().is_some_and(|it| it.starts_with("`ann` may not request")),
        "it names the requester: {why}"
    );
}

/// A request of ann's, who is in these groups, for SSH.
async fn ask_as_member(
    place: &Place,
    rights: &Rights,
    target: &TargetId,
    groups: &[&str],
) -> Result<Answer, Error> {
    let What::Initiate { asks, break_glass } = asked("ann", "k", &[target.as_str()], HERE).what else {
        panic!("it is a request")
    };
    let by = door::call(&person("ann"), place.now());
    let groups = groups.iter().map(|it| (*it).to_owned()).collect();
    let call = Call { principal: Principal { groups, ..by.principal.clone() }, ..by };
    let initiate = command::Initiate { asks, break_glass, justification: None };
    let (store, outside, terms) = (place.store(), place.fleet(), place.terms());
    let tokens = &portcullis_app::Absent;
    perform(Parts { store, outside, tokens, terms, rights }, &call, initiate).await
}

#[tokio::test]
async fn lease_of_a_member_of_a_group_ends_with_the_role_of_the_group_and_not_before() {
    let place = Place::new();
    let target = place.guard("web-1", &ssh()).await;
    let group = |name: &str| binding(Role::Requester, &format!("group:{name}"), Scope::Everything);
    only(&place, [group("ops"), group("dba")]).await;
    ask_as_member(&place, place.rights(), &target, &["staff", "ops"]).await.expect("granted");
    place.reconcile().await;
    assert_eq!(endings(&place, &target).await, [""; 0], "the groups of the sign-in are known");
    only(&place, [group("dba")]).await;
    place.reconcile().await;
    assert_eq!(endings(&place, &target).await, ["portcullis"]);
    let operator = place.token("operator").await;
    let told = place.call(&operator, "GET", "/v1/events?since=2020-01-01T00:00:00Z", None).await;
    let told = told.body["events"].as_array().expect("events");
    // Not the entry by which this test sets the authority.
    for event in told.iter().filter(|it| it["kind"] != "drift.healed") {
        Schemas::ours().hold(event["kind"].as_str().expect("a kind"), &event["detail"]);
    }
    let groups = |it: &Value| it["detail"]["fact"]["grant"]["signed_in"]["groups"].clone();
    assert!(told.iter().any(|it| groups(it) == json!(["ops", "staff"])), "the journal says by which groups");
}

#[tokio::test]
async fn policies_end_the_leases_that_they_forbid_and_no_other_and_going_back_ends_none() {
    let (place, target, operator) = two_leases().await;
    let apply = async |policy: &str| {
        let body = json!({ "files": { "all.cedar": policy } });
        let applied = place.call(&operator, "POST", "/v1/policies", Some(body)).await;
        assert_eq!(applied.status, 200, "{applied:?}");
        applied.body["ended"].as_array().cloned().unwrap_or_default()
    };
    let shorter = |than: u32| {
        format!(
            "@id(\"short\") forbid (principal, action == Action::\"request\", resource) \
             when {{ context has minutes && context.minutes > {than} }};"
        )
    };
    // What was asked for is an hour; what is left of it counts.
    place.pass(SignedDuration::from_mins(20));
    assert_eq!(apply(&shorter(45)).await, Vec::<Value>::new());
    let ended =
        apply("forbid (principal == Person::\"ann\", action == Action::\"request\", resource);").await;
    assert_eq!(ended.iter().map(|it| &it["by"]).collect::<Vec<_>>(), [&json!("ann")]);
    assert_eq!(endings(&place, &target).await, ["operator"]);
    let back = place.call(&operator, "POST", "/v1/policies/rollback", Some(json!({ "version": 0 }))).await;
    assert_eq!((back.status.as_u16(), &back.body["ended"]), (200, &Value::Null), "{back:?}");
    assert_eq!(apply(&shorter(30)).await.len(), 1, "carol's has more than half an hour left");
}

#[tokio::test]
async fn lease_that_was_granted_by_an_authority_that_somebody_replaced_meanwhile_ends_at_once() {
    let place = Place::new();
    let target = place.guard("web-1", &ssh()).await;
    // As a function keeps it: a change by another process is seen some seconds later.
    let rights = Rights::default().kept_for(SignedDuration::from_secs(10));
    let before = ask_as_member(&place, &rights, &named("no-such-machine"), &[]).await;
    assert!(matches!(before, Err(Error::Refused(_))), "it has read the authority: {before:?}");
    only(&place, [binding(Role::Reader, "everyone", Scope::Everything)]).await;
    let answer = ask_as_member(&place, &rights, &target, &[]).await.expect("granted by what it knew");
    assert_eq!(endings(&place, &target).await, ["portcullis"]);
    assert!(answer.grants.iter().all(|it| it.reason() == EndReason::NotPermitted), "{answer:?}");
    let again = ask_as_member(&place, &rights, &named("no-such-machine"), &[]).await;
    let Err(Error::Refused(reasons)) = again else { panic!("it knows the new one now: {again:?}") };
    assert!(reasons.iter().any(|it| matches!(it, Refusal::NotPermitted { .. })), "{reasons}");
}

#[test]
fn grant_of_an_older_version_is_read_and_written_as_it_was() {
    let now = jiff::Timestamp::UNIX_EPOCH;
    let request = given::request("ann", "k", "web-1", now);
    let older = serde_json::to_value(given::grant(&request, &named("web-1"), now)).expect("writes");
    assert_eq!(older.get("signed_in"), None);
    let read: Grant = serde_json::from_value(older).expect("reads");
    assert_eq!(read.signed_in, None);
    let signed_in = SignIn::subject(None, &read.by, Some(&Via::Bot("chatops".to_owned())));
    assert_eq!((signed_in.issuer.as_str(), signed_in.groups.len()), ("bot chatops", 0));
}
