//! What the answer to a request would be.

use crate::{answers::grant_line, client::Client, names, request::Asking, words};
use jiff::ZonedDateTime;
use portcullis_program::{Exit, Failure, output::printable};
use portcullis_wire::ReviewView;

/// The firewalls have two seconds to name the denies that the leases would meet.
const EXPLAIN: &str = "/v1/requests/explain?wait=PT2S";

impl Asking {
    /// Shows what the answer would be.
    pub fn explain(&self, client: &Client) -> Result<Exit, Failure> {
        let (targets, body) = self.read(client)?;
        let review: ReviewView = client.http.post(EXPLAIN, Some(&body))?;
        let is_refused = review.answer == "refused";
        client.out.show(&review, || {
            let now = client.out.now();
            if is_refused {
                refused(&review, self.to_guard(&targets), &now)
            } else {
                permitted(&review, &now)
            }
        })?;
        Ok(if is_refused { Exit::Refused } else { Exit::Done })
    }
}

/// Every reason, and the command that helps.
fn refused(review: &ReviewView, next: Option<String>, now: &ZonedDateTime) -> String {
    let reasons = review.reasons.iter().map(|it| words::plain(&it.message, now));
    lines("The request would be refused:", reasons.chain(next))
}

/// The grants, and the foreign denies that their leases would meet.
fn permitted(review: &ReviewView, now: &ZonedDateTime) -> String {
    let answer = if review.breaks_glass {
        "The request WOULD USE BREAK-GLASS: granted at once, without the required approval, and published:"
            .to_owned()
    } else if review.approvers.is_empty() && review.denies.iter().any(|it| it.deny.wins) {
        "The request would be granted at once, and foreign denies would win over its leases:".to_owned()
    } else if review.approvers.is_empty() {
        "The request would be granted at once:".to_owned()
    } else {
        format!("The request would wait for the approval of {}:", words::people(&review.approvers))
    };
    let by: Vec<String> = review.permitted_by.iter().map(|it| format!("`{it}`")).collect();
    let by = (!by.is_empty()).then(|| format!("permitted by {}", by.join(", ")));
    let because = review.reasons.iter().map(|it| words::plain(&it.message, now));
    let grants = review.grants.iter().map(|it| grant_line(it, now));
    let denies = review.denies.iter().map(|it| {
        let at = format!("{} of {}", it.gate, names::short(&it.target));
        words::met(&it.deny, &at, now)
    });
    let unseen = review.unseen.iter().map(|it| {
        let why = words::plain(it, now);
        format!("the foreign denies that the leases would meet are not known: {why}")
    });
    lines(&answer, by.into_iter().chain(because).chain(grants).chain(denies).chain(unseen))
}

fn lines(head: &str, lines: impl Iterator<Item = String>) -> String {
    lines.fold(head.to_owned(), |text, line| text + "\n  " + &printable(&line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn explained_request_names_each_foreign_deny_that_its_leases_would_meet_and_which_wins() {
        let deny = |rule: &str, wins: bool, overridable: bool| {
            let deny = json!({
                "rule": format!("{rule} in /subscriptions/s/networkSecurityGroups/web-1-nsg"),
                "sources": "203.0.113.77", "wins": wins, "overridable": overridable,
            });
            json!({ "target": "/subscriptions/s/virtualMachines/web-1", "gate": "22/tcp", "deny": deny })
        };
        let review = json!({
            "answer": "allowed", "reasons": [], "approvers": [], "breaks_glass": false, "grants": [],
            "denies": [deny("Banned", true, true), deny("corp/no-ssh", true, false), deny("All", false, true)],
        });
        let review: ReviewView = serde_json::from_value(review).expect("a review");
        let now = "2026-05-01T13:05:30+02:00[Europe/Berlin]".parse().expect("a time");
        assert_eq!(
            permitted(&review, &now),
            "The request would be granted at once, and foreign denies would win over its leases:\n  \
                Banned in web-1-nsg keeps 203.0.113.77 out of 22/tcp of web-1, also with a lease; \
                `foreign-denies=override` changes that\n  \
                corp/no-ssh in web-1-nsg keeps 203.0.113.77 out of 22/tcp of web-1, also with a lease\n  \
                All in web-1-nsg gives way to a lease of 22/tcp of web-1"
        );
    }

    #[test]
    fn explained_request_whose_firewalls_do_not_answer_says_that_their_denies_are_not_known() {
        let review = json!({
            "answer": "allowed", "reasons": [], "approvers": [], "breaks_glass": false, "grants": [],
            "unseen": "could not get an answer from the cloud: it gave no answer within 2 s",
        });
        let review: ReviewView = serde_json::from_value(review).expect("a review");
        let now = "2026-05-01T13:05:30+02:00[Europe/Berlin]".parse().expect("a time");
        assert_eq!(
            permitted(&review, &now),
            "The request would be granted at once:\n  the foreign denies that the leases would meet are not known: \
                could not get an answer from the cloud: it gave no answer within 2 s"
        );
    }
}
