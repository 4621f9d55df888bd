//! A simulated cloud on a socket of its own, whose time stands still until a test lets it pass.

use jiff::{SignedDuration, Timestamp};
use portcullis_azure::{Arm, Bounds, Settings};
use portcullis_domain::{Existing, TargetId};
use portcullis_simcloud::{Clock, Faults, Permissions, Simcloud, serve};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    thread,
};
use tokio::{net::TcpListener, sync::oneshot};

/// What callers of the network's part of ARM send.
pub const VERSION: &str = "api-version=2024-05-01";

/// A caller on the Internet.
pub const ANN: &str = "203.0.113.9";

/// A brisk cloud, for tests that are not about its pace: a write takes a moment, and says when to ask for it.
pub fn brisk() -> Faults {
    Faults { operation_millis: 200, retry_after_secs: 1, ..Faults::quick() }
}

/// A rule that lets [`ANN`] in.
pub fn allow(priority: u16) -> Value {
    json!({ "properties": {
        "protocol": "Tcp", "sourcePortRange": "*", "destinationPortRange": "22", "sourceAddressPrefixes": [ANN],
        "destinationAddressPrefix": "*", "access": "Allow", "priority": priority, "direction": "Inbound",
    }})
}

/// The cloud, and how it is called.
#[derive(Debug)]
pub struct Azure {
    /// The cloud itself.
    pub cloud: Arc<Simcloud>,
    /// Where it is heard, without a slash at the end.
    pub url: String,
    now: Arc<Mutex<Timestamp>>,
    token: Mutex<String>,
    /// The server stops when this is dropped.
    _stop: oneshot::Sender<()>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// By their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Null where there is none.
    pub body: Value,
}

impl Answer {
    /// Azure's error code, or nothing.
    pub fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }

    /// A header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

impl Azure {
    /// A brisk cloud with the sample fleet of a seed.
    pub fn new(seed: u64) -> Self {
        let azure = Self::with(|clock| Simcloud::new(seed, clock));
        azure.cloud.plan(brisk());
        azure
    }

    /// A cloud that is made with the test's clock.
    pub fn with(make: impl FnOnce(Clock) -> Simcloud) -> Self {
        Self::since("2026-01-01T00:00:00Z".parse().expect("a time"), make)
    }

    /// The same, where it is later already.
    pub fn since(now: Timestamp, make: impl FnOnce(Clock) -> Simcloud) -> Self {
        let now = Arc::new(Mutex::new(now));
        let reads = Arc::clone(&now);
        let cloud = Arc::new(make(Arc::new(move || *reads.lock().expect("not poisoned"))));
        let (stop, stopped) = oneshot::channel::<()>();
        let (heard, address) = std::sync::mpsc::channel();
        let serves = Arc::clone(&cloud);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("starts");
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
                heard.send(listener.local_addr().expect("an address")).expect("somebody waits");
                let stop = async { drop(stopped.await) };
                serve(serves, listener, None, stop).await.expect("serves");
            });
        });
        let url = format!("http://{}", address.recv().expect("it listens"));
        let token = Mutex::new(cloud.issue_token());
        Self { cloud, url, now, token, _stop: stop }
    }

    /// What Portcullis makes of it; writes are done at once, since time stands still.
    pub fn guarded(&self, existing: Existing) -> portcullis_azure::Azure {
        self.cloud.plan(Faults::quick());
        self.guarded_as_it_is(existing)
    }

    /// What Portcullis makes of it, with whatever is planned to go wrong.
    pub fn guarded_as_it_is(&self, existing: Existing) -> portcullis_azure::Azure {
        self.guarded_within(Bounds::with(existing))
    }

    /// The same within bounds.
    pub fn guarded_within(&self, bounds: Bounds) -> portcullis_azure::Azure {
        let settings = Settings::of_simulator(&self.url, &self.cloud.tenant());
        let arm = Arm::new(&settings).expect("the settings are good");
        let now = Arc::clone(&self.now);
        let clock = Arc::new(move || *now.lock().expect("not poisoned"));
        portcullis_azure::Azure::new(arm, bounds, clock)
    }

    /// The id of a machine of the fleet, as Portcullis has it.
    pub fn machine(&self, name: &str) -> TargetId {
        let subscription = self.cloud.subscription();
        let id = format!(
            "/subscriptions/{subscription}/resourcegroups/demo/providers/microsoft.compute/virtualmachines/{name}"
        );
        id.parse().expect("an id")
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        *self.now.lock().expect("not poisoned")
    }

    /// Lets time pass.
    pub fn pass(&self, millis: i64) {
        let mut now = self.now.lock().expect("not poisoned");
        *now += SignedDuration::from_millis(millis);
    }

    /// A call with a good token. `path` begins with a slash or is a whole URL.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.try_call(method, path, &[], body).expect("an answer")
    }

    /// A call with more headers, which may have no answer.
    pub fn try_call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, ureq::Error> {
        let bearer = format!("Bearer {}", self.token.lock().expect("not poisoned"));
        let headers = [headers, &[("authorization", bearer.as_str())]].concat();
        let text = body.map(ToString::to_string);
        self.send(method, path, &headers, text.as_deref().map(|it| ("application/json", it)))
    }

    /// A call just as it is said.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<(&str, &str)>,
    ) -> Result<Answer, ureq::Error> {
        let url = if path.starts_with('/') { format!("{}{path}", self.url) } else { path.to_owned() };
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = match body {
            Some((kind, text)) => {
                let request = request.header("content-type", kind);
                agent.run(request.body(text.to_owned()).expect("a request"))
            }
            None => agent.run(request.body(()).expect("a request")),
        }?;
        let headers = response.headers().iter();
        let headers =
            headers.map(|(name, it)| (name.to_string(), it.to_str().unwrap_or_default().to_owned()));
        let headers = headers.collect();
        let text = response.body_mut().read_to_string()?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { status: response.status().as_u16(), headers, body })
    }

    /// A resource of the sample fleet: `kind` such as `Microsoft.Network/networkInterfaces`.
    pub fn path(&self, kind: &str, rest: &str) -> String {
        let subscription = self.cloud.subscription();
        format!("/subscriptions/{subscription}/resourceGroups/demo/providers/{kind}{rest}?{VERSION}")
    }

    /// Refuses every token that was issued so far, but for the test's own; new ones need these claims.
    pub fn refuse_tokens(&self, claims: Option<String>) {
        self.cloud.refuse_tokens(claims);
        *self.token.lock().expect("not poisoned") = self.cloud.issue_token();
    }

    /// Lets callers do these, and nothing else.
    pub fn permit(&self, actions: &[&str]) {
        self.cloud.permit(Permissions { actions: Some(actions.iter().map(|it| (*it).to_owned()).collect()) });
    }

    /// A rule of a security group.
    pub fn rule(&self, group: &str, name: &str) -> String {
        self.path("Microsoft.Network/networkSecurityGroups", &format!("/{group}/securityRules/{name}"))
    }
}
