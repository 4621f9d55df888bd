//! Queries: every operation that changes nothing, with its arguments. [`crate::perform`] runs them.

use crate::{
    Adoptables, Answer, Call, Checked, Discovered, Error, Exporting, Finding, Found, Happened as News,
    Manifest, Met, Names as Named, Operation, Parts, Plan as Planned, PolicyVersion, Reached, Verified,
    Wanted, ask, command, discover, doctor,
    door::{Run, permit, runs},
    export, foresee, guard, happened, load, look,
    permit::{Concerns, facts_of_machine, facts_of_name},
    policies,
    ports::{Archive, GrantFilter, Outside, Page, PageAsked, RequestFilter, Store, Tokens as TokenBook},
    record::{Record, codes, sentences},
    roles::{self, Known},
    token_checks, vouch,
};
use portcullis_domain::{
    Accept, Authority, Chain, Entry, Explained, Fact, Facts, Gate, Grant, GrantId, PortEdit, Refusals,
    Request, RequestId, Review, TargetId, Token, What,
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
            Review::NeedsApproval { approvers, because, outcome: _ } => {
                (Explained::NeedsApproval, Refusals::of(because.clone()), Some(approvers.clone()))
            }
            Review::Refused(reasons) => (Explained::Refused, Some(reasons.clone()), None),
        };
        let reasons = reasons.as_ref();
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

/// The ids of the policies and roles that permit a request which is not made.
#[derive(Debug, Clone)]
pub struct Permitting(pub command::Initiate);

/// The foreign denies that these grants would meet. The firewalls are asked, not the table.
#[derive(Debug, Clone)]
pub struct Foresee(pub Vec<Grant>);

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
    /// Foreign rules that would be accepted.
    pub accept: Vec<Accept>,
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

/// Who has which role on what.
#[derive(Debug, Clone)]
pub struct Roles;

/// The policies of the installation.
#[derive(Debug, Clone)]
pub struct Policies {
    /// Those of this version; without it those in force.
    pub version: Option<u64>,
}

/// The changes of the policies of the installation, the newest first.
#[derive(Debug, Clone)]
pub struct PolicyVersions {
    /// Only those before this version.
    pub before: Option<u64>,
}

/// The tokens, by the names of their people.
#[derive(Debug, Clone)]
pub struct Tokens;

/// Implements [`Run`] for queries: a query asks for nothing, so that its refusal leaves no entry.
macro_rules! queries {
    ($(
        $query:ty => $operation:ident, $outcome:ty,
        on |$of:ident, $from:ident, $caller:ident| $concerns:expr,
        $(lists |$list:ident| $facts:expr, keeps |$kept:ident, $may:ident| $keep:expr,)?
        |$own:ident, $parts:ident, $call:ident| $body:expr;
    )*) => {
        runs! {$(
            $query => $operation, $outcome,
            on |$of, $from, $caller| $concerns,
            $(lists |$list| $facts, keeps |$kept, $may| $keep,)?
            |$own, $parts, $call| $body,
            refused |_query, _store, _call, _reasons| Ok(None);
        )*}
    };
}

