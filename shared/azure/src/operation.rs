//! How far a write is after it was accepted.
//! <https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations>
//!
//! The resource itself says so: it is what counts, and is done seconds before `Retry-After` lets its operation be asked.
//! The operation only explains what came to nothing.

use crate::{answer::Answer, refused::Said};

/// What a write is to come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// The resource is there.
    There,
    /// The resource is gone.
    Gone,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It is done.
    Done,
    /// It came to nothing.
    Failed(Said),
    /// To be verified again later.
    UnderWay,
}

impl Progress {
    /// What the answer to a write says that was accepted.
    pub fn accepted(answer: &Answer, goal: Goal) -> Self {
        let is_asynchronous = answer.status == 202 || answer.operation.is_some();
        match (state(answer), goal) {
            (State::Failed, Goal::There) => Self::Failed(Said::of(answer)),
            (State::Ended, Goal::There | Goal::Gone) if !is_asynchronous => Self::Done,
            (State::Ended | State::UnderWay | State::Failed, Goal::There | Goal::Gone) => Self::UnderWay,
        }
    }

    /// What a read of the resource shows. One that is not there yet is under way, and so is one that is there still.
    pub fn read(answer: &Answer, goal: Goal) -> Self {
        match (answer.status, goal) {
            (404, Goal::Gone) => Self::Done,
            (404, Goal::There) => Self::UnderWay,
            (_, Goal::There | Goal::Gone) if !answer.is_success() => Self::Failed(Said::of(answer)),
            // What stands there may be of the write before: only that it is gone says anything.
            (_, Goal::Gone) => Self::UnderWay,
            (_, Goal::There) => match state(answer) {
                State::Ended => Self::Done,
                State::Failed => Self::Failed(Said::of(answer)),
                State::UnderWay => Self::UnderWay,
            },
        }
    }

    /// What the operation of a write says, or its result.
    pub fn explained(answer: &Answer) -> Self {
        if !answer.is_success() {
            return Self::Failed(Said::of(answer));
        }
        match state(answer) {
            State::Failed => Self::Failed(Said::of(answer)),
            State::Ended if answer.status != 202 => Self::Done,
            State::Ended | State::UnderWay => Self::UnderWay,
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
    fn an_accepted_write_is_done_where_nothing_says_that_it_is_under_way() {
        let put = |status, body, operation: Option<&str>| {
            let operation = operation.map(str::to_owned);
            Progress::accepted(&Answer { operation, ..answer(status, body) }, Goal::There)
        };
        assert_eq!(put(200, resource("Succeeded"), None), Progress::Done);
        assert_eq!(put(200, json!({ "name": "r" }), None), Progress::Done);
        assert_eq!(put(201, resource("Updating"), None), Progress::UnderWay);
        assert_eq!(
            put(200, resource("Succeeded"), Some("o")),
            Progress::UnderWay,
            "the header is what counts"
        );
        assert_eq!(put(202, Value::Null, None), Progress::UnderWay);
        assert!(matches!(put(200, resource("Failed"), None), Progress::Failed(_)));
        let delete = |status| Progress::accepted(&answer(status, Value::Null), Goal::Gone);
        assert_eq!(
            [delete(204), delete(200), delete(202)],
            [Progress::Done, Progress::Done, Progress::UnderWay]
        );
    }

    #[test]
    fn a_read_of_the_resource_says_how_far_a_write_is() {
        let there = |status, body| Progress::read(&answer(status, body), Goal::There);
        assert_eq!(there(404, Value::Null), Progress::UnderWay, "not to be seen yet");
        assert_eq!(there(200, resource("Updating")), Progress::UnderWay);
        assert_eq!(there(200, resource("Succeeded")), Progress::Done);
        assert!(matches!(there(200, resource("Failed")), Progress::Failed(_)));
        assert!(matches!(there(403, Value::Null), Progress::Failed(_)));
        let gone = |status, body| Progress::read(&answer(status, body), Goal::Gone);
        assert_eq!(gone(404, Value::Null), Progress::Done);
        assert_eq!(gone(200, resource("Deleting")), Progress::UnderWay);
        assert_eq!(gone(200, resource("Succeeded")), Progress::UnderWay, "it stands there still");
    }

    #[test]
    fn an_operation_explains_what_came_of_a_write() {
        let said = |status, body| Progress::explained(&answer(status, body));
        assert_eq!(said(200, json!({ "status": "InProgress" })), Progress::UnderWay);
        assert_eq!(said(202, Value::Null), Progress::UnderWay);
        assert_eq!(said(200, json!({ "status": "Succeeded" })), Progress::Done);
        assert_eq!(said(204, Value::Null), Progress::Done);
        let failed = json!({ "status": "Failed", "error": { "code": "C", "message": "m" } });
        assert!(matches!(said(200, failed), Progress::Failed(_)));
    }
}
