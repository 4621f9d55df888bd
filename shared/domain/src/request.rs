//! What was asked, and what became of it.

use crate::{
    CorrelationId, GrantId, Justification, People, Person, Port, Protocol, Refusal, RequestId, SignIn,
    Sources, Speaker, TargetId, Via, Window,
};
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What was asked, parsed; whether it is allowed is for [`crate::review`] to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Derived from who asks and their idempotency key.
    pub id: RequestId,
    /// Who asks.
    pub by: Person,
    /// The channel by which they asked; unknown of a request that an older version stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
    /// How they signed in, where that is more than their name and the channel tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_in: Option<SignIn>,
    /// The version of roles and policies by which it was decided; absent where nobody ever changed those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<u64>,
    /// What for.
    pub what: What,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub justification: Option<Justification>,
    /// What whoever asks calls the matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<CorrelationId>,
    /// When it was first asked.
    pub asked_at: Timestamp,
    /// What became of it.
    pub state: RequestState,
}

/// What a request is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum What {
    /// To open ports.
    Initiate {
        /// One entry per port of a target.
        asks: Vec<Ask>,
        /// Without the yes that some of them need, which only those may whom the policy names for that.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        break_glass: bool,
    },
    /// To prolong a lease.
    Extend {
        /// Where the grant lives.
        target: TargetId,
        /// The grant whose lease is prolonged.
        grant: GrantId,
        /// The new end.
        end: Timestamp,
    },
}

/// One port of one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// The machine.
    pub target: TargetId,
    /// The port.
    pub port: Port,
    /// The protocol; without it, every rule that the policy has for the port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// For whom.
    pub sources: Sources,
    /// How long.
    pub window: Window,
}

/// What became of a request that was not refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RequestState {
    /// Waits for somebody to say yes.
    Pending {
        /// Nobody may say yes from then on.
        until: Timestamp,
        /// Who may say yes.
        approvers: People,
        /// Why roles and policies have it wait; empty where the rules of its ports alone do.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        because: Vec<String>,
    },
    /// Grants were made of it.
    Approved {
        /// When.
        at: Timestamp,
        /// By whom; absent where no approval was needed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Person>,
        /// The channel by which they approved it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
        /// An approval was needed, and whoever asked broke the glass instead.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        broke_glass: bool,
    },
    /// Somebody said no.
    Rejected {
        /// When.
        at: Timestamp,
        /// By whom.
        by: Person,
        /// The channel by which they rejected it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<Justification>,
    },
    /// Whoever asked no longer wants it, or the operator took that person's access away.
    Withdrawn {
        /// When.
        at: Timestamp,
        /// By whom.
        by: Person,
        /// The channel by which they withdrew it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    /// Nobody said anything in time, or it can no longer be granted.
    Lapsed {
        /// When.
        at: Timestamp,
    },
}

impl RequestState {
    /// The words of all states.
    pub const WORDS: [&str; 5] = ["pending", "approved", "rejected", "withdrawn", "lapsed"];

    /// In one word, of [`Self::WORDS`].
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pending { .. } => "pending",
            Self::Approved { .. } => "approved",
            Self::Rejected { .. } => "rejected",
            Self::Withdrawn { .. } => "withdrawn",
            Self::Lapsed { .. } => "lapsed",
        }
    }
}

impl Request {
    /// What somebody must have seen to approve it: a digest of who asks for what and why.
    ///
    /// INVARIANT (approval-binds-a-version): an approval names this, so it is for what was shown.
    pub fn shown(&self) -> String {
        const SHOWN_BYTES: usize = 16;
        // Serialising these cannot fail: no maps with keys that are not text, no floats.
        let body = serde_json::to_vec(&(&self.by, &self.what, &self.justification)).unwrap_or_default();
        HEXLOWER.encode(&Sha256::digest(body)[..SHOWN_BYTES])
    }

