//! The real program under callers who mean harm: strangers in numbers, readers who never read, and a log that nobody reads.
//! Leases close on time all the while, and callers with a token are answered.

use portcullis_tests::{
    binary::{Up, text},
    callers::{Flood, Kind},
};
use serde_json::{Value, json};
use std::{
    fs, io,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    process::Stdio,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// How long after its end a lease may be seen to be closed, the cloud's own write included, which takes 50 ms here.
const LATE_MAX: Duration = Duration::from_secs(1);
/// How long a caller with a token may wait for an answer over the network.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// How long the operator may wait for one over the socket, the command's own start included.
const OPERATOR_MAX: Duration = Duration::from_secs(1);
/// How long something may take that is no promise.
const WAIT_MAX: Duration = Duration::from_mins(1);
/// The address with a lease.
const VISITOR: &str = "203.0.113.9";

/// A simulated cloud that answers quickly, and a machine in it.
struct Scene {
    up: Up,
    token: String,
    data: tempfile::TempDir,
}

impl Scene {
    fn begin(log: Stdio, variables: &[(&str, &str)]) -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let up = Up::start_with(data.path(), &["--lease-min", "1s"], &[], |command| {
            command.envs(variables.iter().copied()).stderr(log);
        });
        up.plan(&json!({ "operation_millis": 50, "retry_after_secs": 0 }));
        let token = fs::read_to_string(data.path().join("token")).expect("a token").trim().to_owned();
        let scene = Self { up, token, data };
        scene.up.json(&["enable", "web-1"]);
        scene
    }

    /// Opens a lease of some seconds, and gives the grant.
    fn lease(&self, length: &str) -> Value {
        let answer = self.up.json(&["request", "web-1", "--from", VISITOR, "--for", length, "--wait"]);
        answer["grants"][0].clone()
    }

    /// How long after its end a grant was closed.
    fn lateness(&self, grant: &Value) -> Duration {
        let path = format!("/v1/grants/{}", grant["id"].as_str().expect("an id"));
        let began = Instant::now();
        loop {
            let (status, body) = self.ask(&path);
            let grant: Value = serde_json::from_str(&body).expect("JSON");
            assert_eq!(status, 200, "{grant}");
            if let Some(closed_at) = grant["closed_at"].as_str() {
                let at = |text: &str| text.parse::<jiff::Timestamp>().expect("a time");
                let late = at(closed_at).duration_since(at(grant["end"].as_str().expect("an end")));
                return Duration::try_from(late).expect("not before its end");
            }
            assert!(began.elapsed() < WAIT_MAX, "waited {WAIT_MAX:?} for the end of a lease");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Asks over a connection of its own, as the operator.
    fn ask(&self, path: &str) -> (u16, String) {
        self.ask_as(path, Some(&self.token))
    }

    fn ask_as(&self, path: &str, token: Option<&str>) -> (u16, String) {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let mut ask = agent.get(format!("{}{path}", self.up.url()));
        if let Some(token) = token {
            ask = ask.header("authorization", format!("Bearer {token}"));
        }
        let mut answer = ask.call().expect("an answer");
        (answer.status().as_u16(), answer.body_mut().read_to_string().expect("text"))
    }

    /// The longest that a caller with a token waited, while a lease runs out.
    fn waits(&self) -> Duration {
        let waited = |_| {
            let began = Instant::now();
            assert_eq!(self.ask("/v1/whoami").0, 200);
            began.elapsed()
        };
        (0..10).map(waited).max().expect("asked")
    }

    /// A lease closes on time under a flood, and callers with a token are answered.
    fn under(&self, flood: &Flood) {
        let grant = self.lease("8s");
        flood.wait_until_it_runs();
        let waited = self.waits();
        let late = self.lateness(&grant);
        println!("{flood:?}: a lease was closed {late:?} after its end, a known caller waited {waited:?}");
        assert!(late <= LATE_MAX, "a lease was closed {late:?} after its end");
        assert!(waited <= ANSWER_MAX, "a caller with a token waited {waited:?}");
    }
}

#[test]
fn strangers_in_numbers_keep_no_lease_open_and_no_known_caller_out() {
    let scene = Scene::begin(Stdio::null(), &[]);
    for path in ["/openapi.json", "/healthz", "/v1/targets", "/nowhere"] {
        let flood = Flood::start(scene.up.url(), 250, &Kind::Asks(path));
        scene.under(&flood);
        assert!(0 < flood.answers(), "{path}: strangers are answered too");
    }
}

#[test]
fn callers_who_never_read_keep_no_lease_open_and_no_known_caller_out() {
    let scene = Scene::begin(Stdio::null(), &[]);
    let flood = Flood::start(scene.up.url(), 270, &Kind::NeverReads("/openapi.json", None));
    scene.under(&flood);
}

#[test]
fn a_known_caller_who_never_reads_is_cut() {
    let scene = Scene::begin(Stdio::null(), &[]);
    let flood =
        Flood::start(scene.up.url(), 100, &Kind::NeverReads("/openapi.json", Some(scene.token.clone())));
    scene.under(&flood);
    // Each connection is cut once nothing of it was read for a while.
    flood.wait_until_cut(100);
}

#[test]
fn readers_who_wait_for_events_keep_no_lease_open_and_are_answered_when_the_program_stops() {
    const READERS: usize = 90;
    const WAITING_MAX: usize = 64;
    let scene = Scene::begin(Stdio::null(), &[]);
    let grant = scene.lease("8s");
    let (answered, answers) = mpsc::channel();
    let readers = (0..READERS).map(|_| {
        let (url, token, answered) = (scene.up.url().to_owned(), scene.token.clone(), answered.clone());
        thread::spawn(move || {
            let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
            let ask = agent.get(format!("{url}/v1/events?correlation=nobodys&wait=PT30S"));
            let answer = ask.header("authorization", format!("Bearer {token}")).call();
            let status = answer.map(|it| it.status().as_u16()).map_err(|it| it.to_string());
            answered.send((status, Instant::now())).expect("they are counted");
        })
    });
    let readers: Vec<_> = readers.collect();
    let next = || answers.recv_timeout(WAIT_MAX).expect("an answer");
    for _ in WAITING_MAX..READERS {
        assert_eq!(next().0, Ok(200), "those who find no place to wait are answered at once");
    }
    let (waited, late) = (scene.waits(), scene.lateness(&grant));
    assert!(late <= LATE_MAX, "a lease was closed {late:?} after its end");
    assert!(waited <= ANSWER_MAX, "a caller with a token waited {waited:?}");
    assert!(answers.try_recv().is_err(), "what happens to others ends no wait");
    let stopped_at = Instant::now();
    assert!(scene.up.stop().success());
    for _ in 0..WAITING_MAX {
        let (status, at) = next();
        assert_eq!((status, stopped_at <= at), (Ok(200), true));
    }
    for reader in readers {
        reader.join().expect("it ends");
    }
}

#[test]
fn silent_connections_keep_nobody_out() {
    let scene = Scene::begin(Stdio::null(), &[]);
    let flood = Flood::start(scene.up.url(), 1000, &Kind::Silent);
    scene.under(&flood);
}

#[test]
fn the_operator_gets_in_by_the_socket_while_strangers_flood_the_network() {
    let scene = Scene::begin(Stdio::null(), &[]);
    let floods = [
        Flood::start(scene.up.url(), 250, &Kind::Asks("/openapi.json")),
        Flood::start(scene.up.url(), 270, &Kind::NeverReads("/openapi.json", None)),
        Flood::start(scene.up.url(), 500, &Kind::Silent),
    ];
    floods.iter().for_each(Flood::wait_until_it_runs);
    let socket = scene.data.path().join("portcullis.sock");
    let mode = fs::metadata(&socket).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "its owner's alone");
    let url = format!("unix:{}", socket.display());
    // By itself where the folder is this machine's, and by name.
    for words in [&["whoami", "--json"][..], &["whoami", "--json", "--url", &url]] {
        let mut command = scene.up.client();
        command.env_remove("PORTCULLIS_URL").env("PORTCULLIS_CONFIG", "/nowhere");
        let began = Instant::now();
        let output = command.args(words).output().expect("runs");
        let took = began.elapsed();
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains("operator"), "{}", text(&output.stdout));
        assert!(took <= OPERATOR_MAX, "the operator waited {took:?}");
    }
    drop(floods);
    assert!(scene.up.stop().success());
    assert!(!socket.exists(), "it goes with its program");
}

