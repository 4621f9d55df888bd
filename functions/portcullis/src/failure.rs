//! What went wrong, told to a person: why, and what to do next; and to a script: the exit code.

use crate::output::{self, Paint};
use portcullis_app::Error;
use portcullis_wire::{Problem, Reason};
use std::{
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

    /// A person has to look.
    pub fn broken(message: impl Into<String>) -> Self {
        Self::of(Exit::Broken, message)
    }

    /// With why, a line each.
    #[must_use]
    pub fn because(self, reasons: impl IntoIterator<Item = String>) -> Self {
        Self { reasons: reasons.into_iter().collect(), ..self }
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

    /// What did not happen, in a line.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Why, a line each.
    pub fn reasons(&self) -> &[String] {
        &self.reasons
    }

    /// The code to exit with.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// Tells the person on standard error.
    pub fn tell(&self) -> Exit {
        let paint = Paint::of(io::stderr().is_terminal());
        let error = paint.red("error:");
        // Nobody is left to be told that standard error is gone.
        let _ = writeln!(io::stderr(), "{error} {}", output::printable(&self.body()));
        self.exit
    }

    /// The message, every reason, and what to do next, a line each.
    fn body(&self) -> String {
        let mut lines = vec![self.message.clone()];
        lines.extend(self.reasons.iter().chain(&self.next).map(|it| format!("  {it}")));
        lines.join("\n")
    }

    fn of(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), reasons: vec![], next: None }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match &error {
            Error::Refused(_) => portcullis_http::Problem::from(error).0.into(),
            Error::NotFound { .. } => Self::not_found(error.to_string()),
            Error::Conflict => Self::unavailable(error.to_string()).next(AGAIN),
            Error::Unavailable { .. } => Self::unavailable(error.full()).next(AGAIN),
            Error::Broken { .. } => Self::broken(error.full()),
        }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        const BAD_REQUEST: u16 = 400;
        const UNAUTHORIZED: u16 = 401;
        const NOT_FOUND: u16 = 404;
        const TOO_MUCH: u16 = 413;
        const TOO_OFTEN: u16 = 429;
        const UNAVAILABLE: u16 = 503;
        const SILENT: u16 = 504;
        if let Some(next) = problem.reasons.first().map(next_step) {
            let reasons = problem.reasons.into_iter().map(|it| it.message);
            return Self::refused("refused, and nothing was changed").because(reasons).next(next);
        }
        match problem.status {
            BAD_REQUEST => Self::usage(problem.detail).next("`--help` shows what is accepted"),
            TOO_MUCH => Self::usage(problem.detail),
            UNAUTHORIZED => Self::refused(problem.detail),
            NOT_FOUND => Self::not_found(problem.detail)
                .next("`portcullis targets`, `requests` and `grants` list what there is"),
            _ if problem.kind.ends_with(":conflict") => Self::unavailable(problem.detail).next(AGAIN),
            TOO_OFTEN | UNAVAILABLE | SILENT => Self::unavailable(problem.detail).next(AGAIN),
            _ => Self::broken(format!("{}: {}", problem.title, problem.detail))
                .next("the log of `portcullis up` says more"),
        }
    }
}

const AGAIN: &str = "run the same again: nothing is done twice";

/// What helps against a refusal.
fn next_step(reason: &Reason) -> &'static str {
    match reason.code.as_str() {
        "not-enabled" | "unknown-target" => "guard it with `portcullis enable TARGET`",
        "already-enabled" => "change it with `portcullis edit TARGET`",
        "guarded-elsewhere" => "if that table is lost, say `portcullis enable TARGET --take-over`",
        "unconfirmed" => "keep the change with `portcullis confirm TARGET`, or wait until it lapses",
        "own-request" | "not-an-approver" => "ask somebody else to run `portcullis approve REQUEST`",
        "may-not-break-glass" => "ask without `--break-glass`, and wait for a yes; or ask somebody who may",
        "glass-without-why" => "say why with `--why`",
        "not-pending" | "not-as-shown" => "`portcullis requests` shows it as it is now",
        "grant-over" | "last-seconds" => "ask anew with `portcullis request`",
        "key-reused" => "leave `--key` out, or choose another one",
        "share-used-up" => "end leases with `portcullis close GRANT`: `portcullis grants --mine` lists them",
        "only-reserve-left" => "`portcullis grants --target TARGET` shows who holds what, and until when",
        "not-guarded" | "source-not-allowed" | "too-long" | "too-short" => {
            "`portcullis targets --state configured` shows what may be asked for"
        }
        _ => "change what is named above and run it again",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_domain::{Refusal, Refusals};

    fn problem(status: u16, kind: &str) -> Problem {
        Problem {
            kind: format!("urn:portcullis:{kind}"),
            title: "T".to_owned(),
            status,
            detail: "d".to_owned(),
            reasons: vec![],
        }
    }

    #[test]
    fn every_answer_has_its_exit_code() {
        let exit = |status, kind| Failure::from(problem(status, kind)).exit() as u8;
        assert_eq!(exit(400, "bad-input"), 2);
        assert_eq!(exit(401, "unauthorized"), 3);
        assert_eq!(exit(413, "too-much"), 2);
        assert_eq!(exit(404, "not-found"), 4);
        assert_eq!(exit(409, "conflict"), 5);
        assert_eq!(exit(503, "unavailable"), 5);
        assert_eq!(exit(429, "too-often"), 5);
        assert_eq!(exit(504, "silent"), 5);
        assert_eq!(exit(500, "broken"), 1);
        for status in [403, 409, 422] {
            let reasons = vec![Reason { code: "over".to_owned(), message: "m".to_owned() }];
            let refused = Problem { reasons, ..problem(status, "refused") };
            assert_eq!(Failure::from(refused).exit(), Exit::Refused, "{status}");
        }
    }

    #[test]
    fn a_failure_says_every_reason_and_ends_in_what_to_do() {
        let target = || "web-1".parse().expect("valid");
        let reasons = vec![Refusal::NotEnabled { target: target() }, Refusal::NothingAsked];
        let refusals = Refusals::of(reasons).expect("two");
        let body = Failure::from(Error::from(refusals)).body();
        let lines: Vec<&str> = body.lines().collect();
        assert_eq!(lines.len(), 4, "{body}");
        assert!(lines[1].contains("`web-1` is not guarded"), "{body}");
        assert!(lines[3].contains("portcullis enable"), "{body}");
    }
}
