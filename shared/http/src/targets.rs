//! Machines: what there is, what is guarded, and who gets through.

use crate::{
    Caller, Problem, Site,
    meta::{limit, patience},
    patience::Patient,
    problem::{Body, Named, Query},
    views,
    wire::{
        AcceptBody, AcceptedView, ActivityQuery, Catalogue, CheckQuery, CheckView, EditBody, EnableBody,
        EntryView, GuardedView, Listed, MetDenyView, NamesView, PatienceQuery, PlanView, PlannedGateView,
        PortRuleBody, TargetView, WaitQuery,
    },
};
use axum::{Json, extract::State};
use portcullis_app::{Accepting, Checked, Error, PlannedGate, command, perform, query};
use portcullis_domain::{
    Accept, ApproversEdit, Chain, Decision, Gate, People, PolicyEdit, PortEdit, TargetId,
};
use std::{net::IpAddr, sync::Arc, time::Duration};

/// How long a caller waits for names of the catalogue who does not say how long.
const NAMES_WAIT: Duration = Duration::from_secs(1);
/// How long a change of what is guarded waits for what it only warns of.
const WARNING_WAIT: Duration = Duration::from_secs(1);
/// How long a caller waits who asks the firewalls themselves.
const CHECK_WAIT: Duration = Duration::from_secs(3);

/// Lists machines, ordered by id. The cloud is asked; where it does not answer, the machines are those of the table.
#[utoipa::path(get, path = "/v1/targets", params(WaitQuery), responses((status = 200, body = Listed<TargetView>)))]
pub(crate) async fn list<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    Query(page): Query<WaitQuery>,
) -> Result<Json<Listed<TargetView>>, Problem> {
    let (after, at_most) = (target_after(page.after)?, limit(page.limit)?);
    let _turn = site.turns().fleet().await?;
    let now = site.now();
    let cloud = Patient::new(&site, patience(page.wait)?);
    let machines = query::Machines { after, at_most };
    let found = perform(site.parts_with(&cloud), &caller.call(now), machines).await?;
    let items = found.items.iter().map(|it| views::target(it, now)).collect();
    Ok(Json(Listed { items, next: found.next.map(String::from), unseen: found.unseen }))
}

/// Lists machines by name, ordered by id: those of the table, and those of the cloud's catalogue where it answers in time.
/// No firewall is read.
#[utoipa::path(get, path = "/v1/names", params(WaitQuery), responses((status = 200, body = NamesView)))]
pub(crate) async fn names<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    Query(page): Query<WaitQuery>,
) -> Result<Json<NamesView>, Problem> {
    let (after, at_most) = (target_after(page.after)?, limit(page.limit)?);
    let wait = page.wait.map(|it| patience(Some(it))).transpose()?.unwrap_or(NAMES_WAIT);
    let cloud = Patient::new(&site, wait);
    let asks_catalogue = !wait.is_zero();
    let names = query::Names { after, at_most, asks_catalogue };
    let found = perform(site.parts_with(&cloud), &caller.call(site.now()), names).await?;
    let catalogue = match (asks_catalogue, &found.silent) {
        (false, _) => Catalogue::NotAsked,
        (true, None) => Catalogue::Answered,
        (true, Some(_)) => Catalogue::Silent,
    };
    Ok(Json(NamesView {
        items: found.items.into_iter().map(views::name).collect(),
        next: found.next.map(String::from),
        catalogue,
        unseen: found.silent.into_iter().chain(found.unseen).collect(),
    }))
}

/// Shows one machine, with the state of the table where the cloud does not answer or no longer lists it.
#[utoipa::path(get, path = "/v1/targets/{target}", params(("target" = String, Path), PatienceQuery),
    responses((status = 200, body = TargetView), (status = 404, body = Problem)))]
pub(crate) async fn show<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    Named(target): Named<TargetId>,
    Query(query): Query<PatienceQuery>,
) -> Result<Json<TargetView>, Problem> {
    let now = site.now();
    let cloud = Patient::new(&site, patience(query.wait)?);
    let found = perform(site.parts_with(&cloud), &caller.call(now), query::ShowMachine(target)).await?;
    let view = views::target(&found, now);
    let unseen = view.unseen.clone().or_else(|| cloud.silence().map(|it| it.full()));
    Ok(Json(TargetView { unseen, ..view }))
}

