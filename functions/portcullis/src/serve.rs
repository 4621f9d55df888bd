//! Serving HTTP also to who means harm: nobody who calls may hold what the clock needs.

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{Request, StatusCode},
    response::{IntoResponse as _, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{net::TcpListener, select, sync::Semaphore, time};
use tower::ServiceExt as _;

/// How many callers may be connected at once; the next one waits until one of them leaves.
const CONNECTIONS_MAX: u64 = 256;
/// How long the head of a request may take, also of the next one on the same connection.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// How long a request may take in all.
const REQUEST_MAX: Duration = Duration::from_mins(2);
/// How long requests may still take once the program is told to stop.
const DRAIN_MAX: Duration = Duration::from_secs(3);
/// How long nobody is accepted after that failed.
const AFTER_FAILURE: Duration = Duration::from_millis(200);

/// Serves until `stop`, and then what was begun, for [`DRAIN_MAX`] at most.
pub async fn serve(listener: TcpListener, app: Router, stop: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(places()));
    let connections = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_MAX);
    let mut stop = pin!(stop);
    loop {
        let place = select! {
            place = Arc::clone(&places).acquire_owned() => place,
            () = &mut stop => break,
        };
        let accepted = select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "A caller could not be accepted");
                time::sleep(AFTER_FAILURE).await;
                continue;
            }
        };
        let app = app.clone();
        let answer = service_fn(move |request| answer(app.clone(), peer, request));
        let connection = connections.watch(http.serve_connection(TokioIo::new(stream), answer));
        tokio::spawn(async move {
            // Whoever breaks off has heard enough.
            drop(connection.await);
            drop(place);
        });
    }
    drop(listener);
    if time::timeout(DRAIN_MAX, connections.shutdown()).await.is_err() {
        tracing::warn!("Some callers were still connected, and are left");
    }
}

async fn answer(app: Router, peer: SocketAddr, request: Request<Incoming>) -> Result<Response, Infallible> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    match time::timeout(REQUEST_MAX, app.oneshot(request)).await {
        Ok(answer) => answer,
        Err(_) => Ok(StatusCode::REQUEST_TIMEOUT.into_response()),
    }
}

/// As many as there are file descriptors for, beside those of the table, its workers and their programs.
fn places() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
        tracing::debug!("The limit of open files stays as it is");
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(CONNECTIONS_MAX.min(files / 2).max(1)).unwrap_or(1)
}
