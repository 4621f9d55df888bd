//! Serving HTTP also to who means harm: nobody who calls may hold what others need.
//!
//! Where it is served, no caller waits for another one to leave: see [`Places`]. A caller without a token gets one answer
//! for a connection, and everybody has to read what they asked for.

mod paced;
mod places;

use crate::site::LocalSite;
use axum::{
    Router,
    body::{Body, HttpBody as _},
    extract::ConnectInfo,
    http::{HeaderValue, Request, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use paced::{Paced, Patience, Streams};
use places::{Limits, Place, Places};
use portcullis_http::{Happened, Problem, Shown, Site as _, Stop, router, shown};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    select,
    sync::{Semaphore, watch},
    task, time,
};
use tower::ServiceExt as _;

/// Connections over the network.
const NETWORK: Limits = Limits { strangers: 256, per_address: 128, known: 256, per_person: 128 };
/// Connections over the socket of the operator, who stands in no queue with others.
const SOCKET: Limits = Limits { strangers: 16, per_address: 16, known: 32, per_person: 32 };
/// How many callers without a token are answered at once.
const STRANGERS_AT_ONCE: usize = 32;
/// How long the head of a request may take, also of the next one on the same connection.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// How long a request may take in all.
const REQUEST_MAX: Duration = Duration::from_mins(2);
/// How long its answer may take to be read.
const PATIENCE: Patience = Patience { still: Duration::from_secs(10), answer: Duration::from_secs(30) };
/// How many bytes of requests, and of answers, a connection holds beside the answer itself.
const BUFFER_MAX: usize = 64 << 10;
/// How long requests may still take once the program is told to stop.
const DRAIN_MAX: Duration = Duration::from_secs(3);
/// How long nobody is accepted after that failed.
const AFTER_FAILURE: Duration = Duration::from_millis(200);
/// How many are accepted before those who were get their turn.
const ACCEPTED_AT_ONCE: usize = 32;

/// Serves over the network, and where there is one over the operator's socket, until `stop`; and then what was begun, for
/// [`DRAIN_MAX`] at most.
pub async fn serve(
    network: std::net::TcpListener,
    socket: Option<std::os::unix::net::UnixListener>,
    site: Arc<LocalSite>,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let network = Door::Network(TcpListener::from_std(network)?);
    let socket = socket.map(UnixListener::from_std).transpose()?.map(Door::Socket);
    let (stopped, is_stopped) = watch::channel(false);
    let of = |door: Door, limits| {
        let callers = Arc::new(Callers {
            app: router(Arc::clone(&site)),
            site: Arc::clone(&site),
            strangers: Semaphore::new(STRANGERS_AT_ONCE),
            stop: Stop(is_stopped.clone()),
        });
        accept(door, limits, callers, is_stopped.clone())
    };
    let network = of(network, within_files(NETWORK));
    let socket = async {
        if let Some(socket) = socket {
            of(socket, SOCKET).await;
        }
    };
    let stop = async {
        stop.await;
        stopped.send_replace(true);
    };
    tokio::join!(network, socket, stop);
    Ok(())
}

/// Where callers come in.
enum Door {
    Network(TcpListener),
    Socket(UnixListener),
}

/// Shared by all connections of one door.
struct Callers {
    app: Router,
    site: Arc<LocalSite>,
    strangers: Semaphore,
    /// Ends the wait of callers who wait for events.
    stop: Stop,
}

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

impl Door {
    async fn accept(&self) -> io::Result<(Box<dyn Wire>, SocketAddr)> {
        match self {
            Self::Network(listener) => {
                let (stream, peer) = listener.accept().await?;
                // An answer is written at once; where that cannot be had, it comes a moment later.
                let _ = stream.set_nodelay(true);
                Ok((Box::new(stream), peer))
            }
            // A caller of the socket is on this machine.
            Self::Socket(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Box::new(stream), SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))
            }
        }
    }
}

