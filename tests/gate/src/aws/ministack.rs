//! ministack, deployed to and called as AWS is.

use super::{
    Wire, install,
    process::{Process, is_up},
};
use portcullis_tests::needs::lacking;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Lines, Write as _},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Mutex, OnceLock},
    thread,
    time::{Duration, Instant},
};

/// The key of root.
const ROOT: [(&str, &str); 3] =
    [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_DEFAULT_REGION", "us-east-1")];
/// How long something is waited for: a schedule's minute, and its grain, and a slow machine.
const WAIT_MAX: Duration = Duration::from_mins(2);
/// How long between two looks at it.
const LOOK: Duration = Duration::from_millis(50);

/// Whether signatures are verified and policies enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// Whoever calls may.
    Open,
    /// Every function may what its role says, and nothing more.
    Enforced,
}

/// As whom AWS is called: an access key's id, its secret, and what temporary keys have besides.
#[derive(Debug, Clone)]
pub struct Key {
    /// The id.
    pub id: String,
    /// The secret.
    pub secret: String,
    /// What only temporary keys have.
    pub session: Option<String>,
}

/// A call that AWS refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Such as `AccessDeniedException`.
    pub code: String,
    /// For people.
    pub message: String,
}

/// ministack on loopback; gone when dropped, its log shown when its test fails.
#[derive(Debug)]
pub struct Ministack {
    process: Process,
    url: String,
    hands: Mutex<Hands>,
}

