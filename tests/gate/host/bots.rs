//! The bot of `docs/bots.md`, run as it is written there.

use portcullis_tests::{
    binary::{Up, text},
    root,
};
use serde_json::json;
use std::{
    fs,
    io::{BufRead as _, BufReader, Lines, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// Where ann is.
const ANN: &str = "203.0.113.9";

/// A chat with one bot in it.
struct Chat {
    bot: Child,
    said: ChildStdin,
    told: Lines<BufReader<ChildStdout>>,
}

impl Chat {
    /// With the bot that has this name, once it listens.
    fn with(up: &Up, name: &str) -> Self {
        let made = up.ask(&["token", "create", name]);
        assert!(made.status.success(), "{}", text(&made.stderr));
        let mut command = Command::new("python3");
        command.arg(root().join("docs/bot.py")).env("PORTCULLIS_URL", up.url()).env("NO_PROXY", "*");
        command.env("PORTCULLIS_TOKEN", text(&made.stdout).trim());
        let mut bot = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 starts");
        let (said, told) = (bot.stdin.take().expect("piped"), bot.stdout.take().expect("piped"));
        let mut chat = Self { bot, said, told: BufReader::new(told).lines() };
        chat.hear("listening");
        chat
    }

    fn say(&mut self, line: &str) {
        writeln!(self.said, "{line}").and_then(|()| self.said.flush()).expect("written");
    }

    /// The next line that begins so: others may come before.
    fn hear(&mut self, beginning: &str) -> String {
        let mut others = vec![];
        for line in self.told.by_ref() {
            let line = line.expect("reads");
            if line.starts_with(beginning) {
                return line;
            }
            others.push(line);
        }
        panic!("the bot ended, and never said `{beginning}`: {others:#?}");
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        let _ = self.bot.kill();
        let _ = self.bot.wait();
    }
}

#[test]
fn bot_of_the_docs_asks_and_another_one_approves_and_it_says_that_the_port_is_open() {
    let data = tempfile::tempdir().expect("a folder");
    let file = data.path().join("bots.json");
    let bots = |list: &serde_json::Value| {
        let draft = data.path().join("draft.json");
        fs::write(&draft, list.to_string()).expect("written");
        fs::rename(&draft, &file).expect("renamed");
    };
    let chatbot = json!({ "source": "chatbot", "for": ["ann", "bob"] });
    bots(&json!([chatbot]));
    let up = Up::start(data.path(), &["--bots", file.to_str().expect("text")], &[]);
    let edited = up.ask(&["edit", "db-1", "--set", "22,approver=bob"]);
    assert!(edited.status.success(), "{}", text(&edited.stderr));
    let (mut chat, mut pager) = (Chat::with(&up, "chatbot"), Chat::with(&up, "pager"));

    chat.say(&format!("ann> open db-1 22 1h {ANN} INC-4711"));
    let waits = chat.hear("request.needs_approval: ");
    let asks =
        format!("ann via bot chatbot asks for 22 of db-1 from {ANN} for 1h, because: INC-4711; request ");
    let (_, rest) = waits.split_once(&asks).unwrap_or_else(|| panic!("{waits}"));
    let (request, rest) = rest.split_once(' ').expect("an id");
    assert!(rest.starts_with("waits for the approval of bob until "), "{waits}");
    pager.hear("request.needs_approval: ");

    // One program is no proof of two people.
    chat.say(&format!("bob> approve {request}"));
    chat.hear("bob, no: the bot `chatbot` made this request and may not approve it too");
    pager.say(&format!("bob> approve {request}"));
    pager.hear("bob, no: `pager` is not a bot that may send events here");
    // The list is read again without a restart.
    bots(&json!([chatbot, { "source": "pager", "for": ["bob"] }]));
    assert!(!up.packet_passes("db-1", ANN, 22));
    pager.say(&format!("bob> approve {request}"));
    chat.hear("request.approved: ");
    let opened = chat.hear("grant.opened: ");
    assert!(opened.contains(&format!("22/tcp of db-1 is open to ann from {ANN} until ")), "{opened}");
    assert!(opened.contains(": connect to ") && opened.ends_with(":22"), "{opened}");
    assert!(up.packet_passes("db-1", ANN, 22));
    let activity = up.ask(&["activity", "db-1"]);
    assert!(
        text(&activity.stdout).contains("ann via bot chatbot, approved by bob via bot pager"),
        "{}",
        text(&activity.stdout)
    );
}
