//! Where the real program sends which token: the operator's goes to the socket of its own folder, and to an address that was named.

use portcullis_tests::binary::{Up, program, text};
use rustix::{
    fs::{Gid, Uid, chown},
    process::{Pid, Signal, geteuid, kill_process},
};
use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::TcpListener,
    path::Path,
    process::{Command, Output, Stdio},
    sync::mpsc::{Receiver, TryRecvError, channel},
    thread,
    time::Duration,
};
use tempfile::{TempDir, tempdir};

/// Exit codes, as docs/cli.md has them.
const DONE: i32 = 0;
const USAGE: i32 = 2;
const REFUSED: i32 = 3;
const UNAVAILABLE: i32 = 5;
/// The address that `up` serves by default, and that clients ask by default.
const BY_DEFAULT: &str = "127.0.0.1:7422";
/// The user that owns nothing.
const NOBODY: u32 = 65_534;
/// How long the listener reads a request.
const READ_MAX: Duration = Duration::from_millis(500);

/// A client that nobody tells an address.
fn client(data: &Path) -> Command {
    let mut client = Command::new(program());
    for name in ["PORTCULLIS_URL", "PORTCULLIS_TOKEN", "PORTCULLIS_PROFILE", "PORTCULLIS_AUTH"] {
        client.env_remove(name);
    }
    client.env("PORTCULLIS_CONFIG", "/nowhere").env("PORTCULLIS_DATA", data).stdin(Stdio::null());
    client
}

fn ask(mut client: Command, words: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = client.args(words).output().expect("runs");
    (status.code(), text(&stdout) + &text(&stderr))
}

/// A data folder that `up` has served, and serves no more.
fn served_once() -> (TempDir, String) {
    let data = tempdir().expect("a folder");
    let up = Up::start(data.path(), &[], &[]);
    assert_eq!((up.health(), up.health()), (200, 200));
    assert!(up.stop().success());
    let token = fs::read_to_string(data.path().join("token")).expect("a token").trim().to_owned();
    (data, token)
}

