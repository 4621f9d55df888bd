//! What went wrong, and who acts next.

use crate::{answer::Answer, retry::BUDGET};
use azure_core::error::ErrorKind;
use portcullis_app::{BoxError, Error};
use portcullis_domain::Cause;
use serde_json::Value;
use std::{
    error::Error as _,
    fmt::{self, Display, Formatter},
    time::Duration,
};

/// What Azure says of a call that it does not do, or of a write that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The HTTP status; that of a success where a write was accepted first.
    pub status: u16,
    /// What programs go by.
    pub code: String,
    /// What people read.
    pub message: String,
}

impl Display for Refused {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { status, code, message } = self;
        match (code.as_str(), (200..300).contains(status)) {
            ("", true) => f.write_str("the operation had no result")?,
            ("", false) => write!(f, "{status}")?,
            (code, true) => write!(f, "`{code}`")?,
            (code, false) => write!(f, "{status} `{code}`")?,
        }
        if !message.is_empty() {
            write!(f, ": {message}")?;
        }
        self.remedy().map_or(Ok(()), |it| write!(f, " ({it})"))
    }
}

impl std::error::Error for Refused {}

impl Refused {
    /// Who can make Azure do it, where its own words rarely say so.
    ///
    /// Source: learn.microsoft.com, "Troubleshoot errors with Azure Policy", "Lock your resources", "Azure subscription and
    /// service limits".
    fn remedy(&self) -> Option<&'static str> {
        match self.code.as_str() {
            "RequestDisallowedByPolicy" => Some("the owner of that Azure Policy can exempt the resource"),
            "ScopeLocked" => Some("an owner of the subscription can remove the lock"),
            "ReadOnlyDisabledSubscription" => Some("the owner of the subscription can enable it again"),
            code if code.ends_with("LimitReached") || code.ends_with("LimitExceeded") => {
                Some("an owner of the security group can remove rules that are not used")
            }
            _ => None,
        }
    }
}

/// A call that the identity may not make: a person has to grant it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forbidden {
    /// What it may not do, such as `Microsoft.Network/networkSecurityGroups/securityRules/write`.
    pub action: Option<String>,
    /// On what: the id of a resource.
    pub scope: Option<String>,
    /// Azure's sentence.
    pub message: String,
}

impl Display for Forbidden {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.action {
            Some(action) => write!(f, "the identity may not `{action}`")?,
            None => f.write_str("the identity may not do this")?,
        }
        if let Some(scope) = &self.scope {
            write!(f, " on `{scope}`")?;
        }
        let remedy = "an owner of that scope can assign a role that has it";
        write!(f, ": {} ({remedy})", self.message)
    }
}

impl std::error::Error for Forbidden {}

/// A call that Azure will do at another time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Busy {
    /// Its answer.
    pub refused: Refused,
    /// When to ask again, if it said so.
    pub after: Option<Duration>,
}

impl Display for Busy {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.after {
            Some(after) => write!(f, "{} (Retry-After: {} s)", self.refused, after.as_secs()),
            None => self.refused.fmt(f),
        }
    }
}

impl std::error::Error for Busy {}

/// A write that Azure took up, and that was not done when the time was over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the write was accepted and is still under way after {secs} s", secs = BUDGET.as_secs())]
pub struct UnderWay;

/// A call that nobody answered in all the time there was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there was no answer within {secs} s", secs = BUDGET.as_secs())]
pub struct OutOfTime;

/// A token that was not to be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no token: {0}")]
pub struct NoToken(pub String);

/// How a try failed.
#[derive(Debug)]
pub enum Failure {
    /// It may go better next time, and not before `after`.
    Passing { source: BoxError, after: Option<Duration> },
    /// It will not.
    Lasting(BoxError),
}

impl Failure {
    /// A try that had no answer.
    pub fn unanswered(error: &azure_core::Error) -> Self {
        let is_login = *error.kind() == ErrorKind::Credential;
        let line = one_line(error);
        let source: BoxError = if is_login { NoToken(line).into() } else { line.into() };
        if is_passing_error(error) { Self::Passing { source, after: None } } else { Self::Lasting(source) }
    }

    /// A try that was answered, if that answer is for another time.
    pub fn answered(answer: &Answer) -> Option<Self> {
        let said = Said::of(answer);
        said.is_passing().then(|| {
            let busy = Busy { refused: said.refused, after: answer.after };
            Self::Passing { source: busy.into(), after: answer.after }
        })
    }

    /// As those who asked see it.
    pub fn into_error(self, doing: &'static str) -> Error {
        match self {
            Self::Passing { source, after: _ } => Error::Unavailable { doing, source },
            Self::Lasting(source) => Error::Broken { doing, source },
        }
    }
}

