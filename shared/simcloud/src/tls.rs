//! HTTPS, for clients that send no token over anything else. Whoever serves brings the certificate and
//! its key: no dice are rolled here.

use axum::serve::Listener;
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{self, ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
    server::TlsStream,
};

/// How long a caller has to shake hands.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How long to rest when no connection can be accepted: mostly too many are open.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// A certificate with its key, ready to serve.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

/// A certificate or a key that nothing can be served with.
#[derive(Debug, thiserror::Error)]
#[error("this certificate and its key cannot be served with")]
pub struct NoTls(#[source] Box<dyn std::error::Error + Send + Sync>);

impl Tls {
    /// A certificate in DER, and its private key in PKCS #8.
    pub fn of(certificate: Vec<u8>, key: Vec<u8>) -> Result<Self, NoTls> {
        let key = PrivateKeyDer::Pkcs8(key.into());
        let no_tls = |error: rustls::Error| NoTls(error.into());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().map_err(no_tls)?;
        let config = config.with_no_client_auth().with_single_cert(vec![certificate.into()], key);
        Ok(Self(TlsAcceptor::from(Arc::new(config.map_err(no_tls)?))))
    }

    pub(crate) fn listen(self, tcp: TcpListener) -> TlsListener {
        TlsListener { tcp, tls: self.0, handshakes: JoinSet::new() }
    }
}

/// Accepts connections and shakes hands with many at once: one that is slow holds up nobody.
pub struct TlsListener {
    tcp: TcpListener,
    tls: TlsAcceptor,
    handshakes: JoinSet<Option<(TlsStream<TcpStream>, SocketAddr)>>,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            tokio::select! {
                accepted = self.tcp.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let handshake = self.tls.accept(stream);
                        self.handshakes.spawn(async move {
                            let stream = time::timeout(HANDSHAKE_MAX, handshake).await.ok()?.ok()?;
                            Some((stream, peer))
                        });
                    }
                    Err(_) => time::sleep(AFTER_FAILURE).await,
                },
                Some(shaken) = self.handshakes.join_next() => {
                    if let Ok(Some(connection)) = shaken {
                        return connection;
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}
