//! A process that others talk to, that ends with whoever started it, even when that one is killed.

use super::install;
use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    net::TcpListener,
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

/// How long an emulator may take until it serves.
const START_MAX: Duration = Duration::from_mins(1);
/// How long between two looks at whether it does.
const LOOK: Duration = Duration::from_millis(20);
/// How many ports are tried: between finding a free one and listening there, others may take it.
const PORTS_MAX: usize = 5;
/// How many lines of its log are shown of an emulator that a failing test talked to.
const LINES_SHOWN: usize = 60;

/// Runs what follows in a session of its own and kills all of it as soon as nobody holds our input any more.
/// Whatever is killed, that is: the kernel lets go for who cannot. `$0` is a folder that goes with it.
const GUARD: &str = r#"
exec 3<&0
setsid "$@" </dev/null 3<&- & served=$!
{ cat <&3 >/dev/null; kill -s KILL -- "-$served"; } 2>/dev/null & watch=$!
wait "$served"
kill "$watch" 2>/dev/null
rm -rf -- "$0"
"#;

/// See the module.
#[derive(Debug)]
pub(super) struct Process {
    guard: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a command; its log is named after who starts it, and is kept until the next time.
    fn start(name: &str, command: &Command) -> Self {
        let (name, folder) = (numbered(name), install::place());
        let log = folder.join(format!("{}-{name}.log", starter()));
        let folder = folder.join(format!("{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let file = File::create(&log).expect("a log");
        let mut guard = Command::new("sh");
        guard.arg("-c").arg(GUARD).arg(&folder).arg(command.get_program()).args(command.get_args());
        if let Some(within) = command.get_current_dir() {
            guard.current_dir(within);
        }
        // Nothing of who tests is known to what is tested.
        guard.env_clear().env("TMPDIR", &folder);
        guard.envs(["PATH", "HOME"].into_iter().filter_map(|it| Some((it, env::var_os(it)?))));
        guard.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let guard = guard.stdin(Stdio::piped()).stdout(file.try_clone().expect("a log")).stderr(file);
        Self { guard: guard.spawn().expect("a shell"), log }
    }

    /// Starts a command and waits until it is up, by what it says or whom one asks.
    pub(super) fn up<T>(
        name: &str,
        command: &Command,
        mut ready: impl FnMut(&Self) -> Option<T>,
    ) -> Result<(Self, T), String> {
        let mut process = Self::start(name, command);
        let begun = Instant::now();
        while begun.elapsed() < START_MAX {
            if let Some(ready) = ready(&process) {
                return Ok((process, ready));
            }
            if process.guard.try_wait().expect("a child").is_some() {
                return Err(format!("{name} ended: {}", process.shown()));
            }
            thread::sleep(LOOK);
        }
        Err(format!("{name} was not up within {START_MAX:?}: {}", process.shown()))
    }

    /// The same for one that has to be told its port: another one is tried where it ends.
    pub(super) fn up_at(
        name: &str,
        command: impl Fn(u16) -> Command,
        ready: impl Fn(u16) -> bool,
    ) -> (Self, u16) {
        let mut why = String::new();
        for _ in 0..PORTS_MAX {
            let free = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
            let port = free.expect("a free port").port();
            match Self::up(name, &command(port), |_| ready(port).then_some(())) {
                Ok((process, ())) => return (process, port),
                Err(error) => why = error,
            }
        }
        panic!("{why}");
    }

    /// What it has said.
    pub(super) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The end of that, and where all of it is.
    pub(super) fn shown(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n");
        format!("the end of {}:\n{last}", self.log.display())
    }

    /// Shows it when the test that asks is failing.
    pub(super) fn show_if_failing(&self) {
        if thread::panicking() {
            eprintln!("{}", self.shown());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        drop(self.guard.wait());
    }
}

/// What is answered to a GET with 200, whoever is heard there.
pub(super) fn is_up(url: &str) -> bool {
    ureq::get(url).call().is_ok_and(|it| it.status() == 200)
}

/// The program that tests, without what its build adds to its name.
fn starter() -> String {
    let program = env::current_exe().expect("a program");
    let name = String::from_utf8_lossy(program.file_name().expect("a name").as_bytes()).into_owned();
    name.rsplit_once('-').map_or(name.clone(), |(name, _)| name.to_owned())
}

/// The first of a name is called so, the next ones have numbers.
fn numbered(name: &str) -> String {
    static COUNTS: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());
    let mut counts = COUNTS.lock().expect("nobody panicked with it");
    let count = counts.entry(name.to_owned()).or_default();
    *count += 1;
    if *count == 1 { name.to_owned() } else { format!("{name}-{count}") }
}