impl Ministack {
    /// The one of this program, where whoever calls may.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Ministack> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(Auth::Open))
    }

    /// One of its own.
    pub fn start(auth: Auth) -> Self {
        Self::start_with(auth, url)
    }

    /// One whose functions call it over this wire.
    pub fn behind(wire: &Wire) -> Self {
        let started = Self::start_with(Auth::Open, |_| wire.url().to_owned());
        wire.lead_to(&started.url);
        started
    }

    /// Its functions inherit where they call from its own environment.
    fn start_with(auth: Auth, called_at: impl Fn(u16) -> String) -> Self {
        let programs = install::programs().unwrap_or_else(|why| lacking(install::PYPI, &why));
        let command = |port: u16| {
            let mut command = Command::new(programs.join("ministack"));
            command.envs(ROOT).env("GATEWAY_PORT", port.to_string()).env("AWS_ENDPOINT_URL", called_at(port));
            command.envs([("BIND_HOST", "127.0.0.1"), ("MINISTACK_HOST", "127.0.0.1")]);
            // The latter two would listen on every interface.
            command.envs([("LAMBDA_EXECUTOR", "local"), ("SFTP_ENABLED", "0"), ("IOT_MTLS_ENABLED", "0")]);
            command.env("AUTH", (auth == Auth::Enforced).to_string());
            command
        };
        let is_ready = |port| is_up(&format!("{}/_ministack/ready", url(port)));
        let name = match auth {
            Auth::Open => "ministack",
            Auth::Enforced => "ministack-enforced",
        };
        let (process, port) = Process::up_at(name, command, is_ready);
        let hands = Mutex::new(Hands::new(programs, &url(port)));
        Self { process, url: url(port), hands }
    }

    /// What programs that speak to AWS have to find in their environment: where it is, and the keys of root.
    pub fn environment(&self) -> BTreeMap<&str, &str> {
        ROOT.into_iter().chain([("AWS_ENDPOINT_URL", self.url.as_str())]).collect()
    }

    /// Where all of its services are heard.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Calls a service as root, once, by the names that boto3 gives to it: `("sqs", "send_message", …)`.
    pub fn call(&self, service: &str, call: &str, with: &Value) -> Result<Value, Refused> {
        let key = Key { id: "test".to_owned(), secret: "test".to_owned(), session: None };
        self.call_as(&key, service, call, with)
    }

    /// The same as somebody else.
    pub fn call_as(&self, key: &Key, service: &str, call: &str, with: &Value) -> Result<Value, Refused> {
        let key = [Some(&key.id), Some(&key.secret), key.session.as_ref()];
        let asked = json!({ "service": service, "call": call, "with": with, "key": key });
        let mut answer = self.hands.lock().expect("hands").work(&asked);
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        match answer.get_mut("answer") {
            Some(answer) => Ok(answer.take()),
            None => Err(Refused { code: text(&answer["code"]), message: text(&answer["message"]) }),
        }
    }

    /// Deploys a SAM template, or deploys it anew, and gives its outputs. In `code` each function has a folder with
    /// its `bootstrap`, called as the binary that the template names.
    pub fn deploy(
        &self,
        template: &Path,
        stack: &str,
        code: &Path,
        parameters: &[(&str, &str)],
    ) -> BTreeMap<String, String> {
        let python = install::programs().expect("it was installed").join("python");
        let mut command = Command::new(python);
        command.arg(install::scripts().join("deploy.py")).args([template, Path::new(stack), code]);
        command.args(parameters.iter().map(|(name, value)| format!("{name}={value}")));
        command.envs(ROOT).env("AWS_ENDPOINT_URL", &self.url);
        let outputs =
            install::run(&mut command).unwrap_or_else(|why| panic!("{why}\n{}", self.process.shown()));
        serde_json::from_str(&outputs).expect("JSON")
    }

    /// Where an HTTP API's stage `$default` is heard, by its endpoint of the outputs.
    pub fn api(&self, endpoint: &str) -> String {
        let id = endpoint.trim_start_matches("http://").split('.').next().expect("an id");
        format!("{}/_aws/execute-api/{id}/$default", self.url)
    }

    /// What a function has printed, a line each, without what Lambda prints around it.
    pub fn printed(&self, function: &str) -> Vec<String> {
        let around = ["START ", "END ", "REPORT "];
        let lines = self.logged(function).into_iter();
        lines.filter(|line| !around.iter().any(|it| line.starts_with(it))).collect()
    }

    /// All that stands in a function's log, a line each.
    pub fn logged(&self, function: &str) -> Vec<String> {
        let group = json!({ "logGroupName": format!("/aws/lambda/{function}") });
        match self.call("logs", "filter_log_events", &group) {
            Ok(found) => {
                let lines = found["events"].as_array().expect("events").iter();
                let lines = lines.filter_map(|it| it["message"].as_str());
                lines.map(|it| it.trim_end().to_owned()).collect()
            }
            // It has not run yet.
            Err(refused) if refused.code == "ResourceNotFoundException" => vec![],
            Err(refused) => panic!("{refused:?}"),
        }
    }

    /// Waits until something is there.
    pub fn wait<T>(&self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let begun = Instant::now();
        while begun.elapsed() < WAIT_MAX {
            if let Some(found) = look(self) {
                return found;
            }
            thread::sleep(LOOK);
        }
        panic!("{what}: not within {WAIT_MAX:?}\n{}", self.process.shown());
    }

    pub(super) fn process(&self) -> &Process {
        &self.process
    }
}

impl Drop for Ministack {
    fn drop(&mut self) {
        self.process.show_if_failing();
    }
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// `hands.py`, which ends when it hears nothing more.
#[derive(Debug)]
struct Hands {
    process: Child,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Hands {
    fn new(programs: &Path, endpoint: &str) -> Self {
        let mut process = Command::new(programs.join("python"))
            .arg(install::scripts().join("hands.py"))
            .envs(ROOT)
            .env("AWS_ENDPOINT_URL", endpoint)
            .env("NO_PROXY", "127.0.0.1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let answers = BufReader::new(process.stdout.take().expect("piped")).lines();
        Self { process, answers }
    }

    fn work(&mut self, asked: &Value) -> Value {
        writeln!(self.process.stdin.as_mut().expect("piped"), "{asked}").expect("it reads");
        let answer = self.answers.next().expect("it lives").expect("it answers");
        serde_json::from_str(&answer).expect("JSON")
    }
}

impl Drop for Hands {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        drop(self.process.wait());
    }
}
