//! The proxy between this process and a server, as the environment says.

use data_encoding::BASE64;
use http::{HeaderValue, Uri};
use hyper_util::client::{
    legacy::connect::proxy::Tunnel,
    proxy::matcher::{Intercept, Matcher},
};
use std::{fmt, net::IpAddr};

/// Which servers are asked through which proxy.
#[derive(Debug)]
pub struct Proxies(Matcher);

/// A proxy that opens tunnels (`CONNECT`).
#[derive(Clone)]
pub struct Proxy {
    uri: Uri,
    auth: Option<HeaderValue>,
}

/// A proxy that this program does not know how to ask.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` in the environment is not a proxy such as `http://proxy.example:3128`")]
pub struct NotAProxy(String);

impl Proxies {
    /// As `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say, in capital or small letters.
    pub fn of_environment() -> Self {
        Self(Matcher::from_env())
    }

    /// No server is asked through a proxy.
    pub fn none() -> Self {
        Self(Matcher::builder().build())
    }

    /// The proxy between here and a server; none where the server is asked directly. No proxy stands between a machine and itself, or
    /// before the addresses of its own link, at which clouds give machines their tokens.
    pub fn before(&self, server: &Uri) -> Result<Option<Proxy>, NotAProxy> {
        if is_near(server.host().unwrap_or_default()) {
            return Ok(None);
        }
        self.0.intercept(server).map(|it| Proxy::of(&it)).transpose()
    }
}

/// Is it this machine, or an address of its own link?
fn is_near(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>().map(|it| it.to_canonical());
    match address {
        Ok(IpAddr::V4(it)) => it.is_loopback() || it.is_link_local(),
        Ok(IpAddr::V6(it)) => it.is_loopback() || it.is_unicast_link_local(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

impl Proxy {
    fn of(found: &Intercept) -> Result<Self, NotAProxy> {
        let uri = found.uri().clone();
        if uri.scheme_str() != Some("http") || uri.host().is_none() {
            return Err(NotAProxy(uri.to_string()));
        }
        Ok(Self { uri, auth: found.basic_auth().cloned() })
    }

    /// Its host.
    pub fn host(&self) -> &str {
        self.uri.host().unwrap_or_default()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        const HTTP: u16 = 80;
        self.uri.port_u16().unwrap_or(HTTP)
    }

    /// The name and the password that it wants.
    pub fn name_and_password(&self) -> Option<(String, String)> {
        let encoded = self.auth.as_ref()?.to_str().ok()?.strip_prefix("Basic ")?;
        let text = String::from_utf8(BASE64.decode(encoded.as_bytes()).ok()?).ok()?;
        let (name, password) = text.split_once(':')?;
        Some((name.to_owned(), password.to_owned()))
    }

    /// A connector that opens tunnels through it.
    pub(crate) fn tunnel<C>(self, connector: C) -> Tunnel<C> {
        let tunnel = Tunnel::new(self.uri, connector);
        match self.auth {
            Some(auth) => tunnel.with_auth(auth),
            None => tunnel,
        }
    }
}

/// Without its password.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("host", &self.host())
            .field("port", &self.port())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn before(proxies: &Proxies, server: &str) -> Option<String> {
        let server = server.parse().expect("a URI");
        let proxy = proxies.before(&server).expect("a proxy, or none");
        proxy.map(|it| format!("{}:{}", it.host(), it.port()))
    }

    #[test]
    fn server_is_asked_through_the_proxy_unless_it_is_excepted_or_near() {
        let all = Matcher::builder().https("http://proxy.example:3128").no("internal.example,10.0.0.0/8");
        let proxies = Proxies(all.build());
        let through = Some("proxy.example:3128".to_owned());
        for (server, wanted) in [
            ("https://management.azure.com/x", through.clone()),
            ("https://dynamodb.eu-west-1.amazonaws.com", through),
            ("https://portcullis.internal.example", None),
            ("https://10.1.2.3", None),
            ("http://portcullis.example", None),
            ("https://127.0.0.1:7423", None),
            ("https://[::1]:7423", None),
            ("https://localhost:7423", None),
            ("https://169.254.169.254/metadata", None),
        ] {
            assert_eq!(before(&proxies, server), wanted, "{server}");
        }
        assert_eq!(before(&Proxies::none(), "https://management.azure.com"), None);
    }

    #[test]
    fn password_of_a_proxy_is_known_to_it_and_printed_nowhere() {
        let proxies = Proxies(Matcher::builder().https("http://ann:hush@proxy.example").build());
        let server = "https://management.azure.com".parse().expect("a URI");
        let proxy = proxies.before(&server).expect("a proxy").expect("one");
        assert_eq!((proxy.host(), proxy.port()), ("proxy.example", 80));
        assert_eq!(proxy.name_and_password(), Some(("ann".to_owned(), "hush".to_owned())));
        assert!(!format!("{proxy:?}{proxies:?}").contains("hush"), "{proxies:?}");
    }

    #[test]
    fn proxy_of_another_kind_is_refused_by_name() {
        let proxies = Proxies(Matcher::builder().https("socks5://proxy.example:1080").build());
        let server = "https://management.azure.com".parse().expect("a URI");
        let why = proxies.before(&server).expect_err("no such proxy").to_string();
        assert!(why.contains("`socks5://proxy.example:1080/`"), "{why}");
    }
}
