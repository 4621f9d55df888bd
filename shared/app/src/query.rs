//! Queries: every operation that changes nothing, with its arguments. [`crate::perform`] runs them.

use crate::{
    Adoptables, Answer, Call, Checked, Discovered, Error, Exporting, Finding, Happened as News, Manifest,
    Names as Named, Operation, Parts, Plan as Planned, Principal, Reached, Verified, Wanted, ask, command,
    discover, doctor,
    door::{Run, runs},
    export, guard, happened, load, look,
    ports::{Archive, GrantFilter, Outside, Page, PageAsked, RequestFilter, Store, Tokens as TokenBook},
    record::{Record, codes, sentences},
    vouch,
};
use jiff::Timestamp;
use portcullis_domain::{
    Chain, Entry, Explained, Fact, Gate, Grant, GrantId, Person, PortEdit, Refusals, Request, RequestId,
    Review, TargetId, What,
};
use std::net::IpAddr;

/// The review of a request that is not made.
#[derive(Debug, Clone)]
pub struct Explain(pub command::Initiate);

impl Explain {
    /// The entry of its answer to a bot, which is published: a bot on the bus receives nothing else.
    pub(crate) fn answered(&self, call: &Call, review: &Review) -> Record {
        let command::Initiate { asks, break_glass, justification } = self.0.clone();
        let (answer, reasons, approvers) = match review {
            Review::Allowed(_) => (Explained::Allowed, None, None),
            Review::NeedsApproval { approvers, .. } => {
                (Explained::NeedsApproval, None, Some(approvers.clone()))
            }
            Review::Refused(reasons) => (Explained::Refused, Some(reasons), None),
        };
        Record::of_rest(Fact::RequestExplained {
            by: call.by().clone(),
            asked: What::Initiate { asks, break_glass },
            why: justification.as_ref().map(ToString::to_string),
            answer,
            reasons: reasons.map(sentences).unwrap_or_default(),
            codes: reasons.map(codes).unwrap_or_default(),
            approvers,
            correlation: call.correlation.clone(),
            via: Some(call.via.clone()),
        })
    }
}

/// Requests, the newest first.
#[derive(Debug, Clone)]
pub struct Requests {
    /// Which ones.
    pub of: RequestFilter,
    /// Which part of the list.
    pub page: PageAsked,
}

/// One request, with its grants.
#[derive(Debug, Clone)]
pub struct ShowRequest(pub RequestId);

/// Grants, the newest first.
#[derive(Debug, Clone)]
pub struct Grants {
    /// Which ones.
    pub of: GrantFilter,
    /// Which part of the list.
    pub page: PageAsked,
}

/// One grant.
#[derive(Debug, Clone)]
pub struct ShowGrant(pub GrantId);

/// Machines with their state, by id. The cloud is asked; where it does not answer, they are those of the table.
#[derive(Debug, Clone)]
pub struct Machines {
    /// The id before the first one.
    pub after: Option<TargetId>,
    /// How many at most.
    pub at_most: usize,
}

/// One machine with its state.
#[derive(Debug, Clone)]
pub struct ShowMachine(pub TargetId);

/// The names of machines, by id: those of the table, and those of the cloud's catalogue. No firewall is asked.
#[derive(Debug, Clone)]
pub struct Names {
    /// The id before the first one.
    pub after: Option<TargetId>,
    /// How many at most.
    pub at_most: usize,
    /// Whether the catalogue is asked.
    pub asks_catalogue: bool,
}

/// The entries of a chain, oldest first, and the number of the next one.
#[derive(Debug, Clone)]
pub struct Activity {
    /// The chain.
    pub chain: Chain,
    /// The number of the first entry; without one, the newest entries.
    pub from: Option<u64>,
    /// How many at most.
    pub at_most: usize,
}

/// Whether a packet gets to a machine, and the rule that decides. The firewalls are asked, not the table.
#[derive(Debug, Clone)]
pub struct Check {
    /// The machine.
    pub target: TargetId,
    /// The port and the protocol.
    pub gate: Gate,
    /// The source of the packet.
    pub from: IpAddr,
}

/// The rules that would be written for a machine: as it is guarded, or as it would be with these ports.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The machine.
    pub target: TargetId,
    /// The ports; none is those that it is guarded with, or else the one that its system is managed through.
    pub ports: Vec<PortEdit>,
}

/// The policies of another product.
#[derive(Debug, Clone)]
pub struct ListAdoptables;

/// Events that a reader has not been told of, the oldest first.
#[derive(Debug, Clone)]
pub struct Happened {
    /// How far the reader has got.
    pub from: Reached,
    /// Which events.
    pub wanted: Wanted,
}

