//! A machine and its visitors, in network namespaces of their own, joined by a cable.

use crate::needs::lacking;
use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

/// Where the machine is.
pub const MACHINE: &str = "10.77.0.1";
/// Where visitors come from.
pub const VISITORS: [&str; 2] = ["10.77.0.2", "10.77.0.3"];
/// The same over IPv6.
pub const MACHINE_V6: &str = "fd77::1";
/// See [`MACHINE_V6`].
pub const VISITOR_V6: &str = "fd77::2";
/// Where a container of the machine is, and the machine as the container sees it.
const CONTAINER: [&str; 2] = ["10.78.0.2", "10.78.0.1"];
/// How long a visitor waits for an answer. What is shut answers nothing, and on this cable an answer
/// takes less than a thousandth of it.
pub const PATIENCE: Duration = Duration::from_millis(400);

/// Set in a process that plays a part in a namespace: which one.
const PART: &str = "PORTCULLIS_TEST_PART";

/// Two namespaces, `machine` and `visitor`; gone when dropped.
#[derive(Debug)]
pub struct Network {
    machine: String,
    visitor: String,
    container: Option<String>,
    listeners: Vec<Child>,
}

/// A connection that stays.
#[derive(Debug)]
pub struct Connection {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Network {
    /// Lays the cable, which takes root, `ip` and `nft`.
    pub fn lay() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        must_be_possible();
        let name = format!("pc{}x{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let (machine, visitor) = (format!("{name}m"), format!("{name}v"));
        let network = Self { machine, visitor, container: None, listeners: vec![] };
        let (m, v) = (network.machine.as_str(), network.visitor.as_str());
        for words in [
            format!("netns add {m}"),
            format!("netns add {v}"),
            format!("-n {m} link add {m} type veth peer name {v} netns {v}"),
            format!("-n {m} addr add {MACHINE}/24 dev {m}"),
            format!("-n {m} addr add {MACHINE_V6}/64 dev {m} nodad"),
            format!("-n {v} addr add {}/24 dev {v}", VISITORS[0]),
            format!("-n {v} addr add {}/24 dev {v}", VISITORS[1]),
            format!("-n {v} addr add {VISITOR_V6}/64 dev {v} nodad"),
            format!("-n {m} link set lo up"),
            format!("-n {m} link set {m} up"),
            format!("-n {v} link set lo up"),
            format!("-n {v} link set {v} up"),
        ] {
            let words: Vec<&str> = words.split(' ').collect();
            must(Command::new("ip").args(words));
        }
        network
    }

    /// What to put before a command to run it on the machine.
    pub fn on_machine(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.machine]
    }

    /// What to put before a command to run it where the visitors are.
    pub fn on_visitor(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.visitor]
    }

    /// Something that answers on a port of the machine, over both families.
    pub fn listen(&mut self, test: &str, port: u16) {
        self.answer(test, &self.machine.clone(), port);
    }

    /// A container of the machine that answers on a port of its own, published as container engines do it: another table
    /// translates the destination, and the machine forwards.
    pub fn publish(&mut self, test: &str, port: u16, inside: u16) {
        let (m, c) = (self.machine.clone(), self.machine.replace('m', "c"));
        let [container, gateway] = CONTAINER;
        for words in [
            format!("netns add {c}"),
            format!("-n {m} link add {c} type veth peer name {c} netns {c}"),
            format!("-n {m} addr add {gateway}/24 dev {c}"),
            format!("-n {c} addr add {container}/24 dev {c}"),
            format!("-n {c} link set lo up"),
            format!("-n {m} link set {c} up"),
            format!("-n {c} link set {c} up"),
            format!("-n {c} route add default via {gateway}"),
            format!("netns exec {m} sysctl -qw net.ipv4.ip_forward=1"),
        ] {
            let words: Vec<&str> = words.split(' ').collect();
            must(Command::new("ip").args(words));
        }
        self.answer(test, &c, inside);
        self.container = Some(c);
        self.nft(&format!(
            "add table ip engine; \
             add chain ip engine prerouting {{ type nat hook prerouting priority dstnat ; }}; \
             add rule ip engine prerouting tcp dport {port} fib daddr type local dnat to {container}:{inside}"
        ));
    }

    fn answer(&mut self, test: &str, within: &str, port: u16) {
        let mut listener = play(test, within, &format!("listen {port}"));
        let mut line = String::new();
        let mut output = BufReader::new(listener.stdout.take().expect("piped"));
        while !line.contains("listening") {
            line.clear();
            assert!(0 < output.read_line(&mut line).expect("speaks"), "it did not listen");
        }
        self.listeners.push(listener);
    }

    /// Does a visitor get an answer from a port of the machine?
    pub fn reaches(&self, test: &str, from: &str, port: u16) -> bool {
        let role = format!("visit {from} {} {port}", machine_for(from));
        let mut visit = play(test, &self.visitor, &role);
        visit.wait().expect("ends").success()
    }

    /// A connection from a visitor to a port of the machine.
    pub fn connect(&self, test: &str, from: &str, port: u16) -> Connection {
        let role = format!("stay {from} {} {port}", machine_for(from));
        let mut process = play(test, &self.visitor, &role);
        let input = process.stdin.take().expect("piped");
        let output = BufReader::new(process.stdout.take().expect("piped"));
        Connection { process, input, output }
    }

    /// What the machine's packet filter holds, without what counts and changes by itself.
    pub fn ruleset(&self) -> String {
        let listed = Command::new("ip")
            .args(["netns", "exec", &self.machine, "nft", "-s", "list", "ruleset"])
            .output();
        String::from_utf8_lossy(&listed.expect("nft runs").stdout).into_owned()
    }

    /// Changes the machine's packet filter by hand.
    pub fn nft(&self, words: &str) {
        must(Command::new("ip").args(["netns", "exec", &self.machine, "nft", words]));
    }
}

