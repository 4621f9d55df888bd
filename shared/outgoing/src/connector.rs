//! Connections of hyper: directly, or through the proxy.

use crate::{BadRoots, Proxies, Roots};
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use std::{
    error::Error,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::net::TcpStream;
use tower_service::Service;

/// Opens connections to servers, or to the proxies before them.
#[derive(Debug, Clone)]
pub struct Connector {
    tcp: HttpConnector,
    proxies: Arc<Proxies>,
}

/// A connector for `https` and, where a URL says so, for `http`. What is reached in clear is asked directly.
pub fn connector(
    roots: &Roots,
    proxies: Proxies,
    connect_max: Duration,
) -> Result<HttpsConnector<Connector>, BadRoots> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(connect_max));
    let https = HttpsConnectorBuilder::new().with_tls_config(roots.config()?).https_or_http();
    Ok(https.enable_http1().wrap_connector(Connector { tcp, proxies: Arc::new(proxies) }))
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let is_secret = server.scheme_str() == Some("https");
        let proxy = if is_secret { self.proxies.before(&server) } else { Ok(None) };
        // The one that was found ready is the one that is called.
        let unready = self.tcp.clone();
        let mut tcp = std::mem::replace(&mut self.tcp, unready);
        Box::pin(async move {
            match proxy? {
                None => Ok(tcp.call(server).await?),
                Some(proxy) => Ok(proxy.tunnel(tcp).call(server).await?),
            }
        })
    }
}