/// What a no says, with its narrower codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    refused: Refused,
    /// The codes of its details.
    details: Vec<String>,
}

impl Said {
    /// What an answer says in its `error`, or only by its status.
    pub fn of(answer: &Answer) -> Self {
        let error = &answer.body["error"];
        let text = |of: &Value, name| of[name].as_str().unwrap_or_default().to_owned();
        let details = error["details"].as_array().map_or(&[][..], Vec::as_slice);
        let status = answer.status;
        // A policy's has several lines.
        let message = text(error, "message").split_whitespace().collect::<Vec<_>>().join(" ");
        let refused = Refused { status, code: text(error, "code"), message };
        Self { refused, details: details.iter().map(|it| text(it, "code")).collect() }
    }

    fn has_code(&self, is_it: impl Fn(&str) -> bool) -> bool {
        is_it(&self.refused.code) || self.details.iter().any(|it| is_it(it))
    }

    /// May it go better next time?
    fn is_passing(&self) -> bool {
        matches!(self.refused.status, 408 | 429 | 500 | 502 | 503 | 504)
            || (!(200..300).contains(&self.refused.status) && self.has_code(is_passing_code))
    }

    /// A call that was refused for good, as those who asked see it.
    pub fn into_error(self, doing: &'static str) -> Error {
        let is_conflict = self.refused.status == 412
            || self.has_code(|it| it == "SecurityRuleConflict")
            || (self.refused.status == 409 && self.refused.code.contains("Conflict"));
        let is_forbidden =
            matches!(self.refused.code.as_str(), "AuthorizationFailed" | "LinkedAuthorizationFailed");
        if self.is_passing() {
            return Error::Unavailable { doing, source: Busy { refused: self.refused, after: None }.into() };
        }
        if is_conflict {
            tracing::debug!(refused = %self.refused, details = ?self.details, "another writer was first");
            return Error::Conflict;
        }
        let source: BoxError =
            if is_forbidden { forbidden(self.refused.message).into() } else { self.refused.into() };
        Error::Broken { doing, source }
    }

    /// A write that was accepted and came to nothing, as those who asked see it.
    pub fn into_failed(self, doing: &'static str) -> Error {
        // A newer write has taken the place of ours.
        let is_superseded = self.has_code(|it| it.starts_with("CanceledAndSuperseded"));
        let is_passing = self.has_code(is_passing_code)
            || self.has_code(|it| {
                let passing =
                    ["InternalServerError", "OperationTimedOut", "ServiceUnavailable", "TooManyRequests"];
                passing.contains(&it)
            })
            || self.refused.code.is_empty();
        if is_superseded {
            return Error::Conflict;
        }
        if is_passing {
            return Error::Unavailable { doing, source: Busy { refused: self.refused, after: None }.into() };
        }
        self.into_error(doing)
    }
}

impl Failure {
    /// Is it only that another operation is under way?
    pub fn is_another_operation(&self) -> bool {
        match self {
            Self::Passing { source, .. } => {
                let busy = source.downcast_ref::<Busy>();
                busy.is_some_and(|it| is_passing_code(&it.refused.code))
            }
            Self::Lasting(_) => false,
        }
    }
}

/// Is it that this may not be deleted, whatever else may be done with it: by a management lock, a policy, a role?
pub fn forbids_deletion(error: &Error) -> bool {
    let Error::Broken { source, .. } = error else { return false };
    let codes = ["ScopeLocked", "RequestDisallowedByPolicy"];
    let is_kept = source.downcast_ref::<Refused>().is_some_and(|it| codes.contains(&it.code.as_str()));
    let lacks = |it: &Forbidden| {
        it.action.as_ref().is_some_and(|action| action.to_ascii_lowercase().ends_with("/delete"))
    };
    is_kept || source.downcast_ref::<Forbidden>().is_some_and(lacks)
}

/// What a failure means for a closing that waits for it; nothing where that is only to be tried again.
pub fn cause(error: &Error) -> Option<Cause> {
    match error {
        Error::Conflict | Error::NotFound { .. } => None,
        Error::Unavailable { source, .. } if source.is::<UnderWay>() => Some(Cause::CloudSlow),
        Error::Unavailable { .. } => Some(Cause::CloudUnavailable),
        error if forbids_deletion(error) => Some(Cause::DeletionLocked),
        Error::Broken { source, .. } => {
            let is_unauthorised = source.downcast_ref::<Refused>().is_some_and(|it| it.status == 401);
            let is_credential = is_unauthorised || source.is::<NoToken>();
            Some(if is_credential { Cause::CredentialRefused } else { Cause::CloudRefused })
        }
        Error::Refused(_) => Some(Cause::CloudRefused),
    }
}

