//! The two ends of a call: who calls, and where they found us.

use crate::tls::TlsListener;
use axum::{
    extract::{FromRequestParts, connect_info::Connected},
    http::{header, request::Parts},
    serve::IncomingStream,
};
use std::{convert::Infallible, net::SocketAddr};
use tokio::net::TcpListener;

/// How long a body may be, in bytes: a rule with 4,000 long prefixes has a fifth of it.
pub const BODY_MAX: usize = 1024 * 1024;

/// Who calls.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

impl Connected<IncomingStream<'_, TcpListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

impl Connected<IncomingStream<'_, TlsListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// `http` or `https`.
#[derive(Debug, Clone, Copy)]
pub struct Scheme(pub &'static str);

/// Where the caller found us, such as `http://127.0.0.1:7423`: links lead there again.
#[derive(Debug)]
pub struct Base(pub String);

impl<S: Sync> FromRequestParts<S> for Base {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let host = parts.headers.get(header::HOST).and_then(|it| it.to_str().ok());
        let scheme = parts.extensions.get::<Scheme>().map_or("http", |it| it.0);
        Ok(Self(format!("{scheme}://{}", host.unwrap_or("localhost"))))
    }
}
