//! How requests travel: hyper and rustls under the pipeline of `azure_core`, with one pool of connections.

use crate::endpoint::{Origin, is_loopback};
use azure_core::{
    Bytes, Error,
    error::ErrorKind,
    http::{AsyncRawResponse, Body, HttpClient, Request, Url, headers},
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use portcullis_outgoing::{BadRoots, Connector, Proxies, Roots, connector};
use std::{collections::BTreeSet, fmt, io, time::Duration};

/// How long it may take to reach a host.
pub const CONNECT_MAX: Duration = Duration::from_secs(3);
/// How long a request may take, from being sent to the end of its answer.
pub const REQUEST_MAX: Duration = Duration::from_secs(10);
/// How long a connection is kept for the next request.
const IDLE_MAX: Duration = Duration::from_mins(1);
/// How long an answer may be, in bytes.
const ANSWER_MAX: usize = 64 * 1024 * 1024;
/// Where a machine of Azure asks for its tokens: the Instance Metadata Service.
/// <https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service>
const METADATA: &str = "169.254.169.254";

/// How we are called, in Azure's logs.
const USER_AGENT: &str = concat!("portcullis/", env!("CARGO_PKG_VERSION"));

/// Sends requests.
pub struct Transport {
    client: Client<HttpsConnector<Connector>, Full<Bytes>>,
    /// What is shown as `https` and goes in clear: on this machine.
    clear: BTreeSet<Origin>,
    /// Who answers for the Instance Metadata Service, where that is not at its own address.
    metadata: Option<Origin>,
}

/// A request that would have gone in clear to another machine.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is on another machine, and needs TLS")]
struct InClear(String);

/// A request that was not answered.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("`{0}` cannot be reached")]
    Unreachable(String, #[source] hyper_util::client::legacy::Error),
    #[error("`{0}` has no trusted certificate")]
    Untrusted(String, #[source] hyper_util::client::legacy::Error),
    #[error("`{0}` did not answer")]
    Unanswered(String, #[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("`{0}` did not answer within {secs} s", secs = REQUEST_MAX.as_secs())]
    TooLate(String),
}

impl Transport {
    /// With what goes in clear, to this machine, and the certificates that are trusted.
    pub fn new(
        clear: BTreeSet<Origin>,
        metadata: Option<Origin>,
        roots: &Roots,
        proxies: Proxies,
    ) -> Result<Self, BadRoots> {
        let https = connector(roots, proxies, CONNECT_MAX)?;
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_timer(TokioTimer::new())
            .build(https);
        Ok(Self { client, clear, metadata })
    }

    /// Where a request goes.
    ///
    /// INVARIANT (tokens-stay-private): a request with a token goes in clear to this machine only. Without
    /// one, it may also go to a link-local address, where Azure gives machines their tokens.
    fn target(&self, url: &Url, has_token: bool) -> Result<Url, InClear> {
        let to_others = || InClear(host(url));
        let origin = Origin::of(url).ok_or_else(to_others)?;
        if url.scheme() == "https" {
            let is_clear = self.clear.contains(&origin);
            return if is_clear {
                origin.put_into(url, "http").ok_or_else(to_others)
            } else {
                Ok(url.clone())
            };
        }
        let is_link_local = || url.host_str().is_some_and(|it| it.starts_with("169.254."));
        match &self.metadata {
            Some(there) if url.host_str() == Some(METADATA) => {
                there.put_into(url, "http").ok_or_else(to_others)
            }
            Some(_) | None if is_loopback(url) || (is_link_local() && !has_token) => Ok(url.clone()),
            Some(_) | None => Err(to_others()),
        }
    }
}

#[async_trait::async_trait]
impl HttpClient for Transport {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let other = |error: Box<dyn std::error::Error + Send + Sync>| Error::new(ErrorKind::Other, error);
        let has_token = request.headers().get_optional_str(&headers::AUTHORIZATION).is_some();
        let url = self.target(request.url(), has_token).map_err(|it| other(it.into()))?;
        let host = host(&url);
        let mut sent = http::Request::builder().method(request.method().as_ref()).uri(url.as_str());
        let own = request.headers().iter().filter(|(name, _)| **name != headers::USER_AGENT);
        for (name, value) in own {
            sent = sent.header(name.as_str(), value.as_str());
        }
        sent = sent.header(http::header::USER_AGENT, USER_AGENT);
        let body = match request.body() {
            Body::Bytes(bytes) => bytes.clone(),
            Body::SeekableStream(_) => return Err(other("a body is no stream here".into())),
        };
        let sent = sent.body(Full::new(body)).map_err(|it| other(it.into()))?;
        let answer = async {
            let answer = self.client.request(sent).await.map_err(|error| {
                if is_untrusted(&error) {
                    // Waiting does not help: a person has to see to it.
                    Error::new(ErrorKind::Other, Lost::Untrusted(host.clone(), error))
                } else if error.is_connect() {
                    Error::new(ErrorKind::Connection, Lost::Unreachable(host.clone(), error))
                } else {
                    Error::new(ErrorKind::Io, Lost::Unanswered(host.clone(), error.into()))
                }
            })?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_MAX).collect().await;
            let body = body.map_err(|it| Error::new(ErrorKind::Io, Lost::Unanswered(host.clone(), it)))?;
            let mut headers = headers::Headers::new();
            for (name, value) in &head.headers {
                if let Ok(value) = value.to_str() {
                    headers.insert(name.as_str().to_owned(), value.to_owned());
                }
            }
            Ok(AsyncRawResponse::from_bytes(head.status.as_u16().into(), headers, body.to_bytes()))
        };
        let too_late = |_| Error::new(ErrorKind::Io, Lost::TooLate(host.clone()));
        tokio::time::timeout(REQUEST_MAX, answer).await.map_err(too_late)?
    }
}

/// Is a certificate what is wrong? `io::Error` does not say what it holds as its source.
fn is_untrusted(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
            return true;
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(held) => Some(held),
            None => error.source(),
        };
    }
    false
}

fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("clear", &self.clear).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{endpoint::Endpoint, refused::Failure};

    #[test]
    fn tokens_stay_private() {
        let clear = |text: &str| Endpoint::of(text).ok().and_then(|it| it.clear());
        let at = |metadata: Option<&str>| {
            let clear_ones = clear("http://127.0.0.1:7423").into_iter().collect();
            Transport::new(clear_ones, metadata.and_then(clear), &Roots::default(), Proxies::none())
                .expect("no root to go wrong")
        };
        let goes = |transport: &Transport, url: &str, has_token| {
            let url = Url::parse(url).expect("a URL");
            transport.target(&url, has_token).ok().map(|it| it.to_string())
        };
        let own = |it: &str| Some(it.to_owned());
        let transport = at(None);
        for (url, target) in [
            ("https://127.0.0.1:7423/x", own("http://127.0.0.1:7423/x")),
            ("https://127.0.0.1:7424/x", own("https://127.0.0.1:7424/x")),
            ("https://management.azure.com/x", own("https://management.azure.com/x")),
            ("http://127.0.0.1:7424/x", own("http://127.0.0.1:7424/x")),
            ("http://169.254.169.254/x", None),
            ("http://management.azure.com/x", None),
            ("http://10.0.0.4/x", None),
        ] {
            assert_eq!(goes(&transport, url, true), target, "{url}");
        }
        let metadata = "http://169.254.169.254/metadata/identity/oauth2/token";
        assert_eq!(goes(&transport, metadata, false), own(metadata));
        assert!(goes(&transport, "http://169.254.129.4:8081/msi/token", false).is_some());
        assert_eq!(goes(&transport, "http://10.0.0.4/x", false), None);
        let there = "http://127.0.0.1:7423/metadata/identity/oauth2/token";
        assert_eq!(goes(&at(Some("http://127.0.0.1:7423")), metadata, false), own(there));
    }

    #[tokio::test]
    async fn an_unreachable_server_is_named_once() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let url = format!("http://{}/x", listener.local_addr().expect("an address"));
        drop(listener);
        let transport = Transport::new(BTreeSet::new(), None, &Roots::default(), Proxies::none())
            .expect("no root to go wrong");
        let request = Request::new(url.parse().expect("a URL"), azure_core::http::Method::Get);
        let error = transport.execute_request(&request).await.expect_err("nobody listens");
        assert_eq!(*error.kind(), ErrorKind::Connection);
        let Failure::Passing { source, after: None } = Failure::unanswered(&error) else { panic!("{error}") };
        let line = source.to_string();
        assert!(line.starts_with("`127.0.0.1` cannot be reached: "), "{line}");
        assert_eq!(line.matches("refused").count(), 1, "{line}");
    }
}
