//! The door for events: what bots ask for is decided like everything else, and what is bad is recorded, answered
//! and never tried again.

use portcullis_app::{
    self as app, Bots, EVENT_MAX, Error, Event, Exporting, Format, Incoming, Kept, Submitted, ports::Store,
};
use portcullis_domain::{Chain, Entry, Fact, GrantState, Policy, RequestState, TargetId};
use portcullis_tests::{
    given::{at, named, ssh, ssh_behind_glass, ssh_with_approval},
    place::{BOTS, Place},
    schemas::Schemas,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// An event as the bus delivers it.
fn envelope(source: &str, kind: &str, detail: impl Into<Value>) -> Vec<u8> {
    let detail: Value = detail.into();
    let envelope = json!({
        "version": "0", "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718", "detail-type": kind, "source": source,
        "account": "111122223333", "time": at(0), "region": "eu-central-1", "resources": [],
        "detail": detail,
    });
    serde_json::to_vec(&envelope).expect("writes")
}

/// What Ann wants of a machine through a bot.
fn wanted(id: &TargetId, key: &str) -> Value {
    let port = json!({ "port": 22, "protocol": "TCP", "sources": ["203.0.113.7"], "duration": "PT1H" });
    json!({
        "version": 1, "id": key, "correlation_id": "deploy-4711", "on_behalf_of": "ann",
        "targets": [{ "target": id, "ports": [port] }], "justification": "deploy",
    })
}

async fn submit(place: &Place, body: &[u8]) -> Result<Submitted, Error> {
    let bots: Bots = named(BOTS);
    app::submit(
        place.store(),
        place.terms(),
        place.rights(),
        &bots,
        Incoming { body, source: None, has_archive: true },
        place.now(),
    )
    .await
}

async fn answered(place: &Place, source: &str, kind: &str, detail: Value) -> app::Answer {
    match submit(place, &envelope(source, kind, detail)).await.expect("heard") {
        Submitted::Answered(answer) => *answer,
        other @ (Submitted::Closed(_)
        | Submitted::Explained(_)
        | Submitted::Exporting
        | Submitted::Exported
        | Submitted::Refused(_)) => panic!("{other:?}"),
    }
}

async fn refused(place: &Place, body: &[u8]) -> String {
    match submit(place, body).await.expect("never an error: it would be tried for ever") {
        Submitted::Refused(reasons) => reasons.join("; "),
        other @ (Submitted::Answered(_)
        | Submitted::Explained(_)
        | Submitted::Closed(_)
        | Submitted::Exporting
        | Submitted::Exported) => panic!("{other:?}"),
    }
}

async fn rest(place: &Place) -> Vec<Entry> {
    place.store().entries(&Chain::rest(), 0, usize::MAX).await.expect("listed")
}

async fn told(place: &Place, id: &TargetId) -> Vec<Event> {
    let mut entries = place.entries(id).await;
    entries.extend(rest(place).await);
    entries.iter().flat_map(app::events).collect()
}

#[tokio::test]
async fn a_bot_asks_for_a_person_and_every_answer_has_its_correlation_id() {
    let place = Place::new();
    let id = place.guard("web-1", &ssh()).await;
    let answer = answered(&place, "chatops", "access.request", wanted(&id, "1")).await;
    assert_eq!(answer.request.by, named("ann"));
    place.expire().await;
    place.pass(portcullis_tests::given::HOUR);
    place.expire().await;
    let grant = place.store().grant(&answer.grants[0].id).await.expect("loads").expect("is there");
    assert_eq!(grant.state(place.now()), GrantState::Closed);
    let events = told(&place, &id).await;
    let of_it = events.iter().filter(|it| it.detail.request.as_ref() == Some(&answer.request.id));
    let of_it: Vec<&Event> = of_it.collect();
    let kinds: Vec<&str> = of_it.iter().map(|it| it.kind).collect();
    assert_eq!(kinds, ["request.received", "request.approved", "grant.opened", "grant.closed"]);
    for event in of_it {
        let detail = serde_json::to_value(&event.detail).expect("writes");
        assert_eq!(detail["version"], 1);
        assert_eq!(detail["correlation_id"], "deploy-4711", "{detail}");
        assert_eq!(detail["target"], id.as_str(), "{detail}");
        assert!(detail["fact"]["what"].is_string(), "{detail}");
    }
    let others = events.iter().filter(|it| it.kind == "policy.changed");
    assert!(others.clone().count() == 1 && others.clone().all(|it| it.detail.correlation_id.is_none()));
}

#[tokio::test]
async fn the_same_event_twice_is_one_request_and_two_bots_may_count_alike() {
    let place = Place::new();
    let id = place.guard("web-1", &ssh()).await;
    let first = answered(&place, "chatops", "access.request", wanted(&id, "1")).await;
    let again = answered(&place, "chatops", "access.request", wanted(&id, "1")).await;
    assert_eq!(first.request.id, again.request.id);
    let other = answered(&place, "deploy", "access.request", wanted(&id, "1")).await;
    assert_ne!(first.request.id, other.request.id);
    // Without an id of its own it has the bus's.
    let mut bare = wanted(&id, "1");
    bare.as_object_mut().expect("an object").remove("id");
    let first = answered(&place, "chatops", "access.request", bare.clone()).await;
    let again = answered(&place, "chatops", "access.request", bare).await;
    assert_eq!(first.request.id, again.request.id);
}

#[tokio::test]
async fn bots_approve_reject_and_close_for_people() {
    let place = Place::new();
    let id = place.guard("web-1", &ssh_with_approval()).await;
    let decide = |request: &app::Answer, by: &str| json!({ "version": 1, "on_behalf_of": by, "request": request.request.id });
    let first = answered(&place, "chatops", "access.request", wanted(&id, "1")).await;
    assert!(matches!(first.request.state, RequestState::Pending { .. }));
    let mut yes = decide(&first, "bob");
    yes["shown"] = first.request.shown().into();
    // Nobody approves their own, whoever speaks for them.
    let mut own = yes.clone();
    own["on_behalf_of"] = "ann".into();
    let why = refused(&place, &envelope("deploy", "access.approve", own)).await;
    assert!(why.contains("`ann` made this request"), "{why}");
    let approved = answered(&place, "deploy", "access.approve", yes).await;
    assert!(matches!(approved.request.state, RequestState::Approved { by: Some(_), .. }));
    let close = json!({ "version": 1, "on_behalf_of": "ann", "correlation_id": "done", "grant": approved.grants[0].id });
    let closed = submit(&place, &envelope("chatops", "access.close", close)).await.expect("heard");
    assert!(matches!(closed, Submitted::Closed(grant) if grant.end_reason.is_some()));
    let events = told(&place, &id).await;
    let ended = events.iter().find(|it| it.kind == "grant.ended").expect("told");
    assert_eq!(ended.detail.correlation_id, Some(named("done")), "whoever closes asked for that");
    let second = answered(&place, "chatops", "access.request", wanted(&id, "2")).await;
    let rejected = answered(&place, "chatops", "access.reject", decide(&second, "bob")).await;
    assert!(matches!(rejected.request.state, RequestState::Rejected { .. }));
    let rejected =
        told(&place, &id).await.into_iter().find(|it| it.kind == "request.rejected").expect("told");
    assert_eq!(rejected.detail.correlation_id, Some(named("deploy-4711")), "whoever asked is answered");
}

#[tokio::test]
async fn bot_extends_a_lease_and_withdraws_a_request_for_a_person() {
    let place = Place::new();
    let id = place.guard("web-1", &ssh()).await;
    let asked = answered(&place, "chatops", "access.request", wanted(&id, "1")).await;
    place.expire().await;
    let grant = &asked.grants[0].id;
    let end = at(2 * 3_600);
    let longer = json!({ "version": 1, "id": "2", "on_behalf_of": "ann", "grant": grant, "end": end, "justification": "more" });
    let extended = answered(&place, "chatops", "access.extend", longer.clone()).await;
    assert_eq!(extended.grants[0].lease.end(), end);
    let again = answered(&place, "chatops", "access.extend", longer.clone()).await;
    assert_eq!(again.request.id, extended.request.id, "twice is once");
    let mut never = longer;
    (never["id"], never["end"]) = ("3".into(), at(48 * 3_600).to_string().into());
    let before = told(&place, &id).await.len();
    let why = refused(&place, &envelope("chatops", "access.extend", never)).await;
    assert!(why.contains("is too long"), "{why}");
    let refusals = told(&place, &id).await.into_iter().skip(before).map(|it| it.kind).collect::<Vec<_>>();
    assert_eq!(
        refusals.iter().filter(|it| **it == "request.refused").count(),
        1,
        "published once: {refusals:?}"
    );
    let waiting = place.guard("db-1", &ssh_with_approval()).await;
    let asked = answered(&place, "chatops", "access.request", wanted(&waiting, "4")).await;
    let withdraw = |by: &str| json!({ "version": 1, "on_behalf_of": by, "request": asked.request.id });
    let why = refused(&place, &envelope("chatops", "access.withdraw", withdraw("bob"))).await;
    assert!(why.contains("`bob` may not withdraw this: `ann`"), "{why}");
    let withdrawn = answered(&place, "chatops", "access.withdraw", withdraw("ann")).await;
    assert!(matches!(withdrawn.request.state, RequestState::Withdrawn { .. }));
}

#[tokio::test]
async fn bot_asks_for_a_lease_that_starts_later() {
    let place = Place::new();
    let id = place.guard("web-1", &ssh()).await;
    let mut later = wanted(&id, "1");
    later["targets"][0]["ports"][0]["start"] = at(600).to_string().into();
    let answer = answered(&place, "chatops", "access.request", later.clone()).await;
    let lease = answer.grants[0].lease;
    assert_eq!((lease.start(), lease.end()), (at(600), at(600 + 3_600)));
    later["id"] = "2".into();
    let port = &mut later["targets"][0]["ports"][0];
    port.as_object_mut().expect("an object").remove("duration");
    port["end"] = at(1_200).to_string().into();
    let answer = answered(&place, "chatops", "access.request", later).await;
    let lease = answer.grants[0].lease;
    assert_eq!((lease.start(), lease.end()), (at(600), at(1_200)));
}

#[tokio::test]
async fn bot_is_told_how_a_request_would_be_decided_and_no_request_is_made() {
    let place = Place::new();
    let id = place.guard("web-1", &ssh_with_approval()).await;
    let explain = async |detail: Value| {
        let body = envelope("chatops", "access.explain", detail);
        let submitted = submit(&place, &body).await.expect("heard");
        let Submitted::Explained(_) = submitted else { panic!("{submitted:?}") };
        rest(&place).await.pop().expect("an entry")
    };
    let entry = explain(wanted(&id, "1")).await;
    let events = app::events(&entry);
    let [event] = events.as_slice() else { panic!("{events:?}") };
    Schemas::ours().hold(event.kind, &json!(event.detail));
    assert_eq!(event.kind, "request.explained");
    assert_eq!(event.detail.correlation_id, Some(named("deploy-4711")));
    let fact = json!(entry.fact);
    assert_eq!((&fact["answer"], &fact["approvers"]), (&json!("needs_approval"), &json!(["*"])), "{fact}");
    let mut never = wanted(&id, "2");
    never["targets"][0]["ports"][0]["port"] = 443.into();
    let fact = json!(explain(never).await.fact);
    assert_eq!((&fact["answer"], &fact["codes"]), (&json!("refused"), &json!(["not-guarded"])), "{fact}");
    let filter = app::ports::RequestFilter::default();
    let page = app::ports::PageAsked { after: None, at_most: 10 };
    assert_eq!(place.store().requests(&filter, &page).await.expect("listed").items, vec![]);
}

/// A bot that knows a part of a name alone is told where ids are found.
#[tokio::test]
async fn machine_that_is_not_named_by_its_id_is_refused_with_the_input_and_where_ids_are() {
    let place = Place::new();
    let id = place.guard("web-1", &ssh()).await;
    let mut event = wanted(&id, "1");
    event["targets"][0]["target"] = "web-1".into();
    let why = refused(&place, &envelope("chatops", "access.request", event)).await;
    assert!(why.contains("`web-1` is not guarded here") && why.contains("`GET /v1/names`"), "{why}");
    let mut event = wanted(&id, "2");
    event["targets"][0]["target"] = "web 1".into();
    let why = refused(&place, &envelope("chatops", "access.request", event)).await;
    assert!(why.contains("`web 1` is not a target id"), "{why}");
}

/// INVARIANT (the-approver-is-another-person): one bot asks and approves as two spellings of one person.
#[tokio::test]
async fn second_spelling_of_a_name_approves_nothing_that_the_first_one_asked() {
    let place = Place::new();
    let id = place.guard("web-1", &ssh_with_approval()).await;
    let bots: Bots = named(r#"[{"source": "chatops", "for": "*", "both_halves": true}]"#);
    let submit = async |kind: &str, detail: &Value| {
        let body = envelope("chatops", kind, detail.clone());
        let incoming = Incoming { body: &body, source: None, has_archive: true };
        app::submit(place.store(), place.terms(), place.rights(), &bots, incoming, place.now())
            .await
            .expect("heard")
    };
    let Submitted::Answered(asked) = submit("access.request", &wanted(&id, "1")).await else {
        panic!("not answered")
    };
    let mut yes = json!({ "version": 1, "request": asked.request.id, "shown": asked.request.shown() });
    for spelling in ["Ann", "ANN", "\u{430}nn", "\u{ff41}nn", "a\u{578}\u{578}"] {
        yes["on_behalf_of"] = spelling.into();
        let Submitted::Refused(why) = submit("access.approve", &yes).await else { panic!("{spelling}") };
        assert!(why[0].contains("made this request"), "{why:?}");
    }
    yes["on_behalf_of"] = "*".into();
    let Submitted::Refused(why) = submit("access.approve", &yes).await else { panic!("`*` is nobody") };
    assert!(why[0].contains("`*` is not a person"), "{why:?}");
    yes["on_behalf_of"] = "anna".into();
    assert!(matches!(submit("access.approve", &yes).await, Submitted::Answered(_)));
}

#[tokio::test]
async fn break_glass_by_a_bot_for_a_named_person_is_published_once() {
    let place = Place::new();
    let id = place.guard("web-1", &ssh_behind_glass(&["ann"])).await;
    let breaking = |by: &str, key: &str| {
        let mut detail = wanted(&id, key);
        detail["on_behalf_of"] = by.into();
        detail["break_glass"] = true.into();
        detail
    };
    let ask = |detail: Value| envelope("chatops", "access.request", detail);
    let not_named = refused(&place, &ask(breaking("bob", "1"))).await;
    assert!(not_named.contains("`bob` may not use break-glass"), "{not_named}");
    let mut silent = breaking("ann", "1");
    silent.as_object_mut().expect("an object").remove("justification");
    let silent = refused(&place, &ask(silent)).await;
    assert!(silent.contains("break-glass needs a reason"), "{silent}");
    let blank = {
        let mut detail = breaking("ann", "1");
        detail["justification"] = " ".into();
        refused(&place, &ask(detail)).await
    };
    assert!(blank.contains("justification"), "{blank}");
    let stranger = refused(&place, &ask(breaking("eve", "1"))).await;
    assert!(stranger.contains("may not act for `eve`"), "{stranger}");

    let first = answered(&place, "chatops", "access.request", breaking("ann", "1")).await;
    let again = answered(&place, "chatops", "access.request", breaking("ann", "1")).await;
    assert_eq!(first, again, "twice is once");
    assert!(matches!(first.request.state, RequestState::Approved { by: None, broke_glass: true, .. }));
    assert!(first.grants.iter().all(|it| it.broke_glass), "{first:?}");
    let events = told(&place, &id).await;
    let loud: Vec<&Event> = events.iter().filter(|it| it.kind == "breakglass.used").collect();
    let [loud] = loud[..] else { panic!("{loud:?}") };
    let detail = serde_json::to_value(&loud.detail).expect("writes");
    Schemas::ours().hold(loud.kind, &detail);
    assert_eq!(detail["correlation_id"], "deploy-4711");
    let fact = &detail["fact"];
    assert_eq!(
        (&fact["by"], &fact["why"], &fact["skipped"]),
        (&json!("ann"), &json!("deploy"), &json!(["*"]))
    );
    assert_eq!(fact["opened"], json!([{ "target": id, "gate": "22/tcp" }]));
}

/// There is nothing to break, and nothing to tell.
#[tokio::test]
async fn break_glass_for_a_port_without_approval_is_an_ordinary_request() {
    let place = Place::new();
    let id = place.guard("web-1", &ssh()).await;
    let mut detail = wanted(&id, "1");
    detail["break_glass"] = true.into();
    let answer = answered(&place, "chatops", "access.request", detail).await;
    assert!(matches!(answer.request.state, RequestState::Approved { by: None, broke_glass: false, .. }));
    assert!(answer.grants.iter().all(|it| !it.broke_glass), "{answer:?}");
    assert!(told(&place, &id).await.iter().all(|it| it.kind != "breakglass.used"));
}

#[tokio::test]
async fn bad_events_are_answered_and_recorded() {
    let place = Place::new();
    let id = place.guard("web-1", &ssh()).await;
    let with = |change: &dyn Fn(&mut Value)| {
        let mut detail = wanted(&id, "1");
        change(&mut detail);
        detail
    };
    let ask = |detail| envelope("chatops", "access.request", detail);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"{ nothing".to_vec(), "is not JSON"),
        (vec![b' '; EVENT_MAX + 1], "at most 65536"),
        (b"[]".to_vec(), "is not a bot"),
        (envelope("stranger", "access.request", wanted(&id, "1")), "`stranger` is not a bot"),
        (ask(with(&|it| it["on_behalf_of"] = "eve".into())), "may not act for `eve`"),
        (ask(with(&|it| it["version"] = 2.into())), "`version` 2"),
        (ask(with(&|it| it["version"] = Value::Null)), "`version` null"),
        (ask(with(&|it| it["on_behalf_of"] = Value::Null)), "has no `on_behalf_of`"),
        (ask(with(&|it| it["id"] = "".into())), "has no `id`"),
        (ask(with(&|it| it["id"] = "x".repeat(300).into())), "is not an `id` of an event"),
        (ask(with(&|it| it["correlation_id"] = "two words".into())), "`correlation_id`"),
        (ask(with(&|it| it["surprise"] = 1.into())), "surprise"),
        (ask(with(&|it| it["targets"][0]["ports"][0]["duration"] = "soon".into())), "`soon` is not a length"),
        (ask(with(&|it| it["targets"][0]["ports"][0]["sources"] = Value::Null)), "needs `sources`"),
        (
            ask(with(&|it| it["targets"][0]["ports"][0]["end"] = "2026-11-24T12:00:00Z".into())),
            "either `duration`",
        ),
        (ask(json!("detail")), "no `detail`"),
        (
            envelope("chatops", "access.everything", wanted(&id, "1")),
            "`access.everything` is not a `detail-type`",
        ),
        (
            envelope(
                "chatops",
                "access.close",
                json!({ "version": 1, "on_behalf_of": "ann", "grant": "none" }),
            ),
            "no grant `none`",
        ),
    ];
    for (body, wanted) in cases {
        let before = rest(&place).await.len();
        let why = refused(&place, &body).await;
        assert!(why.contains(wanted), "{why}, not: {wanted}");
        let recorded = rest(&place).await;
        let last = recorded.last().expect("recorded");
        assert_eq!(recorded.len(), before + 1, "{wanted}");
        assert!(matches!(&last.fact, Fact::EventRefused { reasons, .. } if reasons.join("; ") == why));
        let events = app::events(last);
        assert_eq!(events.iter().map(|it| it.kind).collect::<Vec<_>>(), ["request.refused"]);
    }
    assert!(place.target(&id).await.grants().is_empty(), "nobody got anything");
    // What can be told of a bad event is told to whoever waits for its answer.
    refused(&place, &ask(with(&|it| it["on_behalf_of"] = "eve".into()))).await;
    let events = app::events(rest(&place).await.last().expect("recorded"));
    assert_eq!(events[0].detail.correlation_id, Some(named("deploy-4711")));
}

