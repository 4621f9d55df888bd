//! A problem that the API answers, as the end of a command.

use portcullis_program::Failure;
use portcullis_wire::{Problem, Reason};

/// A problem with what helps against it.
pub fn failure(problem: Problem) -> Failure {
    const BAD_REQUEST: u16 = 400;
    const UNAUTHORIZED: u16 = 401;
    const NOT_FOUND: u16 = 404;
    const TOO_MUCH: u16 = 413;
    const TOO_OFTEN: u16 = 429;
    const UNAVAILABLE: u16 = 503;
    const SILENT: u16 = 504;
    if let Some(next) = problem.reasons.first().map(next_step) {
        let reasons = problem.reasons.into_iter().map(|it| it.message);
        return Failure::refused("refused, and nothing was changed").because(reasons).next(next);
    }
    match problem.status {
        BAD_REQUEST => Failure::usage(problem.detail).next("`--help` shows what is accepted"),
        TOO_MUCH => Failure::usage(problem.detail),
        UNAUTHORIZED => Failure::refused(problem.detail),
        NOT_FOUND => Failure::not_found(problem.detail)
            .next("`portcullis targets`, `requests` and `grants` list what there is"),
        _ if problem.kind.ends_with(":conflict") => Failure::unavailable(problem.detail).next(AGAIN),
        TOO_OFTEN | UNAVAILABLE | SILENT => Failure::unavailable(problem.detail).next(AGAIN),
        _ => Failure::broken(format!("{}: {}", problem.title, problem.detail))
            .next("the log of `portcullis up` says more"),
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
    use portcullis_domain::Refusal;
    use portcullis_program::Exit;

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
        let exit = |status, kind| failure(problem(status, kind)).exit() as u8;
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
            assert_eq!(failure(refused).exit(), Exit::Refused, "{status}");
        }
    }

    #[test]
    fn a_failure_says_every_reason_and_ends_in_what_to_do() {
        let target = || "web-1".parse().expect("valid");
        let reasons = [Refusal::NotEnabled { target: target() }, Refusal::NothingAsked];
        let reason = |it: &Refusal| Reason { code: it.code().to_owned(), message: it.to_string() };
        let reasons = reasons.iter().map(reason).collect();
        let body = failure(Problem { reasons, ..problem(409, "refused") }).body();
        let lines: Vec<&str> = body.lines().collect();
        assert_eq!(lines.len(), 4, "{body}");
        assert!(lines[1].contains("`web-1` is not guarded"), "{body}");
        assert!(lines[3].contains("portcullis enable"), "{body}");
    }
}
