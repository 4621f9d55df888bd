//! How fast a real port opens and shuts: from the answer to a request to the first packet through, and
//! from the end of a lease to the last. Part of `cargo bench --workspace`.
//!
//! Somebody sends numbered datagrams at the machine all the time, one every half millisecond; those
//! that get through tell when the port was open. All processes share one clock.

use jiff::Timestamp;
use portcullis_tests::{
    binary::Up,
    network::{MACHINE, Network, VISITORS},
};
use serde_json::{Value, json};
use std::{
    env, fs,
    net::UdpSocket,
    process::{Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

const PORT: u16 = 5555;
/// How often a port is opened and shut.
const LEASES: usize = 50;
const LEASE: &str = "PT1S";
const SEND_EVERY: Duration = Duration::from_micros(500);
/// After so long without a datagram the port is shut.
const SILENCE: Duration = Duration::from_millis(1500);
/// Set in the processes on both ends of the cable: what to do there.
const ROLE: &str = "PORTCULLIS_BENCH_ROLE";

fn main() {
    match env::var(ROLE).as_deref() {
        Ok("send") => send(),
        Ok(role) => measure(role),
        Err(_) => orchestrate(),
    }
}

fn orchestrate() {
    let network = Network::lay();
    let data = tempfile::tempdir().expect("a folder");
    let up = Up::start(data.path(), &["--guard", "host", "--lease-min", "1s"], &network.on_machine());
    let target = up.json(&["targets"])[0]["id"].as_str().expect("an id").to_owned();
    up.json(&["enable", &target, "--port", &format!("{PORT}/udp")]);
    let again = |within: [&str; 4], role: &str| {
        let mut command = Command::new(within[0]);
        command.args(&within[1..]).arg(env::current_exe().expect("this bench")).env(ROLE, role);
        command
    };
    let mut sender = again(network.on_visitor(), "send").stdout(Stdio::null()).spawn().expect("starts");
    let token = fs::read_to_string(data.path().join("token")).expect("a token");
    let role = format!("{} {target} {}", up.url(), token.trim());
    let measured = again(network.on_machine(), &role).status();
    sender.kill().expect("SIGKILL");
    sender.wait().expect("gone");
    assert!(measured.expect("starts").success());
}

fn send() {
    let socket = UdpSocket::bind((VISITORS[0], 0)).expect("binds");
    loop {
        // What is shut refuses nothing, it is silent; a full queue is as good as silence.
        drop(socket.send_to(&[0], (MACHINE, PORT)));
        thread::sleep(SEND_EVERY);
    }
}

fn measure(role: &str) {
    let [url, target, token] = role.split(' ').collect::<Vec<_>>()[..] else { panic!("`{role}` is no role") };
    let socket = UdpSocket::bind(("0.0.0.0", PORT)).expect("binds");
    let (arrived, datagrams) = mpsc::channel::<Timestamp>();
    thread::spawn(move || {
        let mut byte = [0];
        while socket.recv(&mut byte).is_ok() && arrived.send(Timestamp::now()).is_ok() {}
    });
    let agent = ureq::Agent::new_with_defaults();
    let (mut opened, mut shut) = (vec![], vec![]);
    until_silent(&datagrams);
    for n in 0..LEASES {
        let ask = json!({ "target": target, "port": PORT, "protocol": "UDP", "sources": [VISITORS[0]], "for": LEASE });
        let answer: Value = agent
            .post(format!("{url}/v1/requests"))
            .header("authorization", format!("Bearer {token}"))
            .header("idempotency-key", format!("lease-{n}"))
            .send_json(json!({ "asks": [ask] }))
            .and_then(|mut it| it.body_mut().read_json())
            .expect("granted");
        let accepted = Timestamp::now();
        let end: Timestamp = answer["grants"][0]["end"].as_str().expect("an end").parse().expect("a time");
        let first = datagrams.recv_timeout(SILENCE).expect("it opens");
        let last = until_silent(&datagrams).unwrap_or(first);
        opened.push(millis(accepted, first));
        shut.push(millis(end, last));
    }
    tell("nftables: accepted request to first packet through", opened);
    tell("nftables: lease end to last packet through", shut);
}

/// The last datagram before nothing came any longer.
fn until_silent(datagrams: &Receiver<Timestamp>) -> Option<Timestamp> {
    let mut last = None;
    while let Ok(at) = datagrams.recv_timeout(SILENCE) {
        last = Some(at);
    }
    last
}

fn millis(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64() * 1e3
}

fn tell(what: &str, mut times: Vec<f64>) {
    times.sort_by(f64::total_cmp);
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{what:<58} {median:>8.0} ms median {worst:>8.0} ms worst of {}", times.len());
}