queries! {
    Permitting => Explain, Vec<String>,
    on |query, _parts, _call| Ok(Concerns::machines(query.0.asks.iter().map(|it| it.target.clone()))),
    |query, parts, call| query.0.permitting(parts, call).await;

    Explain => Explain, Review,
    on |query, _parts, _call| Ok(Concerns::machines(query.0.asks.iter().map(|it| it.target.clone()))),
    |query, parts, call| {
        let review = query.0.explain(parts, call).await?;
        match (permit(parts, call, &query.0, true).await, review) {
            (Ok(_), review) => Ok(review),
            (Err(Error::Refused(reasons)), Review::Refused(more)) => Ok(Review::Refused(reasons.and(more))),
            (Err(Error::Refused(reasons)), _) => Ok(Review::Refused(reasons)),
            (Err(error), _) => Err(error),
        }
    };
    Foresee => Foresee, Vec<Met>,
    on |query, _parts, _call| Ok(Concerns::machines(query.0.iter().map(|it| it.target.clone()))),
    |query, parts, _call| foresee::foresee(parts.store, parts.outside, &query.0).await;
    Requests => Requests, Page<Request>,
    on |_query, _parts, _call| Ok(Concerns::List),
    lists |page| page.items.iter().flat_map(Request::targets).map(|it| Facts::of(&it)).collect(),
    keeps |page, may| page.items.retain(|it| it.targets().iter().any(|target| may(Some(target)))),
    |query, parts, _call| parts.store.requests(&query.of, &query.page).await;
    ShowRequest => ShowRequest, Answer,
    on |query, parts, _call| {
        let (request, _) = load::request(parts.store, &query.0).await?;
        Ok(Concerns::machines(request.targets()))
    },
    |query, parts, _call| {
        let (request, _) = load::request(parts.store, &query.0).await?;
        ask::answer(parts.store, request).await
    };
    Grants => Grants, Page<Grant>,
    on |_query, _parts, _call| Ok(Concerns::List),
    lists |page| page.items.iter().map(|it| Facts::of(&it.target)).collect(),
    keeps |page, may| page.items.retain(|it| may(Some(&it.target))),
    |query, parts, _call| parts.store.grants(&query.of, &query.page).await;
    ShowGrant => ShowGrant, Grant,
    on |query, parts, _call| Ok(Concerns::machine(&load::grant(parts.store, &query.0).await?.target)),
    |query, parts, _call| load::grant(parts.store, &query.0).await;
    Machines => Machines, Found,
    on |_query, _parts, _call| Ok(Concerns::List),
    lists |found| found.items.iter().map(|it| facts_of_machine(&it.machine)).collect(),
    keeps |found, may| found.items.retain(|it| may(Some(&it.machine.id))),
    |query, parts, call| {
        let Machines { after, at_most } = query;
        let after = after.as_ref();
        let (items, unseen) =
            discover::discover(parts.store, parts.outside, after, *at_most, call.now).await?;
        let next = items.last().filter(|_| items.len() == *at_most).map(|it| it.machine.id.clone());
        Ok(Found { items, unseen, next })
    };
    ShowMachine => ShowMachine, Discovered,
    on |query, _parts, _call| Ok(Concerns::machine(&query.0)),
    |query, parts, call| {
        discover::discover_one(parts.store, parts.outside, &query.0, call.now).await
    };
    Names => Names, Named,
    on |_query, _parts, _call| Ok(Concerns::List),
    lists |names| names.items.iter().map(facts_of_name).collect(),
    keeps |names, may| names.items.retain(|it| may(Some(&it.id))),
    |query, parts, _call| {
        let catalogue = query.asks_catalogue.then_some(parts.outside);
        discover::names(parts.store, catalogue, query.after.as_ref(), query.at_most).await
    };
    Activity => Activity, (Vec<Entry>, Option<u64>),
    on |query, _parts, _call| Ok(match query.chain.target() {
        Some(target) => Concerns::machine(&target),
        None => Concerns::Installation,
    }),
    |query, parts, _call| {
        look::activity(parts.store, parts.outside, &query.chain, query.from, query.at_most).await
    };
    Check => Check, Checked,
    on |query, _parts, _call| Ok(Concerns::machine(&query.target)),
    |query, parts, _call| {
        look::check(parts.store, parts.outside, &query.target, query.gate, query.from).await
    };
    Plan => Plan, Planned,
    on |query, _parts, _call| Ok(Concerns::machine(&query.target)),
    |query, parts, call| {
        let Plan { target, ports, accept } = query;
        let known = discover::discover_one(parts.store, parts.outside, target, call.now).await?;
        let policy = match (&known.policy, ports.as_slice()) {
            (Some(_), []) => None,
            (Some(_) | None, _) => {
                Some(guard::first_policy(parts.store, parts.outside, target, ports, parts.terms).await?)
            }
        };
        guard::plan(parts.store, parts.outside, target, policy.as_ref(), accept, call).await
    };
    ListAdoptables => Adoptables, Adoptables,
    on |_query, _parts, _call| Ok(Concerns::Installation),
    |_query, parts, _call| parts.outside.found().await;
    Happened => Happened, News,
    on |_query, _parts, _call| Ok(Concerns::List),
    lists |news| news.events.iter().filter_map(|it| it.detail.target.as_ref()).map(Facts::of).collect(),
    keeps |news, may| news.events.retain(|it| may(it.detail.target.as_ref())),
    |query, parts, call| {
        happened::happened(parts.store, &query.from, &query.wanted, call.now).await
    };
    Verify => Verify, Verified,
    on |_query, _parts, _call| Ok(Concerns::Installation),
    |_query, parts, _call| look::verify(parts.store).await;
    Whoami => Whoami, Known,
    on |_query, _parts, _call| Ok(Concerns::Nobody),
    |_query, parts, call| roles::known(parts.store, parts.rights, call).await;
    Roles => Roles, Authority,
    on |_query, _parts, _call| Ok(Concerns::Installation),
    |_query, parts, _call| Ok(parts.store.authority().await?.unwrap_or_else(Authority::founding));
    Policies => Policies, PolicyVersion,
    on |_query, _parts, _call| Ok(Concerns::Installation),
    |query, parts, _call| {
        let authority = parts.store.authority().await?.unwrap_or_else(Authority::founding);
        match query.version {
            Some(version) => policies::of_version(parts.store, &authority, version).await,
            None => policies::newest(parts.store, &authority).await,
        }
    };
    PolicyVersions => PolicyVersions, (Vec<PolicyVersion>, Option<u64>),
    on |_query, _parts, _call| Ok(Concerns::Installation),
    |query, parts, _call| policies::versions(parts.store, query.before).await;
    Tokens => Tokens, Vec<Token>,
    on |_query, _parts, _call| Ok(Concerns::Installation),
    |_query, parts, _call| parts.tokens.list().await;
    Doctor => Doctor, Vec<Finding>,
    on |_query, _parts, _call| Ok(Concerns::Installation),
    |query, parts, call| {
        let mut findings = doctor::doctor(parts.store, parts.outside, query.table.as_ref(), call.now).await;
        findings.extend(vouch::findings(parts.store, parts.tokens, parts.rights.vouchers.as_ref()).await);
        findings.extend(token_checks::findings(parts.tokens, call.now).await);
        Ok(findings)
    };
}

impl<A: Archive> Run for Export<'_, A> {
    type Outcome = Manifest;
    const OPERATION: Operation = Operation::Export;

    async fn concerns<S: Store, O: Outside, T: TokenBook>(
        &self,
        _: Parts<'_, S, O, T>,
        _: &Call,
    ) -> Result<Concerns, Error> {
        Ok(Concerns::Installation)
    }

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
