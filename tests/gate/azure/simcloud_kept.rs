//! The simulated Azure in a file: what changes is kept, whole, and a new start goes on from it.

use portcullis_simcloud::{Clock, Fault, Faults, On, Packet, PacketProtocol, Planned, Simcloud, keep};
use portcullis_tests::{
    azure::{Azure, VERSION, allow, brisk},
    binary::{program, text},
};
use rustix::process::{Pid, Signal};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};
use tokio::sync::oneshot;

const SECOND: i64 = 1000;
/// How many lines of the greeting are read for where and what it serves.
const GREETING_LINES: usize = 4;
/// How often, and after how long each time, it is looked whether something is so.
const LOOKS: u32 = 500;
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// Waits until something is so; what is saved is so a moment later.
fn wait_until(is_so: impl Fn() -> bool) {
    for _ in 0..LOOKS {
        if is_so() {
            return;
        }
        thread::sleep(BETWEEN_LOOKS);
    }
    panic!("it never was so");
}

/// The cloud that is in a file.
fn kept(file: &Path) -> Azure {
    Azure::with(|clock| Simcloud::load(file, clock).expect("a snapshot").expect("a file"))
}

#[test]
fn what_changes_is_kept_in_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("azure.json");
    let azure = Azure::new(1);
    let (stop, stopped) = oneshot::channel::<()>();
    let (cloud, to) = (Arc::clone(&azure.cloud), file.clone());
    let keeper = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("starts");
        runtime.block_on(keep(cloud, to, async { drop(stopped.await) }, |error| panic!("{error}")))
    });
    wait_until(|| file.exists());
    let path = azure.rule("build-1-nsg", "Ours");
    assert_eq!(azure.call("PUT", &path, Some(&allow(100))).status, 201);
    let has_rule = |it: &Azure| it.call("GET", &path, None).status == 200;
    wait_until(|| has_rule(&kept(&file)));
    // Whatever comes last is kept as well, and nothing lies about.
    assert_eq!(azure.call("DELETE", &path, None).status, 202);
    azure.pass(SECOND);
    drop(stop);
    keeper.join().expect("ends").expect("saved");
    assert!(!has_rule(&kept(&file)));
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
}

#[test]
fn a_file_that_cannot_be_gone_on_from_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock: Clock = Arc::new(jiff::Timestamp::now);
    let (none, strange) = (folder.path().join("none.json"), folder.path().join("strange.json"));
    assert!(Simcloud::load(&none, Arc::clone(&clock)).is_ok_and(|it| it.is_none()));
    fs::write(&strange, "{}").expect("written");
    for file in [&strange, &folder.path().to_owned()] {
        let error = Simcloud::load(file, Arc::clone(&clock)).expect_err("no snapshot");
        assert!(error.to_string().contains(file.to_str().expect("text")), "{error}");
    }
    let nowhere = none.join("azure.json");
    let error = Azure::new(1).cloud.save(&nowhere).expect_err("no folder");
    assert!(error.to_string().contains(nowhere.to_str().expect("text")), "{error}");
}

#[test]
fn looking_changes_nothing() {
    let azure = Azure::new(1);
    let changes = azure.cloud.changes();
    let seen = || *changes.borrow();
    let path = azure.rule("build-1-nsg", "Ours");
    let before = seen();
    azure.call("GET", &path, None);
    azure.call("GET", &azure.path("Microsoft.Compute/virtualMachines", ""), None);
    let packet = Packet { from: [203, 0, 113, 9].into(), protocol: PacketProtocol::Tcp, port: 22 };
    assert!(azure.cloud.passes("build-1", packet).is_ok_and(|it| !it.passes));
    assert_eq!(azure.call("PUT", &path, Some(&allow(99))).status, 400);
    assert_eq!(seen(), before);
    azure.call("PUT", &path, Some(&allow(100)));
    let accepted = seen();
    assert!(before < accepted);
    azure.pass(SECOND);
    azure.call("GET", &path, None);
    assert!(accepted < seen(), "it has landed");
    let landed = seen();
    let planned = vec![Planned { on: On::Read, skip: 0, times: 1, fault: Fault::Broken }];
    azure.cloud.plan(Faults { planned, ..brisk() });
    azure.call("GET", &path, None);
    assert_eq!(seen(), landed + 2, "planned, and struck");
    azure.call("GET", &path, None);
    assert_eq!(seen(), landed + 2);
}

#[test]
fn a_restart_goes_on_where_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("azure.json");
    let first = Served::start(&file);
    let path = format!(
        "/subscriptions/{}/resourceGroups/demo/providers/Microsoft.Network/networkSecurityGroups/build-1-nsg/securityRules/Ours",
        first.subscription
    );
    let token = first.token.clone();
    assert_eq!(first.call("PUT", &path, &token, Some(&allow(100))), 201);
    first.stop();
    let second = Served::start(&file);
    assert_ne!(second.token, token);
    assert_eq!(second.call("GET", &path, &token, None), 200, "the rule is there, and the token is good");
    second.stop();

    fs::write(&file, "no snapshot").expect("written");
    let mut again = Command::new(program());
    let refused = again.args(["simcloud", "--listen", "127.0.0.1:0", "--state"]).arg(&file).output();
    let refused = refused.expect("runs");
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(said.contains(file.to_str().expect("text")), "{said}");
    assert_eq!(fs::read_to_string(&file).expect("reads"), "no snapshot", "what it was is left to its owner");
}

/// `portcullis simcloud --state`, killed when it is dropped.
struct Served {
    process: Child,
    url: String,
    subscription: String,
    token: String,
}

impl Served {
    fn start(file: &Path) -> Self {
        let mut process = Command::new(program())
            .args(["simcloud", "--listen", "127.0.0.1:0", "--state"])
            .arg(file)
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let greeting = BufReader::new(process.stdout.take().expect("piped")).lines();
        let greeting: Vec<String> = greeting.take(GREETING_LINES).map_while(Result::ok).collect();
        let after = |word: &str| {
            let found = greeting.iter().find_map(|line| line.split_once(word));
            found.unwrap_or_else(|| panic!("no `{word}` in {greeting:?}")).1.trim().to_owned()
        };
        let (url, subscription, token) = (after(" is up at "), after("  subscription "), after("  token "));
        Self { process, url, subscription, token }
    }

    /// The status that a call is answered with.
    fn call(&self, method: &str, path: &str, token: &str, body: Option<&Value>) -> u16 {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}?{VERSION}", self.url))
            .header("authorization", format!("Bearer {token}"))
            .body(body.map_or_else(String::new, Value::to_string));
        agent.run(request.expect("a request")).expect("an answer").status().as_u16()
    }

    /// Tells it to stop, and waits until it has.
    fn stop(mut self) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw).expect("a process");
        rustix::process::kill_process(pid, Signal::TERM).expect("SIGTERM");
        assert!(self.process.wait().expect("ends").success());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may be gone already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