#[tokio::test]
async fn a_refusal_by_the_policy_is_published_once_about_its_target() {
    let place = Place::new();
    let id = place.guard("web-1", &ssh()).await;
    let mut long = wanted(&id, "1");
    long["targets"][0]["ports"][0]["duration"] = "PT9H".into();
    let why = refused(&place, &envelope("chatops", "access.request", long)).await;
    assert!(why.contains("too long"), "{why}");
    let events = told(&place, &id).await;
    let no: Vec<&Event> = events.iter().filter(|it| it.kind == "request.refused").collect();
    assert_eq!(no.len(), 1);
    assert_eq!(no[0].detail.correlation_id, Some(named("deploy-4711")));
    assert_eq!(no[0].detail.target.as_ref(), Some(&id));
}

/// However long a no is: it fits the journal of each target, and an event.
#[tokio::test]
async fn a_refusal_of_any_length_is_recorded_and_published() {
    let place = Place::new();
    // Each second address, so that they are no range.
    let far = |n: u32| format!("198.18.{}.{}", n / 128, 2 * (n % 128));
    let sources = json!((0..400).map(far).collect::<Vec<_>>());
    let mut rule = json!(ssh())[0].take();
    rule["sources"] = sources;
    let rules = (2200..2240).map(|port| {
        rule["port"] = port.into();
        rule.clone()
    });
    let policy: Policy = serde_json::from_value(rules.collect()).expect("a policy");
    let mut targets = vec![];
    for name in ["web-1", "db-1"] {
        let id = place.guard(name, &policy).await;
        let port = |port| json!({ "port": port, "sources": ["203.0.113.7"], "duration": "PT9H" });
        targets.push(json!({ "target": id, "ports": (2200..2240).map(port).collect::<Vec<_>>() }));
    }
    let mut long = wanted(&place.id("web-1").await, "1");
    long["targets"] = json!(targets);
    let why = refused(&place, &envelope("chatops", "access.request", long)).await;
    assert!(400 * 1024 < why.len(), "longer than an item may be: {}", why.len());
    for name in ["web-1", "db-1"] {
        let id = place.id(name).await;
        let events = told(&place, &id).await;
        let no = events.iter().find(|it| it.kind == "request.refused").expect("told");
        let length = serde_json::to_vec(&no.detail).expect("writes").len();
        assert!(length < 64 * 1024, "{length} bytes");
    }
}

