//! Gates, and who may stand before them.

use crate::space::AddressSet;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, net::IpAddr, num::NonZeroU16, str::FromStr};

/// A text that is not a port, protocol, gate or address range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not {wanted}")]
pub struct BadAddress {
    given: String,
    wanted: &'static str,
}

fn bad(given: &str, wanted: &'static str) -> BadAddress {
    BadAddress { given: given.chars().take(80).collect(), wanted }
}

/// 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "u16")]
pub struct Port(NonZeroU16);

/// What a rule speaks of. Packets are [`Protocol::Tcp`] or [`Protocol::Udp`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP alone.
    #[serde(rename = "TCP", alias = "tcp", alias = "Tcp")]
    Tcp,
    /// UDP alone.
    #[serde(rename = "UDP", alias = "udp", alias = "Udp")]
    Udp,
    /// Both.
    #[serde(rename = "*")]
    Any,
}

/// What a lease opens on its target. Printed `22/tcp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gate {
    /// The port.
    pub port: Port,
    /// The protocol.
    pub protocol: Protocol,
}

/// Address ranges, sorted, without overlap and as few as possible.
///
/// INVARIANT (empty-is-nothing): no sources admit nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Sources(Vec<IpNet>);

impl Port {
    pub(crate) const WANTED: &str = "a port from 1 to 65535";

    /// The number, 1 to 65535.
    pub fn number(self) -> u16 {
        self.0.get()
    }
}

impl Protocol {
    /// The kinds of packet that this speaks of.
    pub fn transports(self) -> &'static [Self] {
        match self {
            Self::Tcp => &[Self::Tcp],
            Self::Udp => &[Self::Udp],
            Self::Any => &[Self::Tcp, Self::Udp],
        }
    }

    /// Is there a packet that both speak of?
    pub fn meets(self, other: Self) -> bool {
        self == other || self == Self::Any || other == Self::Any
    }

    /// Is every packet that `other` speaks of one that this speaks of? As [`Sources::cover`].
    pub fn covers(self, other: Self) -> bool {
        other.transports().iter().all(|it| self.transports().contains(it))
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Any => "any",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        [Self::Tcp, Self::Udp, Self::Any].into_iter().find(|it| it.word() == word)
    }
}

impl Gate {
    /// Is there a packet that both speak of?
    pub fn meets(self, other: Self) -> bool {
        self.port == other.port && self.protocol.meets(other.protocol)
    }

    /// Is every packet that `other` speaks of one that this speaks of?
    pub fn covers(self, other: Self) -> bool {
        self.port == other.port && self.protocol.covers(other.protocol)
    }

    /// The same for each kind of packet by itself.
    pub fn transports(self) -> impl Iterator<Item = Self> {
        self.protocol.transports().iter().map(move |it| Self { protocol: *it, ..self })
    }
}

impl Sources {
    /// Everybody, IPv4 and IPv6.
    pub fn anywhere() -> Self {
        let any = |address: [IpAddr; 2]| address.map(|it| IpNet::new(it, 0).unwrap_or(IpNet::from(it)));
        Self(any([[0, 0, 0, 0].into(), [0_u16; 8].into()]).to_vec())
    }

    /// The ranges of all of these, normalised. An IPv4 address in IPv6 clothes counts as IPv4.
    pub fn of(ranges: impl IntoIterator<Item = IpNet>) -> Self {
        let ranges: Vec<IpNet> = ranges.into_iter().map(unmapped).collect();
        Self(IpNet::aggregate(&ranges))
    }

    /// Is nobody in it?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges, sorted, without overlap.
    pub fn ranges(&self) -> &[IpNet] {
        &self.0
    }

    /// Nobody in `other` is missing here: true containment, not equality of texts.
    pub fn cover(&self, other: &Self) -> bool {
        AddressSet::from(other).is_within(&AddressSet::from(self))
    }

    /// Is this address in it?
    pub fn admit(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|range| range.contains(&address))
    }
}

/// One address, or a range in CIDR notation with whatever bits it has behind the prefix.
///
/// The standard library reads the address: the parser of [`IpNet`] takes `010.0.0.1/8`, which is 8 to some programs and 10
/// to others.
pub fn address_range(text: &str) -> Option<IpNet> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let Some(bits) = bits else { return Some(address.into()) };
    let is_plain = bits == "0" || bits.bytes().all(|it| it.is_ascii_digit()) && !bits.starts_with('0');
    IpNet::new(address, bits.parse().ok().filter(|_| is_plain)?).ok()
}

/// `::ffff:10.0.0.1/128` is `10.0.0.1/32`: the kernel and the clouds see such packets as IPv4.
fn unmapped(range: IpNet) -> IpNet {
    const MAPPED_BITS: u8 = 96;
    let narrow = range.addr().to_canonical();
    match range {
        IpNet::V6(v6) if narrow.is_ipv4() && MAPPED_BITS <= v6.prefix_len() => {
            IpNet::new(narrow, v6.prefix_len() - MAPPED_BITS).unwrap_or(range).trunc()
        }
        IpNet::V4(_) | IpNet::V6(_) => range.trunc(),
    }
}

impl From<IpAddr> for Sources {
    fn from(address: IpAddr) -> Self {
        Self::of([address.to_canonical().into()])
    }
}

impl FromStr for Sources {
    type Err = BadAddress;
    /// One address, one range in CIDR notation, or `*` for everybody.
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        if text == "*" {
            return Ok(Self::anywhere());
        }
        let wanted = "an address or a range, such as `203.0.113.7`, `10.0.0.0/8` or `2001:db8::/32`";
        address_range(text).map(|range| Self::of([range])).ok_or_else(|| bad(text, wanted))
    }
}