/// A stranger at an address, who hands on what they are sent. None where another process has the address.
fn listener(address: &str) -> Option<(String, Receiver<String>)> {
    let listener = match TcpListener::bind(address) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => return None,
        bound => bound.expect("binds"),
    };
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let (hear, heard) = channel();
    thread::spawn(move || {
        for mut caller in listener.incoming().map_while(Result::ok) {
            caller.set_read_timeout(Some(READ_MAX)).expect("set");
            let mut bytes = [0; 8192];
            let count = caller.read(&mut bytes).unwrap_or_default();
            drop(hear.send(text(&bytes[..count])));
            drop(caller.write_all(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
        }
    });
    Some((url, heard))
}

#[test]
fn the_operators_token_is_not_sent_to_a_stranger_at_the_default_address() {
    let (data, token) = served_once();
    // Where another process has the address, that process is the stranger, and would have to be asked.
    let stranger = listener(BY_DEFAULT);
    for words in [&["grants"][..], &["request", "web-1", "--wait"], &["export", "--out", "-"], &["whoami"]] {
        let (code, told) = ask(client(data.path()), words);
        let folder = format!("Portcullis is not running on `{}`", data.path().display());
        assert_eq!(code, Some(UNAVAILABLE), "{words:?}: {told}");
        assert!(told.contains(&folder) && told.contains("start it with `portcullis up`"), "{told}");
    }
    // Left behind by a program that was killed.
    Up::start(data.path(), &[], &[]).kill();
    assert!(data.path().join("portcullis.sock").exists());
    let (code, told) = ask(client(data.path()), &["grants"]);
    assert!(code == Some(UNAVAILABLE) && told.contains("is not running on"), "{told}");
    if let Some((_, heard)) = &stranger {
        assert_eq!(heard.try_recv(), Err(TryRecvError::Empty), "the stranger is sent nothing");
    }
    // An address that was named is the choice of the person who named it.
    let (url, heard) = listener("127.0.0.1:0").expect("a free port");
    let (_, told) = ask(client(data.path()), &["whoami", "--url", &url]);
    assert!(heard.recv().expect("asked").contains(&token), "{told}");
    let mut named = client(data.path());
    named.env("PORTCULLIS_URL", &url);
    ask(named, &["whoami"]);
    assert!(heard.recv().expect("asked").contains(&token));
    // Nor is the data folder's token in play where a person has one of their own.
    if let Some((_, heard)) = stranger {
        let mut own = client(data.path());
        own.env("PORTCULLIS_TOKEN", "pct_of_ann");
        ask(own, &["whoami"]);
        let sent = heard.recv().expect("asked");
        assert!(sent.contains("pct_of_ann") && !sent.contains(&token), "{sent}");
    }
}

#[test]
fn the_operators_token_is_sent_to_a_socket_of_a_folder_that_no_other_user_may_change() {
    let data = tempdir().expect("a folder");
    let up = Up::start(data.path(), &[], &[]);
    assert_eq!(ask(client(data.path()), &["whoami"]).0, Some(DONE));
    if geteuid().is_root() {
        let give = |path: &Path, user: u32| {
            chown(path, Some(Uid::from_raw(user)), Some(Gid::from_raw(user))).expect("given away");
        };
        let token = data.path().join("token");
        give(data.path(), NOBODY);
        let (code, told) = ask(client(data.path()), &["whoami"]);
        assert!(code == Some(USAGE) && told.contains("belongs to user 65534"), "{told}");
        // A service that made both has the token already.
        give(&token, NOBODY);
        assert_eq!(ask(client(data.path()), &["whoami"]).0, Some(DONE));
        give(&token, 0);
        give(data.path(), 0);
    }
    let up = Pid::from_raw(up.id().try_into().expect("an id")).expect("a process");
    kill_process(up, Signal::KILL).expect("SIGKILL");
}

#[test]
fn an_empty_token_is_an_error_and_never_the_operators() {
    let data = tempdir().expect("a folder");
    let up = Up::start(data.path(), &[], &[]);
    let made = |person: &str, words: &[&str]| {
        let token = up.json(&["token", "create", person])["token"].as_str().expect("a token").to_owned();
        ask_with(up.client(), &token, words)
    };
    up.json(&["edit", "db-1", "--set", "22,approver=*"]);
    let (code, told) = made("ann", &["request", "db-1", "--from", "203.0.113.9", "--json"]);
    assert_eq!(code, Some(DONE), "{told}");
    for empty in ["", " ", "\n"] {
        for mut client in [up.client(), client(data.path())] {
            client.env("PORTCULLIS_TOKEN", empty);
            let pending = up.json(&["requests", "--state", "pending"]);
            let id = pending[0]["id"].as_str().expect("still pending");
            let (code, told) = ask(client, &["approve", id, "--yes"]);
            assert_eq!(code, Some(USAGE), "{empty:?}: {told}");
            assert!(told.contains("`PORTCULLIS_TOKEN` is empty"), "{told}");
        }
    }
    let other = tempdir().expect("a folder");
    fs::write(other.path().join("token"), "\n").expect("written");
    let mut named = up.client();
    named.env("PORTCULLIS_DATA", other.path());
    let (code, told) = ask(named, &["whoami"]);
    let file = other.path().join("token").display().to_string();
    assert!(code == Some(USAGE) && told.contains(&format!("`{file}` is empty")), "{told}");
    // A profile of its own has a token of its own, or none, whatever the environment has.
    let config = other.path().join("config.toml");
    fs::write(other.path().join("empty"), "").expect("written");
    let profile =
        format!("[profiles.a]\nurl = '{0}'\ntoken-file = 'empty'\n[profiles.b]\nurl = '{0}'\n", up.url());
    fs::write(&config, profile).expect("written");
    for (name, exit) in [("a", USAGE), ("b", REFUSED)] {
        let mut client = client(data.path());
        client.env("PORTCULLIS_CONFIG", &config).env("PORTCULLIS_TOKEN", "");
        let (code, told) = ask(client, &["--profile", name, "whoami"]);
        assert_eq!(code, Some(exit), "{told}");
    }
}

fn ask_with(mut client: Command, token: &str, words: &[&str]) -> (Option<i32>, String) {
    client.env("PORTCULLIS_TOKEN", token);
    ask(client, words)
}
