//! How requests travel: hyper and rustls under the SDK, with one pool of connections for all its clients.

use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn},
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
};
use aws_smithy_types::body::SdkBody;
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use portcullis_outgoing::{BadRoots, Connector as Tcp, Proxies, Roots};
use std::{fmt, time::Duration};

/// How long it may take to reach a host.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// How long a connection is kept for the next request.
const IDLE_MAX: Duration = Duration::from_mins(1);

/// The SDK's way out. Its own default would bring a second TLS stack, and read the certificates of the system
/// at every cold start.
#[derive(Clone)]
struct Connector(Client<HttpsConnector<Tcp>, SdkBody>);

/// One pool of connections, to be shared by clients. Certificates and proxies are those of the environment.
pub fn connector() -> Result<SharedHttpClient, BadRoots> {
    // In clear only where an endpoint says so: an emulator on this machine.
    let https =
        portcullis_outgoing::connector(&Roots::of_environment()?, Proxies::of_environment(), CONNECT_MAX)?;
    let client = Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE_MAX)
        .pool_timer(TokioTimer::new())
        .build(https);
    let shared = SharedHttpConnector::new(Connector(client));
    Ok(http_client_fn(move |_, _| shared.clone()))
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let response = client.request(request).await;
            let response = response.map_err(|error| ConnectorError::io(error.into()))?;
            HttpResponse::try_from(response.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}
