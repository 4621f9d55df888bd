//! Commands: every operation that may change something, with its arguments. [`crate::perform`] runs them.

use crate::{
    Accepting, Adopted, Answer, Applied, Call, Error, Exporting, Guarded, Issued, Parts, Revoked, Rights,
    adopt, ask,
    caller::Caller,
    decide,
    door::runs,
    guard::{self, Guarding},
    issue,
    kept::record_once,
    load,
    permit::Concerns,
    policies::{self, Changing, To},
    ports::{Outside, Store, Tokens},
    record::Record,
    revoke,
    roles::{self, RoleChanged},
    unapproved::waits,
    uphold::uphold,
    vouch,
};
use jiff::{SignedDuration, Timestamp};
use portcullis_domain::{
    Accept, Ask, Binding, Fact, Grant, GrantId, Justification, Person, Policies, Policy, PolicyEdit,
    PortEdit, Purpose, Refusal, Refusals, Request, RequestId, Review, Right, SKEW_MAX, TargetId, TokenEnd,
    TokenTerms, What,
};

/// Asks for access. Asking twice with the same key is asking once.
#[derive(Debug, Clone)]
pub struct Initiate {
    /// One ask for each port of a machine.
    pub asks: Vec<Ask>,
    /// Open without the approval that is needed, and be named for it.
    pub break_glass: bool,
    /// The reason, in the caller's words.
    pub justification: Option<Justification>,
}

/// Asks for a later end of a lease: decided like a request.
#[derive(Debug, Clone)]
pub struct Extend {
    /// The grant whose lease it is.
    pub grant: GrantId,
    /// The new end.
    pub end: Timestamp,
    /// The reason, in the caller's words.
    pub justification: Option<Justification>,
}

/// Approves a request as it was shown.
#[derive(Debug, Clone)]
pub struct Approve {
    /// The request.
    pub request: RequestId,
    /// Its digest, [`Request::shown`].
    pub shown: String,
}

/// Rejects a request.
#[derive(Debug, Clone)]
pub struct Reject {
    /// The request.
    pub request: RequestId,
    /// Its digest as it was shown, [`Request::shown`]; without one it is rejected as it stands.
    pub shown: Option<String>,
    /// The reason, in the caller's words.
    pub why: Option<Justification>,
}

/// Takes back a request that waits for its approval.
#[derive(Debug, Clone)]
pub struct Withdraw {
    /// The request.
    pub request: RequestId,
}

/// Ends a lease now. Closing what is over is success.
#[derive(Debug, Clone)]
pub struct Close {
    /// The grant whose lease it is.
    pub grant: GrantId,
}

/// Guards a machine that is not guarded.
#[derive(Debug, Clone)]
pub struct Enable {
    /// The machine.
    pub target: TargetId,
    /// The ports; without any the one that its system is managed through.
    pub ports: Vec<PortEdit>,
    /// The policy lapses after this long, unless it is confirmed.
    pub confirm_within: Option<SignedDuration>,
    /// Rules of ours that this table does not know are taken for those of a table that was lost.
    pub take_over: bool,
    /// Foreign rules to accept as they are now.
    pub accept: Vec<Accept>,
}

/// Changes the policy of a guarded machine.
#[derive(Debug, Clone)]
pub struct Edit {
    /// The machine.
    pub target: TargetId,
    /// The change.
    pub policy: PolicyEdit,
    /// Foreign rules to accept, and to accept no longer.
    pub accepting: Accepting,
    /// The change lapses after this long, unless it is confirmed.
    pub confirm_within: Option<SignedDuration>,
}

/// Guards a machine no longer.
#[derive(Debug, Clone)]
pub struct Disable {
    /// The machine.
    pub target: TargetId,
}

/// Keeps a policy that would lapse.
#[derive(Debug, Clone)]
pub struct Confirm {
    /// The machine.
    pub target: TargetId,
}

