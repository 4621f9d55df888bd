//! The subjects of a fact: the one place that knows them of each.

use crate::{CorrelationId, Fact, GrantId, Person, RequestId};

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
    /// The person who approved it.
    pub approver: Option<&'a Person>,
}

impl Fact {
    /// What it is about.
    pub fn about(&self) -> About<'_> {
        match self {
            Self::Approved { grant, approver } => About {
                grant: Some(&grant.id),
                request: Some(&grant.request),
                correlation: grant.correlation.as_ref(),
                by: Some(grant.by.as_str()),
                approver: approver.as_ref(),
            },
            Self::Extended { grant, request, by, approver, correlation, .. } => About {
                grant: Some(grant),
                request: Some(request),
                correlation: correlation.as_ref(),
                by: Some(by.as_str()),
                approver: approver.as_ref(),
            },
            Self::Ended { grant, by, correlation, .. } => {
                About { by: Some(by.as_str()), ..About::of_grant(grant, correlation.as_ref()) }
            }
            Self::Opened { grant, correlation, .. }
            | Self::OpenFailed { grant, correlation, .. }
            | Self::ClosingSoon { grant, correlation, .. }
            | Self::Closed { grant, correlation, .. } => About::of_grant(grant, correlation.as_ref()),
            Self::RequestRefused { request, by, correlation, .. }
            | Self::ApprovalNeeded { request, by, correlation, .. }
            | Self::RequestRejected { request, by, correlation, .. }
            | Self::GlassBroken { request, by, correlation, .. } => {
                About { request: Some(request), correlation: correlation.as_ref(), ..About::caused_by(by) }
            }
            Self::RequestLapsed { request, correlation, .. } => {
                About { request: Some(request), correlation: correlation.as_ref(), ..About::default() }
            }
            Self::DecisionRefused { request, by, .. } => {
                About { request: Some(request), ..About::caused_by(by) }
            }
            Self::ExportAsked { by, correlation, .. } => {
                About { correlation: correlation.as_ref(), ..About::caused_by(by) }
            }
            Self::ExportReady { correlation, .. } => {
                About { correlation: correlation.as_ref(), ..About::default() }
            }
            // The person whom a refused event names did not ask: its source did.
            Self::EventRefused { source, correlation, .. } => {
                About { correlation: correlation.as_ref(), by: Some(source), ..About::default() }
            }
            Self::PolicySet { by, .. }
            | Self::PolicyConfirmed { by, .. }
            | Self::PolicyRefused { by, .. }
            | Self::Adopted { by, .. }
            | Self::ForeignDeleted { by, .. }
            | Self::TokenMade { by, .. }
            | Self::TokenRevoked { by, .. }
            | Self::TokenRefused { by, .. } => About::caused_by(by),
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
    fn caused_by(by: &'a Person) -> Self {
        Self { by: Some(by.as_str()), ..Self::default() }
    }

    fn of_grant(grant: &'a GrantId, correlation: Option<&'a CorrelationId>) -> Self {
        Self { grant: Some(grant), correlation, ..Self::default() }
    }
}
