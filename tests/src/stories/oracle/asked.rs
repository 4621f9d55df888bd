//! Who asked for what, by which way: nothing else is done, each ask once, and every event of a bot is answered.

use super::Oracle;
use crate::stories::{
    bots::{Flaw, Posted, Says},
    clock::stamp,
    store::Table,
};
use portcullis_app::Submitted;
use portcullis_domain::{
    CorrelationId, EndReason, Fact, GrantId, Pane, Person, Request, RequestId, RequestState,
};
use std::collections::{BTreeMap, BTreeSet};

/// What was asked, and what became of it.
#[derive(Debug, Default)]
pub(super) struct Asked {
    letters: Vec<Posted>,
    requests: BTreeMap<RequestId, Option<CorrelationId>>,
    closes: BTreeSet<(GrantId, Person)>,
    rejects: BTreeSet<(RequestId, Person)>,
    /// The requests that the journal answers, and of which a grant is.
    answered: BTreeSet<RequestId>,
    granted: BTreeMap<GrantId, RequestId>,
    /// The ports for which the glass was broken, as their grants say, and as it was told.
    broken: BTreeMap<RequestId, Vec<Pane>>,
    told_broken: BTreeMap<RequestId, Vec<Pane>>,
    /// The events that the journal refuses.
    refused: BTreeSet<String>,
    /// Nobody has to answer them.
    buried: BTreeSet<usize>,
    /// The letters that were handled.
    handled: BTreeSet<usize>,
}

/// What there is to see when somebody is answered.
pub(in crate::stories) struct Heard<'a> {
    pub(in crate::stories) table: &'a Table,
    pub(in crate::stories) now: i64,
}

impl Oracle {
    pub(in crate::stories) fn asks(&mut self, id: RequestId, correlation: Option<CorrelationId>) {
        self.asked.requests.insert(id, correlation);
    }

    pub(in crate::stories) fn closes(&mut self, grant: &GrantId, by: &Person) {
        self.asked.closes.insert((grant.clone(), by.clone()));
    }

    pub(in crate::stories) fn rejects(&mut self, request: &RequestId, by: &Person) {
        self.asked.rejects.insert((request.clone(), by.clone()));
    }

    /// A bot's event is on its way. What must be refused is no ask of anybody's.
    pub(in crate::stories) fn posted(&mut self, posted: Posted, shown: &str) -> usize {
        if posted.letter.flaw.is_none() {
            match (&posted.letter.says, &posted.request) {
                (Says::Request { .. }, Some(id)) => self.asks(id.clone(), posted.letter.correlation.clone()),
                (Says::Request { .. }, None) => {}
                (Says::Approve(request), _) => self.shown(request, &posted.letter.by, shown),
                (Says::Reject(request), _) => self.rejects(request, &posted.letter.by),
                (Says::Close(grant), _) => self.closes(grant, &posted.letter.by),
            }
        }
        self.asked.letters.push(posted);
        self.asked.letters.len() - 1
    }

    pub(in crate::stories) fn buries(&mut self, letter: Option<usize>) {
        self.asked.buried.extend(letter);
    }

    /// INVARIANT (one-door-in, nothing-unrecorded): what nobody asked for is not done; what somebody asked is answered.
    pub(super) fn answers(&mut self, fact: &Fact, now: i64) {
        let request = match fact {
            Fact::Approved { grant, .. } => {
                self.asked.granted.insert(grant.id.clone(), grant.request.clone());
                if grant.broke_glass {
                    let pane = Pane { target: grant.target.clone(), gate: grant.gate };
                    self.asked.broken.entry(grant.request.clone()).or_default().push(pane);
                }
                &grant.request
            }
            Fact::GlassBroken { request, opened, .. } => {
                if self.asked.told_broken.insert(request.clone(), opened.clone()).is_some() {
                    self.break_rule("break-glass-is-loud", now, format!("{request} is told twice"));
                }
                request
            }
            Fact::Extended { request, .. }
            | Fact::ApprovalNeeded { request, .. }
            | Fact::RequestRefused { request, .. } => request,
            Fact::Ended { grant, reason: EndReason::UserRequested, by, .. } => {
                if !self.asked.closes.contains(&(grant.clone(), by.clone())) {
                    self.break_rule("one-door-in", now, format!("{by} never asked to close {grant}"));
                }
                return;
            }
            Fact::RequestRejected { request, by, .. } => {
                if !self.asked.rejects.contains(&(request.clone(), by.clone())) {
                    self.break_rule("one-door-in", now, format!("{by} never said no to {request}"));
                }
                return;
            }
            Fact::EventRefused { event, .. } => {
                self.count("event refused");
                self.asked.refused.insert(event.clone());
                return;
            }
            Fact::PolicySet { .. }
            | Fact::PolicyConfirmed { .. }
            | Fact::PolicyReverted { .. }
            | Fact::PolicyRefused { .. }
            | Fact::DecisionRefused { .. }
            | Fact::RequestWithdrawn { .. }
            | Fact::RequestExplained { .. }
            | Fact::RequestLapsed { .. }
            | Fact::Ended { .. }
            | Fact::Opened { .. }
            | Fact::OpenFailed { .. }
            | Fact::ClosingSoon { .. }
            | Fact::Closed { .. }
            | Fact::TakenOver { .. }
            | Fact::Writing { .. }
            | Fact::ReadBack { .. }
            | Fact::DriftFound { .. }
            | Fact::DriftHealed
            | Fact::LockDefeated { .. }
            | Fact::SettleFailed { .. }
            | Fact::OrphanDeleted { .. }
            | Fact::Adopted { .. }
            | Fact::ForeignDeleted { .. }
            | Fact::TokenMade { .. }
            | Fact::TokenRevoked { .. }
            | Fact::ExportAsked { .. }
            | Fact::ExportReady { .. }
            | Fact::TokenRefused { .. }
            | Fact::RoleGranted { .. }
            | Fact::RoleRevoked { .. }
            | Fact::RoleRefused { .. }
            | Fact::PoliciesChanged { .. }
            | Fact::PoliciesRefused { .. }
            | Fact::ClockJumped { .. }
            | Fact::DriftRepeated { .. }
            | Fact::DiskLow { .. }
            | Fact::DiskFailed { .. }
            | Fact::DiskRecovered => return,
        };
        if !self.asked.requests.contains_key(request) {
            self.break_rule("twice-is-once", now, format!("nobody asked for {request}: {fact:?}"));
        }
        self.asked.answered.insert(request.clone());
    }

