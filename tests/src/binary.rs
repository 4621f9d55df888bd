//! The real program, built once, run as its users run it.

use crate::built::{How, built};
use rustix::process::{Pid, Resource, Rlimit, Signal};
use serde_json::Value;
use std::{
    env,
    ffi::OsString,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::OnceLock,
};

/// Runs what follows so that a limit on its files is an error to it, and not its end; its log is such a
/// file too, the one that comes next.
pub const WITHOUT_SIGXFSZ: [&str; 3] = ["sh", "-c", "trap '' XFSZ && exec \"$@\" 2>>\"$0\""];

/// How many lines of its greeting are read for the address that it serves.
const GREETING_LINES_MAX: usize = 50;

/// The file of a program that was built elsewhere, to compare an older one.
const BUILT: &str = "PORTCULLIS_TEST_PROGRAM";

/// The program's file. Building what is built costs nothing.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(built) = env::var_os(BUILT) {
            return built.into();
        }
        built(&["portcullis"], How::AsTests).remove(0)
    })
}

/// How many lines of a simulated cloud's greeting are read for where and what it serves.
const SIMCLOUD_LINES: usize = 5;

/// `portcullis up`, killed when it is dropped.
#[derive(Debug)]
pub struct Up {
    process: Child,
    data: PathBuf,
    url: String,
    azure: Option<String>,
    /// Put before every command, to run it somewhere else.
    within: Vec<OsString>,
}

impl Up {
    /// Starts it on a data folder and waits until it serves; with `within` in front, such as
    /// `ip netns exec NAME`.
    pub fn start(data: &Path, options: &[&str], within: &[&str]) -> Self {
        Self::start_with(data, options, within, |_| {})
    }

    /// The same, with whatever else its process needs, such as an environment.
    pub fn start_with(
        data: &Path,
        options: &[&str],
        within: &[&str],
        prepared: impl FnOnce(&mut Command),
    ) -> Self {
        let within: Vec<OsString> = within.iter().map(OsString::from).collect();
        let mut command = run(&within);
        command.arg("up").arg("--data").arg(data).args(["--listen", "127.0.0.1:0"]);
        // Most tests are not about a cloud's pace; those that are say `--simcloud-pace ordinary`.
        command.env("PORTCULLIS_SIMCLOUD_PACE", "quick").args(options);
        prepared(&mut command);
        let mut process = command.stdout(Stdio::piped()).spawn().expect("starts");
        let mut greeting = BufReader::new(process.stdout.take().expect("piped")).lines();
        let (mut address, mut azure) = (None, None);
        for line in greeting.by_ref().take(GREETING_LINES_MAX).map_while(Result::ok) {
            let after = |words| line.split_once(words).map(|(_, rest): (&str, &str)| rest.trim());
            address = address.or_else(|| after(" is up at ").map(str::to_owned));
            azure = azure.or_else(|| {
                let rest = after("a simulated Azure, at ")?;
                rest.split_whitespace().next().map(str::to_owned)
            });
            if line.trim_start().starts_with("guards ") {
                break;
            }
        }
        // Whoever writes to a closed pipe dies: somebody goes on listening.
        std::thread::spawn(move || greeting.map_while(Result::ok).for_each(drop));
        let Some(url) = address else {
            let status = process.wait();
            panic!("it did not come up: {status:?}");
        };
        Self { process, data: data.to_owned(), url, azure, within }
    }

    /// Where the Azure that it simulates is heard.
    pub fn azure(&self) -> &str {
        self.azure.as_deref().expect("it simulates one")
    }

    /// Plans what goes wrong in the Azure that it simulates.
    pub fn plan(&self, faults: &Value) {
        self.control("faults", faults);
    }

    /// Tells the Azure that it simulates what no client of Azure may: `what` such as `faults`.
    pub fn control(&self, what: &str, body: &Value) {
        let url = format!("{}/_simcloud/{what}", self.azure());
        let done = ureq::post(url).header("authorization", self.secret()).send_json(body).expect("answered");
        assert_eq!(done.status(), 204);
    }

