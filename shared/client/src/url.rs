//! URLs of the API, and whether they lead to this machine.

use crate::socket;
use portcullis_program::Failure;
use std::net::IpAddr;
use ureq::http::Uri;

/// Somewhere that HTTP leads to.
pub fn usable_url(url: &str) -> Result<Uri, Failure> {
    let wanted = || Failure::usage(format!("`{url}` is not a URL such as `http://127.0.0.1:7422`"));
    let uri: Uri = url.parse().map_err(|_| wanted())?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    if !is_http || uri.host().is_none() || uri.query().is_some() {
        return Err(wanted());
    }
    Ok(uri)
}

/// Can a connection be made there: over HTTP, or over a socket?
pub fn is_usable(url: &str) -> bool {
    socket::named(url).is_some() || usable_url(url).is_ok()
}

pub fn is_here(url: &str) -> bool {
    socket::named(url).is_some() || url.parse().is_ok_and(|uri| is_loopback(&uri))
}

pub fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|it| it.is_loopback())
}
