//! Faults on the wire to AWS, in the very form that AWS gives them.

use super::{
    install,
    process::{Process, is_up},
    table::dynamodb,
};
use portcullis_tests::needs::lacking;
use serde_json::{Value, json};
use std::{process::Command, time::Duration};

/// microburst in front of an emulator; gone when dropped, its log shown when its test fails.
///
/// It rewrites `Host`, so nothing that verifies signatures can stand behind it. It passes GET and DELETE on as
/// empty chunked bodies.
#[derive(Debug)]
pub struct Proxy {
    process: Process,
    url: String,
}

/// What happens to a call instead of its answer, once.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// Refused, because there are too many.
    Throttled,
    /// Refused with 500, without a reason.
    Failed,
    /// A transaction that meets another one.
    Conflicting,
    /// The connection is cut before the call arrives.
    Cut,
    /// It is answered, this much later.
    Late(Duration),
    /// It takes effect, and the connection is cut instead of the answer.
    Unanswered,
}

impl Proxy {
    /// In front of an emulator that has DynamoDB.
    pub fn before(upstream: &str) -> Self {
        let programs = install::programs().unwrap_or_else(|why| lacking(install::PYPI, &why));
        let command = |port: u16| {
            let mut command = Command::new(programs.join("microburst"));
            command.args(["--upstream", upstream, "--host", "127.0.0.1", "--port", &port.to_string()]);
            command
        };
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let is_ready = |port| is_up(&format!("{}/_microburst/health", url(port)));
        let (process, port) = Process::up_at("microburst", command, is_ready);
        let proxy = Self { process, url: url(port) };
        // It reads what AWS is like when it is first asked, which takes seconds.
        dynamodb(&proxy.url, "ListTables", &json!({})).unwrap_or_else(|error| panic!("{error}"));
        proxy
    }

    /// Where its calls go.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Plans a fault for the next call of an operation of DynamoDB, after those that are planned already.
    pub fn plan(&self, operation: &str, fault: Fault) {
        self.plan_of("dynamodb", operation, fault);
    }

    /// The same for another service, by the name that it signs for: `events`.
    pub fn plan_of(&self, service: &str, operation: &str, fault: Fault) {
        let mut rule = fault.rule();
        rule["service"] = json!(service);
        rule["operation"] = json!(operation);
        rule["times"] = json!(1);
        let planned = ureq::patch(self.control("rules")).send_json(json!([rule]));
        assert_eq!(planned.expect("planned").status(), 200);
    }

    /// Of which operations a call met its fault since the last time that this was asked.
    pub fn fired(&self) -> Vec<String> {
        let mut answer = ureq::get(self.control("fired")).call().expect("answers");
        let fired: Vec<Value> = answer.body_mut().read_json().expect("JSON");
        ureq::delete(self.control("fired")).call().expect("forgets");
        fired.iter().map(|it| it["operation"].as_str().expect("an operation").to_owned()).collect()
    }

    fn control(&self, what: &str) -> String {
        format!("{}/_microburst/{what}", self.url)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.process.show_if_failing();
    }
}

impl Fault {
    fn rule(self) -> Value {
        match self {
            Self::Throttled => json!({ "error": { "code": "ThrottlingException" } }),
            Self::Failed => json!({ "error": { "code": "InternalServerError", "status": 500 } }),
            Self::Conflicting => json!({ "error": {
                "code": "TransactionCanceledException",
                "message": "Transaction cancelled, please refer cancellation reasons for specific reasons \
                            [TransactionConflict]",
                "fields": { "CancellationReasons": [
                    { "Code": "TransactionConflict", "Message": "Transaction is ongoing for the item" },
                ] },
            } }),
            Self::Cut => json!({ "reset": true }),
            Self::Late(by) => json!({ "latency": by.as_millis() }),
            Self::Unanswered => json!({ "response": { "abort_bytes": 0 } }),
        }
    }
}