#[tokio::test]
async fn an_empty_policy_allows_nothing() {
    let place = Place::new();
    let id = place.guard("web-1", &ssh()).await;
    let body = envelope("chatops", "access.request", wanted(&id, "1"));
    for policy in ["[]", r#"[{"source": "chatops", "for": []}]"#] {
        let bots: Bots = named(policy);
        let incoming = Incoming { body: &body, source: None, has_archive: true };
        let submitted =
            app::submit(place.store(), place.terms(), place.rights(), &bots, incoming, place.now()).await;
        assert!(matches!(submitted.expect("heard"), Submitted::Refused(_)), "{policy}");
    }
    for bad in ["", "{}", r#"[{"source": "chatops", "for": "ann"}]"#, r#"[{"source": "chatops"}]"#] {
        assert!(bad.parse::<Bots>().is_err(), "{bad}");
    }
}

#[tokio::test]
async fn over_http_the_caller_is_the_source() {
    let place = Place::new();
    let id = place.guard("web-1", &ssh()).await;
    let event = json!({ "source": "chatops", "detail-type": "access.request", "detail": wanted(&id, "1") });
    let stranger = place.token("eve").await;
    let answer = place.call(&stranger, "POST", "/v1/events", Some(event.clone())).await;
    assert_eq!((answer.status.as_u16(), &answer.body["accepted"]), (202, &json!(false)), "{:?}", answer.body);
    let bot = place.token("chatops").await;
    let answer = place.call(&bot, "POST", "/v1/events", Some(event)).await;
    assert_eq!((answer.status.as_u16(), &answer.body["accepted"]), (202, &json!(true)), "{:?}", answer.body);
    assert_eq!(answer.body["answer"]["request"]["correlation_id"], "deploy-4711");
    // And everybody may listen, from some time on.
    let path = format!("/v1/events?since={}&correlation=deploy-4711", place.now());
    let heard = place.call(&stranger, "GET", &path, None).await.body;
    let kinds: Vec<&str> =
        heard["events"].as_array().expect("events").iter().filter_map(|it| it["kind"].as_str()).collect();
    assert_eq!(kinds.iter().filter(|it| **it == "request.refused").count(), 1, "{heard}");
    assert!(kinds.contains(&"request.approved"), "{heard}");
    let none =
        place.call(&stranger, "GET", "/v1/events?since=2026-01-01T00:00Z&correlation=else", None).await;
    assert_eq!(none.body["events"], json!([]));
}

