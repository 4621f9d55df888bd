//! Calls of the program's API by a person with a token.

use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

/// How often a state is polled.
const POLL: Duration = Duration::from_millis(20);
/// How long a call may take.
const CALL_MAX: Duration = Duration::from_mins(2);

/// A person who calls.
#[derive(Debug, Clone)]
pub struct Api {
    agent: ureq::Agent,
    url: String,
    token: String,
}

/// A lease that was granted.
#[derive(Debug, Clone)]
pub struct Granted {
    /// The grant's id.
    pub id: String,
    /// When its lease ends.
    pub end: jiff::Timestamp,
}

impl Api {
    /// The operator, whose token is in the data folder.
    pub fn operator(url: &str, data: &Path) -> Self {
        let token = fs::read_to_string(data.join("token")).expect("a token");
        Self::with(url, token.trim())
    }

    fn with(url: &str, token: &str) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let agent = config.timeout_global(Some(CALL_MAX)).build().new_agent();
        Self { agent, url: url.to_owned(), token: token.to_owned() }
    }

    /// The same program, asked by another person with a new token.
    #[must_use]
    pub fn person(&self, name: &str) -> Self {
        let (status, made) = self.post("/v1/tokens", &json!({ "person": name })).expect("an answer");
        assert!((200..300).contains(&status), "{made}");
        Self::with(&self.url, made["token"].as_str().expect("a token"))
    }

    /// What is answered, with its status; an error where nothing is.
    pub fn get(&self, path: &str) -> Result<(u16, Value), ureq::Error> {
        let call = self.agent.get(format!("{}{path}", self.url));
        read(call.header("authorization", format!("Bearer {}", self.token)).call()?)
    }

    /// The same for a POST, which has a key of its own.
    pub fn post(&self, path: &str, body: &Value) -> Result<(u16, Value), ureq::Error> {
        static KEYS: AtomicU64 = AtomicU64::new(0);
        let key = format!("key-{}-{}", std::process::id(), KEYS.fetch_add(1, Ordering::Relaxed));
        let call = self.agent.post(format!("{}{path}", self.url));
        let call = call.header("authorization", format!("Bearer {}", self.token));
        read(call.header("idempotency-key", key).send_json(body)?)
    }

    /// Guards SSH of a machine, with leases of at most three hours for anybody who asks.
    pub fn enable(&self, target: &str) {
        let path = format!("/v1/targets/{}/enable", encoded(target));
        let (status, answer) = self.post(&path, &json!({ "ports": [{ "port": 22 }] })).expect("an answer");
        assert!((200..300).contains(&status), "{status}: {answer}");
    }

    /// Whether the firewalls of a target hold what the table says, as far as is known.
    pub fn is_settled(&self, target: &str) -> bool {
        let shown = self.get(&format!("/v1/targets/{}", encoded(target)));
        shown.is_ok_and(|(status, shown)| status == 200 && shown["settled"] == true)
    }

    /// Asks for one port of each target, for so many seconds.
    pub fn ask(
        &self,
        targets: &[&str],
        sources: &[String],
        seconds: u64,
    ) -> Result<(u16, Value), ureq::Error> {
        let ask = |target: &&str| json!({ "target": target, "port": 22, "protocol": "TCP", "sources": sources, "for": format!("PT{seconds}S") });
        let asks: Vec<Value> = targets.iter().map(ask).collect();
        self.post("/v1/requests", &json!({ "asks": asks }))
    }

    /// Asks for one port of one target; it must be granted.
    pub fn lease(&self, target: &str, from: &str, seconds: u64) -> Granted {
        let (status, answer) = self.ask(&[target], &[from.to_owned()], seconds).expect("an answer");
        assert_eq!(status, 202, "{answer}");
        granted(&answer).remove(0)
    }

    /// The state of a grant.
    pub fn state(&self, grant: &str) -> Result<String, ureq::Error> {
        let (status, grant) = self.get(&format!("/v1/grants/{grant}"))?;
        Ok(grant["state"].as_str().map_or_else(|| status.to_string(), str::to_owned))
    }

    /// Waits until a grant is in a state; how long that took, or nothing if it took too long.
    pub fn until(&self, grant: &str, state: &str, at_most: Duration) -> Option<Duration> {
        let start = Instant::now();
        while start.elapsed() < at_most {
            if self.state(grant).is_ok_and(|it| it == state) {
                return Some(start.elapsed());
            }
            thread::sleep(POLL);
        }
        None
    }
}

/// The grants of an answer.
pub fn granted(answer: &Value) -> Vec<Granted> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let grant = |it: &Value| Granted { id: text(&it["id"]), end: text(&it["end"]).parse().expect("a time") };
    answer["grants"].as_array().expect("grants").iter().map(grant).collect()
}

fn read(mut response: ureq::http::Response<ureq::Body>) -> Result<(u16, Value), ureq::Error> {
    let text = response.body_mut().read_to_string()?;
    Ok((response.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::Null)))
}

/// An id as a part of a path.
fn encoded(target: &str) -> String {
    target.replace('/', "%2F")
}
