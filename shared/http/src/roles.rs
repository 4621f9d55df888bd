//! Who may do what: roles, and their members.

use crate::{
    Caller, Problem, Site,
    problem::Body,
    wire::{GrantView, RoleBody, RolesView},
};
use axum::{Json, extract::State};
use portcullis_app::{RoleChanged, command, perform, query};
use portcullis_domain::Authority;
use std::sync::Arc;

/// Lists the roles of an installation, with their members.
#[utoipa::path(get, path = "/v1/roles", responses((status = 200, body = RolesView), (status = 403, body = Problem)))]
pub(crate) async fn list<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
) -> Result<Json<RolesView>, Problem> {
    let authority = perform(site.parts(), &caller.call(site.now()), query::Roles).await?;
    Ok(Json(view(&*site, &authority)))
}

/// Grants a role to a member on a scope. A role that the member has already stays as it is.
#[utoipa::path(post, path = "/v1/roles", request_body = RoleBody,
    responses((status = 200, body = RolesView), (status = 403, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem)))]
pub(crate) async fn grant<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    Body(body): Body<RoleBody>,
) -> Result<Json<RolesView>, Problem> {
    let grant = command::GrantRole { binding: body.into() };
    let changed = perform(site.parts(), &caller.call(site.now()), grant).await?;
    Ok(Json(after(&*site, &changed)))
}

/// Revokes a role of a member on a scope, as it was granted, and ends the leases that nothing permits any more without it.
#[utoipa::path(post, path = "/v1/roles/revoke", request_body = RoleBody,
    responses((status = 200, body = RolesView), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn revoke<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    Body(body): Body<RoleBody>,
) -> Result<Json<RolesView>, Problem> {
    let revoke = command::RevokeRole { binding: body.into() };
    let changed = perform(site.parts(), &caller.call(site.now()), revoke).await?;
    Ok(Json(after(&*site, &changed)))
}

fn after<S: Site>(site: &S, changed: &RoleChanged) -> RolesView {
    let ended = changed.ended.iter().map(|it| GrantView::of(it, site.now())).collect();
    RolesView { ended, ..view(site, &changed.authority) }
}

fn view<S: Site>(site: &S, authority: &Authority) -> RolesView {
    RolesView::of(authority, site.rights().operator.as_ref())
}
