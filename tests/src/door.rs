//! Operations by the door, as a caller with a token or the command line asks for them.

use jiff::{SignedDuration, Timestamp};
use portcullis_app::{
    Absent, Accepting, Adopted, Answer, Call, Checked, Discovered, Error, Finding, Guarded, Happened, Issuer,
    Met, Parts, Plan, Principal, Reached, Rights, RoleChanged, Wanted, command, perform,
    ports::{Outside, Store},
    query,
};
use portcullis_domain::{
    Accept, ApproversEdit, Binding, Chain, CorrelationId, Entry, Gate, Grant, GrantId, IdempotencyKey,
    Justification, People, Person, Policy, PolicyEdit, PortEdit, PortRule, RequestId, Review, TargetId,
    Terms, Via, What,
};
use std::net::IpAddr;

/// A request as a test makes it.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The requester.
    pub by: Person,
    /// The same key is the same request.
    pub key: IdempotencyKey,
    /// The wish.
    pub what: What,
    /// The reason.
    pub justification: Option<Justification>,
    /// The requester's name for the matter.
    pub correlation: Option<CorrelationId>,
}

/// An extension as a test asks for it.
#[derive(Debug, Clone)]
pub struct Extending {
    /// The requester.
    pub by: Person,
    /// The same key is the same request.
    pub key: IdempotencyKey,
    /// The grant whose lease it is.
    pub grant: GrantId,
    /// The new end.
    pub end: Timestamp,
    /// The reason.
    pub justification: Option<Justification>,
    /// The requester's name for the matter.
    pub correlation: Option<CorrelationId>,
}

/// A machine to guard, or to guard otherwise.
#[derive(Debug, Clone)]
pub struct Guarding {
    /// The machine.
    pub target: TargetId,
    /// The caller.
    pub by: Person,
    /// The policy lapses after this long, unless it is confirmed.
    pub confirm_within: Option<SignedDuration>,
    /// Rules of ours that the table does not know are taken for those of a table that was lost.
    pub take_over: bool,
}

/// A policy of another product to take over.
#[derive(Debug, Clone)]
pub struct Adopting {
    /// The id of the policy, or of a machine.
    pub what: String,
    /// The caller.
    pub by: Person,
    /// Whether it is deleted afterwards.
    pub delete: bool,
}

/// A call of a person who has a token.
pub fn call(by: &Person, now: Timestamp) -> Call {
    Call {
        principal: Principal::person(by.clone(), Issuer::Tokens),
        via: Via::Http,
        address: None,
        key: None,
        correlation: None,
        now,
    }
}

fn any_terms() -> Terms {
    Terms { lease_min: SignedDuration::from_secs(1), ..Terms::default() }
}

fn rights() -> Rights {
    Rights::default()
}

fn table<'a, S>(store: &'a S, terms: &'a Terms, rights: &'a Rights) -> Parts<'a, S, Absent, Absent> {
    Parts { store, outside: &Absent, tokens: &Absent, terms, rights }
}

fn whole<'a, S, O>(
    store: &'a S,
    outside: &'a O,
    terms: &'a Terms,
    rights: &'a Rights,
) -> Parts<'a, S, O, Absent> {
    Parts { store, outside, tokens: &Absent, terms, rights }
}

/// Asks for access, or for a later end.
pub async fn initiate<S: Store>(
    store: &S,
    terms: &Terms,
    asked: &Asked,
    now: Timestamp,
) -> Result<Answer, Error> {
    let Asked { by, key, what, justification, correlation } = asked.clone();
    let call = Call { key: Some(key), correlation, ..call(&by, now) };
    match what {
        What::Initiate { asks, break_glass } => {
            let initiate = command::Initiate { asks, break_glass, justification };
            perform(table(store, terms, &rights()), &call, initiate).await
        }
        What::Extend { grant, end, .. } => {
            perform(table(store, terms, &rights()), &call, command::Extend { grant, end, justification })
                .await
        }
    }
}

/// Reviews a request for access without making it.
pub async fn explain<S: Store>(
    store: &S,
    terms: &Terms,
    asked: &Asked,
    now: Timestamp,
) -> Result<Review, Error> {
    let Asked { by, key, what, justification, correlation } = asked.clone();
    let call = Call { key: Some(key), correlation, ..call(&by, now) };
    let What::Initiate { asks, break_glass } = what else { panic!("an extension is not explained") };
    let explain = query::Explain(command::Initiate { asks, break_glass, justification });
    perform(table(store, terms, &rights()), &call, explain).await
}

/// The foreign denies that these grants would meet.
pub async fn foresee<S: Store, O: Outside>(
    store: &S,
    outside: &O,
    grants: &[Grant],
    now: Timestamp,
) -> Result<Vec<Met>, Error> {
    let by = "ann".parse().expect("a person");
    perform(whole(store, outside, &any_terms(), &rights()), &call(&by, now), query::Foresee(grants.to_vec()))
        .await
}

