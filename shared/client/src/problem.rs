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
    // Of these the detail says all that the reason does.
    if !problem.reasons.is_empty() && problem.status != UNAUTHORIZED {
        // The first that has one: a later reason may be mended by it too.
        let next = problem.reasons.iter().find_map(next_step);
        let (codes, reasons): (Vec<_>, Vec<_>) =
            problem.reasons.into_iter().map(|it| (it.code, it.message)).unzip();
        let refused =
            Failure::refused("the command was refused, and changed nothing").because(reasons).coded(codes);
        return next.into_iter().fold(refused, Failure::next);
    }
    match problem.status {
        BAD_REQUEST => Failure::usage(problem.detail).next("`--help` shows what is accepted"),
        TOO_MUCH => Failure::usage(problem.detail),
        UNAUTHORIZED => Failure::refused(problem.detail),
        NOT_FOUND => Failure::not_found(problem.detail)
            .next("`portcullis targets`, `portcullis requests` and `portcullis grants` list what there is"),
        _ if problem.kind.ends_with(":conflict") => Failure::unavailable(problem.detail).next(AGAIN),
        TOO_OFTEN | UNAVAILABLE | SILENT => Failure::unavailable(problem.detail).next(AGAIN),
        _ => Failure::broken(format!("{}: {}", problem.title, problem.detail))
            .next("the log of the server has the cause"),
    }
}

const AGAIN: &str = "run the same command again: it is safe to repeat";

/// What helps against a refusal; nothing where its own words say all. `TARGET` and `REQUEST` stand for what the command named.
fn next_step(reason: &Reason) -> Option<&'static str> {
    let next = match reason.code.as_str() {
        "not-enabled" => "guard it with `portcullis enable TARGET`",
        "no-ports" => "to stop guarding the machine, run `portcullis disable TARGET`",
        "already-enabled" => "change it with `portcullis edit TARGET`",
        "guarded-elsewhere" => "if that table is lost, run `portcullis enable TARGET --take-over`",
        "unconfirmed" => "keep the change with `portcullis confirm TARGET`, or wait until it lapses",
        "own-request" | "not-an-approver" => "ask another person to run `portcullis approve REQUEST`",
        "may-not-break-glass" => {
            "request without `--break-glass`, and wait for an approval; or ask a person \
            who may use break-glass"
        }
        "glass-without-why" => "give a reason with `--why`",
        "not-pending" | "not-as-shown" => "`portcullis requests` shows its state",
        "grant-over" | "last-seconds" => "make a new request with `portcullis request`",
        "key-reused" => "leave `--key` out, or choose another key",
        "share-used-up" => "end leases with `portcullis close`: `portcullis grants --mine` lists them",
        "too-many-leases" | "too-many-sources" | "only-reserve-left" | "firewall-full" => {
            "`portcullis grants` lists the leases with their people and ends"
        }
        "unusable-source" => {
            "name your address with `--from`: the API runs on your machine, and sees no other one"
        }
        "not-guarded" | "source-not-allowed" => {
            "`portcullis targets --state configured` lists the guarded machines and ports"
        }
        "unknown-target" => "`portcullis targets` lists the machines",
        "changed-meanwhile" => {
            "`portcullis targets` shows what is guarded now; then run the command again if it still fits"
        }
        "not-the-operator" => "ask the operator to run this command",
        _ => return None,
    };
    Some(next)
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
    fn hint_fits_each_refusal_that_it_follows_and_there_is_none_where_the_reason_says_all() {
        let hint = |code: &str| next_step(&Reason { code: code.to_owned(), message: "m".to_owned() });
        // The limit is in the reason, and may be that of a policy that is being set.
        for code in ["too-long", "too-short", "confirm-within", "port-twice", "nothing-asked", "not-later"] {
            assert_eq!(hint(code), None, "{code}");
        }
        let place = hint("not-the-operator").expect("a hint");
        assert!(!place.contains("portcullis up"), "a server on AWS has no data folder: {place}");
        assert_eq!(hint("unknown-target"), Some("`portcullis targets` lists the machines"));
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