/// Guards a machine: its ports are closed, except for leases.
#[utoipa::path(post, path = "/v1/targets/{target}/enable", params(("target" = String, Path)), request_body = EnableBody,
    responses((status = 200, body = GuardedView), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem)))]
pub(crate) async fn enable<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    Named(target): Named<TargetId>,
    Body(body): Body<EnableBody>,
) -> Result<Json<GuardedView>, Problem> {
    let EnableBody { ports, confirm_within, take_over, accept } = body;
    let (ports, accept) = (edits(ports)?, accepted(accept));
    let enable = command::Enable { target, ports, confirm_within, take_over, accept };
    let guarded = perform(site.parts(), &caller.call(site.now()), enable).await?;
    Ok(Json(views::guarded(guarded)))
}

/// Changes a policy: adds ports, changes settings, removes ports. Other machines are not changed.
#[utoipa::path(post, path = "/v1/targets/{target}/edit", params(("target" = String, Path)), request_body = EditBody,
    responses((status = 200, body = GuardedView), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem)))]
pub(crate) async fn edit<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    Named(target): Named<TargetId>,
    Body(body): Body<EditBody>,
) -> Result<Json<GuardedView>, Problem> {
    let EditBody { ports, remove, accept, no_longer_accept: no_longer, confirm_within } = body;
    let policy = PolicyEdit { ports: edits(ports)?, remove };
    // To accept a rule is to accept what it says now.
    let has_to_read = !accept.is_empty();
    let wait = if has_to_read { CHECK_WAIT } else { WARNING_WAIT };
    let accepting = Accepting { accept: accepted(accept), no_longer };
    let edit = command::Edit { target, policy, accepting, confirm_within };
    let cloud = Patient::new(&site, wait);
    match perform(site.parts_with(&cloud), &caller.call(site.now()), edit).await {
        Err(error @ (Error::Unavailable { .. } | Error::Broken { .. })) if has_to_read => {
            Err(Problem::silent(&error))
        }
        outcome => Ok(Json(views::guarded(outcome?))),
    }
}

/// Stops guarding a machine. Its grants end, and its firewalls become as they were before.
#[utoipa::path(post, path = "/v1/targets/{target}/disable", params(("target" = String, Path)),
    responses((status = 200, body = GuardedView), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn disable<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    Named(target): Named<TargetId>,
) -> Result<Json<GuardedView>, Problem> {
    let guarded = perform(site.parts(), &caller.call(site.now()), command::Disable { target }).await?;
    Ok(Json(views::guarded(guarded)))
}

/// Keeps a policy change that would lapse.
#[utoipa::path(post, path = "/v1/targets/{target}/confirm", params(("target" = String, Path)),
    responses((status = 200, body = GuardedView), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn confirm<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    Named(target): Named<TargetId>,
) -> Result<Json<GuardedView>, Problem> {
    let guarded = perform(site.parts(), &caller.call(site.now()), command::Confirm { target }).await?;
    Ok(Json(views::guarded(guarded)))
}

/// Plans the rules of a machine's firewalls, as it is guarded or would be with these ports.
#[utoipa::path(post, path = "/v1/targets/{target}/plan", params(("target" = String, Path)), request_body = EnableBody,
    responses((status = 200, body = PlanView), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem)))]
pub(crate) async fn plan<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    Named(target): Named<TargetId>,
    Body(body): Body<EnableBody>,
) -> Result<Json<PlanView>, Problem> {
    let (ports, accept) = (edits(body.ports)?, accepted(body.accept));
    let plan = query::Plan { target: target.clone(), ports, accept };
    let plan = perform(site.parts(), &caller.call(site.now()), plan).await?;
    let gate = |it: PlannedGate| PlannedGateView {
        gate: it.gate.to_string(),
        admits_now: it.admits_now,
        shadows: it.shadows,
        defeated_by: it.defeated_by,
        accepted: it.accepted.iter().map(AcceptedView::from).collect(),
        may_refuse: it.may_refuse,
        denies: it.denies.into_iter().map(MetDenyView::from).collect(),
    };
    Ok(Json(PlanView {
        target: target.to_string(),
        changes: plan.changes.iter().map(ToString::to_string).collect(),
        gates: plan.gates.into_iter().map(gate).collect(),
        sessions: plan.sessions,
        warnings: plan.warnings,
    }))
}

/// Tests a packet against the firewalls of a machine as they are now, and shows the rule that decides.
#[utoipa::path(get, path = "/v1/targets/{target}/check", params(("target" = String, Path), CheckQuery),
    responses((status = 200, body = CheckView), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 504, body = Problem)))]