/// Asks for a later end of a lease.
pub async fn extend<S: Store>(
    store: &S,
    terms: &Terms,
    asked: Extending,
    now: Timestamp,
) -> Result<Answer, Error> {
    let Extending { by, key, grant, end, justification, correlation } = asked;
    let call = Call { key: Some(key), correlation, ..call(&by, now) };
    perform(table(store, terms, &rights()), &call, command::Extend { grant, end, justification }).await
}

/// Ends a lease.
pub async fn close<S: Store>(
    store: &S,
    grant: &GrantId,
    by: &Person,
    correlation: Option<&CorrelationId>,
    now: Timestamp,
) -> Result<Grant, Error> {
    let call = Call { correlation: correlation.cloned(), ..call(by, now) };
    let close = command::Close { grant: grant.clone() };
    perform(table(store, &any_terms(), &rights()), &call, close).await
}

/// Approves a request as it was shown.
pub async fn approve<S: Store>(
    store: &S,
    terms: &Terms,
    id: &RequestId,
    by: &Person,
    shown: &str,
    now: Timestamp,
) -> Result<Answer, Error> {
    let approve = command::Approve { request: id.clone(), shown: shown.to_owned() };
    perform(table(store, terms, &rights()), &call(by, now), approve).await
}

/// Rejects a request as it was shown.
pub async fn reject<S: Store>(
    store: &S,
    id: &RequestId,
    by: &Person,
    shown: &str,
    why: Option<&Justification>,
    now: Timestamp,
) -> Result<Answer, Error> {
    let (request, shown) = (id.clone(), Some(shown.to_owned()));
    let reject = command::Reject { request, shown, why: why.cloned() };
    perform(table(store, &any_terms(), &rights()), &call(by, now), reject).await
}

/// Guards a machine with a policy.
pub async fn enable<S: Store, O: Outside>(
    store: &S,
    outside: &O,
    guarding: &Guarding,
    policy: &Policy,
    now: Timestamp,
) -> Result<Guarded, Error> {
    enable_accepting(store, outside, guarding, policy, vec![], now).await
}

/// Guards a machine with a policy, and accepts foreign rules with it.
pub async fn enable_accepting<S: Store, O: Outside>(
    store: &S,
    outside: &O,
    guarding: &Guarding,
    policy: &Policy,
    accept: Vec<Accept>,
    now: Timestamp,
) -> Result<Guarded, Error> {
    let Guarding { target, by, confirm_within, take_over } = guarding.clone();
    let ports = policy.ports().iter().map(wanted).collect();
    let enable = command::Enable { target, ports, confirm_within, take_over, accept };
    perform(whole(store, outside, &any_terms(), &rights()), &call(&by, now), enable).await
}

/// Changes the policy of a machine to this one, as a caller does who has seen the one before.
pub async fn edit<S: Store, O: Outside>(
    store: &S,
    outside: &O,
    guarding: &Guarding,
    policy: &Policy,
    now: Timestamp,
) -> Result<Guarded, Error> {
    let Guarding { target, by, confirm_within, .. } = guarding.clone();
    let before = store.target(&target).await?.and_then(|(it, _)| it.policy().map(Policy::gates));
    let remove = before.unwrap_or_default().into_iter().filter(|it| policy.rule(*it).is_none()).collect();
    let policy = PolicyEdit { ports: policy.ports().iter().map(wanted).collect(), remove };
    let edit = command::Edit { target, policy, accepting: Accepting::default(), confirm_within };
    perform(whole(store, outside, &any_terms(), &rights()), &call(&by, now), edit).await
}

/// Accepts foreign rules at a machine, and others no longer.
pub async fn accept<S: Store, O: Outside>(
    store: &S,
    outside: &O,
    target: &TargetId,
    accepting: &Accepting,
    now: Timestamp,
) -> Result<Guarded, Error> {
    let (target, accepting) = (target.clone(), accepting.clone());
    let edit = command::Edit { target, policy: PolicyEdit::default(), accepting, confirm_within: None };
    let by = "owner".parse().expect("a person");
    perform(whole(store, outside, &any_terms(), &rights()), &call(&by, now), edit).await
}

/// All that an edit can say of a port, so that it becomes this rule whatever it was.
fn wanted(rule: &PortRule) -> PortEdit {
    let approvers = rule.approvers.clone().map_or(ApproversEdit::Drop, ApproversEdit::Set);
    let nobody = People::Only([].into());
    PortEdit {
        port: rule.port,
        protocol: Some(rule.protocol),
        sources: Some(rule.sources.clone()),
        max: Some(rule.max),
        approvers,
        break_glass: Some(rule.break_glass.clone().unwrap_or(nobody)),
        foreign_denies: Some(rule.foreign_denies),
    }
}

/// Guards a machine no longer.
pub async fn disable<S: Store, O: Outside>(
    store: &S,
    outside: &O,
    target: &TargetId,
    by: &Person,
    now: Timestamp,
) -> Result<Guarded, Error> {
    let disable = command::Disable { target: target.clone() };
    perform(whole(store, outside, &any_terms(), &rights()), &call(by, now), disable).await
}