    /// INVARIANT (break-glass-is-loud): who was granted a port without the yes that it needs is told of, with what was
    /// granted, and said why; nobody else is.
    pub(super) fn is_loud(&mut self, request: &Request, now: i64) {
        let of = |panes: &BTreeMap<RequestId, Vec<Pane>>| {
            let mut gates: Vec<_> = panes.get(&request.id).into_iter().flatten().collect();
            gates.sort_by(|one, other| (&one.target, one.gate).cmp(&(&other.target, other.gate)));
            gates.into_iter().cloned().collect::<Vec<Pane>>()
        };
        let (broken, told) = (of(&self.asked.broken), of(&self.asked.told_broken));
        let is_shown = matches!(request.state, RequestState::Approved { broke_glass: true, by: None, .. });
        let is_right = if broken.is_empty() {
            !is_shown
        } else {
            is_shown && request.breaks_glass() && request.justification.is_some()
        };
        if broken != told || !is_right {
            let how = format!("the glass was broken for {broken:?}, and told of {told:?}: {request:?}");
            self.break_rule("break-glass-is-loud", now, how);
        }
    }

    /// What whoever asked calls the matter that a fact is of.
    pub(super) fn correlation(&self, fact: &Fact) -> Option<&CorrelationId> {
        let of = |id: &RequestId| self.asked.requests.get(id).and_then(Option::as_ref);
        let of_grant = || fact.grant().and_then(|it| self.asked.granted.get(it)).and_then(of);
        if let Fact::EventRefused { event, .. } = fact {
            let letter = self.asked.letters.iter().find(|it| it.event == *event);
            return letter.and_then(|it| it.letter.correlation.as_ref());
        }
        fact.request().as_ref().and_then(of).or_else(of_grant)
    }

    /// A bot's event was handled, with this outcome: it is in the journal, and what it asks for is done.
    pub(in crate::stories) fn answered(&mut self, letter: usize, submitted: &Submitted, heard: &Heard<'_>) {
        self.asked.handled.insert(letter);
        let Posted { event, letter, request } = &self.asked.letters[letter];
        // What cannot be read has no name.
        let event = if letter.flaw == Some(Flaw::Garbage) { "" } else { event };
        let is_refused = self.asked.refused.contains(event);
        let is_answered = request.as_ref().is_some_and(|it| self.asked.answered.contains(it));
        let state = |id| heard.table.requests.get(id).map(|(it, _)| &it.state);
        let is_right = match (submitted, letter.flaw, &letter.says) {
            (Submitted::Refused(_), Some(_), _) => is_refused,
            (Submitted::Refused(_), None, _) => is_refused || is_answered,
            (_, Some(_), _)
            | (Submitted::Exporting | Submitted::Exported | Submitted::Explained(_), None, _) => false,
            (_, None, Says::Request { .. }) => is_answered && request.as_ref().and_then(state).is_some(),
            (_, None, Says::Approve(id)) => {
                matches!(state(id), Some(RequestState::Approved { by: Some(by), .. }) if *by == letter.by)
            }
            (_, None, Says::Reject(id)) => {
                matches!(state(id), Some(RequestState::Rejected { by, .. }) if *by == letter.by)
            }
            (_, None, Says::Close(grant)) => {
                let over = stamp(heard.now + self.skew_ms);
                let rows = heard.table.targets.values();
                rows.filter_map(|row| row.target.grant_of(grant)).all(|it| it.lease.is_over(over))
            }
        };
        if !is_right {
            let how = format!("`{event}` is not answered: {letter}, {submitted:?}");
            self.break_rule("nothing-unrecorded", heard.now, how);
        }
        self.count(if is_refused { "bot was refused" } else { "bot was answered" });
    }

    /// Every event that the bus took was handled, or is a dead letter.
    pub(super) fn all_are_answered(&mut self, now: i64) {
        let Asked { letters, buried, handled, .. } = &self.asked;
        let is_open = |at: &usize| !buried.contains(at) && !handled.contains(at);
        if let Some(at) = (0..letters.len()).find(is_open) {
            let how = format!("nobody ever answered {:?}", letters[at]);
            self.break_rule("nothing-is-left-out", now, how);
        }
    }
}
