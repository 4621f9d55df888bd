//! The policies of the installation.

use crate::{
    Caller, Problem, Site,
    problem::{Body, Query},
    wire::{
        GrantView, PoliciesApplied, PoliciesBody, PoliciesQuery, PoliciesView, PolicyVersionView,
        PolicyVersionsQuery, PolicyVersionsView, RollbackBody, UTC,
    },
};
use axum::{Json, extract::State};
use jiff::Timestamp;
use portcullis_app::{Applied, PolicyVersion, command, perform, query};
use portcullis_domain::POLICY_BYTES_MAX;
use std::sync::Arc;

/// How long the body of a change may be, in bytes: as JSON may escape each sign of a text, and so that one that is only a little too long is
/// refused with its bound.
pub(crate) const BODY_MAX: usize = 2 * POLICY_BYTES_MAX;

/// Shows the policies of the installation: those in force, or those of a version.
#[utoipa::path(get, path = "/v1/policies", params(PoliciesQuery),
    responses((status = 200, body = PoliciesView), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn show<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    Query(PoliciesQuery { version }): Query<PoliciesQuery>,
) -> Result<Json<PoliciesView>, Problem> {
    let shown = perform(site.parts(), &caller.call(site.now()), query::Policies { version }).await?;
    let of = view(&shown);
    let zone = shown.policies.zone.unwrap_or_else(|| UTC.to_owned());
    Ok(Json(PoliciesView { of, zone, files: shown.policies.files }))
}

/// Applies policies in place of those in force, and ends the leases that nothing permits any more. Policies that are in force already stay as
/// they are.
#[utoipa::path(post, path = "/v1/policies", request_body = PoliciesBody,
    responses((status = 200, body = PoliciesApplied), (status = 403, body = Problem), (status = 409, body = Problem),
        (status = 413, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn apply<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    Body(body): Body<PoliciesBody, BODY_MAX>,
) -> Result<Json<PoliciesApplied>, Problem> {
    let (expect, why) = (body.expect, body.why.clone());
    let apply = command::ApplyPolicies { policies: body.into(), expect, why };
    let now = site.now();
    Ok(Json(applied(perform(site.parts(), &caller.call(now), apply).await?, now)))
}

/// Goes back to the policies of a version, which become a new one.
#[utoipa::path(post, path = "/v1/policies/rollback", request_body = RollbackBody,
    responses((status = 200, body = PoliciesApplied), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn rollback<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    Body(RollbackBody { version, expect, why }): Body<RollbackBody>,
) -> Result<Json<PoliciesApplied>, Problem> {
    let back = command::RollBackPolicies { version, expect, why };
    let now = site.now();
    Ok(Json(applied(perform(site.parts(), &caller.call(now), back).await?, now)))
}

/// Lists the versions of the policies, the newest first.
#[utoipa::path(get, path = "/v1/policies/history", params(PolicyVersionsQuery),
    responses((status = 200, body = PolicyVersionsView), (status = 403, body = Problem)))]
pub(crate) async fn history<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    Query(PolicyVersionsQuery { before }): Query<PolicyVersionsQuery>,
) -> Result<Json<PolicyVersionsView>, Problem> {
    let query = query::PolicyVersions { before };
    let (versions, next) = perform(site.parts(), &caller.call(site.now()), query).await?;
    Ok(Json(PolicyVersionsView { items: versions.iter().map(view).collect(), next }))
}

fn applied(Applied { version, is_new, warnings, ended }: Applied, now: Timestamp) -> PoliciesApplied {
    let ended = ended.iter().map(|it| GrantView::of(it, now)).collect();
    PoliciesApplied { of: view(&version), is_new, warnings, ended }
}

fn view(version: &PolicyVersion) -> PolicyVersionView {
    PolicyVersionView {
        version: version.version,
        digest: version.digest.to_string(),
        by: version.changed.as_ref().map(|(by, _)| by.to_string()),
        at: version.changed.as_ref().map(|(_, at)| *at),
        why: version.why.as_ref().map(ToString::to_string),
        back_to: version.back_to,
        added: version.added.clone(),
        changed: version.altered.clone(),
        removed: version.removed.clone(),
    }
}
