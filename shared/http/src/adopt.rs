//! What somebody else's just-in-time access guards: what there is, and taking it over.

use crate::{
    Caller, Problem, Site,
    problem::Body,
    views,
    wire::{AdoptBody, AdoptableView, AdoptedView, Listed},
};
use axum::{Json, extract::State};
use portcullis_app::{command, perform, query};
use std::sync::Arc;

/// Lists foreign policies of just-in-time access with their rules, and rules that belong to none.
#[utoipa::path(get, path = "/v1/adoptable", responses((status = 200, body = Listed<AdoptableView>)))]
pub(crate) async fn list<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
) -> Result<Json<Listed<AdoptableView>>, Problem> {
    let found = perform(site.parts(), &caller.call(site.now()), query::ListAdoptables).await?;
    let items = found.items.into_iter().map(views::adoptable).collect();
    Ok(Json(Listed { items, next: None, unseen: found.unseen }))
}

/// Takes over a foreign policy: guards its machines with the same ports. With `delete`, that policy and its rules
/// are deleted once a read-back has confirmed our own lock; until then the answer has the reasons why they were kept.
#[utoipa::path(post, path = "/v1/adopt", request_body = AdoptBody,
    responses((status = 200, body = AdoptedView), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn adopt<S: Site>(
    State(site): State<Arc<S>>,
    caller: Caller,
    Body(body): Body<AdoptBody>,
) -> Result<Json<AdoptedView>, Problem> {
    let adopt = command::Adopt { what: body.what, delete: body.delete };
    let adopted = perform(site.parts(), &caller.call(site.now()), adopt).await?;
    Ok(Json(views::adopted(adopted)))
}
