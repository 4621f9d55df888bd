//! Machines: what there is, what is guarded, and who gets through.

use crate::{
    Caller, Problem, Site,
    meta::{limit, patience},
    patience::Patient,
    problem::{Body, Named, Query},
    views,
    wire::{
        Catalogue, CheckQuery, CheckView, EditBody, EnableBody, EntryView, GuardedView, Listed, NameView,
        NamesView, PageQuery, PatienceQuery, PlanView, PlannedGateView, PortRuleBody, TargetView, WaitQuery,
    },
};
use axum::{Json, extract::State};
use jiff::SignedDuration;
use portcullis_app::{
    self as app, Error, Guarding,
    ports::{Inventory, Store},
};
use portcullis_domain::{Chain, Gate, People, Policy, PortRule, Protocol, Refusal, TargetId, Terms};
use std::{net::IpAddr, sync::Arc, time::Duration};

/// How long a caller waits for names of the catalogue who does not say how long.
const NAMES_WAIT: Duration = Duration::from_secs(1);
/// How long a change of what is guarded waits for what it only warns of.
const WARNING_WAIT: Duration = Duration::from_secs(1);
/// How long a caller waits who asks the firewalls themselves.
const CHECK_WAIT: Duration = Duration::from_secs(3);

/// Machines with what Portcullis makes of them, by id. The cloud is asked; where it does not answer, they are those of the table.
#[utoipa::path(get, path = "/v1/targets", params(WaitQuery), responses((status = 200, body = Listed<TargetView>)))]
pub(crate) async fn list<S: Site>(
    State(site): State<Arc<S>>,
    _: Caller,
    Query(page): Query<WaitQuery>,
) -> Result<Json<Listed<TargetView>>, Problem> {
    let (after, at_most) = (target_after(page.after)?, limit(page.limit)?);
    let _turn = site.turns().fleet().await?;
    let now = site.now();
    let cloud = Patient::new(&site, patience(page.wait)?);
    let (found, unseen) = app::discover(site.store(), &cloud, after.as_ref(), at_most, now).await?;
    let items: Vec<_> = found.iter().map(|it| views::target(it, now)).collect();
    let next = items.last().filter(|_| items.len() == at_most).map(|it| it.id.clone());
    Ok(Json(Listed { items, next, unseen }))
}

/// Machines by name, by id: those of the table, and with them those of the cloud's catalogue where it answers in time. No firewall
/// is asked.
#[utoipa::path(get, path = "/v1/names", params(WaitQuery), responses((status = 200, body = NamesView)))]
pub(crate) async fn names<S: Site>(
    State(site): State<Arc<S>>,
    _: Caller,
    Query(page): Query<WaitQuery>,
) -> Result<Json<NamesView>, Problem> {
    let (after, at_most) = (target_after(page.after)?, limit(page.limit)?);
    let wait = page.wait.map(|it| patience(Some(it))).transpose()?.unwrap_or(NAMES_WAIT);
    let cloud = Patient::new(&site, wait);
    let asked = Some(&cloud).filter(|_| !wait.is_zero());
    let found = app::names(site.store(), asked, after.as_ref(), at_most).await?;
    let catalogue = match (&asked, &found.silent) {
        (None, _) => Catalogue::NotAsked,
        (Some(_), None) => Catalogue::Answered,
        (Some(_), Some(_)) => Catalogue::Silent,
    };
    let items: Vec<NameView> = found.items.into_iter().map(views::name).collect();
    let next = items.last().filter(|_| items.len() == at_most).map(|it| it.id.clone());
    Ok(Json(NamesView {
        items,
        next,
        catalogue,
        unseen: found.silent.into_iter().chain(found.unseen).collect(),
    }))
}

/// One machine; as the table has it, where the cloud does not answer or does not list it any more.
#[utoipa::path(get, path = "/v1/targets/{target}", params(("target" = String, Path), PatienceQuery),
    responses((status = 200, body = TargetView), (status = 404, body = Problem)))]
pub(crate) async fn show<S: Site>(
    State(site): State<Arc<S>>,
    _: Caller,
    Named(target): Named<TargetId>,
    Query(query): Query<PatienceQuery>,
) -> Result<Json<TargetView>, Problem> {
    let now = site.now();
    let cloud = Patient::new(&site, patience(query.wait)?);
    let found = app::discover_one(site.store(), &cloud, &target, now).await?;
    let view = views::target(&found, now);
    let unseen = view.unseen.clone().or_else(|| cloud.silence().map(|it| it.full()));
    Ok(Json(TargetView { unseen, ..view }))
}

