//! How a write gets on after it was accepted.
//! <https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations>

use crate::{answer::Answer, refused::Said};
use std::time::Duration;

/// What a write is to come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// The resource is there.
    There,
    /// The resource is gone.
    Gone,
}

/// Where to see how it gets on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watched {
    /// What `Azure-AsyncOperation` links to: it says `status`.
    Operation(String),
    /// What `Location` links to: it answers 202 until it is done.
    Location(String),
    /// The resource itself: it says `provisioningState`.
    Resource,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It is done.
    Done,
    /// It came to nothing.
    Failed(Said),
    /// To be looked at again there, and not before `after`.
    UnderWay { watched: Watched, after: Option<Duration> },
}

impl Progress {
    /// What the answer to a write says that was accepted.
    pub fn accepted(answer: &Answer) -> Self {
        let under_way = |watched| Self::UnderWay { watched, after: answer.after };
        let state = state(answer);
        match (&answer.operation, &answer.location) {
            (Some(link), _) => under_way(Watched::Operation(link.clone())),
            (None, Some(link)) if answer.status == 202 => under_way(Watched::Location(link.clone())),
            (None, Some(_) | None) => match state {
                State::Ended => Self::Done,
                State::Failed => Self::Failed(Said::of(answer)),
                State::UnderWay => under_way(Watched::Resource),
            },
        }
    }

    /// What an answer of what is watched says. A resource that is not there yet is under way.
    pub fn seen(watched: Watched, answer: &Answer, goal: Goal) -> Self {
        if answer.status == 404 && goal == Goal::Gone {
            return Self::Done;
        }
        let is_missing = answer.status == 404 && watched == Watched::Resource;
        if !answer.is_success() && !is_missing {
            return Self::Failed(Said::of(answer));
        }
        match state(answer) {
            State::Failed => Self::Failed(Said::of(answer)),
            State::Ended if answer.status != 202 && !is_missing => Self::Done,
            State::Ended | State::UnderWay => Self::UnderWay { watched, after: answer.after },
        }
    }
}

enum State {
    Ended,
    Failed,
    UnderWay,
}

/// An operation says `status`, a resource `provisioningState`. Three values mean the end; where there is
/// none, it has ended well.
fn state(answer: &Answer) -> State {
    let status = answer.body["status"].as_str();
    match status.or_else(|| answer.body["properties"]["provisioningState"].as_str()) {
        None => State::Ended,
        Some(it) if it.eq_ignore_ascii_case("Succeeded") => State::Ended,
        Some(it) if it.eq_ignore_ascii_case("Failed") || it.eq_ignore_ascii_case("Canceled") => State::Failed,
        Some(_) => State::UnderWay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn answer(status: u16, body: Value) -> Answer {
        Answer { status, body, ..Answer::default() }
    }

    fn resource(state: &str) -> Value {
        json!({ "name": "r", "properties": { "provisioningState": state } })
    }

    #[test]
    fn an_accepted_write_says_where_to_look() {
        let under_way = |watched| Progress::UnderWay { watched, after: None };
        let own = |it: &str| it.to_owned();
        let with = |status, body, operation: Option<&str>, location: Option<&str>| {
            let (operation, location) = (operation.map(own), location.map(own));
            Progress::accepted(&Answer { operation, location, ..answer(status, body) })
        };
        assert_eq!(with(200, resource("Succeeded"), None, None), Progress::Done);
        assert_eq!(with(200, json!({ "name": "r" }), None, None), Progress::Done);
        assert_eq!(with(204, Value::Null, None, None), Progress::Done);
        assert_eq!(with(202, Value::Null, None, None), Progress::Done, "nobody says where to look");
        assert_eq!(with(201, resource("Updating"), None, Some("l")), under_way(Watched::Resource));
        assert_eq!(with(202, Value::Null, None, Some("l")), under_way(Watched::Location(own("l"))));
        let operation = under_way(Watched::Operation(own("o")));
        assert_eq!(with(201, resource("Updating"), Some("o"), Some("l")), operation);
        assert_eq!(with(200, resource("Succeeded"), Some("o"), None), operation, "the header is what counts");
        assert!(matches!(with(200, resource("Failed"), None, None), Progress::Failed(_)));
    }

    #[test]
    fn what_is_watched_says_how_far_it_is() {
        let operation = || Watched::Operation("o".to_owned());
        let location = || Watched::Location("l".to_owned());
        let is_under_way = |it| matches!(it, Progress::UnderWay { .. });
        let seen = |watched, status, body, goal| Progress::seen(watched, &answer(status, body), goal);
        assert!(is_under_way(seen(operation(), 200, json!({ "status": "InProgress" }), Goal::There)));
        assert_eq!(seen(operation(), 200, json!({ "status": "Succeeded" }), Goal::There), Progress::Done);
        let failed = json!({ "status": "Failed", "error": { "code": "C", "message": "m" } });
        assert!(matches!(seen(operation(), 200, failed, Goal::There), Progress::Failed(_)));
        assert!(matches!(seen(operation(), 404, Value::Null, Goal::There), Progress::Failed(_)));
        assert!(is_under_way(seen(location(), 202, Value::Null, Goal::Gone)));
        assert_eq!(seen(location(), 204, Value::Null, Goal::Gone), Progress::Done);
        assert_eq!(seen(location(), 404, Value::Null, Goal::Gone), Progress::Done);
        assert!(is_under_way(seen(Watched::Resource, 404, Value::Null, Goal::There)), "not to be seen yet");
        assert!(is_under_way(seen(Watched::Resource, 200, resource("Updating"), Goal::There)));
        assert_eq!(seen(Watched::Resource, 200, resource("Succeeded"), Goal::There), Progress::Done);
    }
}
