//! How it is heard: one router, on a socket.

use crate::{
    Simcloud, arm, control, login,
    peer::{BODY_MAX, Peer, Scheme},
    tls::Tls,
};
use axum::{
    Extension, Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderValue, header},
    middleware::{self, Next},
    response::Response,
    routing::{get, post},
};
use jiff::fmt::rfc2822::DateTimePrinter;
use std::{future::Future, io, sync::Arc};
use tokio::net::TcpListener;

/// Serves a cloud until it is told to stop; over HTTPS with a certificate, over HTTP without.
pub async fn serve(
    cloud: Arc<Simcloud>,
    listener: TcpListener,
    tls: Option<Tls>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let scheme = if tls.is_some() { Scheme("https") } else { Scheme("http") };
    let app = router(cloud).layer(Extension(scheme)).into_make_service_with_connect_info::<Peer>();
    match tls {
        Some(tls) => axum::serve(tls.listen(listener), app).with_graceful_shutdown(stop).await,
        None => axum::serve(listener, app).with_graceful_shutdown(stop).await,
    }
}

fn router(cloud: Arc<Simcloud>) -> Router {
    let control = Router::new()
        .route("/packet", get(control::packet))
        .route("/faults", get(control::faults).post(control::plan))
        .route("/permissions", get(control::permissions).post(control::permit))
        .route("/restrictions", get(control::restrictions).post(control::restrict))
        .route("/refuse-tokens", post(control::refuse_tokens))
        .route("/calls", get(control::calls))
        .route("/snapshot", get(control::snapshot))
        .layer(middleware::from_fn_with_state(Arc::clone(&cloud), control::guarded));
    Router::new()
        .nest("/_simcloud", control)
        .route("/{tenant}/oauth2/v2.0/token", post(login::token))
        .route("/{tenant}/v2.0/.well-known/openid-configuration", get(login::configuration))
        .route("/metadata/identity/oauth2/token", get(login::metadata))
        .fallback(arm::answer)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(middleware::from_fn_with_state(Arc::clone(&cloud), date))
        .with_state(cloud)
}

/// Dates an answer by the simulator's clock, from which callers learn how wrong their own is.
async fn date(State(cloud): State<Arc<Simcloud>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&(cloud.clock)()).ok();
    if let Some(date) = date.and_then(|it| HeaderValue::try_from(it).ok()) {
        response.headers_mut().insert(header::DATE, date);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{
        body::Body,
        extract::ConnectInfo,
        http::{Request, StatusCode},
    };
    use jiff::Timestamp;
    use tower::ServiceExt as _;

    #[tokio::test]
    async fn only_a_caller_on_this_machine_who_knows_the_secret_controls_it() {
        let cloud = Arc::new(Simcloud::new(1, Arc::new(|| Timestamp::UNIX_EPOCH)));
        let asked = async |path: &str, secret: &str, peer: Option<&str>| {
            let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {secret}"));
            let mut request = request.body(Body::empty()).expect("a request");
            if let Some(peer) = peer {
                request.extensions_mut().insert(ConnectInfo(Peer(peer.parse().expect("an address"))));
            }
            router(Arc::clone(&cloud)).oneshot(request).await.expect("an answer").status()
        };
        let here = Some("127.0.0.1:9");
        assert_eq!(
            asked("/_simcloud/faults", "", here).await,
            StatusCode::UNAUTHORIZED,
            "nobody has a secret"
        );
        cloud.guard_control("sesame");
        for path in [
            "packet?vm=web-1&from=203.0.113.9&protocol=tcp&port=22",
            "faults",
            "permissions",
            "calls",
            "snapshot",
        ] {
            let path = format!("/_simcloud/{path}");
            for wrong in ["", "sesam", "Sesame", "sesame "] {
                assert_eq!(asked(&path, wrong, here).await, StatusCode::UNAUTHORIZED, "{path} {wrong}");
            }
            assert_eq!(asked(&path, "sesame", here).await, StatusCode::OK, "{path}");
        }
        let status = async |peer| asked("/_simcloud/faults", "sesame", peer).await;
        assert_eq!(status(Some("127.0.0.1:9")).await, StatusCode::OK);
        assert_eq!(status(Some("[::ffff:127.0.0.1]:9")).await, StatusCode::OK);
        for peer in [None, Some("192.0.2.1:9"), Some("[2001:db8::1]:9")] {
            assert_eq!(status(peer).await, StatusCode::FORBIDDEN, "{peer:?}");
        }
    }
}
