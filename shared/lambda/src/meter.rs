//! What is measured, told to CloudWatch in the log: its embedded metric format.
//!
//! All of it is in the journal, and the relay sees every entry of it, so that it is measured in one place.

use crate::BadSetting;
use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use metrics_cloudwatch_embedded::{Builder, Collector};
use portcullis_app::events;
use portcullis_domain::{Entry, Fact};
use std::{fmt, io};

/// Counts requests and what became of them.
pub struct Meter(&'static Collector);

impl Meter {
    /// Metrics in this namespace. There is one of these in a process.
    pub fn begin(namespace: String) -> Result<Self, BadSetting> {
        let collector = Builder::new().cloudwatch_namespace(namespace).init();
        let unusable = |source| BadSetting::Unusable { name: "PORTCULLIS_METRICS", source };
        let meter = Self(collector.map_err(unusable)?);
        for name in ["requests", "refusals", "refused", "opens", "open_failures", "closes", "drift"] {
            describe_counter!(name, Unit::Count, "");
        }
        for name in ["open_latency_ms", "close_late_ms"] {
            describe_histogram!(name, Unit::Milliseconds, "");
        }
        Ok(meter)
    }

    /// Counts what these entries tell.
    pub fn measure(&self, entries: &[Entry]) {
        for entry in entries {
            for event in events(entry) {
                if let Some(name) = counted(event.kind) {
                    counter!(name).increment(1);
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

fn counted(kind: &str) -> Option<&'static str> {
    match kind {
        "request.received" => Some("requests"),
        "request.refused" => Some("refusals"),
        "grant.opened" => Some("opens"),
        "grant.open_failed" => Some("open_failures"),
        "grant.closed" => Some("closes"),
        "drift.found" => Some("drift"),
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a lease are far from 2^52")]
fn timed(fact: &Fact) {
    if let Fact::Opened { after_ms: Some(after_ms), .. } = fact {
        histogram!("open_latency_ms").record(*after_ms as f64);
    }
    if let Fact::Closed { late_ms, .. } = fact {
        histogram!("close_late_ms").record(*late_ms as f64);
    }
    if let Fact::RequestRefused { codes, .. } = fact {
        for code in codes {
            counter!("refused", "reason" => code.clone()).increment(1);
        }
    }
}