    /// The requester, and how they asked.
    pub fn speaker(&self) -> Speaker<'_> {
        Speaker { person: &self.by, via: self.via.as_ref() }
    }

    /// Is it not to wait for anybody's yes? A longer lease always does where the policy says so, also if its glass was broken.
    pub fn breaks_glass(&self) -> bool {
        match &self.what {
            What::Initiate { break_glass, .. } => *break_glass,
            What::Extend { .. } => false,
        }
    }

    /// Every target it concerns, once, in order of asking.
    pub fn targets(&self) -> Vec<TargetId> {
        match &self.what {
            What::Extend { target, .. } => vec![target.clone()],
            What::Initiate { asks, .. } => {
                let mut targets: Vec<TargetId> = vec![];
                for ask in asks {
                    if !targets.contains(&ask.target) {
                        targets.push(ask.target.clone());
                    }
                }
                targets
            }
        }
    }

    /// When somebody has to look at it, if nobody decides earlier.
    ///
    /// INVARIANT (nothing-is-forgotten): computed, never set.
    pub fn due_at(&self) -> Option<Timestamp> {
        match &self.state {
            RequestState::Pending { until, .. } => Some(*until),
            RequestState::Approved { .. }
            | RequestState::Rejected { .. }
            | RequestState::Withdrawn { .. }
            | RequestState::Lapsed { .. } => None,
        }
    }

    /// The same request, if `by` may decide it at `now` having seen `shown`.
    pub fn decidable(self, by: &Person, shown: &str, now: Timestamp) -> Result<Self, Refusal> {
        let approvers = self.waits(now)?;
        if *by == self.by {
            return Err(Refusal::OwnRequest { by: by.clone() });
        }
        if !approvers.admit(by, &self.by) {
            return Err(Refusal::NotAnApprover { by: by.clone(), approvers: approvers.people() });
        }
        if self.shown() != shown {
            return Err(Refusal::NotAsShown);
        }
        Ok(self)
    }

    /// The same request, if `by` made it and it waits at `now`.
    pub fn withdrawable(self, by: &Person, now: Timestamp) -> Result<Self, Refusal> {
        if *by != self.by {
            return Err(Refusal::NotTheRequester { by: by.clone(), requester: self.by });
        }
        self.waiting(now)
    }

    /// The same request, if it waits at `now`.
    pub fn waiting(self, now: Timestamp) -> Result<Self, Refusal> {
        self.waits(now)?;
        Ok(self)
    }

    /// Who may approve it, while it waits.
    fn waits(&self, now: Timestamp) -> Result<&People, Refusal> {
        match &self.state {
            RequestState::Pending { until, .. } if *until <= now => {
                Err(Refusal::NotPending { state: "lapsed" })
            }
            RequestState::Pending { approvers, .. } => Ok(approvers),
            RequestState::Approved { .. }
            | RequestState::Rejected { .. }
            | RequestState::Withdrawn { .. }
            | RequestState::Lapsed { .. } => Err(Refusal::NotPending { state: self.state.word() }),
        }
    }

    /// The request as it is after `state` became of it.
    #[must_use]
    pub fn into_state(self, state: RequestState) -> Self {
        Self { state, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    fn pending() -> Request {
        let ask = Ask {
            target: "vm".parse().expect("valid"),
            port: "22".parse().expect("valid"),
            protocol: None,
            sources: "10.0.0.1".parse().expect("valid"),
            window: Window::For(SignedDuration::from_hours(1)),
        };
        Request {
            id: "r".parse().expect("valid"),
            by: "ann".parse().expect("valid"),
            via: None,
            signed_in: None,
            authority: None,
            what: What::Initiate { asks: vec![ask], break_glass: false },
            justification: None,
            correlation: None,
            asked_at: Timestamp::UNIX_EPOCH,
            state: RequestState::Pending {
                until: Timestamp::from_second(100).expect("in range"),
                approvers: People::Anybody,
                because: vec![],
            },
        }
    }

    #[test]
    fn the_approver_is_never_the_requester() {
        let shown = pending().shown();
        let now = Timestamp::UNIX_EPOCH;
        let by = |name: &str| pending().decidable(&name.parse().expect("valid"), &shown, now);
        for spelling in ["ann", "Ann", "\u{430}nn", "\u{ff21}NN"] {
            assert!(matches!(by(spelling), Err(Refusal::OwnRequest { .. })), "{spelling}");
        }
        assert!(by("bob").is_ok());
    }

    #[test]
    fn approval_binds_a_version() {
        let shown = pending().shown();
        let mut other = pending();
        other.what = What::Initiate { asks: vec![], break_glass: false };
        let decided = other.decidable(&"bob".parse().expect("valid"), &shown, Timestamp::UNIX_EPOCH);
        assert_eq!(decided, Err(Refusal::NotAsShown));
    }

    #[test]
    fn a_stored_request_without_glass_is_still_read_and_is_written_as_before() {
        let what = r#"{"initiate":{"asks":[]}}"#;
        let read: What = serde_json::from_str(what).expect("reads");
        assert_eq!(read, What::Initiate { asks: vec![], break_glass: false });
        assert_eq!(serde_json::to_string(&read).expect("writes"), what);
        let state = r#"{"approved":{"at":"1970-01-01T00:00:00Z"}}"#;
        let read: RequestState = serde_json::from_str(state).expect("reads");
        assert_eq!(serde_json::to_string(&read).expect("writes"), state);
    }

    #[test]
    fn a_pending_request_lapses_at_its_end() {
        let shown = pending().shown();
        let late = Timestamp::from_second(100).expect("in range");
        let decided = pending().decidable(&"bob".parse().expect("valid"), &shown, late);
        assert_eq!(decided, Err(Refusal::NotPending { state: "lapsed" }));
    }
}
