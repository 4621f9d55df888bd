//! A network with a CA and a proxy of its own: a server that only the proxy reaches, under a name that leads nowhere, with a
//! certificate that nobody else trusts.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
};

/// How long the beginning of a call of the proxy may be, in bytes.
const HEAD_MAX: usize = 4096;

/// The network, until it is dropped.
#[derive(Debug)]
pub struct PrivateNetwork {
    /// The URL of the proxy.
    pub proxy: String,
    /// The certificate of its CA, in PEM.
    pub ca: String,
    asked: Arc<Mutex<Vec<String>>>,
    _runtime: Runtime,
}

impl PrivateNetwork {
    /// Puts a server of this machine, which speaks in clear, into it under this name.
    pub fn before(server: SocketAddr, name: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (tls, ca) = tls(name);
        let asked = Arc::new(Mutex::new(vec![]));
        let proxy = runtime.block_on(async {
            let (inner, outer) = (listen().await, listen().await);
            let (secret, proxy) = (address(&inner), address(&outer));
            tokio::spawn(terminate(inner, tls, server));
            tokio::spawn(tunnel(outer, secret, Arc::clone(&asked)));
            proxy
        });
        Self { proxy: format!("http://{proxy}"), ca, asked, _runtime: runtime }
    }

    /// The first lines of the calls that the proxy got.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("nobody panicked with it").clone()
    }
}

/// The certificate of a CA that nobody uses, in PEM.
pub fn other_ca() -> String {
    authority().1
}

/// A CA, and its certificate in PEM.
fn authority() -> (Issuer<'static, KeyPair>, String) {
    let mut params = CertificateParams::new(vec![]).expect("no name");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let pem = params.self_signed(&key).expect("a certificate").pem();
    (Issuer::new(params, key), pem)
}

fn tls(name: &str) -> (TlsAcceptor, String) {
    let (issuer, ca) = authority();
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().expect("protocols").with_no_client_auth();
    let config = config.with_single_cert(vec![certificate.der().clone()], key).expect("serves");
    (TlsAcceptor::from(Arc::new(config)), ca)
}

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("binds")
}

fn address(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().expect("bound")
}

/// Takes TLS off, and passes on.
async fn terminate(listener: TcpListener, tls: TlsAcceptor, server: SocketAddr) {
    while let Ok((caller, _)) = listener.accept().await {
        let tls = tls.clone();
        tokio::spawn(async move {
            let mut caller = tls.accept(caller).await?;
            let mut server = TcpStream::connect(server).await?;
            copy_bidirectional(&mut caller, &mut server).await
        });
    }
}

/// Answers `CONNECT`, whatever it names, with a tunnel to the one server that there is.
async fn tunnel(listener: TcpListener, server: SocketAddr, asked: Arc<Mutex<Vec<String>>>) {
    while let Ok((mut caller, _)) = listener.accept().await {
        let asked = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut head = vec![];
            while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_MAX {
                head.push(caller.read_u8().await?);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let line = head.lines().next().unwrap_or_default().to_owned();
            let is_connect = line.starts_with("CONNECT ");
            asked.lock().expect("nobody panicked with it").push(line);
            if !is_connect {
                return caller
                    .write_all(b"HTTP/1.1 405 No\r\ncontent-length: 0\r\n\r\n")
                    .await
                    .map(|()| (0, 0));
            }
            caller.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await?;
            let mut server = TcpStream::connect(server).await?;
            copy_bidirectional(&mut caller, &mut server).await
        });
    }
}