/// Takes over a policy of another product.
#[derive(Debug, Clone)]
pub struct Adopt {
    /// The id of the policy, or of a machine.
    pub what: String,
    /// Whether the policy and its rules are deleted once our own lock was seen to be in place.
    pub delete: bool,
}

/// Makes a person's token, in place of the one before.
#[derive(Debug, Clone)]
pub struct IssueToken {
    /// The person.
    pub person: Person,
    /// The purpose of the token.
    pub purpose: Option<Purpose>,
    /// Its end; none for a token without one.
    pub end: Option<TokenEnd>,
}

/// Takes a person's token away, with the access that it leaves behind.
#[derive(Debug, Clone)]
pub struct RevokeToken {
    /// The person.
    pub person: Person,
    /// Leases and waiting requests of the person stay as they are.
    pub keeps_access: bool,
}

/// Gives a role.
#[derive(Debug, Clone)]
pub struct GrantRole {
    /// The role, its member and its scope.
    pub binding: Binding,
}

/// Takes a role away.
#[derive(Debug, Clone)]
pub struct RevokeRole {
    /// The role, its member and its scope, as they were given.
    pub binding: Binding,
}

/// Changes the policies of the installation.
#[derive(Debug, Clone)]
pub struct ApplyPolicies {
    /// All policies from then on.
    pub policies: Policies,
    /// The version that the caller takes for the newest one; without it any is replaced.
    pub expect: Option<u64>,
    /// The reason, in the caller's words.
    pub why: Option<Justification>,
}

/// Goes back to the policies of a version.
#[derive(Debug, Clone)]
pub struct RollBackPolicies {
    /// The version; 0 is no policies.
    pub version: u64,
    /// The version that the caller takes for the newest one; without it any is replaced.
    pub expect: Option<u64>,
    /// The reason, in the caller's words.
    pub why: Option<Justification>,
}

/// Asks for evidence to be put into the archive.
#[derive(Debug, Clone)]
pub struct OrderExport {
    /// The time and the format.
    pub exporting: Exporting,
    /// When it was asked for: the same order that was recorded since then is not recorded again.
    pub since: Timestamp,
}

impl Initiate {
    fn request(&self, call: &Call) -> Request {
        let what = What::Initiate { asks: self.asks.clone(), break_glass: self.break_glass };
        ask::request(call, what, self.justification.clone())
    }

    /// The review of the request that it would make, and what would open at once where that would wait for an approval.
    pub(crate) async fn explain<S: Store, O: Outside, T: Tokens>(
        &self,
        parts: Parts<'_, S, O, T>,
        call: &Call,
    ) -> Result<Review, Error> {
        let request = self.request(call);
        let waits = waits(parts, &Caller::of(call), &request, true).await?;
        ask::explain(parts.store, parts.terms, &request, call.now, &waits).await
    }
}

impl Initiate {
    /// The ids of the policies and roles that permit it; also those that permit it to open at once, where they do.
    pub(crate) async fn permitting<S: Store, O: Outside, T: Tokens>(
        &self,
        parts: Parts<'_, S, O, T>,
        call: &Call,
    ) -> Result<Vec<String>, Error> {
        let Parts { store, outside, rights, .. } = parts;
        let (request, caller) = (self.request(call), Caller::of(call));
        let authorised = rights.authorised(store, call.now).await?;
        let at_once = if self.break_glass { Right::BreakGlass } else { Right::OpenWithoutApproval };
        let concerns = Concerns::request(&request, call.by(), call.now).and(at_once);
        let wanted = (Right::Request, concerns);
        let permitting = Rights::permitting(&authorised, store, outside, &caller, wanted).await?;
        Ok(permitting.into_iter().collect())
    }
}

impl Extend {
    async fn request(&self, store: &impl Store, call: &Call) -> Result<Request, Error> {
        let what = ask::extension(store, &self.grant, self.end).await?;
        Ok(ask::request(call, what, self.justification.clone()))
    }
}