/// Pieces that an event is made of, so that what is almost right is tried too.
fn pieces() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop_oneof![Just("ann"), Just("chatops"), Just("PT1H"), Just("203.0.113.7"), Just("*"), Just("1")]
            .prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
    ];
    let names = prop_oneof![
        Just("version"),
        Just("id"),
        Just("correlation_id"),
        Just("on_behalf_of"),
        Just("targets"),
        Just("target"),
        Just("ports"),
        Just("port"),
        Just("sources"),
        Just("duration"),
        Just("end"),
        Just("request"),
        Just("shown"),
        Just("why"),
        Just("grant"),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((names.clone(), inner), 0..8)
                .prop_map(|it| it.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_answered_and_recorded(
        garbage in prop::collection::vec(any::<u8>(), 0..200),
        detail in pieces(),
        kind in prop_oneof![
            Just("access.request"), Just("access.approve"), Just("access.reject"), Just("access.close"), Just("else"),
        ],
        is_garbage in prop::bool::weighted(0.2),
        is_almost_right in any::<bool>(),
    ) {
        let mut detail = detail;
        if is_almost_right && let Some(detail) = detail.as_object_mut() {
            detail.insert("version".to_owned(), 1.into());
            detail.insert("on_behalf_of".to_owned(), "ann".into());
        }
        let body = if is_garbage { garbage } else { envelope("chatops", kind, detail) };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("starts");
        runtime.block_on(async {
            let place = Place::new();
            let submitted = submit(&place, &body).await.expect("nothing here is another try's");
            // Nothing is guarded: whatever it asks for, the answer is no, and in the journal.
            assert!(matches!(submitted, Submitted::Refused(_)), "{submitted:?}");
            assert_eq!(rest(&place).await.len(), 1);
        });
    }
}

#[tokio::test]
async fn evidence_is_asked_for_like_everything_else() {
    let place = Place::new();
    let wish = |from: &str, by: &str| {
        json!({ "version": 1, "id": "audit", "correlation_id": "audit-7", "on_behalf_of": by, "format": "grants-csv",
                "from": from, "to": "2027-02-01T00:00:00Z" })
    };
    let from = "2027-01-01T00:00:00Z";
    let asked = envelope("chatops", "export.request", wish(from, "ann"));
    assert_eq!(submit(&place, &asked).await.expect("heard"), Submitted::Exporting);
    let told: Vec<Event> = rest(&place).await.iter().flat_map(app::events).collect();
    assert_eq!(told.last().map(|it| it.kind), Some("export.requested"));
    let fact = told.last().map(|it| it.detail.fact.clone());
    assert!(matches!(fact, Some(Fact::ExportAsked { format, .. }) if format == "grants-csv"));
    let correlation = told.last().and_then(|it| it.detail.correlation_id.as_ref());
    assert_eq!(correlation.map(ToString::to_string).as_deref(), Some("audit-7"));
    let recorded = rest(&place).await.len();
    assert_eq!(submit(&place, &asked).await.expect("heard"), Submitted::Exporting);
    assert_eq!(rest(&place).await.len(), recorded, "the same event, delivered twice");

    let late = envelope("chatops", "export.request", wish("2027-03-01T00:00:00Z", "ann"));
    assert!(refused(&place, &late).await.contains("`to` must be later than `from`"));
    let other = envelope("chatops", "export.request", wish(from, "mallory"));
    assert!(refused(&place, &other).await.contains("may not act for `mallory`"));
    // Nobody is told that evidence will be where nobody puts any.
    let (bots, incoming) = (named(BOTS), Incoming { body: &asked, source: None, has_archive: false });
    let outcome =
        app::submit(place.store(), place.terms(), place.rights(), &bots, incoming, place.now()).await;
    let Ok(Submitted::Refused(reasons)) = outcome else { panic!("{outcome:?}") };
    assert!(reasons.join("; ").contains("no archive"), "{reasons:?}");
}

/// The archive tells that a manifest is there, perhaps twice; nobody else can.
#[tokio::test]
async fn a_complete_export_is_published_once() {
    let place = Place::new();
    let (from, to) =
        ("2026-02-01T00:00:00Z".parse().expect("a time"), "2026-03-01T00:00:00Z".parse().expect("a time"));
    let wish = Exporting { from, to, format: Format::Csv };
    let folder = Kept::begun(&wish, Some(named("audit/7")), at(0)).folder();
    let kept = |file: &str| json!({ "bucket": { "name": "evidence" }, "object": { "key": format!("{folder}/{file}") } });
    let whole = envelope("aws.s3", "Object Created", kept("manifest.json"));
    for _ in 0..2 {
        assert_eq!(submit(&place, &whole).await.expect("heard"), Submitted::Exported);
    }
    let told: Vec<Event> = rest(&place).await.iter().flat_map(app::events).collect();
    let [ready] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(ready.kind, "export.ready");
    assert_eq!(ready.detail.correlation_id, Some(named("audit/7")));
    let ready = Fact::ExportReady {
        archive: "evidence".to_owned(),
        folder: folder.clone(),
        from,
        to,
        correlation: Some(named("audit/7")),
    };
    assert_eq!(told[0].detail.fact, ready);

    let part = envelope("aws.s3", "Object Created", kept("part-1.csv"));
    assert!(refused(&place, &part).await.contains("not a bot"));
    let bot = envelope("chatops", "Object Created", kept("manifest.json"));
    assert!(!refused(&place, &bot).await.is_empty());
    let bots = named(BOTS);
    let incoming = Incoming { body: &whole, source: Some("ann"), has_archive: true };
    let over_http =
        app::submit(place.store(), place.terms(), place.rights(), &bots, incoming, place.now()).await;
    assert!(matches!(over_http, Ok(Submitted::Refused(_))), "{over_http:?}");
}

#[tokio::test]
async fn an_old_event_is_refused() {
    let place = Place::new();
    let id = place.guard("web-1", &ssh()).await;
    let kept = envelope("chatops", "access.request", wanted(&id, "kept"));
    place.pass(jiff::SignedDuration::from_mins(16));
    assert!(refused(&place, &kept).await.contains("older than 15m"));
    let mut timeless: Value = serde_json::from_slice(&kept).expect("JSON");
    timeless.as_object_mut().expect("an object").remove("time");
    let why = refused(&place, &serde_json::to_vec(&timeless).expect("writes")).await;
    assert!(why.contains("has no `time`"), "{why}");
    assert!(place.target(&id).await.grants().is_empty());
}