#[test]
fn a_command_without_a_body_always_gets_its_answer_over_the_socket() {
    let scene = Scene::begin(Stdio::null(), &[]);
    let grant = scene.lease("5s");
    scene.lateness(&grant);
    let url = format!("unix:{}", scene.data.path().join("portcullis.sock").display());
    let id = grant["id"].as_str().expect("an id");
    for _ in 0..30 {
        let output = scene.up.client().args(["close", id, "--url", &url]).output().expect("runs");
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
}

#[test]
fn a_socket_that_is_left_by_a_killed_program_is_replaced() {
    let data = tempfile::tempdir().expect("a folder");
    Up::start(data.path(), &[], &[]).kill();
    assert!(data.path().join("portcullis.sock").exists());
    let up = Up::start(data.path(), &[], &[]);
    let mut command = up.client();
    let output =
        command.env_remove("PORTCULLIS_URL").env("PORTCULLIS_CONFIG", "/nowhere").arg("whoami").output();
    assert!(output.expect("runs").status.success());
}

#[test]
fn failed_logins_are_limited_and_told_of_and_a_valid_token_is_let_in_all_the_same() {
    const BAD: &str = "pct_bm90LXRoZS10b2tlbi1vZi1hbnlib2R5LWhlcmU";
    let log = tempfile::NamedTempFile::new().expect("a file");
    let scene = Scene::begin(log.reopen().expect("opens").into(), &[]);
    let statuses: Vec<u16> = (0..40).map(|_| scene.ask_as("/v1/whoami", Some(BAD)).0).collect();
    let (unauthorized, limited): (Vec<u16>, Vec<u16>) = statuses.iter().partition(|it| **it == 401);
    assert!(30 <= unauthorized.len() && !limited.is_empty(), "{statuses:?}");
    assert!(limited.iter().all(|it| *it == 429), "{statuses:?}");
    assert_eq!(scene.ask("/v1/whoami").0, 200, "a valid token from the same address");
    let (_, doctor) = scene.ask("/v1/doctor");
    assert!(doctor.contains("40 failed logins") && doctor.contains("`127.0.0.1`"), "{doctor}");
    assert!(scene.up.stop().success());
    let log = fs::read_to_string(log.path()).expect("a log");
    assert!(log.contains("failed_logins=1 "), "at once, and then once a minute: {log}");
    assert!(!log.contains(BAD) && !doctor.contains(BAD));
}

#[test]
fn the_description_is_made_once_and_a_cache_that_has_it_is_told_so() {
    let scene = Scene::begin(Stdio::null(), &[]);
    let agent = ureq::agent();
    let url = format!("{}/openapi.json", scene.up.url());
    let ask = |tag: &str| agent.get(&url).header("if-none-match", tag).call().expect("an answer");
    let mut whole = ask("\"another\"");
    let tag = whole.headers()["etag"].to_str().expect("text").to_owned();
    let text = whole.body_mut().read_to_string().expect("text");
    assert!(
        (whole.status(), whole.headers()["connection"].as_bytes()) == (ureq::http::StatusCode::OK, b"close")
    );
    assert!(serde_json::from_str::<Value>(&text).expect("JSON")["paths"]["/v1/targets"].is_object());
    let mut same = ask(&tag);
    assert_eq!(same.status().as_u16(), 304);
    assert_eq!(same.body_mut().read_to_string().expect("text"), "");
}

#[test]
fn a_log_that_nobody_reads_keeps_no_lease_open() {
    let (never_read, log) = io::pipe().expect("a pipe");
    let scene = Scene::begin(log.into(), &[("PORTCULLIS_LOG", "trace")]);
    let grant = scene.lease("3s");
    // More than a pipe holds.
    for _ in 0..200 {
        scene.ask("/v1/whoami");
    }
    let late = scene.lateness(&grant);
    assert!(late <= LATE_MAX, "a lease was closed {late:?} after its end");
    drop(never_read);
}

#[test]
fn a_second_program_on_the_same_address_fails_before_it_changed_anything() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("an address");
    let address = taken.local_addr().expect("an address").to_string();
    let data = tempfile::tempdir().expect("a folder");
    let folder = data.path().join("data");
    let output = std::process::Command::new(portcullis_tests::binary::program())
        .arg("up")
        .arg("--data")
        .arg(&folder)
        .args(["--listen", &address])
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(5), "{}", text(&output.stderr));
    let told = text(&output.stderr);
    assert!(told.contains(&format!("cannot listen on `{address}`")) && told.contains("--listen"), "{told}");
    assert!(!folder.exists(), "no folder, no table, no cloud, no token");
}
