//! The relay: commits go to the bus, and events that an operator at this terminal wants to see to the log.

use crate::steady;
use jiff::{SignedDuration, Timestamp};
use portcullis_app as app;
use portcullis_domain::{Chain, Fact};
use portcullis_local::{LocalBus, RedbStore};
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::broadcast::error::RecvError;

/// So many drifts of one machine within that time are no accident.
const DRIFTS: usize = 3;
const WITHIN: SignedDuration = SignedDuration::from_mins(15);
/// How many machines are remembered.
const MACHINES_MAX: usize = 1000;

/// Relays until the table is closed.
pub async fn run(store: Arc<RedbStore>) {
    let bus = LocalBus::default();
    let mut events = bus.subscribe();
    let mut committed = store.subscribe();
    let mut drifts = Drifts::default();
    loop {
        match committed.recv().await {
            Ok(entries) => {
                if let Err(error) = app::relay(&bus, &entries).await {
                    tracing::warn!(error = error.full(), "Events were not published");
                }
            }
            Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "Events were missed"),
            Err(RecvError::Closed) => return,
        }
        while let Ok(event) = events.try_recv() {
            let (kind, detail) = (event.kind, event.detail);
            let chain = detail.target.map_or_else(Chain::rest, |it| Chain::from(&it));
            let grant = detail.grant.map(|it| it.to_string());
            match kind {
                "grant.close_late" => {
                    let (cause, owner) = cause(&detail.fact);
                    tracing::warn!(target = %chain, grant, cause, owner, "{kind}");
                }
                "grant.open_failed" | "drift.found" => {
                    tracing::warn!(target = %chain, grant, "{kind}");
                }
                _ => tracing::info!(target = %chain, grant, "{kind}"),
            }
            if kind == "drift.found" && drifts.come_back(&chain, steady::now()) {
                let within = format!("{WITHIN:#}");
                tracing::warn!(
                    target = %chain, times = DRIFTS, within,
                    "Its rules are changed behind our back again and again: does another installation guard it?"
                );
            }
        }
    }
}

/// What delayed a closing, and whose that is.
fn cause(fact: &Fact) -> (Option<&'static str>, Option<&'static str>) {
    let Fact::Closed { delay: Some(delay), .. } = fact else { return (None, None) };
    (Some(delay.cause.word()), Some(delay.cause.party().word()))
}

/// When rules were changed behind our back, for each machine.
#[derive(Debug, Default)]
struct Drifts(BTreeMap<Chain, Vec<Timestamp>>);

impl Drifts {
    /// Remembers one; says whether it is the last of [`DRIFTS`] within [`WITHIN`], and then forgets them all.
    fn come_back(&mut self, chain: &Chain, now: Timestamp) -> bool {
        let is_late = |at: &Timestamp| now.duration_since(*at) < WITHIN;
        self.0.retain(|_, times| {
            times.retain(is_late);
            !times.is_empty()
        });
        if !self.0.contains_key(chain) && MACHINES_MAX <= self.0.len() {
            return false;
        }
        let times = self.0.entry(chain.clone()).or_default();
        times.push(now);
        let is_no_accident = DRIFTS <= times.len();
        if is_no_accident {
            times.clear();
        }
        is_no_accident
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_that_comes_back_in_a_quarter_of_an_hour_is_no_accident_and_is_told_of_once() {
        let (mut drifts, one, two) = (Drifts::default(), Chain::rest(), "vm-2".parse().expect("a chain"));
        let at = |minute: i64| Timestamp::from_second(minute * 60).expect("a time");
        assert!(!drifts.come_back(&one, at(0)) && !drifts.come_back(&one, at(14)));
        assert!(!drifts.come_back(&two, at(14)), "of another machine");
        assert!(!drifts.come_back(&one, at(15)), "the first one was long ago");
        assert!(drifts.come_back(&one, at(16)));
        assert!(!drifts.come_back(&one, at(16)), "it was told of");
    }
}