/// Codes of what is only in the way of another write, whatever the status: Azure's network says
/// `AnotherOperationInProgress` with 409, and `RetryableError` with 429 or in an operation that failed, its
/// details `RetryableErrorDueToAnotherOperation`
/// (<https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling>,
/// <https://github.com/Azure/azure-sdk-for-python/issues/556>).
fn is_passing_code(code: &str) -> bool {
    code.starts_with("AnotherOperation") || code.starts_with("RetryableError")
}

/// Reads who may not do what out of Azure's sentence: what follows “does not have”.
///
/// Both sentences are as in <https://github.com/Azure/aad-pod-identity/issues/613> and
/// <https://learn.microsoft.com/azure/role-based-access-control/troubleshooting>.
fn forbidden(message: String) -> Forbidden {
    let quoted = |text: &str, after: &str| {
        let rest = text.split_once(after)?.1;
        let (_, rest) = rest.split_once('\'')?;
        rest.split_once('\'').map(|(quoted, _)| quoted.to_owned())
    };
    let missing = message.split_once("does not have").map_or("", |(_, it)| it);
    let (action, scope) = (quoted(missing, "action"), quoted(missing, "scope"));
    Forbidden { action, scope, message }
}

/// Is it the network, or somebody who is busy? A token that is refused stays refused. 410 is what a machine's
/// metadata service says while it is renewed
/// (<https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token#error-handling>).
fn is_passing_error(error: &azure_core::Error) -> bool {
    let is_passing = |error: &azure_core::Error| match error.kind() {
        ErrorKind::Io | ErrorKind::Connection => true,
        ErrorKind::HttpResponse { status, .. } => {
            matches!(u16::from(*status), 408 | 410 | 429 | 500 | 502 | 503 | 504)
        }
        ErrorKind::DataConversion | ErrorKind::Credential | ErrorKind::Other => false,
    };
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<azure_core::Error>().is_some_and(is_passing) {
            return true;
        }
        next = error.source();
    }
    false
}