/// Gives a role, as the operator of the installation.
pub async fn grant_role<S: Store>(
    store: &S,
    operator: &Person,
    binding: Binding,
    now: Timestamp,
) -> Result<RoleChanged, Error> {
    let rights = Rights::of(operator.clone());
    let grant = command::GrantRole { binding };
    perform(table(store, &any_terms(), &rights), &call(operator, now), grant).await
}

/// Takes a role away, as the operator of the installation.
pub async fn revoke_role<S: Store>(
    store: &S,
    operator: &Person,
    binding: Binding,
    now: Timestamp,
) -> Result<RoleChanged, Error> {
    let rights = Rights::of(operator.clone());
    let revoke = command::RevokeRole { binding };
    perform(table(store, &any_terms(), &rights), &call(operator, now), revoke).await
}

/// Keeps a policy that would lapse.
pub async fn confirm<S: Store, O: Outside>(
    store: &S,
    outside: &O,
    target: &TargetId,
    by: &Person,
    now: Timestamp,
) -> Result<Guarded, Error> {
    let confirm = command::Confirm { target: target.clone() };
    perform(whole(store, outside, &any_terms(), &rights()), &call(by, now), confirm).await
}

/// Shows what would be written: for a policy, or for the one that stands.
pub async fn plan<S: Store, O: Outside>(
    store: &S,
    outside: &O,
    target: &TargetId,
    policy: Option<&Policy>,
    by: &Person,
    now: Timestamp,
) -> Result<Plan, Error> {
    let ports = policy.into_iter().flat_map(Policy::ports).map(wanted).collect();
    let plan = query::Plan { target: target.clone(), ports, accept: vec![] };
    perform(whole(store, outside, &any_terms(), &rights()), &call(by, now), plan).await
}

/// Takes over a policy of another product.
pub async fn adopt<S: Store, O: Outside>(
    store: &S,
    outside: &O,
    terms: &Terms,
    adopting: &Adopting,
    now: Timestamp,
) -> Result<Adopted, Error> {
    let Adopting { what, by, delete } = adopting.clone();
    let adopt = command::Adopt { what, delete };
    perform(whole(store, outside, terms, &rights()), &call(&by, now), adopt).await
}

fn reader() -> Person {
    "reader".parse().expect("a person")
}

/// Lists machines.
pub async fn discover<S: Store, O: Outside>(
    store: &S,
    outside: &O,
    after: Option<&TargetId>,
    at_most: usize,
    now: Timestamp,
) -> Result<(Vec<Discovered>, Vec<String>), Error> {
    let machines = query::Machines { after: after.cloned(), at_most };
    let found =
        perform(whole(store, outside, &any_terms(), &rights()), &call(&reader(), now), machines).await?;
    Ok((found.items, found.unseen))
}

/// Shows a machine.
pub async fn discover_one<S: Store, O: Outside>(
    store: &S,
    outside: &O,
    id: &TargetId,
    now: Timestamp,
) -> Result<Discovered, Error> {
    let show = query::ShowMachine(id.clone());
    perform(whole(store, outside, &any_terms(), &rights()), &call(&reader(), now), show).await
}

/// Evaluates a packet.
pub async fn check<S: Store, O: Outside>(
    store: &S,
    outside: &O,
    target: &TargetId,
    gate: Gate,
    from: IpAddr,
) -> Result<Checked, Error> {
    let check = query::Check { target: target.clone(), gate, from };
    let call = call(&reader(), Timestamp::now());
    perform(whole(store, outside, &any_terms(), &rights()), &call, check).await
}

/// Shows the entries of a chain.
pub async fn activity<S: Store, O: Outside>(
    store: &S,
    outside: &O,
    chain: &Chain,
    from: u64,
    at_most: usize,
) -> Result<(Vec<Entry>, Option<u64>), Error> {
    let activity = query::Activity { chain: chain.clone(), from: Some(from), at_most };
    let call = call(&reader(), Timestamp::now());
    perform(whole(store, outside, &any_terms(), &rights()), &call, activity).await
}

/// Lists events.
pub async fn happened<S: Store>(
    store: &S,
    from: &Reached,
    wanted: &Wanted,
    now: Timestamp,
) -> Result<Happened, Error> {
    let happened = query::Happened { from: from.clone(), wanted: wanted.clone() };
    perform(table(store, &any_terms(), &rights()), &call(&reader(), now), happened).await
}

/// Checks the installation.
pub async fn doctor<S: Store, O: Outside>(
    store: &S,
    outside: &O,
    table: Result<(), Error>,
    now: Timestamp,
) -> Vec<Finding> {
    let doctor = query::Doctor { table: table.err() };
    let (terms, rights) = (any_terms(), rights());
    let parts = whole(store, outside, &terms, &rights);
    perform(parts, &call(&reader(), now), doctor).await.expect("everybody may")
}
