//! Documents of an issuer, read within bounds: nothing that it sends or keeps back is in anybody's way.

use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use jiff::{Timestamp, fmt::rfc2822};
use portcullis_app::BoxError;
use portcullis_outgoing::{BadRoots, Connector, Proxies, Roots, connector};
use std::{collections::VecDeque, fmt, net::IpAddr, time::Duration};
use tokio::time::timeout;

/// How long it may take to reach a host.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// How long a document may take, from the request to its end.
const DOCUMENT_MAX: Duration = Duration::from_secs(5);
/// How long a document may be, in bytes. The largest key sets known have 50,000.
const BYTES_MAX: usize = 256 << 10;
/// How long a connection is kept for the next document.
const IDLE_MAX: Duration = Duration::from_secs(30);
const USER_AGENT: &str = concat!("portcullis/", env!("CARGO_PKG_VERSION"));

/// Reads documents.
#[derive(Clone)]
pub struct Fetch(Client<HttpsConnector<Connector>, Empty<VecDeque<u8>>>);

/// A document, and the time at which its sender sent it, by the sender's clock.
#[derive(Debug)]
pub struct Document {
    pub bytes: Vec<u8>,
    pub sent_at: Option<Timestamp>,
}

/// A document that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    #[error("`{0}` is no URL that begins with `https://`, or with `http://` on this machine")]
    NoUrl(String),
    #[error("`{0}` cannot be reached")]
    Unreachable(String, #[source] BoxError),
    #[error("`{0}` did not answer within {secs} s", secs = DOCUMENT_MAX.as_secs())]
    TooLate(String),
    #[error("`{0}` sends callers elsewhere ({1}), and no redirect is followed")]
    Elsewhere(String, StatusCode),
    #[error("`{0}` answered {1}")]
    Refused(String, StatusCode),
    #[error("`{0}` answered with more than {BYTES_MAX} bytes")]
    TooLong(String),
}

/// A URL that documents may be read from: over TLS, or in clear from this machine where `may_be_clear`.
pub fn usable(url: &str, may_be_clear: bool) -> Result<Uri, Lost> {
    let read = url.parse::<Uri>().ok().filter(|it| it.host().is_some_and(|it| !it.is_empty()));
    let is_usable = |it: &Uri| match it.scheme_str() {
        Some("https") => true,
        Some("http") => may_be_clear && is_loopback(it),
        Some(_) | None => false,
    };
    // A name and a password before the host would be sent to nobody, and shown to everybody.
    let is_plain = |it: &Uri| it.authority().is_none_or(|it| !it.as_str().contains('@'));
    read.filter(is_usable).filter(is_plain).ok_or_else(|| Lost::NoUrl(shortened(url)))
}

/// Is it this machine?
pub fn is_loopback(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    host.parse::<IpAddr>().map_or_else(|_| host.eq_ignore_ascii_case("localhost"), |it| it.is_loopback())
}

/// So much of a text of others as fits a line.
pub fn shortened(text: &str) -> String {
    const SAID_MAX: usize = 200;
    text.chars().map(|it| if it.is_control() { ' ' } else { it }).take(SAID_MAX).collect()
}

impl Fetch {
    pub fn new(roots: &Roots, proxies: Proxies) -> Result<Self, BadRoots> {
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_timer(TokioTimer::new())
            .build(connector(roots, proxies, CONNECT_MAX)?);
        Ok(Self(client))
    }

    /// Reads a document, within [`DOCUMENT_MAX`].
    pub async fn get(&self, url: &Uri) -> Result<Document, Lost> {
        let shown = shortened(&url.to_string());
        match timeout(DOCUMENT_MAX, self.read(url, &shown)).await {
            Ok(read) => read,
            Err(_) => Err(Lost::TooLate(shown)),
        }
    }

    async fn read(&self, url: &Uri, shown: &str) -> Result<Document, Lost> {
        let unreachable = |error: BoxError| Lost::Unreachable(shown.to_owned(), error);
        let request = Request::get(url.clone())
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, USER_AGENT)
            .body(Empty::new())
            .map_err(|error| unreachable(error.into()))?;
        let answer = self.0.request(request).await.map_err(|error| unreachable(error.into()))?;
        if answer.status().is_redirection() {
            return Err(Lost::Elsewhere(shown.to_owned(), answer.status()));
        }
        if answer.status() != StatusCode::OK {
            return Err(Lost::Refused(shown.to_owned(), answer.status()));
        }
        let sent_at = sent_at(&answer);
        // Its content type is not looked at: issuers say several.
        let read = Limited::new(answer.into_body(), BYTES_MAX).collect().await;
        let bytes = read.map_err(|error| {
            if error.is::<LengthLimitError>() { Lost::TooLong(shown.to_owned()) } else { unreachable(error) }
        })?;
        Ok(Document { bytes: bytes.to_bytes().to_vec(), sent_at })
    }
}

impl fmt::Debug for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fetch")
    }
}

fn sent_at<T>(answer: &Response<T>) -> Option<Timestamp> {
    let text = answer.headers().get(header::DATE)?.to_str().ok()?;
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_is_read_over_tls_or_from_this_machine() {
        for url in ["https://idp.example/x", "https://127.0.0.1:1/x"] {
            assert!(usable(url, false).is_ok(), "{url}");
        }
        for url in ["http://127.0.0.1:1/x", "http://[::1]/x", "http://localhost:8080"] {
            assert!(usable(url, true).is_ok() && usable(url, false).is_err(), "{url}");
        }
        for url in [
            "http://idp.example",
            "http://127.0.0.1.example",
            "ftp://idp.example",
            "/x",
            "",
            "https://",
            "https://a:b@c.example",
        ] {
            assert!(usable(url, true).is_err(), "{url}");
        }
    }
}