/// The whole chain of sources, each said once.
fn one_line(error: &azure_core::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(it) = source {
        let said = it.to_string();
        if !line.contains(&said) {
            line = format!("{line}: {said}");
        }
        source = it.source();
    }
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(status: u16, code: &str, detail: &str) -> Answer {
        let details = json!([{ "code": detail, "message": "" }]);
        let body = json!({ "error": { "code": code, "message": "no", "details": details } });
        Answer { status, body, ..Answer::default() }
    }

    #[test]
    fn who_acts_next() {
        let kind = |status, code, detail| {
            let answer = answer(status, code, detail);
            match Failure::answered(&answer) {
                Some(failure) => failure.into_error("ask"),
                None => Said::of(&answer).into_error("ask"),
            }
        };
        for (status, code, detail) in [
            (429, "TooManyRequests", ""),
            (429, "RetryableError", "RetryableErrorDueToAnotherOperation"),
            (409, "AnotherOperationInProgress", ""),
            (400, "AnotherOperationInProgress", ""),
            (409, "Conflict", "RetryableErrorDueToAnotherOperation"),
            (500, "", ""),
            (503, "ServerBusy", ""),
        ] {
            assert!(matches!(kind(status, code, detail), Error::Unavailable { .. }), "{status} {code}");
        }
        for (status, code) in [
            (412, "PreconditionFailed"),
            (400, "SecurityRuleConflict"),
            (409, "Conflict"),
            (409, "WriteConflict"),
        ] {
            assert!(matches!(kind(status, code, ""), Error::Conflict), "{status} {code}");
        }
        for (status, code, remedy) in [
            (400, "InvalidRequestFormat", ""),
            (401, "ExpiredAuthenticationToken", ""),
            (403, "RequestDisallowedByPolicy", " (the owner of that Azure Policy can exempt the resource)"),
            (409, "ScopeLocked", " (an owner of the subscription can remove the lock)"),
            (409, "OperationNotAllowed", ""),
            (409, "MissingSubscriptionRegistration", ""),
        ] {
            let Error::Broken { source, .. } = kind(status, code, "") else { panic!("{status} {code}") };
            let refused = source.downcast::<Refused>().expect("typed");
            assert_eq!(
                (refused.status, refused.code.as_str(), refused.message.as_str()),
                (status, code, "no")
            );
            assert_eq!(refused.to_string(), format!("{status} `{code}`: no{remedy}"));
        }
    }

    #[test]
    fn what_came_to_nothing_says_who_acts_next() {
        let kind = |code| Said::of(&answer(200, code, "")).into_failed("write");
        for code in ["RetryableError", "InternalServerError", "OperationTimedOut", ""] {
            assert!(matches!(kind(code), Error::Unavailable { .. }), "{code}");
        }
        for code in ["SecurityRuleConflict", "CanceledAndSupersededDueToAnotherOperation"] {
            assert!(matches!(kind(code), Error::Conflict), "{code}");
        }
        assert!(matches!(kind("QuotaExceeded"), Error::Broken { .. }));
    }

    #[test]
    fn a_failure_names_what_it_means_for_a_closing() {
        let refused = |status, code| Some(Said::of(&answer(status, code, "")).into_error("write"));
        let token = Error::Broken { doing: "write", source: NoToken("no".to_owned()).into() };
        let accepted = Error::Unavailable { doing: "write", source: UnderWay.into() };
        let silent = Error::Unavailable { doing: "write", source: OutOfTime.into() };
        for (error, wanted) in [
            (refused(403, "RequestDisallowedByPolicy"), Some(Cause::DeletionLocked)),
            (refused(409, "ScopeLocked"), Some(Cause::DeletionLocked)),
            (refused(403, "AuthorizationFailed"), Some(Cause::CloudRefused)),
            (refused(401, "ExpiredAuthenticationToken"), Some(Cause::CredentialRefused)),
            (refused(429, "TooManyRequests"), Some(Cause::CloudUnavailable)),
            (refused(412, "PreconditionFailed"), None),
            (Some(token), Some(Cause::CredentialRefused)),
            (Some(accepted), Some(Cause::CloudSlow)),
            (Some(silent), Some(Cause::CloudUnavailable)),
        ] {
            let error = error.expect("an error");
            assert_eq!(cause(&error), wanted, "{error:?}");
        }
    }

    #[test]
    fn a_refusal_is_one_line() {
        let line = |status, code: &str, message: &str| {
            Refused { status, code: code.to_owned(), message: message.to_owned() }.to_string()
        };
        let locked = "409 `ScopeLocked`: It is locked. (an owner of the subscription can remove the lock)";
        assert_eq!(line(409, "ScopeLocked", "It is locked."), locked);
        assert_eq!(line(503, "", ""), "503");
        assert_eq!(line(200, "QuotaExceeded", "No."), "`QuotaExceeded`: No.");
        assert_eq!(line(200, "", ""), "the operation had no result");
    }

    #[test]
    fn the_missing_right_is_named() {
        let rule = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkSecurityGroups/n/securityRules/r";
        let write = "Microsoft.Network/networkSecurityGroups/securityRules/write";
        let sentence = format!(
            "The client '6c1a' with object id '6c1a' does not have authorization to perform action '{write}' \
                over scope '{rule}' or the scope is invalid. If access was recently granted, please refresh \
                your credentials."
        );
        let found = forbidden(sentence.clone());
        assert_eq!((found.action.as_deref(), found.scope.as_deref()), (Some(write), Some(rule)));
        let remedy = "an owner of that scope can assign a role that has it";
        let wanted = format!("the identity may not `{write}` on `{rule}`: {sentence} ({remedy})");
        assert_eq!(found.to_string(), wanted);

        let (join, subnet) =
            ("Microsoft.Network/virtualNetworks/subnets/join/action", "/subscriptions/s/subnets/x");
        let found = forbidden(format!(
            "The client '6c1a' with object id '6c1a' has permission to perform action \
                'Microsoft.Network/azureFirewalls/write' on scope '/subscriptions/s/f'; however, it does not \
                have permission to perform action '{join}' on the linked scope(s) '{subnet}' or the linked \
                scope(s) are invalid."
        ));
        assert_eq!((found.action.as_deref(), found.scope.as_deref()), (Some(join), Some(subnet)));

        let elsewhere = "The client has permission to perform action 'a/b' on scope '/s', however the \
            current tenant 't' is not authorized to access linked subscription 'u'.";
        let found = forbidden(elsewhere.to_owned());
        assert_eq!(
            (found.action, found.scope),
            (None, None),
            "that it has permission is not what is missing"
        );
    }

    #[test]
    fn a_missing_right_is_typed() {
        for code in ["AuthorizationFailed", "LinkedAuthorizationFailed"] {
            let Error::Broken { source, .. } = Said::of(&answer(403, code, "")).into_error("ask") else {
                panic!("{code}")
            };
            assert!(source.is::<Forbidden>(), "{code}");
        }
    }
}
