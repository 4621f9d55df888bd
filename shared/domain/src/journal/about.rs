//! The subjects of a fact: the one place that knows them of each.

use crate::{CorrelationId, Fact, GrantId, Person, Policies, RequestId, Via};

/// The subjects of a fact. What is absent is not known, or there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About<'a> {
    /// The grant whose life it changes.
    pub grant: Option<&'a GrantId>,
    /// The request that it names; that of a grant is in the grant's id.
    pub request: Option<&'a RequestId>,
    /// The correlation id of what it answers.
    pub correlation: Option<&'a CorrelationId>,
    /// The person who caused it, or the source of an event.
    pub by: Option<&'a str>,
    /// The channel by which that person spoke.
    pub via: Option<&'a Via>,
    /// The person who approved it.
    pub approver: Option<&'a Person>,
    /// The channel by which the approver spoke.
    pub approver_via: Option<&'a Via>,
}

impl Fact {
    /// What it is about.
    pub fn about(&self) -> About<'_> {
        match self {
            Self::Approved { grant, approver, approver_via } => About {
                grant: Some(&grant.id),
                request: Some(&grant.request),
                correlation: grant.correlation.as_ref(),
                by: Some(grant.by.as_str()),
                via: grant.via.as_ref(),
                approver: approver.as_ref(),
                approver_via: approver_via.as_ref(),
            },
            Self::Extended { grant, request, by, approver, correlation, via, approver_via, .. } => About {
                grant: Some(grant),
                request: Some(request),
                correlation: correlation.as_ref(),
                by: Some(by.as_str()),
                via: via.as_ref(),
                approver: approver.as_ref(),
                approver_via: approver_via.as_ref(),
            },
            Self::Ended { grant, by, via, correlation, .. } => {
                let of_grant = About::of_grant(grant, correlation.as_ref());
                About { by: Some(by.as_str()), via: via.as_ref(), ..of_grant }
            }
            Self::Opened { grant, correlation, .. }
            | Self::OpenFailed { grant, correlation, .. }
            | Self::ClosingSoon { grant, correlation, .. }
            | Self::Closed { grant, correlation, .. } => About::of_grant(grant, correlation.as_ref()),
            Self::RequestRefused { request, by, via, correlation, .. }
            | Self::ApprovalNeeded { request, by, via, correlation, .. }
            | Self::RequestRejected { request, by, via, correlation, .. }
            | Self::RequestWithdrawn { request, by, via, correlation }
            | Self::GlassBroken { request, by, via, correlation, .. } => About {
                request: Some(request),
                correlation: correlation.as_ref(),
                ..About::caused_by(by, via.as_ref())
            },
            Self::RequestLapsed { request, correlation, .. } => {
                About { request: Some(request), correlation: correlation.as_ref(), ..About::default() }
            }
            Self::DecisionRefused { request, by, via, .. } => {
                About { request: Some(request), ..About::caused_by(by, via.as_ref()) }
            }
            Self::ExportAsked { by, via, correlation, .. }
            | Self::RequestExplained { by, via, correlation, .. } => {
                About { correlation: correlation.as_ref(), ..About::caused_by(by, via.as_ref()) }
            }
            Self::ExportReady { correlation, .. } => {
                About { correlation: correlation.as_ref(), ..About::default() }
            }
            // The person whom a refused event names did not ask: its source did.
            Self::EventRefused { source, via, correlation, .. } => {
                let correlation = correlation.as_ref();
                About { correlation, by: Some(source), via: via.as_ref(), ..About::default() }
            }
            Self::PolicySet { by, via, .. }
            | Self::PolicyConfirmed { by, via, .. }
            | Self::PolicyRefused { by, via, .. }
            | Self::Adopted { by, via, .. }
            | Self::ForeignDeleted { by, via, .. }
            | Self::TokenMade { by, via, .. }
            | Self::TokenRevoked { by, via, .. }
            | Self::TokenRefused { by, via, .. }
            | Self::RoleGranted { by, via, .. }
            | Self::RoleRevoked { by, via, .. }
            | Self::RoleRefused { by, via, .. }
            | Self::PoliciesChanged { by, via, .. }
            | Self::PoliciesRefused { by, via, .. } => About::caused_by(by, via.as_ref()),
            Self::PolicyReverted { .. }
            | Self::TakenOver { .. }
            | Self::Writing { .. }
            | Self::ReadBack { .. }
            | Self::DriftFound { .. }
            | Self::DriftHealed
            | Self::LockDefeated { .. }
            | Self::SettleFailed { .. }
            | Self::OrphanDeleted { .. }
            | Self::ClockJumped { .. }
            | Self::DriftRepeated { .. }
            | Self::DiskLow { .. }
            | Self::DiskFailed { .. }
            | Self::DiskRecovered => About::default(),
        }
    }

    /// The fact as its event has it: without the text of policies, which is longer than an event may be. The journal has it.
    #[must_use]
    pub fn published(&self) -> Self {
        let mut fact = self.clone();
        if let Self::PoliciesChanged { policies, .. } = &mut fact {
            *policies = Policies::default();
        }
        fact
    }

    /// The grant whose life it changes.
    pub fn grant(&self) -> Option<&GrantId> {
        self.about().grant
    }

    /// The request that it is about, also that of its grant.
    pub fn request(&self) -> Option<RequestId> {
        let About { request, grant, .. } = self.about();
        request.cloned().or_else(|| grant?.derivation().map(|(request, _)| request))
    }

    /// The correlation id of what it answers.
    pub fn correlation(&self) -> Option<&CorrelationId> {
        self.about().correlation
    }
}

impl<'a> About<'a> {
    /// The people who caused and approved it, each with the bot that spoke for them, such as `ann via bot chatops, approved by bob`. A
    /// person's own program, such as the command line, is not named.
    pub fn speakers(&self) -> Option<String> {
        let with = |name: &str, via: Option<&Via>| match via.filter(|it| it.bot().is_some()) {
            Some(via) => format!("{name} via {via}"),
            None => name.to_owned(),
        };
        let by = with(self.by?, self.via);
        Some(match self.approver {
            Some(approver) => format!("{by}, approved by {}", with(approver.as_str(), self.approver_via)),
            None => by,
        })
    }

    fn caused_by(by: &'a Person, via: Option<&'a Via>) -> Self {
        Self { by: Some(by.as_str()), via, ..Self::default() }
    }

    fn of_grant(grant: &'a GrantId, correlation: Option<&'a CorrelationId>) -> Self {
        Self { grant: Some(grant), correlation, ..Self::default() }
    }
}