/// Guards a machine: its ports are shut but for leases.
#[utoipa::path(post, path = "/v1/targets/{target}/enable", params(("target" = String, Path)), request_body = EnableBody,
    responses((status = 200, body = GuardedView), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem)))]
pub(crate) async fn enable<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    Named(target): Named<TargetId>,
    Body(body): Body<EnableBody>,
) -> Result<Json<GuardedView>, Problem> {
    let policy = wanted(&*site, &target, &body.ports).await?;
    let guarding = Guarding {
        target,
        by: caller.person,
        confirm_within: body.confirm_within,
        take_over: body.take_over,
    };
    let guarded = app::enable(site.store(), site.outside(), &guarding, &policy, site.now()).await?;
    Ok(Json(views::guarded(guarded)))
}

/// Changes what is guarded: adds ports, changes settings, removes ports. Other machines are not touched.
#[utoipa::path(post, path = "/v1/targets/{target}/edit", params(("target" = String, Path)), request_body = EditBody,
    responses((status = 200, body = GuardedView), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem)))]
pub(crate) async fn edit<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    Named(target): Named<TargetId>,
    Body(body): Body<EditBody>,
) -> Result<Json<GuardedView>, Problem> {
    let guarding = Guarding {
        target: target.clone(),
        by: caller.person,
        confirm_within: body.confirm_within,
        take_over: false,
    };
    body.ports.iter().try_for_each(check_rule)?;
    let terms = *site.terms();
    let edited = |before: &Policy| edited(before, &target, &body, &terms);
    let cloud = Patient::new(&site, WARNING_WAIT);
    let guarded = app::edit(site.store(), &cloud, &guarding, edited, site.now()).await?;
    Ok(Json(views::guarded(guarded)))
}

/// Guards a machine no longer. Its grants end, and its firewalls become what they were before.
#[utoipa::path(post, path = "/v1/targets/{target}/disable", params(("target" = String, Path)),
    responses((status = 200, body = GuardedView), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn disable<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    Named(target): Named<TargetId>,
) -> Result<Json<GuardedView>, Problem> {
    let guarded = app::disable(site.store(), site.outside(), &target, &caller.person, site.now()).await?;
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
    let guarded = app::confirm(site.store(), site.outside(), &target, &caller.person, site.now()).await?;
    Ok(Json(views::guarded(guarded)))
}

/// What would be written to a machine's firewalls, as it is guarded or would be with these ports.
#[utoipa::path(post, path = "/v1/targets/{target}/plan", params(("target" = String, Path)), request_body = EnableBody,
    responses((status = 200, body = PlanView), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem)))]
pub(crate) async fn plan<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    Named(target): Named<TargetId>,
    Body(body): Body<EnableBody>,
) -> Result<Json<PlanView>, Problem> {
    let now = site.now();
    let known = app::discover_one(site.store(), site.outside(), &target, now).await?;
    let policy = match (&known.policy, body.ports.is_empty()) {
        (Some(_), true) => None,
        (Some(_) | None, _) => Some(wanted(&*site, &target, &body.ports).await?),
    };
    let by = &caller.person;
    let plan = app::plan(site.store(), site.outside(), &target, policy.as_ref(), by, now).await?;
    let gate = |it: app::PlannedGate| PlannedGateView {
        gate: it.gate.to_string(),
        admits_now: it.admits_now,
        shadows: it.shadows,
        defeated_by: it.defeated_by,
    };
    Ok(Json(PlanView {
        target: target.to_string(),
        changes: plan.changes.iter().map(ToString::to_string).collect(),
        gates: plan.gates.into_iter().map(gate).collect(),
        warnings: plan.warnings,
    }))
}

/// Whether a packet gets to a machine, and which rule says so. The firewalls are asked, not the table.
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
            .map_err(|_| Problem::bad_input(format!("`{text}` is not an address, nor `my-ip`")))?,
    };
    let decision = match app::check(site.store(), &Patient::new(&site, CHECK_WAIT), &target, gate, from).await
    {
        Err(error @ (Error::Unavailable { .. } | Error::Broken { .. })) => {
            return Err(Problem::silent(&error));
        }
        outcome => outcome?,
    };
    let firewall = decision.firewall.map(|it| it.to_string());
    Ok(Json(CheckView { passes: decision.passes, firewall, rule: decision.rule }))
}

