//! A function's start, as Lambda sees it: from the start of its process to its first poll of the Runtime API.

use crate::{
    spent::{cpu_at_rest, peak},
    template::{Template, short},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

/// What a function asks as soon as it is ready.
const POLL: &str = "GET /2018-06-01/runtime/invocation/next HTTP/1.1";
/// How long a function may take until it is.
const START_MAX: Duration = Duration::from_secs(20);
/// How often a process is looked at, until it waits for its answer.
const LOOKS_MAX: u32 = 10_000;

/// What a start took.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    /// On the clock, from before the process was made.
    pub time: Duration,
    /// Of a processor.
    pub cpu: Duration,
    /// How much memory it had at most, in bytes.
    pub memory: u64,
}

/// A Runtime API that has nothing to do for anybody.
#[derive(Debug)]
pub struct RuntimeApi {
    address: SocketAddr,
    polls: Receiver<Poll>,
}

/// When somebody polled; the connection is theirs, who wait for an answer.
type Poll = (Instant, String, TcpStream);

impl RuntimeApi {
    /// On loopback.
    pub fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = listener.local_addr().expect("an address");
        let (heard, polls) = channel();
        thread::spawn(move || {
            for connection in listener.incoming() {
                let connection = connection.expect("a connection");
                let mut line = String::new();
                // A process that ended before it polled is told of by whoever waits for it.
                let read = BufReader::new(&connection).read_line(&mut line);
                let polled = (Instant::now(), line, connection);
                if read.is_ok() && heard.send(polled).is_err() {
                    return;
                }
            }
        });
        Self { address, polls }
    }

    /// Starts a function in this environment, and ends it when it has polled.
    pub fn start(&self, function: &Path, environment: &BTreeMap<String, String>) -> Start {
        let mut command = Command::new(function);
        command.env_clear().envs(environment).env("AWS_LAMBDA_RUNTIME_API", self.address.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        let begun = Instant::now();
        let process = command.spawn().expect("starts");
        let Ok((polled, line, connection)) = self.polls.recv_timeout(START_MAX) else {
            end(process);
            panic!("{} did not poll within {START_MAX:?}", function.display());
        };
        assert_eq!(line.trim_end(), POLL, "{}", function.display());
        let (cpu, memory) = spent(process.id());
        end(process);
        drop(connection);
        Start { time: polled - begun, cpu, memory }
    }
}

fn end(mut process: Child) {
    process.kill().expect("killed");
    process.wait().expect("waited for");
}

/// What a process has spent, once all of its threads wait.
fn spent(process: u32) -> (Duration, u64) {
    for _ in 0..LOOKS_MAX {
        if let Some(cpu) = cpu_at_rest(process) {
            return (cpu, peak(process));
        }
        thread::yield_now();
    }
    panic!("it is still busy after its first poll");
}

/// What a function finds in its environment: what the template sets by default, as Lambda has it. `given` are
/// parameters of the template.
pub fn environment(function: &str, given: &[(&str, &str)]) -> BTreeMap<String, String> {
    let template = Template::read();
    let (first, rest) = function.split_at(1);
    let own = format!("/Resources/{}{rest}/Properties/Environment/Variables", first.to_uppercase());
    let set = |name: &str| -> Option<String> {
        if let Some((_, value)) = given.iter().find(|(it, _)| *it == name) {
            return Some((*value).to_owned());
        }
        match template.find(&format!("/Parameters/{name}/Default")) {
            Some(value) => Some(short(value)),
            None if name == "AWS::NoValue" => None,
            None => Some(format!("portcullis-{}", name.to_lowercase().replace("::", "-"))),
        }
    };
    let mut environment: BTreeMap<String, String> = LAMBDA.map(|(name, it)| (name.into(), it.into())).into();
    for place in ["/Globals/Function/Environment/Variables", &own] {
        let variables = template.find(place).and_then(Value::as_object);
        for (name, value) in variables.into_iter().flatten() {
            // By default every condition on what was given is not met.
            let value = value["Fn::If"].get(2).unwrap_or(value);
            if let Some(value) = value["Ref"].as_str().and_then(&set) {
                environment.insert(name.clone(), value);
            }
        }
    }
    environment
}

/// What Lambda sets besides.
const LAMBDA: [(&str, &str); 11] = [
    ("AWS_ACCESS_KEY_ID", "an-id"),
    ("AWS_SECRET_ACCESS_KEY", "a-secret"),
    ("AWS_SESSION_TOKEN", "a-token"),
    ("AWS_REGION", "us-east-1"),
    ("AWS_LAMBDA_FUNCTION_NAME", "a-function"),
    ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
    ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
    ("AWS_LAMBDA_LOG_GROUP_NAME", "a-group"),
    ("AWS_LAMBDA_LOG_STREAM_NAME", "a-stream"),
    ("LANG", "en_US.UTF-8"),
    ("PATH", "/usr/local/bin:/usr/bin:/bin"),
];
