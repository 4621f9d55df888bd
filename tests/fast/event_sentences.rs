//! An event has one plain sentence for people, and all that a bot needs to go on.

use portcullis_app::{self as app, Event, Incoming, Submitted, events};
use portcullis_domain::{Fact, People, TargetId};
use portcullis_tests::{
    given::{at, named, ssh_with_approval},
    place::Place,
    schemas::Schemas,
};
use serde_json::{Value, json};

const BOTS: &str = r#"[{"source": "chatops", "for": ["ann"]}, {"source": "pager", "for": ["bob"]}]"#;

/// What a bot says for a person, over HTTP.
async fn say(place: &Place, source: &str, kind: &str, detail: Value) -> Submitted {
    let body = json!({ "detail-type": kind, "id": kind, "detail": detail }).to_string();
    let incoming = Incoming { body: body.as_bytes(), source: Some(source), has_archive: false };
    let bots = named(BOTS);
    app::submit(place.store(), place.terms(), place.rights(), &bots, incoming, place.now())
        .await
        .expect("heard")
}

async fn asked(place: &Place, sources: &[&str]) -> TargetId {
    let id = place.guard("web-1", &ssh_with_approval()).await;
    let port = json!({ "port": 22, "sources": sources, "duration": "PT1H" });
    let detail = json!({ "version": 1, "on_behalf_of": "ann", "justification": "INC-7",
                         "targets": [{ "target": id, "ports": [port] }] });
    let submitted = say(place, "chatops", "access.request", detail).await;
    assert!(matches!(submitted, Submitted::Answered(_)), "{submitted:?}");
    id
}

async fn heard(place: &Place, id: &TargetId, kind: &str) -> Event {
    let all = place.entries(id).await;
    let event = all.iter().flat_map(events).find(|it| it.kind == kind).unwrap_or_else(|| panic!("no {kind}"));
    Schemas::ours().hold(kind, &json!(event.detail));
    event
}

/// A bot on the bus is sent nothing but events, and sends nothing back but what it was sent.
#[tokio::test]
async fn event_of_a_request_that_waits_has_all_that_an_approval_needs() {
    let place = Place::with_bots(BOTS);
    let id = asked(&place, &["203.0.113.7"]).await;
    let event = heard(&place, &id, "request.needs_approval").await;
    let Fact::ApprovalNeeded { request, shown, approvers, .. } = &event.detail.fact else {
        panic!("{event:?}")
    };
    assert_eq!(approvers, &Some(People::Anybody));
    assert_eq!(
        event.detail.sentence,
        format!(
            "ann via bot chatops asks for 22 of web-1 from 203.0.113.7 for 1h, because: INC-7; request {request} waits for \
             the approval of another person until {}",
            at(8 * 3_600)
        )
    );
    let detail = json!({ "version": 1, "on_behalf_of": "bob", "request": request, "shown": shown });
    let approved = say(&place, "pager", "access.approve", detail).await;
    assert!(matches!(approved, Submitted::Answered(_)), "{approved:?}");
}

#[tokio::test]
async fn event_of_an_opening_says_who_gets_in_where_from_where_until_when_and_how_to_connect() {
    let place = Place::with_bots(BOTS);
    let id = asked(&place, &["203.0.113.7"]).await;
    let event = heard(&place, &id, "request.needs_approval").await;
    let Fact::ApprovalNeeded { request, shown, .. } = &event.detail.fact else { panic!("{event:?}") };
    let detail = json!({ "version": 1, "on_behalf_of": "bob", "request": request, "shown": shown });
    say(&place, "pager", "access.approve", detail).await;
    place.expire().await;
    let event = heard(&place, &id, "grant.opened").await;
    let Fact::Opened { access: Some(access), .. } = &event.detail.fact else { panic!("{event:?}") };
    let machine = place.target(&id).await.machine().expect("known").addresses[0];
    assert_eq!((&access.by, &access.gate, access.until), (&named("ann"), &named("22/tcp"), at(3_600)));
    assert_eq!((&access.sources, access.connect[0]), (&named("203.0.113.7"), (machine, 22).into()));
    let (until, connect) = (access.until, access.connect[0]);
    let sentence =
        format!("22/tcp of web-1 is open to ann from 203.0.113.7 until {until}: connect to {connect}");
    assert_eq!(event.detail.sentence, sentence);
}

#[tokio::test]
async fn sentence_of_a_request_from_many_ranges_stays_short() {
    let place = Place::with_bots(BOTS);
    let sources: Vec<String> = (0..300).map(|n| format!("10.{n}.0.0/24", n = n % 256 + n / 256)).collect();
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let id = asked(&place, &sources).await;
    let event = heard(&place, &id, "request.received").await;
    assert!(event.detail.sentence.contains(" more for 1h"), "{}", event.detail.sentence);
    assert!(event.detail.sentence.chars().count() < 200, "{}", event.detail.sentence);
}