    /// Does a packet of TCP pass to a machine, by the simulated Azure's own truth?
    pub fn packet_passes(&self, machine: &str, from: &str, port: u16) -> bool {
        let asked = format!("vm={machine}&from={from}&protocol=tcp&port={port}");
        let url = format!("{}/_simcloud/packet?{asked}", self.azure());
        let mut decided = ureq::get(url).header("authorization", self.secret()).call().expect("answered");
        let passage: Value = decided.body_mut().read_json().expect("JSON");
        passage["passes"].as_bool().expect("decided")
    }

    /// What the control endpoints want to be told.
    fn secret(&self) -> String {
        let kept = std::fs::read_to_string(self.data.join("simcloud.json")).expect("it is kept");
        let kept: Value = serde_json::from_str(&kept).expect("JSON");
        format!("Bearer {}", kept["control"].as_str().expect("a secret"))
    }

    /// Where it serves.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Which process it is.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The status of `/healthz`, which nobody needs a token for.
    pub fn health(&self) -> u16 {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        agent.get(format!("{}/healthz", self.url)).call().expect("answers").status().as_u16()
    }

    /// How many bytes any file of it may have from now on; more is a full disk to it. `None` lifts that.
    ///
    /// Started within [`WITHOUT_SIGXFSZ`], it is told so by an error; else it is killed.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        let limit = Rlimit { current: bytes, maximum: None };
        rustix::process::prlimit(pid, Resource::Fsize, limit).expect("limited");
    }

    /// How many descriptors it may have from now on: with no more than the standard ones it opens nothing more, and
    /// keeps what it has. `None` lifts that.
    pub fn limit_descriptors(&self, most: Option<u64>) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        let Rlimit { maximum, .. } = rustix::process::getrlimit(Resource::Nofile);
        let limit = Rlimit { current: most.or(maximum), maximum };
        rustix::process::prlimit(pid, Resource::Nofile, limit).expect("limited");
    }

    /// A command of its client, as the operator.
    pub fn client(&self) -> Command {
        let mut command = run(&self.within);
        command
            .env("PORTCULLIS_URL", &self.url)
            .env("PORTCULLIS_DATA", &self.data)
            .env_remove("PORTCULLIS_TOKEN");
        command
    }

    /// What a command answers.
    pub fn ask(&self, words: &[&str]) -> Output {
        self.client().args(words).output().expect("runs")
    }

    /// What a command that succeeds answers, as JSON.
    pub fn json(&self, words: &[&str]) -> Value {
        let output = self.ask(&[words, &["--json"]].concat());
        let told = || format!("{words:?}: {}{}", text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{}", told());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", told()))
    }

    /// Tells it to stop, and waits until it has; how it ended.
    pub fn stop(mut self) -> ExitStatus {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw).expect("a process");
        rustix::process::kill_process(pid, Signal::TERM).expect("SIGTERM");
        self.process.wait().expect("ends")
    }

    /// Kills it as no program can notice.
    pub fn kill(mut self) {
        self.process.kill().expect("SIGKILL");
        self.process.wait().expect("gone");
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // It may be gone already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// `portcullis simcloud`, killed when it is dropped.
#[derive(Debug)]
pub struct Simcloud {
    process: Child,
    /// Where it serves: a name that its certificate is for.
    pub url: String,
    /// Its tenant.
    pub tenant: String,
    /// Its subscription.
    pub subscription: String,
}

impl Simcloud {
    /// Starts it over HTTPS; its certificate is `simcloud.pem` in that folder.
    pub fn start(data: &Path) -> Self {
        let mut process = Command::new(program())
            .args(["simcloud", "--pace", "quick", "--listen", "127.0.0.1:0", "--tls", "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let greeting = BufReader::new(process.stdout.take().expect("piped")).lines();
        let greeting: Vec<String> = greeting.take(SIMCLOUD_LINES).map_while(Result::ok).collect();
        let after = |word: &str| {
            let found = greeting.iter().find_map(|line| line.split_once(word));
            found.unwrap_or_else(|| panic!("no `{word}` in {greeting:?}")).1.trim().to_owned()
        };
        // Clients check the name that they call.
        let url = after(" is up at ").replace("127.0.0.1", "localhost");
        let (tenant, subscription) = (after("  tenant "), after("  subscription "));
        Self { process, url, tenant, subscription }
    }
}

impl Drop for Simcloud {
    fn drop(&mut self) {
        // It may be gone already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// What was printed.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn run(within: &[OsString]) -> Command {
    match within.split_first() {
        None => Command::new(program()),
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program());
            command
        }
    }
}
