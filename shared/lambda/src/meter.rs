//! What is measured, told to CloudWatch in the log: its embedded metric format.
//!
//! All of it is in the journal, and the relay sees every entry of it, so that it is measured in one place.

use crate::BadSetting;
use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use metrics_cloudwatch_embedded::{Builder, Collector};
use portcullis_app::events;
use portcullis_domain::{Entry, Fact, Party, Refusal, TargetId, What, is_late};
use std::{fmt, io};

/// Counts requests and what became of them.
pub struct Meter(&'static Collector);

impl Meter {
    /// Metrics in this namespace. There is one of these in a process.
    pub fn begin(namespace: String) -> Result<Self, BadSetting> {
        let collector = Builder::new().cloudwatch_namespace(namespace).init();
        let unusable = |source| BadSetting::Unusable { name: "PORTCULLIS_METRICS", source };
        let meter = Self(collector.map_err(unusable)?);
        for name in [
            "requests",
            "refusals",
            "refused",
            "opens",
            "open_failures",
            "closes",
            "late_closes",
            "drift",
            "break_glass",
        ] {
            describe_counter!(name, Unit::Count, "");
        }
        for name in ["open_latency_ms", "close_late_ms", "close_late_own_ms"] {
            describe_histogram!(name, Unit::Milliseconds, "");
        }
        Ok(meter)
    }

    /// Counts what these entries tell.
    pub fn measure(&self, entries: &[Entry]) {
        for entry in entries {
            for (name, part) in counted(entry) {
                match part {
                    Some((label, part)) => counter!(name, label => part).increment(1),
                    None => counter!(name).increment(1),
                }
            }
            timed(&entry.fact);
        }
        // One line that is lost is a gap in a graph, and no reason to tell events twice.
        drop(self.0.flush(io::stdout()));
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meter")
    }
}

/// A part of what is counted, by the name of its dimension.
type Part = Option<(&'static str, String)>;

/// What an entry counts; a refusal also by each of its reasons, and a closing that came late by whose its delay is.
fn counted(entry: &Entry) -> Vec<(&'static str, Part)> {
    if !is_told_first(entry) {
        return vec![];
    }
    let codes = if let Fact::RequestRefused { codes, .. } | Fact::EventRefused { codes, .. } = &entry.fact {
        codes.as_slice()
    } else {
        &[]
    };
    let names = events(entry).into_iter().filter_map(|it| Some((name(it.kind)?, None)));
    let refused = codes.iter().map(|code| ("refused", Some(("reason", code.clone()))));
    let late = late_of(&entry.fact).map(|party| ("late_closes", Some(("owner", party.word().to_owned()))));
    names.chain(refused).chain(late).collect()
}

/// Whose the delay of a closing is, where it came late: what an entry of an earlier version does not say is ours.
fn late_of(fact: &Fact) -> Option<Party> {
    let Fact::Closed { late_ms, cloud_ms, delay, .. } = fact else { return None };
    let party = delay.as_ref().map_or(Party::Portcullis, |it| it.cause.party());
    is_late(*late_ms, *cloud_ms).then_some(party)
}

/// A request is told by every target that it names and that is known, and is one request: it is counted where the first of
/// them tells it. Where none is known the chain of the rest does. Who is unknown stands in the reasons, which an entry has
/// room for the beginning of.
fn is_told_first(entry: &Entry) -> bool {
    const NONE: &[String] = &[];
    let (asked, reasons) = if let Fact::RequestRefused { asked, reasons, .. } = &entry.fact {
        (asked, reasons.as_slice())
    } else if let Fact::ApprovalNeeded { asked, .. } = &entry.fact {
        (asked, NONE)
    } else {
        return true;
    };
    let (What::Initiate { asks, .. }, Some(target)) = (asked, entry.chain.target()) else { return true };
    let is_known = |it: &&TargetId| {
        let unknown = Refusal::UnknownTarget { target: (*it).clone() }.to_string();
        !reasons.iter().any(|it| !it.is_empty() && unknown.starts_with(it.trim_end_matches('…')))
    };
    asks.iter().map(|it| &it.target).find(is_known).is_none_or(|it| *it == target)
}

fn name(kind: &str) -> Option<&'static str> {
    match kind {
        "request.received" => Some("requests"),
        "request.refused" => Some("refusals"),
        "grant.opened" => Some("opens"),
        "grant.open_failed" => Some("open_failures"),
        "grant.closed" => Some("closes"),
        "drift.found" => Some("drift"),
        "breakglass.used" => Some("break_glass"),
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a lease are far from 2^52")]
fn timed(fact: &Fact) {
    if let Fact::Opened { after_ms: Some(after_ms), .. } = fact {
        histogram!("open_latency_ms").record(*after_ms as f64);
    }
    if let Fact::Closed { late_ms, cloud_ms, .. } = fact {
        histogram!("close_late_ms").record(*late_ms as f64);
        // What the cloud's own write took is none of our lateness.
        histogram!("close_late_own_ms").record((late_ms - cloud_ms.unwrap_or(0)) as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_domain::{Chain, Head};
    use serde_json::{Value, json};

    const MACHINES: &str =
        "/subscriptions/5a1c/resourceGroups/demo/providers/Microsoft.Compute/virtualMachines";

    fn machine(name: &str) -> TargetId {
        format!("{MACHINES}/{name}").parse().expect("a target")
    }

    fn entry(chain: &Chain, fact: &Value) -> Entry {
        let fact: Fact = serde_json::from_value(fact.clone()).expect("a fact");
        let (_, mut entries) = Head::default().append(chain, jiff::Timestamp::UNIX_EPOCH, [fact]);
        entries.remove(0)
    }

    /// How often something is counted when all of these chains tell it.
    fn count(name: &str, chains: &[Chain], fact: &Value) -> usize {
        let all = chains.iter().flat_map(|it| counted(&entry(it, fact)));
        let word = |part: &Part| part.as_ref().map(|(_, part)| part.clone()).unwrap_or_default();
        all.filter(|(it, part)| format!("{it} {}", word(part)).trim() == name).count()
    }

    fn asking(names: &[&str], more: &Value) -> Value {
        let ask = |name: &&str| json!({ "target": machine(name), "port": 22, "sources": ["203.0.113.9/32"], "window": { "for": "PT1H" } });
        let asks: Vec<Value> = names.iter().map(ask).collect();
        let mut fact =
            json!({ "request": "r1", "by": "ann", "asked": { "initiate": { "asks": asks } }, "why": null });
        fact.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        fact
    }

    #[test]
    fn a_request_for_many_targets_is_counted_once() {
        let names = ["web-2", "web-1", "web-3"];
        let chains = names.map(|it| Chain::from(&machine(it)));
        let more =
            json!({ "what": "request_refused", "reasons": ["too long"], "codes": ["too-long", "over"] });
        let refused = asking(&names, &more);
        for name in ["requests", "refusals", "refused too-long", "refused over"] {
            assert_eq!(count(name, &chains, &refused), 1, "{name}");
        }
        let pending = asking(&names, &json!({ "what": "approval_needed", "until": "2026-03-02T12:00:00Z" }));
        assert_eq!(count("requests", &chains, &pending), 1);
    }

    #[test]
    fn a_refused_request_is_counted_with_the_first_known_target() {
        let unknown = |name: &str| Refusal::UnknownTarget { target: machine(name) }.to_string();
        let of = |reasons: &[String]| {
            let codes = vec!["unknown-target"; reasons.len()];
            let more = json!({ "what": "request_refused", "reasons": reasons, "codes": codes });
            asking(&["gone-1", "web-1", "web-2"], &more)
        };
        let chains = ["web-1", "web-2"].map(|it| Chain::from(&machine(it)));
        let refused = of(&[unknown("gone-1")]);
        assert_eq!(count("requests", &chains, &refused), 1);
        assert_eq!(count("refused unknown-target", &chains, &refused), 1);
        let cut = unknown("gone-1").chars().take(120).collect::<String>() + "…";
        assert_eq!(count("requests", &chains, &of(&[cut])), 1);
        // Also where something else comes first, as a key that is used already.
        let refused = of(&["the key is used".to_owned(), unknown("gone-1")]);
        assert_eq!(count("requests", &chains, &refused), 1);
        let refused = of(&["gone-1", "web-1", "web-2"].map(unknown));
        assert_eq!(count("refusals", &[Chain::rest()], &refused), 1);
    }

    #[test]
    fn a_late_closing_is_counted_by_the_owner_of_its_delay() {
        let chain = [Chain::from(&machine("web-1"))];
        let closed = |late_ms: i64, more: Value| {
            let mut fact =
                json!({ "what": "closed", "grant": "r-1", "reason": "expired", "late_ms": late_ms });
            fact.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            Party::ALL.map(|it| count(&format!("late_closes {}", it.word()), &chain, &fact))
        };
        let delay = |cause: &str| json!({ "delay": { "cause": cause } });
        assert_eq!(closed(2_000, json!({})), [0, 0, 0], "in time");
        assert_eq!(closed(6_900, json!({ "cloud_ms": 4_900 })), [0, 0, 0], "without the cloud's own write");
        assert_eq!(closed(2_001, delay("behind")), [1, 0, 0]);
        assert_eq!(closed(9_000, delay("cloud-refused")), [0, 1, 0]);
        assert_eq!(closed(9_000, delay("disk-full")), [0, 0, 1]);
        assert_eq!(closed(9_000, json!({})), [1, 0, 0], "an entry of before says nothing");
    }

    #[test]
    fn break_glass_is_counted_once() {
        let opened = ["web-2", "web-1"].map(|it| json!({ "target": machine(it), "gate": "22/tcp" }));
        let fact = json!({ "what": "glass_broken", "request": "r1", "by": "ann", "why": "nobody answers",
                           "opened": opened, "skipped": ["*"] });
        let chain = Chain::from(&machine("web-2"));
        assert_eq!(count("break_glass", &[chain], &fact), 1);
    }

    #[test]
    fn a_refused_event_is_counted_by_its_reasons() {
        let fact = json!({ "what": "event_refused", "source": "chatops", "event": "1", "reasons": ["no bot"],
                           "codes": ["unknown-bot"] });
        assert_eq!(count("refusals", &[Chain::rest()], &fact), 1);
        assert_eq!(count("refused unknown-bot", &[Chain::rest()], &fact), 1);
        assert_eq!(count("requests", &[Chain::rest()], &fact), 0, "nobody knows what it asked for");
    }
}
