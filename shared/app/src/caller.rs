//! A caller, as roles and policies know them: of a call, or of what was asked for before.

use crate::{Call, Principal};
use jiff::Timestamp;
use portcullis_domain::{
    Circumstances, Grant, Object, Person, Question, Request, Right, SignIn, Subject, Via,
};

/// A caller, and the channel and the time of the question.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) subject: Subject,
    pub(crate) channel: String,
    pub(crate) bot: Option<String>,
    pub(crate) now: Timestamp,
}

impl Caller {
    /// The caller of a call.
    pub(crate) fn of(call: &Call) -> Self {
        Self::by(subject(&call.principal), Some(&call.via), call.now)
    }

    /// The requester of a request, now.
    pub(crate) fn who_asked(request: &Request, now: Timestamp) -> Self {
        let via = request.via.as_ref();
        Self::by(SignIn::subject(request.signed_in.as_ref(), &request.by, via), via, now)
    }

    /// The requester of a grant, at its start.
    pub(crate) fn who_has(grant: &Grant) -> Self {
        let via = grant.via.as_ref();
        Self::by(SignIn::subject(grant.signed_in.as_ref(), &grant.by, via), via, grant.lease.start())
    }

    /// Anybody of whom nothing is known.
    pub(crate) fn nobody() -> Self {
        Self::by(SignIn::subject(None, &Person::portcullis(), None), None, Timestamp::UNIX_EPOCH)
    }

    /// The question whether the caller may do this to that.
    pub(crate) fn asks(&self, right: Right, object: Object, circumstances: Circumstances) -> Question {
        let Self { subject, channel, bot, now } = self.clone();
        let circumstances = Circumstances { now, channel, bot, ..circumstances };
        Question { subject, right, object, circumstances }
    }

    fn by(subject: Subject, via: Option<&Via>, now: Timestamp) -> Self {
        let (via, bot) = (via.unwrap_or(&Via::Http), via.and_then(Via::bot).map(str::to_owned));
        Self { subject, channel: via.word().to_owned(), bot, now }
    }
}

/// A caller, as policies know them.
pub(crate) fn subject(principal: &Principal) -> Subject {
    Subject {
        kind: principal.kind,
        name: principal.id.clone(),
        issuer: principal.issuer.to_string(),
        groups: principal.groups.clone(),
        claims: principal.claims.clone(),
    }
}