/// What happened to a machine, oldest first. `after` is the number to start from.
#[utoipa::path(get, path = "/v1/targets/{target}/activity", params(("target" = String, Path), PageQuery),
    responses((status = 200, body = Listed<EntryView>), (status = 404, body = Problem)))]
pub(crate) async fn activity<S: Site>(
    State(site): State<Arc<S>>,
    _: Caller,
    Named(chain): Named<Chain>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Listed<EntryView>>, Problem> {
    let at_most = limit(page.limit)?;
    let from = page.after.as_deref().unwrap_or("0");
    let from =
        from.parse().map_err(|_| Problem::bad_input(format!("`{from}` is not the number of an entry")))?;
    let cloud = Patient::new(&site, CHECK_WAIT);
    let (entries, next) = app::activity(site.store(), &cloud, &chain, from, at_most).await?;
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

/// The policy that is asked for: the ports named, or what its system is managed through.
async fn wanted<S: Site>(site: &S, target: &TargetId, ports: &[PortRuleBody]) -> Result<Policy, Problem> {
    let rules = if ports.is_empty() {
        let known = site.store().target(target).await?.and_then(|(it, _)| it.machine().map(|it| it.os));
        let os = if let Some(os) = known {
            os
        } else {
            let machine = site.outside().machine(target).await?;
            let gone = || Error::NotFound { what: "target", name: target.to_string() };
            machine.ok_or_else(gone)?.os
        };
        let Gate { port, protocol } = os.default_gate();
        vec![PortRule::offered(port, protocol)]
    } else {
        ports.iter().try_for_each(check_rule)?;
        ports.iter().map(|it| over(it, None)).collect()
    };
    Ok(Policy::of(rules, site.terms())?)
}

fn edited(before: &Policy, target: &TargetId, body: &EditBody, terms: &Terms) -> Result<Policy, Error> {
    let mut rules: Vec<PortRule> = before.ports().to_vec();
    for gate in &body.remove {
        if before.rule(*gate).is_none() {
            let guarded = before.gates().into_iter().collect();
            return Err(Refusal::NoSuchPort { target: target.clone(), port: gate.port, guarded }.into());
        }
        rules.retain(|it| it.gate() != *gate);
    }
    for port in &body.ports {
        let is_meant = |it: &PortRule| {
            it.port == port.port && port.protocol.is_none_or(|protocol| protocol == it.protocol)
        };
        if rules.iter().any(is_meant) {
            // As when asking: without a protocol every rule of the port is meant.
            rules.iter_mut().filter(|it| is_meant(it)).for_each(|it| *it = over(port, Some(it)));
        } else {
            rules.push(over(port, None));
        }
    }
    Ok(Policy::of(rules, terms)?)
}

fn check_rule(port: &PortRuleBody) -> Result<(), Problem> {
    if port.no_approval && port.approvers.is_some() {
        let detail = format!("port `{}` has either `approvers` or `no_approval`", port.port);
        return Err(Problem::bad_input(detail));
    }
    Ok(())
}

/// The rule that it makes of another one, or of what is offered.
fn over(port: &PortRuleBody, before: Option<&PortRule>) -> PortRule {
    let offered = PortRule::offered(port.port, port.protocol.unwrap_or(Protocol::Tcp));
    let before = before.cloned().unwrap_or(offered);
    let approvers = match (&port.approvers, port.no_approval) {
        (Some(people), _) => Some(People::from(people.clone())),
        (None, true) => None,
        (None, false) => before.approvers,
    };
    let break_glass = match &port.break_glass {
        // INVARIANT (empty-is-nothing): nobody is nobody, named or not.
        Some(people) => Some(People::from(people.clone())).filter(|_| !people.is_empty()),
        // Whoever asks for approvals again later says anew who may do without them.
        None if port.no_approval => None,
        None => before.break_glass,
    };
    let max: SignedDuration = port.max.unwrap_or(before.max);
    let sources = port.sources.clone().unwrap_or(before.sources);
    PortRule { sources, max, approvers, break_glass, ..before }
}