impl Connection {
    /// Is what is said still answered?
    pub fn answers(&mut self) -> bool {
        let mut line = String::new();
        if writeln!(self.input, "say").and_then(|()| self.input.flush()).is_err() {
            return false;
        }
        while !line.contains("answer:") {
            line.clear();
            if self.output.read_line(&mut line).unwrap_or(0) == 0 {
                return false;
            }
        }
        line.contains("answer: yes")
    }
}

fn play(test: &str, within: &str, role: &str) -> Child {
    Command::new("ip")
        .args(["netns", "exec", within])
        .arg(env::current_exe().expect("this test"))
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .env(PART, role)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts")
}

/// Runs a test once more in a process and a network namespace of its own, where it may change whatever
/// it likes; true in that process, where the test is to be done.
pub fn is_alone(test: &str) -> bool {
    const ALONE: &str = "PORTCULLIS_TEST_ALONE";
    if env::var_os(ALONE).is_some() {
        return true;
    }
    must_be_possible();
    let mut again = Command::new("unshare");
    again
        .arg("--net")
        .arg(env::current_exe().expect("this test"))
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .env(ALONE, "1");
    let output = again.output().expect("starts");
    let told =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
    false
}

/// Plays the part that this process was started for, if it was; every test that uses a network begins
/// with this.
pub fn plays_a_part() -> bool {
    let Ok(role) = env::var(PART) else { return false };
    match role.split(' ').collect::<Vec<_>>()[..] {
        ["listen", port] => answer_on(port),
        ["visit", from, to, port] => {
            let answered = visit(from, to, port).and_then(|mut it| say(&mut it));
            std::process::exit(i32::from(answered.is_err()));
        }
        ["stay", from, to, port] => stay(from, to, port),
        _ => panic!("`{role}` is not a part"),
    }
    true
}

/// Answers every byte with the same byte.
fn answer_on(port: &str) {
    let listener = TcpListener::bind(format!("[::]:{port}")).expect("listens");
    println!("listening");
    for stream in listener.incoming() {
        thread::spawn(move || {
            let mut stream = stream.expect("accepted");
            let mut byte = [0];
            while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
        });
    }
}

/// Binding to an address before connecting takes a socket of its own kind; a connected `ip` route does
/// the same with what is there.
fn visit(from: &str, to: &str, port: &str) -> std::io::Result<TcpStream> {
    let source = |words: &str| {
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        Command::new("ip").args(words).status()
    };
    let prefix = if to.contains(':') { 128 } else { 32 };
    let cable = device();
    source(&format!("route replace {to}/{prefix} dev {cable} src {from}"))?;
    let address: SocketAddr =
        if to.contains(':') { format!("[{to}]:{port}") } else { format!("{to}:{port}") }
            .parse()
            .expect("an address");
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// The one device that is no loopback.
fn device() -> String {
    let listed = Command::new("ip").args(["-o", "link"]).output().expect("ip runs");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let names = listed.lines().filter_map(|line| line.split(": ").nth(1));
    let mut names = names.map(|name| name.split('@').next().unwrap_or(name).to_owned());
    names.rfind(|name| name != "lo").expect("a cable")
}

fn say(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut byte = [7];
    stream.write_all(&byte)?;
    stream.read_exact(&mut byte)
}

/// Says something each time that it is told to, over one connection.
fn stay(from: &str, to: &str, port: &str) {
    let mut stream = visit(from, to, port).expect("connects");
    for line in std::io::stdin().lines() {
        line.expect("is told");
        println!("answer: {}", if say(&mut stream).is_ok() { "yes" } else { "no" });
    }
}

fn machine_for(visitor: &str) -> &'static str {
    if visitor.contains(':') { MACHINE_V6 } else { MACHINE }
}

/// Found out once, since tests run side by side.
fn must_be_possible() {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    if let Some(why) = MISSING.get_or_init(look_for_what_is_missing) {
        lacking("nft", why);
    }
}

fn look_for_what_is_missing() -> Option<String> {
    let runs = |program: &str, words: &[&str]| {
        let ran = Command::new(program).args(words).stdout(Stdio::null()).stderr(Stdio::null()).status();
        ran.is_ok_and(|it| it.success())
    };
    if !runs("ip", &["-V"]) {
        return Some("there is no `ip` here: install iproute2".to_owned());
    }
    if !runs("nft", &["list", "tables"]) {
        return Some("`nft` is not here, or not for this user: install nftables and be root".to_owned());
    }
    let probe = format!("pc{}probe", std::process::id());
    if !runs("ip", &["netns", "add", &probe]) {
        return Some("network namespaces cannot be made here: be root, with CAP_SYS_ADMIN".to_owned());
    }
    must(Command::new("ip").args(["netns", "delete", &probe]));
    None
}

fn must(command: &mut Command) {
    let output = command.output().expect("runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Drop for Network {
    fn drop(&mut self) {
        for mut listener in self.listeners.drain(..) {
            drop(listener.kill());
            drop(listener.wait());
        }
        for name in [&self.machine, &self.visitor].into_iter().chain(&self.container) {
            drop(Command::new("ip").args(["netns", "delete", name]).output());
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
