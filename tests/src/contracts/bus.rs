//! The contract of [`Bus`], as its doc comment says it. Every function begins with a new bus; `heard` waits until so many events
//! were heard there, and gives all that were, each with its kind.

use crate::given::{at, named};
use portcullis_app::{Event, events, ports::Bus};
use portcullis_domain::{Chain, Entry, Fact, Head};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What is published is heard as it is, with nothing more, and nothing published is nothing heard.
pub async fn what_is_published_is_heard(bus: &impl Bus, heard: impl Fn(usize) -> Vec<(String, Value)>) {
    let events = told(&healed(3));
    takes_all(bus, &[]).await;
    takes_all(bus, &events[..1]).await;
    hears(&heard, &events[..1]);
    takes_all(bus, &events[1..]).await;
    hears(&heard, &events);
}

/// As many as one likes, whatever goes at a time.
pub async fn more_than_go_at_a_time_are_heard(bus: &impl Bus, heard: impl Fn(usize) -> Vec<(String, Value)>) {
    /// More than three times what EventBridge takes.
    const MANY: usize = 34;
    let events = told(&healed(MANY));
    takes_all(bus, &events).await;
    hears(&heard, &events);
}

/// The same of what is too long together, and is not by itself.
pub async fn what_is_long_together_is_heard(bus: &impl Bus, heard: impl Fn(usize) -> Vec<(String, Value)>) {
    const LENGTH: usize = 100 * 1024;
    let events = told(&entries(vec![found(LENGTH), found(LENGTH), Fact::DriftHealed, found(LENGTH)]));
    takes_all(bus, &events).await;
    hears(&heard, &events);
}

/// What is longer than the bus takes is named, as hopeless, and holds up nothing; a bus may take anything.
pub async fn what_is_too_long_holds_up_nothing(
    bus: &impl Bus,
    heard: impl Fn(usize) -> Vec<(String, Value)>,
) {
    const LENGTH: usize = 300 * 1024;
    const LONG: usize = 1;
    let mut events = told(&entries(vec![Fact::DriftHealed, found(LENGTH), Fact::DriftHealed]));
    let not = bus.publish(&events).await.expect("published");
    let is_it = |at: usize, is_hopeless: bool, why: &str| at == LONG && is_hopeless && !why.is_empty();
    assert!(not.len() <= 1 && not.iter().all(|it| is_it(it.at, it.is_hopeless, &it.why)), "{not:?}");
    if !not.is_empty() {
        events.remove(LONG);
    }
    hears(&heard, &events);
}

/// So many entries of a chain, each told as one event.
pub fn healed(count: usize) -> Vec<Entry> {
    entries(vec![Fact::DriftHealed; count])
}

/// These facts as entries of a chain.
pub fn entries(facts: Vec<Fact>) -> Vec<Entry> {
    Head::default().append(&named::<Chain>("vm-1"), at(0), facts).1
}

/// What is told as an event that is a little longer than this, in bytes.
pub fn found(length: usize) -> Fact {
    Fact::DriftFound { rules: vec!["x".repeat(length)] }
}

/// What entries are told as.
pub fn told(of: &[Entry]) -> Vec<Event> {
    of.iter().flat_map(events).collect()
}

/// An event as it is heard.
pub fn as_heard(event: &Event) -> (String, Value) {
    (event.kind.to_owned(), json!(event.detail))
}

async fn takes_all(bus: &impl Bus, events: &[Event]) {
    let not = bus.publish(events).await.expect("published");
    assert!(not.is_empty(), "{not:?}");
}

/// These and no others, in whatever order, and each perhaps more than once.
fn hears(heard: impl Fn(usize) -> Vec<(String, Value)>, events: &[Event]) {
    let by_id = |it: (String, Value)| (it.1["id"].to_string(), it);
    let heard: BTreeMap<_, _> = heard(events.len()).into_iter().map(by_id).collect();
    let wanted: BTreeMap<_, _> = events.iter().map(|it| by_id(as_heard(it))).collect();
    assert_eq!(heard, wanted);
}
