//! What went wrong, told to a person: why, and what to do next; and to a script: the exit code.

use crate::terminal::{Paint, escaped, printable};
use serde_json::{Value, json};
use std::{
    fmt,
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

/// How a command ends. Scripts rely on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// What was wanted is so.
    Done = 0,
    /// A person has to look.
    Broken = 1,
    /// The command line says something that cannot be meant.
    Usage = 2,
    /// No, and nothing is wrong with the machinery.
    Refused = 3,
    /// There is no such thing.
    NotFound = 4,
    /// Nobody answers: try again.
    Unavailable = 5,
    /// The reader of standard output closed it: the code that a shell gives a program that SIGPIPE (13) ends.
    Unread = 128 + 13,
}

impl Exit {
    /// The word of its code, as docs/cli.md has it.
    fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Broken => "broken",
            Self::Usage => "usage",
            Self::Refused => "refused",
            Self::NotFound => "not-found",
            Self::Unavailable => "unavailable",
            Self::Unread => "unread",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A command that did not do what was wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    exit: Exit,
    message: String,
    reasons: Vec<String>,
    /// The code of each reason of a refusal, for programs; empty where the reasons have none.
    codes: Vec<String>,
    next: Option<String>,
}

impl Failure {
    /// The command line says something that cannot be meant.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::of(Exit::Usage, message)
    }

    /// No, and nothing is wrong with the machinery.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::of(Exit::Refused, message)
    }

    /// There is no such thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::of(Exit::NotFound, message)
    }

    /// Nobody answers: try again.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::of(Exit::Unavailable, message)
    }

    /// The reader of standard output closed it, as `head` does. It is not told to anybody.
    pub fn unread() -> Self {
        Self::of(Exit::Unread, "standard output was closed")
    }

    /// A person has to look.
    pub fn broken(message: impl Into<String>) -> Self {
        Self::of(Exit::Broken, message)
    }

    /// The same, for what was being done.
    pub fn cannot(doing: &str, error: impl fmt::Display) -> Self {
        Self::broken(format!("cannot {doing}: {error}"))
    }

    /// With why, a line each.
    #[must_use]
    pub fn because(self, reasons: impl IntoIterator<Item = String>) -> Self {
        Self { reasons: reasons.into_iter().collect(), ..self }
    }

    /// With the codes of the reasons, for programs, in their order.
    #[must_use]
    pub fn coded(self, codes: impl IntoIterator<Item = String>) -> Self {
        Self { codes: codes.into_iter().collect(), ..self }
    }

    /// With one more line of why.
    #[must_use]
    pub fn and(mut self, reason: impl Into<String>) -> Self {
        self.reasons.push(reason.into());
        self
    }

    /// With what to do next.
    #[must_use]
    pub fn next(self, next: impl Into<String>) -> Self {
        Self { next: Some(next.into()), ..self }
    }

    /// With a name in place of a word that stands for it, such as `TARGET`, in what to do next.
    #[must_use]
    pub fn naming(self, word: &str, name: &str) -> Self {
        Self { next: self.next.map(|it| it.replace(word, name)), ..self }
    }

    /// What did not happen, in a line.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Why, a line each.
    pub fn reasons(&self) -> &[String] {
        &self.reasons
    }

    /// The code of each reason of a refusal, for programs.
    pub fn codes(&self) -> &[String] {
        &self.codes
    }

    /// The same, by another message.
    #[must_use]
    pub fn saying(self, message: impl Into<String>) -> Self {
        Self { message: message.into(), ..self }
    }

    /// The code to exit with.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// Tells the person on standard error, or a script as JSON, but where `| head` is no failure.
    pub fn tell(&self, is_json: bool) -> Exit {
        if self.exit == Exit::Unread {
            return self.exit;
        }
        let text = if is_json {
            escaped(&self.json().to_string()).into_owned()
        } else {
            let paint = Paint::of(io::stderr().is_terminal());
            format!("{} {}", paint.red("error:"), printable(&self.body()))
        };
        // Nobody is left to be told that standard error is gone.
        let _ = writeln!(io::stderr(), "{text}");
        self.exit
    }

    /// The failure as a script reads it, in a line.
    pub fn json(&self) -> Value {
        let codes = self.codes.iter().map(Some).chain(std::iter::repeat(None));
        let reason = |(message, code): (&String, Option<&String>)| match code {
            Some(code) if !code.is_empty() => json!({ "code": code, "message": message }),
            Some(_) | None => json!({ "message": message }),
        };
        let reasons: Vec<Value> = self.reasons.iter().zip(codes).map(reason).collect();
        json!({
            "error": self.exit.word(), "exit": self.exit as u8, "message": self.message, "reasons": reasons,
            "next": self.next,
        })
    }

    /// The message, every reason, and what to do next, a line each.
    pub fn body(&self) -> String {
        let mut lines = vec![self.message.clone()];
        lines.extend(self.reasons.iter().chain(&self.next).map(|it| format!("  {it}")));
        lines.join("\n")
    }

    fn of(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), reasons: vec![], codes: vec![], next: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_as_json_has_the_code_of_each_reason_that_has_one() {
        let refused = Failure::refused("no").because(["too long".to_owned()]).coded(["too-long".to_owned()]);
        let told = refused.and("asked by hand").next("ask for less").json();
        let reasons = json!([{ "code": "too-long", "message": "too long" }, { "message": "asked by hand" }]);
        let wanted = json!({
            "error": "refused", "exit": 3, "message": "no", "reasons": reasons, "next": "ask for less",
        });
        assert_eq!(told, wanted);
    }

    #[test]
    fn next_step_has_the_name_in_place_of_the_word_that_stands_for_it() {
        let failure = Failure::refused("no").next("run `portcullis edit TARGET`").naming("TARGET", "web-1");
        assert_eq!(failure.body(), "no\n  run `portcullis edit web-1`");
    }
}