async fn accept(door: Door, limits: Limits, callers: Arc<Callers>, mut stop: watch::Receiver<bool>) {
    let places = Places::of(limits);
    let connections = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_MAX).max_buf_size(BUFFER_MAX);
    let mut stop = pin!(stop.wait_for(|it| *it));
    for n in 1_usize.. {
        let accepted = select! {
            accepted = door.accept() => accepted,
            _ = &mut stop => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            // A caller who breaks off before their turn takes nothing from others.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                ) =>
            {
                continue;
            }
            Err(error) => {
                tracing::warn!(%error, "A connection could not be accepted");
                time::sleep(AFTER_FAILURE).await;
                continue;
            }
        };
        let (place, closed, evicted) = places.enter(peer.ip());
        if evicted {
            callers.happened(Happened::TurnedAway, peer);
        }
        let (place, streams) = (Arc::new(place), Streams::default());
        let stream = TokioIo::new(Paced::of(stream, PATIENCE, streams.clone()));
        let callers = Arc::clone(&callers);
        let answer = service_fn(move |request| {
            answer(Arc::clone(&callers), Arc::clone(&place), streams.clone(), peer, request)
        });
        let connection = connections.watch(http.serve_connection(stream, answer));
        tokio::spawn(async move {
            // A caller who breaks off wants no more, and one who has to make place gets no answer.
            select! {
                ended = connection => drop(ended),
                _ = closed => {}
            }
        });
        if n % ACCEPTED_AT_ONCE == 0 {
            task::yield_now().await;
        }
    }
    drop(door);
    if time::timeout(DRAIN_MAX, connections.shutdown()).await.is_err() {
        tracing::warn!("Some connections were still open, and were dropped");
    }
}

impl Callers {
    fn happened(&self, what: Happened, peer: SocketAddr) -> bool {
        self.site.strangers.happened(what, Some(peer.ip()), self.site.now())
    }
}

async fn answer(
    callers: Arc<Callers>,
    place: Arc<Place>,
    streams: Streams,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    if request.headers().contains_key(header::AUTHORIZATION) {
        place.shows_token();
    }
    // Where the table does not answer, the router says so, to a stranger like to anybody.
    let shown = shown(&*callers.site, request.headers()).await.unwrap_or_else(|_| Shown::default());
    let is_known = shown.principal().is_some_and(|it| place.is_of(&it.id));
    if shown.principal().is_some() && !is_known {
        return Ok(last(
            Problem::busy("the caller, or all callers together, have too many connections").into_response(),
        ));
    }
    if !is_known {
        place.asked_without_token();
    }
    let _turn = match (is_known, callers.strangers.try_acquire()) {
        (true, _) => None,
        (false, Ok(turn)) => Some(turn),
        (false, Err(_)) => {
            callers.happened(Happened::TurnedAway, peer);
            return Ok(last(
                Problem::busy("too many calls without a token are being served").into_response(),
            ));
        }
    };
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    request.extensions_mut().insert(shown);
    request.extensions_mut().insert(callers.stop.clone());
    let response = match time::timeout(REQUEST_MAX, callers.app.clone().oneshot(request)).await {
        Ok(answer) => answer?,
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    streams.set(response.body().size_hint().exact().is_none());
    Ok(if is_known { response } else { last(response) })
}

/// The last answer of a connection: what was sent after its request is not read.
fn last(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// As many as there are file descriptors for, beside those of the table, its workers and their programs.
fn within_files(limits: Limits) -> Limits {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
        tracing::debug!("The limit of open files could not be raised");
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    // A quarter for each kind: the other half is ours.
    let most = usize::try_from(files / 4).unwrap_or(usize::MAX).max(1);
    let Limits { strangers, per_address, known, per_person } = limits;
    Limits {
        strangers: strangers.min(most),
        per_address: per_address.min(most),
        known: known.min(most),
        per_person: per_person.min(most),
    }
}
