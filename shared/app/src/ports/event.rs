//! An event: what others are told, past tense.

use jiff::Timestamp;
use portcullis_domain::{CorrelationId, Fact, GrantId, RequestId, TargetId};
use serde::Serialize;

/// Something that happened, for whoever wants to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// What happened, such as `grant.opened`.
    pub kind: &'static str,
    /// All of it.
    pub detail: Detail,
}

/// What an event says, as it is on the bus. What is absent is not known or concerns nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Detail {
    /// The version of this shape.
    pub version: u32,
    /// The same event has the same id, however often it is told.
    pub id: String,
    /// When it happened.
    pub at: Timestamp,
    /// The target whose journal tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetId>,
    /// The request that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
    /// The grant that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// What whoever asked calls the matter that it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<CorrelationId>,
    /// What happened, to be shown to people: one sentence with the machine and the people, and with the ids that a command takes.
    pub sentence: String,
    /// What the journal says.
    pub fact: Fact,
}