runs! {
    Initiate => Initiate, Answer,
    on |command, _parts, call| {
        let concerns = Concerns::request(&command.request(call), call.by(), call.now);
        Ok(if command.break_glass { concerns.and(Right::BreakGlass) } else { concerns })
    },
    |command, parts, call| {
        let authority = parts.rights.version(parts.store, call.now).await?;
        let request = Request { authority, ..command.request(call) };
        let waits = waits(parts, &Caller::of(call), &request, false).await?;
        ask::initiate(parts.store, parts.terms, call, request, &waits).await
    },
    refused |command, _store, call, reasons| Ok(Some(ask::refused(call, &command.request(call), reasons)));

    Extend => Extend, Answer,
    on |command, parts, call| {
        let grant = load::grant(parts.store, &command.grant).await?;
        let extended = (command.end, command.justification.as_ref());
        Ok(Concerns::extension(&grant, call.by(), extended, call.now))
    },
    |command, parts, call| {
        let authority = parts.rights.version(parts.store, call.now).await?;
        let request = Request { authority, ..command.request(parts.store, call).await? };
        let waits = waits(parts, &Caller::of(call), &request, false).await?;
        ask::initiate(parts.store, parts.terms, call, request, &waits).await
    },
    refused |command, store, call, reasons| {
        Ok(Some(ask::refused(call, &command.request(store, call).await?, reasons)))
    };

    Approve => Approve, Answer,
    on |command, parts, call| {
        let (request, _) = load::request(parts.store, &command.request).await?;
        Ok(Concerns::request(&request, call.by(), call.now))
    },
    |command, parts, call| {
        requester_may(parts, &command.request, call).await?;
        let authority = parts.rights.version(parts.store, call.now).await?;
        let shown = (command.shown.as_str(), authority);
        decide::approve(parts.store, parts.terms, &command.request, shown, call).await
    },
    refused |command, store, call, reasons| {
        decide::refused(store, &command.request, call, reasons).await.map(Some)
    };

    Reject => Reject, Answer,
    on |command, parts, call| {
        let (request, _) = load::request(parts.store, &command.request).await?;
        Ok(Concerns::request(&request, call.by(), call.now))
    },
    |command, parts, call| {
        let Self { request, shown, why } = command;
        decide::reject(parts.store, request, shown.as_deref(), why.as_ref(), call).await
    },
    refused |command, store, call, reasons| {
        decide::refused(store, &command.request, call, reasons).await.map(Some)
    };

    Withdraw => Withdraw, Answer,
    // Its requester alone may, whatever else they may.
    on |_command, _parts, _call| Ok(Concerns::Nobody),
    |command, parts, call| decide::withdraw(parts.store, &command.request, call).await,
    refused |command, store, call, reasons| {
        decide::refused(store, &command.request, call, reasons).await.map(Some)
    };

    Close => Close, Grant,
    on |command, parts, call| {
        Ok(Concerns::grant(&load::grant(parts.store, &command.grant).await?, call.by()))
    },
    |command, parts, call| ask::close(parts.store, &command.grant, call).await,
    refused |command, store, call, reasons| {
        let request = load::grant(store, &command.grant).await?.request;
        decide::refused(store, &request, call, reasons).await.map(Some)
    };

    Enable => Enable, Guarded,
    on |command, _parts, _call| Ok(Concerns::machine(&command.target)),
    |command, parts, call| {
        let Self { target, ports, confirm_within, take_over, accept } = command.clone();
        let policy = guard::first_policy(parts.store, parts.outside, &target, &ports, parts.terms).await?;
        let guarding = Guarding { confirm_within, take_over, accept, ..Guarding::of(target, call) };
        let guarded = guard::enable(parts.store, parts.outside, &guarding, &policy, call.now).await?;
        Ok(warned(guarded, parts.tokens, parts.rights).await)
    },
    refused |command, _store, call, reasons| Ok(Some(guard::refused(&command.target, call.speaker(), reasons)));

    Edit => Edit, Guarded,
    on |command, _parts, _call| Ok(Concerns::machine(&command.target)),
    |command, parts, call| {
        let Self { target, policy, accepting, confirm_within } = command;
        let guarding = Guarding { confirm_within: *confirm_within, ..Guarding::of(target.clone(), call) };
        let wanted = |before: &Policy| policy.apply(before, &command.target, parts.terms);
        let guarded =
            guard::edit(parts.store, parts.outside, &guarding, wanted, accepting, call.now).await?;
        Ok(warned(guarded, parts.tokens, parts.rights).await)
    },
    refused |command, _store, call, reasons| Ok(Some(guard::refused(&command.target, call.speaker(), reasons)));

    Disable => Disable, Guarded,
    on |command, _parts, _call| Ok(Concerns::machine(&command.target)),
    |command, parts, call| {
        guard::disable(parts.store, parts.outside, &command.target, call.speaker(), call.now).await
    },
    refused |command, _store, call, reasons| Ok(Some(guard::refused(&command.target, call.speaker(), reasons)));

    Confirm => Confirm, Guarded,
    on |command, _parts, _call| Ok(Concerns::machine(&command.target)),
    |command, parts, call| {
        guard::confirm(parts.store, parts.outside, &command.target, call.speaker(), call.now).await
    },
    refused |command, _store, call, reasons| Ok(Some(guard::refused(&command.target, call.speaker(), reasons)));

    Adopt => Adopt, Adopted,
    on |_command, _parts, _call| Ok(Concerns::Installation),
    |command, parts, call| {
        adopt::adopt(parts.store, parts.outside, parts.terms, &command.what, command.delete, call).await
    },
    // What is refused of it is refused machine by machine.
    refused |_command, _store, _call, _reasons| Ok(None);

    IssueToken => IssueToken, Issued,
    on |_command, _parts, _call| Ok(Concerns::Installation),
    |command, parts, call| {
        not_the_operators(&command.person, parts.rights, call)?;
        let terms = TokenTerms::asked(command.purpose.clone(), command.end, call.now)?;
        issue::issue(parts.tokens, &command.person, terms, call).await
    },
    refused |command, _store, call, reasons| Ok(Some(token_refused(&command.person, call, reasons)));

    RevokeToken => RevokeToken, Revoked,
    on |_command, _parts, _call| Ok(Concerns::Installation),
    |command, parts, call| {
        not_the_operators(&command.person, parts.rights, call)?;
        let RevokeToken { person, keeps_access } = command;
        revoke::revoke(parts.store, parts.tokens, person, *keeps_access, call).await
    },
    refused |command, _store, call, reasons| Ok(Some(token_refused(&command.person, call, reasons)));

    GrantRole => GrantRole, RoleChanged,
    // Whoever may give a role on a part of the machines is no operator of all of them.
    on |_command, _parts, _call| Ok(Concerns::Nobody),
    |command, parts, call| roles::grant(parts.store, parts.rights, &command.binding, call).await,
    refused |command, _store, call, reasons| Ok(Some(roles::refused(&command.binding, call, reasons)));

    RevokeRole => RevokeRole, RoleChanged,
    on |_command, _parts, _call| Ok(Concerns::Nobody),
    |command, parts, call| roles::revoke(parts.store, parts.rights, &command.binding, call).await,
    refused |command, _store, call, reasons| Ok(Some(roles::refused(&command.binding, call, reasons)));

    ApplyPolicies => ApplyPolicies, Applied,
    on |_command, _parts, _call| Ok(Concerns::Installation),
    |command, parts, call| {
        let Self { policies, expect, why } = command;
        let changing = Changing { to: To::These(policies), expect: *expect, why: why.as_ref() };
        applied(parts, changing, call).await
    },
    refused |command, _store, call, reasons| Ok(Some(policies::refused(Some(&command.policies), call, reasons)));

    RollBackPolicies => RollBackPolicies, Applied,
    on |_command, _parts, _call| Ok(Concerns::Installation),
    |command, parts, call| {
        let Self { version, expect, why } = command;
        let changing = Changing { to: To::Version(*version), expect: *expect, why: why.as_ref() };
        applied(parts, changing, call).await
    },
    refused |_command, _store, call, reasons| Ok(Some(policies::refused(None, call, reasons)));

    OrderExport => OrderExport, (),
    on |_command, _parts, _call| Ok(Concerns::Installation),
    |command, parts, call| {
        let Exporting { from, to, format } = command.exporting;
        let (format, by) = (format.word().to_owned(), call.by().clone());
        let (correlation, via) = (call.correlation.clone(), Some(call.via.clone()));
        let fact = Fact::ExportAsked { from, to, format, by, correlation, via };
        let since = command.since.min(call.now).checked_sub(2 * SKEW_MAX).unwrap_or(Timestamp::MIN);
        record_once(parts.store, &fact, since, call.now).await
    },
    // Its channel records it: today no rule refuses it.
    refused |_command, _store, _call, _reasons| Ok(None);
}