/// Recomputes the journal and compares it with what is stored.
#[derive(Debug, Clone)]
pub struct Verify;

/// Puts the evidence of a time range into an archive.
#[derive(Debug)]
pub struct Export<'a, A> {
    /// The time and the format.
    pub exporting: Exporting,
    /// The archive.
    pub archive: &'a A,
}

/// Checks the installation.
#[derive(Debug)]
pub struct Doctor {
    /// Why the table cannot be read and written, if it cannot.
    pub table: Option<Error>,
}

/// The caller.
#[derive(Debug, Clone)]
pub struct Whoami;

/// The people who have a token, since when.
#[derive(Debug, Clone)]
pub struct Tokens;

/// Implements [`Run`] for queries: a query asks for nothing, so that its refusal leaves no entry.
macro_rules! queries {
    ($($query:ty => $operation:ident, $outcome:ty, |$own:ident, $parts:ident, $call:ident| $body:expr;)*) => {
        runs! {$(
            $query => $operation, $outcome, |$own, $parts, $call| $body,
            refused |_query, _store, _call, _reasons| Ok(None);
        )*}
    };
}

queries! {
    Explain => Explain, Review, |query, parts, call| query.0.explain(parts.store, parts.terms, call).await;
    Requests => Requests, Page<Request>, |query, parts, _call| parts.store.requests(&query.of, &query.page).await;
    ShowRequest => ShowRequest, Answer, |query, parts, _call| {
        let (request, _) = load::request(parts.store, &query.0).await?;
        ask::answer(parts.store, request).await
    };
    Grants => Grants, Page<Grant>, |query, parts, _call| parts.store.grants(&query.of, &query.page).await;
    ShowGrant => ShowGrant, Grant, |query, parts, _call| load::grant(parts.store, &query.0).await;
    Machines => Machines, (Vec<Discovered>, Vec<String>), |query, parts, call| {
        discover::discover(parts.store, parts.outside, query.after.as_ref(), query.at_most, call.now).await
    };
    ShowMachine => ShowMachine, Discovered, |query, parts, call| {
        discover::discover_one(parts.store, parts.outside, &query.0, call.now).await
    };
    Names => Names, Named, |query, parts, _call| {
        let catalogue = query.asks_catalogue.then_some(parts.outside);
        discover::names(parts.store, catalogue, query.after.as_ref(), query.at_most).await
    };
    Activity => Activity, (Vec<Entry>, Option<u64>), |query, parts, _call| {
        look::activity(parts.store, parts.outside, &query.chain, query.from, query.at_most).await
    };
    Check => Check, Checked, |query, parts, _call| {
        look::check(parts.store, parts.outside, &query.target, query.gate, query.from).await
    };
    Plan => Plan, Planned, |query, parts, call| {
        let Plan { target, ports } = query;
        let known = discover::discover_one(parts.store, parts.outside, target, call.now).await?;
        let policy = match (&known.policy, ports.as_slice()) {
            (Some(_), []) => None,
            (Some(_) | None, _) => {
                Some(guard::first_policy(parts.store, parts.outside, target, ports, parts.terms).await?)
            }
        };
        guard::plan(parts.store, parts.outside, target, policy.as_ref(), call.by(), call.now).await
    };
    ListAdoptables => Adoptables, Adoptables, |_query, parts, _call| parts.outside.found().await;
    Happened => Happened, News, |query, parts, call| {
        happened::happened(parts.store, &query.from, &query.wanted, call.now).await
    };
    Verify => Verify, Verified, |_query, parts, _call| look::verify(parts.store).await;
    Whoami => Whoami, Principal, |_query, _parts, call| Ok(call.principal.clone());
    Tokens => Tokens, Vec<(Person, Timestamp)>, |_query, parts, _call| parts.tokens.list().await;
    Doctor => Doctor, Vec<Finding>, |query, parts, call| {
        let mut findings = doctor::doctor(parts.store, parts.outside, query.table.as_ref(), call.now).await;
        findings.extend(vouch::findings(parts.store, parts.tokens, parts.rights.vouchers.as_ref()).await);
        Ok(findings)
    };
}

impl<A: Archive> Run for Export<'_, A> {
    type Outcome = Manifest;
    const OPERATION: Operation = Operation::Export;

    async fn run<S: Store, O: Outside, T: TokenBook>(
        &self,
        parts: Parts<'_, S, O, T>,
        _: &Call,
    ) -> Result<Manifest, Error> {
        export::export(parts.store, self.archive, &self.exporting).await
    }

    async fn refusal<S: Store>(&self, _: &S, _: &Call, _: &Refusals) -> Result<Option<Record>, Error> {
        Ok(None)
    }
}
