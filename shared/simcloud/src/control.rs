//! What only the operator of the simulator may ask of it: over loopback, with a secret, and no part of Azure.

use crate::{
    Call, Faults, Packet, PacketProtocol, Passage, Permissions, Refused, Restrictions, Simcloud, peer::Peer,
};
use axum::{
    Json,
    extract::{ConnectInfo, Query, Request, State},
    http::{StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use std::{net::IpAddr, sync::Arc};

/// The packet that is asked about.
#[derive(Debug, Deserialize)]
pub struct Asked {
    vm: String,
    from: IpAddr,
    protocol: PacketProtocol,
    port: u16,
}

/// GET `/_simcloud/packet?vm=&from=&protocol=&port=`
pub async fn packet(
    State(cloud): State<Arc<Simcloud>>,
    Query(asked): Query<Asked>,
) -> Result<Json<Passage>, Refused> {
    let packet = Packet { from: asked.from, protocol: asked.protocol, port: asked.port };
    cloud.passes(&asked.vm, packet).map(Json)
}

/// GET `/_simcloud/faults`: what is still planned.
pub async fn faults(State(cloud): State<Arc<Simcloud>>) -> Json<Faults> {
    Json(cloud.now().0.faults.clone())
}

/// POST `/_simcloud/faults`: in place of what was planned before.
pub async fn plan(State(cloud): State<Arc<Simcloud>>, Json(faults): Json<Faults>) -> StatusCode {
    cloud.plan(faults);
    StatusCode::NO_CONTENT
}

/// GET `/_simcloud/permissions`: what callers may do.
pub async fn permissions(State(cloud): State<Arc<Simcloud>>) -> Json<Permissions> {
    Json(cloud.now().0.permissions.clone())
}

/// POST `/_simcloud/permissions`: in place of what they were allowed before.
pub async fn permit(State(cloud): State<Arc<Simcloud>>, Json(permissions): Json<Permissions>) -> StatusCode {
    cloud.permit(permissions);
    StatusCode::NO_CONTENT
}

/// GET `/_simcloud/restrictions`: what locks and policies forbid.
pub async fn restrictions(State(cloud): State<Arc<Simcloud>>) -> Json<Restrictions> {
    Json(cloud.now().0.restrictions.clone())
}

/// POST `/_simcloud/restrictions`: in place of what they forbade before.
pub async fn restrict(
    State(cloud): State<Arc<Simcloud>>,
    Json(restrictions): Json<Restrictions>,
) -> StatusCode {
    cloud.restrict(restrictions);
    StatusCode::NO_CONTENT
}

/// The tokens that are no longer good.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusedTokens {
    /// What new ones have to be asked for with.
    claims: Option<String>,
}

/// POST `/_simcloud/refuse-tokens`: every token that was issued so far is refused from now on.
pub async fn refuse_tokens(
    State(cloud): State<Arc<Simcloud>>,
    Json(refused): Json<RefusedTokens>,
) -> StatusCode {
    cloud.refuse_tokens(refused.claims);
    StatusCode::NO_CONTENT
}

/// GET `/_simcloud/calls`: the calls of ARM that were answered.
pub async fn calls(State(cloud): State<Arc<Simcloud>>) -> Json<Vec<Call>> {
    Json(cloud.calls())
}

/// GET `/_simcloud/snapshot`
pub async fn snapshot(State(cloud): State<Arc<Simcloud>>) -> String {
    cloud.snapshot()
}

/// Lets in a caller on this machine who knows the secret: other users of the machine do not, and a snapshot holds the
/// tokens of its clients. A caller whose address is not known is not let in.
pub async fn guarded(State(cloud): State<Arc<Simcloud>>, request: Request, next: Next) -> Response {
    let refused = |status, message| Refused::new(status, "AuthorizationFailed", message).into_response();
    let peer = request.extensions().get::<ConnectInfo<Peer>>();
    if !peer.is_some_and(|it| it.0.0.ip().to_canonical().is_loopback()) {
        let message = "This is for callers on the machine that the simulator runs on.";
        return refused(StatusCode::FORBIDDEN, message);
    }
    let header = request.headers().get(header::AUTHORIZATION).and_then(|it| it.to_str().ok());
    let given = header.and_then(|it| it.strip_prefix("Bearer "));
    // What is compared is random and long, and the connection is loopback: timing tells nothing.
    if given.is_none() || given.map(str::to_owned) != cloud.control() {
        let message = "Send `Authorization: Bearer SECRET` with the simulator's `control` secret.";
        return refused(StatusCode::UNAUTHORIZED, message);
    }
    next.run(request).await
}