pub(crate) async fn check<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    Named(target): Named<TargetId>,
    Query(query): Query<CheckQuery>,
) -> Result<Json<CheckView>, Problem> {
    let gate: Gate =
        query.port.parse().map_err(|it: portcullis_domain::BadAddress| Problem::bad_input(it.to_string()))?;
    let from: IpAddr = match (query.from.as_str(), caller.address) {
        ("my-ip", Some(address)) => address,
        (text, _) => text
            .parse()
            .map_err(|_| Problem::bad_input(format!("`{text}` is neither an address nor `my-ip`")))?,
    };
    let (cloud, call) = (Patient::new(&site, CHECK_WAIT), caller.call(site.now()));
    let check = query::Check { target, gate, from };
    let checked = match perform(site.parts_with(&cloud), &call, check).await {
        Err(error @ (Error::Unavailable { .. } | Error::Broken { .. })) => {
            return Err(Problem::silent(&error));
        }
        outcome => outcome?,
    };
    let Checked { decision, accepted, sessions, may_refuse, unread } = checked;
    let Decision { passes, firewall, rule } = decision;
    let accepted = accepted.map(Into::into);
    let firewall = firewall.map(|it| it.to_string());
    Ok(Json(CheckView { passes, firewall, rule, accepted, sessions, may_refuse, unknown: unread }))
}

/// Lists the entries of a machine, the oldest first. `after` is the number to start from; with `newest` the page has the last ones.
#[utoipa::path(get, path = "/v1/targets/{target}/activity", params(("target" = String, Path), ActivityQuery),
    responses((status = 200, body = Listed<EntryView>), (status = 404, body = Problem)))]
pub(crate) async fn activity<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    Named(chain): Named<Chain>,
    Query(page): Query<ActivityQuery>,
) -> Result<Json<Listed<EntryView>>, Problem> {
    let at_most = limit(page.limit)?;
    let from = match (page.newest.unwrap_or_default(), page.after.as_deref()) {
        (true, Some(_)) => return Err(Problem::bad_input("give either `after` or `newest`")),
        (true, None) => None,
        (false, from) => {
            let from = from.unwrap_or("0");
            let number = from.parse();
            let said = |_| Problem::bad_input(format!("`{from}` is not the number of an entry"));
            Some(number.map_err(said)?)
        }
    };
    let cloud = Patient::new(&site, CHECK_WAIT);
    let activity = query::Activity { chain, from, at_most };
    let (entries, next) = perform(site.parts_with(&cloud), &caller.call(site.now()), activity).await?;
    let next = next.map(|it| it.to_string());
    let view = |it: portcullis_domain::Entry| EntryView {
        n: it.n,
        at: it.at,
        fact: serde_json::from_str(it.stored_fact()).unwrap_or_default(),
        hash: it.hash.to_string(),
    };
    Ok(Json(Listed { items: entries.into_iter().map(view).collect(), next, unseen: vec![] }))
}

fn target_after(after: Option<String>) -> Result<Option<TargetId>, Problem> {
    let after = after.map(|it| it.parse::<TargetId>()).transpose();
    after.map_err(|it| Problem::bad_input(it.to_string()))
}

/// The rules to accept as a body names them.
fn accepted(bodies: Vec<AcceptBody>) -> Vec<Accept> {
    bodies.into_iter().map(|AcceptBody { rule, justification: why }| Accept { rule, why }).collect()
}

/// The ports of a policy as a body names them.
fn edits(bodies: Vec<PortRuleBody>) -> Result<Vec<PortEdit>, Problem> {
    let edit = |it: PortRuleBody| {
        let approvers = match (it.approvers, it.no_approval) {
            (Some(_), true) => {
                let detail =
                    format!("port `{}` takes either `approvers` or `no_approval`, not both", it.port);
                return Err(Problem::bad_input(detail));
            }
            (Some(people), false) => ApproversEdit::Set(People::from(people)),
            (None, true) => ApproversEdit::Drop,
            (None, false) => ApproversEdit::Keep,
        };
        let PortRuleBody { port, protocol, sources, max, .. } = it;
        let break_glass = it.break_glass.map(People::from);
        let foreign_denies = it.foreign_denies;
        Ok(PortEdit { port, protocol, sources, max, approvers, break_glass, foreign_denies })
    };
    bodies.into_iter().map(edit).collect()
}
