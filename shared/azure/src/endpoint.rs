//! Where tokens may go: over TLS to anywhere that the settings name, in clear only to this machine.

use azure_core::http::Url;

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    host: String,
    port: u16,
}

impl Origin {
    /// Of a URL that has them.
    pub fn of(url: &Url) -> Option<Self> {
        Some(Self { host: url.host_str()?.to_owned(), port: url.port_or_known_default()? })
    }

    /// The same URL, at this origin, by this scheme.
    pub fn put_into(&self, url: &Url, scheme: &str) -> Option<Url> {
        let mut url = url.clone();
        url.set_scheme(scheme).ok()?;
        url.set_host(Some(&self.host)).ok()?;
        url.set_port(Some(self.port)).ok()?;
        Some(url)
    }
}

/// A place of the settings that was checked.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// As the settings have it.
    real: Url,
    /// As `azure_core` is told it: it sends no token to a URL that is not `https`.
    shown: Url,
    origin: Origin,
}

/// A text that is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an endpoint: `https://` with a host, or `http://` with a loopback address")]
pub struct NotAnEndpoint(pub String);

/// A text that is no path of a resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a path of a resource: names between slashes, none of them `.` or `..`")]
pub struct NotAPath(pub String);

/// A link in an answer that leads elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the answer links to `{link}`, which is not at `{endpoint}`: no token is sent there")]
pub struct ForeignLink {
    /// Where the link leads.
    pub link: String,
    /// Who was asked.
    pub endpoint: String,
}

impl Endpoint {
    /// What a text of the settings says.
    pub fn of(text: &str) -> Result<Self, NotAnEndpoint> {
        let refused = || NotAnEndpoint(text.to_owned());
        let real = Url::parse(text).map_err(|_| refused())?;
        let is_clear = real.scheme() == "http" && is_loopback(&real);
        let has_more = real.path() != "/"
            || real.query().is_some()
            || real.fragment().is_some()
            || !real.username().is_empty()
            || real.password().is_some();
        if has_more || !(is_clear || real.scheme() == "https") {
            return Err(refused());
        }
        let origin = Origin::of(&real).ok_or_else(refused)?;
        let shown =
            if is_clear { origin.put_into(&real, "https").ok_or_else(refused)? } else { real.clone() };
        Ok(Self { real, shown, origin })
    }

    /// As `azure_core` is told it.
    pub fn shown(&self) -> &Url {
        &self.shown
    }

    /// Where requests that are shown as `https` go in clear, if they do.
    pub fn clear(&self) -> Option<Origin> {
        (self.real.scheme() == "http").then(|| self.origin.clone())
    }

    /// A path below it. Ids come from callers: none may lead from what was checked to another resource.
    pub fn path(&self, path: &str, api: &str) -> Result<Url, NotAPath> {
        let mut url = self.shown.clone();
        url.set_path(path);
        let is_kept = url.path().split('/').count() == path.split('/').count();
        let is_plain = !path.contains(|it: char| it == '\\' || it.is_control());
        if !(path.starts_with('/') && is_kept && is_plain) {
            return Err(NotAPath(path.to_owned()));
        }
        url.query_pairs_mut().append_pair("api-version", api);
        Ok(url)
    }

    /// A link of an answer, as `azure_core` is told it.
    pub fn link(&self, link: &str) -> Result<Url, ForeignLink> {
        let foreign = || ForeignLink { link: link.to_owned(), endpoint: self.real.to_string() };
        let url = self.real.join(link).map_err(|_| foreign())?;
        if url.scheme() != self.real.scheme() || Origin::of(&url).as_ref() != Some(&self.origin) {
            return Err(foreign());
        }
        self.origin.put_into(&url, "https").ok_or_else(foreign)
    }
}

/// Is it this machine?
pub fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    address.map_or(host == "localhost", |it| it.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clear_text_is_for_this_machine_only() {
        for good in [
            "https://management.azure.com",
            "https://management.azure.com/",
            "https://10.0.0.4:8443",
            "http://127.0.0.1:7423",
            "http://localhost",
            "http://[::1]:7423",
        ] {
            assert!(Endpoint::of(good).is_ok(), "{good}");
        }
        for bad in [
            "http://management.azure.com",
            "http://10.0.0.4:7423",
            "http://127.0.0.1.example.com",
            "http://localhost.example.com",
            "https://management.azure.com/path",
            "https://user@management.azure.com",
            "https://management.azure.com?query",
            "ftp://127.0.0.1",
            "management.azure.com",
            "",
        ] {
            assert_eq!(Endpoint::of(bad).map(|it| it.real), Err(NotAnEndpoint(bad.to_owned())), "{bad}");
        }
        let refused = Endpoint::of("http://example.com").expect_err("not on this machine").to_string();
        assert!(refused.contains("`http://example.com`") && refused.contains("loopback"), "{refused}");
    }

    #[test]
    fn what_goes_in_clear_is_shown_as_https_on_the_same_port() {
        let shown = |text| Endpoint::of(text).map(|it| it.shown().join("/x").expect("a URL").to_string());
        assert_eq!(shown("http://127.0.0.1:7423").as_deref(), Ok("https://127.0.0.1:7423/x"));
        assert_eq!(shown("http://localhost").as_deref(), Ok("https://localhost:80/x"));
        assert_eq!(shown("https://example.com").as_deref(), Ok("https://example.com/x"));
        let clear = |text| Endpoint::of(text).ok().and_then(|it| it.clear());
        assert_eq!(clear("https://127.0.0.1:7423"), None);
        assert_eq!(clear("http://localhost"), Some(Origin { host: "localhost".to_owned(), port: 80 }));
    }

    #[test]
    fn a_path_leads_where_it_says() {
        let endpoint = Endpoint::of("https://example.com").expect("an endpoint");
        let path = |path: &str| endpoint.path(path, "v").map(|it| it.to_string());
        assert_eq!(path("/a b/(c)").as_deref(), Ok("https://example.com/a%20b/(c)?api-version=v"));
        assert_eq!(path("/a?b#c").as_deref(), Ok("https://example.com/a%3Fb%23c?api-version=v"));
        for bad in ["/a/../b", "/a/%2e%2E/b", "/a/./b", "/a/..", "/a\\..\\b", "/a\tb", "a", "", "//../a"] {
            assert_eq!(path(bad), Err(NotAPath(bad.to_owned())));
        }
    }

    #[test]
    fn links_stay_at_the_endpoint() {
        let endpoint = Endpoint::of("https://management.azure.com").expect("an endpoint");
        let followed = |link| endpoint.link(link).map(|it| it.to_string());
        let whole = "https://management.azure.com/next?$skiptoken=2";
        assert_eq!(followed(whole).as_deref(), Ok(whole));
        assert_eq!(followed("/next?$skiptoken=2").as_deref(), Ok(whole));
        for foreign in [
            "http://management.azure.com/next",
            "https://management.azure.com.example.com/next",
            "https://management.azure.com:444/next",
            "https://example.com/next",
            "//example.com/next",
        ] {
            assert!(followed(foreign).is_err(), "{foreign}");
        }
        let local = Endpoint::of("http://127.0.0.1:7423").expect("an endpoint");
        let link = local.link("http://127.0.0.1:7423/next").map(|it| it.to_string());
        assert_eq!(link.as_deref(), Ok("https://127.0.0.1:7423/next"));
        assert!(local.link("https://127.0.0.1:7423/next").is_err());
    }
}