impl TryFrom<Vec<String>> for Sources {
    type Error = BadAddress;
    fn try_from(texts: Vec<String>) -> Result<Self, BadAddress> {
        let parsed = texts.iter().map(|text| text.parse::<Self>()).collect::<Result<Vec<_>, _>>()?;
        Ok(Self::of(parsed.into_iter().flat_map(|it| it.0)))
    }
}

impl From<Sources> for Vec<String> {
    fn from(sources: Sources) -> Self {
        sources.0.iter().map(ToString::to_string).collect()
    }
}

impl fmt::Display for Sources {
    /// `anywhere`, `nobody`, or the ranges with single addresses without their prefix.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nobody");
        }
        if *self == Self::anywhere() {
            return f.write_str("anywhere");
        }
        for (n, range) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            if range.prefix_len() == range.max_prefix_len() {
                write!(f, "{comma}{}", range.addr())?;
            } else {
                write!(f, "{comma}{range}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Port {
    type Err = BadAddress;
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        text.parse().map(Self).map_err(|_| bad(text, Self::WANTED))
    }
}

impl TryFrom<u16> for Port {
    type Error = BadAddress;
    fn try_from(number: u16) -> Result<Self, BadAddress> {
        NonZeroU16::new(number).map(Self).ok_or_else(|| bad(&number.to_string(), Self::WANTED))
    }
}

impl From<Port> for u16 {
    fn from(port: Port) -> Self {
        port.number()
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Protocol {
    type Err = BadAddress;
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "*" | "any" => Ok(Self::Any),
            _ => Err(bad(text, "a protocol: `tcp`, `udp` or `*`")),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Any => "*",
        })
    }
}

impl FromStr for Gate {
    type Err = BadAddress;
    /// `22/tcp`, `3389/udp`, `53/*`; a bare number is TCP.
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        Ok(Self { port: port.parse()?, protocol: protocol.parse()? })
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol)
    }
}

impl Serialize for Gate {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Gate {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The gates of a list as they are shown to people.
pub(crate) fn listed<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let shown: BTreeSet<String> = items.into_iter().map(|it| format!("`{it}`")).collect();
    if shown.is_empty() { "none".to_owned() } else { shown.into_iter().collect::<Vec<_>>().join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(texts: &[&str]) -> Sources {
        texts.iter().map(|&it| it.to_owned()).collect::<Vec<_>>().try_into().expect("valid")
    }

    #[test]
    fn ranges_are_normalised() {
        assert_eq!(sources(&["10.0.0.7/8", "10.1.0.0/16"]).to_string(), "10.0.0.0/8");
        assert_eq!(sources(&["10.0.0.0/25", "10.0.0.128/25"]).to_string(), "10.0.0.0/24");
        assert_eq!(sources(&["::ffff:10.0.0.1"]), sources(&["10.0.0.1"]));
        assert_eq!(sources(&["*"]), Sources::anywhere());
    }

    #[test]
    fn containment_is_of_addresses_not_of_texts() {
        let halves = sources(&["10.0.0.0/25", "10.0.0.128/26", "10.0.0.192/26"]);
        assert!(halves.cover(&sources(&["10.0.0.0/24"])));
        assert!(!halves.cover(&sources(&["10.0.0.0/23"])));
        assert!(!sources(&["0.0.0.0/0"]).cover(&sources(&["2001:db8::1"])));
        assert!(halves.cover(&Sources::default()));
    }

    #[test]
    fn gate_covers_the_gates_whose_packets_it_has() {
        let covers = |one: &str, other: &str| {
            one.parse::<Gate>().expect("valid").covers(other.parse().expect("valid"))
        };
        for (one, other) in [("53/*", "53/tcp"), ("53/*", "53/udp"), ("53/*", "53/*"), ("53/tcp", "53/tcp")] {
            assert!(covers(one, other), "{one} {other}");
        }
        for (one, other) in [("53/tcp", "53/*"), ("53/tcp", "53/udp"), ("53/*", "54/tcp")] {
            assert!(!covers(one, other), "{one} {other}");
        }
    }

    #[test]
    fn empty_is_nothing() {
        assert!(!Sources::default().admit([10, 0, 0, 1].into()));
        assert!(!Sources::default().cover(&sources(&["10.0.0.1"])));
    }

    #[test]
    fn range_is_read_only_in_forms_that_every_parser_reads_alike() {
        for text in ["10.0.0.7", "10.0.0.7/8", "0.0.0.0/0", "2001:db8::/32", "::/0", "::ffff:10.0.0.1/128"] {
            assert!(address_range(text).is_some(), "{text}");
        }
        let odd = [
            "010.0.0.1",
            "010.0.0.1/8",
            "10.0.0.01/8",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "10.0.0.0/8/8",
            "10.0.0.0/255.0.0.0",
            "10.0.0/8",
            "10/8",
            " 10.0.0.0/8",
            "fe80::1%eth0/64",
            "::/00",
            "0x0a.0.0.1/8",
        ];
        for text in odd {
            assert_eq!(address_range(text), None, "{text}");
            assert!(text.parse::<Sources>().is_err(), "{text}");
        }
    }

    #[test]
    fn bad_input_is_named() {
        let no = "70000".parse::<Port>().expect_err("too large");
        assert_eq!(no.to_string(), "`70000` is not a port from 1 to 65535");
        assert!("0".parse::<Port>().is_err());
        assert!("22/sctp".parse::<Gate>().is_err());
        assert!("10.0.0.0/33".parse::<Sources>().is_err());
    }
}
