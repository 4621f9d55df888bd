//! Proxies in front of the router, and where a caller is by their word.

use axum::http::HeaderMap;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// Proxies whose `X-Forwarded-For` is believed. None by default.
#[derive(Debug, Clone, Default)]
pub struct Proxies(Vec<IpNet>);

impl Proxies {
    /// These ranges are ours.
    pub fn of(ranges: Vec<IpNet>) -> Self {
        Self(ranges)
    }

    /// Where a caller is: the peer itself, or if that is a proxy of ours, the last address that one of
    /// ours saw. Whatever stands further left in the header was written by somebody else.
    /// `None` if one of ours says nothing, or what nobody understands: that is not the proxy's own address,
    /// behind which is everybody.
    pub(crate) fn address(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        // What is no text is no address either.
        let forwarded = headers.get_all("x-forwarded-for").iter().map(|it| it.to_str().unwrap_or_default());
        let hops: Vec<&str> = forwarded.flat_map(|it| it.split(',')).map(str::trim).collect();
        let mut address = peer.to_canonical();
        if hops.is_empty() && self.hold(address) {
            return None;
        }
        for hop in hops.iter().rev() {
            if !self.hold(address) {
                break;
            }
            address = hop_address(hop)?.to_canonical();
        }
        Some(address)
    }

    fn hold(&self, address: IpAddr) -> bool {
        self.0.iter().any(|range| range.contains(&address))
    }
}

/// An address as proxies write it: some with the port.
fn hop_address(hop: &str) -> Option<IpAddr> {
    let plain = hop.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(hop);
    plain.parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|it| it.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(proxies: &[&str], peer: &str, forwarded: &str) -> String {
        let proxies = Proxies(proxies.iter().map(|it| it.parse().expect("valid")).collect());
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", forwarded.parse().expect("valid"));
        let address = proxies.address(peer.parse().expect("valid"), &headers);
        address.map(|it| it.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_header_is_believed_only_from_a_configured_proxy() {
        assert_eq!(address(&[], "198.51.100.1", "203.0.113.9"), "198.51.100.1");
        assert_eq!(address(&["10.0.0.0/8"], "10.0.0.1", "203.0.113.9"), "203.0.113.9");
    }

    #[test]
    fn what_a_caller_writes_into_the_header_is_not_believed() {
        assert_eq!(address(&["10.0.0.0/8"], "10.0.0.1", "1.1.1.1, 203.0.113.9"), "203.0.113.9");
        assert_eq!(address(&["10.0.0.0/8"], "10.0.0.1", "203.0.113.9, 10.0.0.2"), "203.0.113.9");
        assert_eq!(address(&["10.0.0.0/8"], "10.0.0.1", "rubbish, 203.0.113.9"), "203.0.113.9");
    }

    #[test]
    fn a_proxy_may_write_the_port_and_what_nobody_understands_is_nobody() {
        let forwarded = |hop| address(&["10.0.0.0/8"], "10.0.0.1", hop);
        assert_eq!(forwarded("203.0.113.9:50123"), "203.0.113.9");
        assert_eq!(forwarded("[2001:db8::1]:50123"), "2001:db8::1");
        assert_eq!(forwarded("[2001:db8::1]"), "2001:db8::1");
        assert_eq!(forwarded("rubbish"), "", "and not the proxy");
        assert_eq!(forwarded(""), "");
        assert_eq!(forwarded("203.0.113.9, \u{e9}"), "", "no hop of somebody else's");
        let proxies = Proxies(vec!["10.0.0.0/8".parse().expect("valid")]);
        assert_eq!(proxies.address([10, 0, 0, 1].into(), &HeaderMap::new()), None, "it says nothing");
    }
}