/// May the requester still have what waits for its approval? What was permitted when it was asked for may not be now.
async fn requester_may<S: Store, O: Outside, T: Tokens>(
    parts: Parts<'_, S, O, T>,
    request: &RequestId,
    call: &Call,
) -> Result<(), Error> {
    let (request, _) = load::request(parts.store, request).await?;
    let requester = Caller::who_asked(&request, call.now);
    let authorised = parts.rights.authorised(parts.store, call.now).await?;
    let (right, concerns) = match &request.what {
        What::Initiate { .. } => (Right::Request, Concerns::request(&request, &request.by, call.now)),
        What::Extend { grant, end, .. } => {
            let grant = load::grant(parts.store, grant).await?;
            let extended = (*end, request.justification.as_ref());
            (Right::Extend, Concerns::extension(&grant, &request.by, extended, call.now))
        }
    };
    let Parts { store, outside, rights, .. } = parts;
    let wanted = (right, concerns);
    let refusals = rights.refusals(&authorised, store, outside, &requester, wanted, false).await?;
    Refusals::of(refusals).map_or(Ok(()), |refusals| Err(refusals.into()))
}

/// Changes the policies, ends the leases that nothing permits any more, and says what to know of the names in the policies. Also where they
/// are in force already: whoever applied them may have died half way.
async fn applied<S: Store, O: Outside, T: Tokens>(
    parts: Parts<'_, S, O, T>,
    changing: Changing<'_>,
    call: &Call,
) -> Result<Applied, Error> {
    let (version, is_new) = policies::change(parts.store, parts.rights, changing, call).await?;
    let Parts { store, outside, tokens, terms: _, rights } = parts;
    let warnings = policies::warnings(store, outside, tokens, rights, &version.policies).await;
    let ended = uphold(store, rights, call.speaker(), call.now).await?;
    Ok(Applied { version, is_new, warnings, ended })
}

/// With the people whom its policy names and for whom nothing vouches.
async fn warned(mut guarded: Guarded, tokens: &impl Tokens, rights: &Rights) -> Guarded {
    let strangers = vouch::warnings(tokens, rights.vouchers.as_ref(), guarded.target.policy()).await;
    guarded.warnings.extend(strangers);
    guarded
}

/// An operator would be locked out without their own token, and nobody takes that of the operator of the installation.
fn not_the_operators(person: &Person, rights: &Rights, call: &Call) -> Result<(), Refusal> {
    if person == call.by() || rights.operator.as_ref() == Some(person) {
        return Err(Refusal::OperatorsToken { operator: person.clone() });
    }
    Ok(())
}

fn token_refused(person: &Person, call: &Call, reasons: &Refusals) -> Record {
    let reasons = reasons.iter().map(ToString::to_string).collect();
    let (by, via) = (call.by().clone(), Some(call.via.clone()));
    let fact = Fact::TokenRefused { person: person.clone(), by, reasons, via };
    Record::of_rest(fact)
}
