//! Sets of addresses, exactly: what is left of everybody after a list of rules.

use crate::Sources;
use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Addresses of both families, as inclusive spans that are sorted and do not touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressSet {
    v4: Spans,
    v6: Spans,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Spans(Vec<(u128, u128)>);

impl AddressSet {
    /// Everybody.
    pub fn all() -> Self {
        Self { v4: Spans(vec![(0, u128::from(u32::MAX))]), v6: Spans(vec![(0, u128::MAX)]) }
    }

    /// Is nobody in it?
    pub fn is_empty(&self) -> bool {
        self.v4.0.is_empty() && self.v6.0.is_empty()
    }

    /// Everybody who is in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.pairwise(other, |one, two| Spans::merged(one.0.iter().chain(&two.0).copied().collect()))
    }

    /// Everybody who is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.pairwise(other, Spans::intersection)
    }

    /// Everybody here who is not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        self.pairwise(other, Spans::without)
    }

    /// Is everybody here also in `other`?
    pub fn is_within(&self, other: &Self) -> bool {
        self.without(other).is_empty()
    }

    /// Is this address in it?
    pub fn contains(&self, address: IpAddr) -> bool {
        let (spans, bits) = match address.to_canonical() {
            IpAddr::V4(it) => (&self.v4, u128::from(it.to_bits())),
            IpAddr::V6(it) => (&self.v6, it.to_bits()),
        };
        spans.0.iter().any(|(first, last)| (*first..=*last).contains(&bits))
    }

    /// Somebody who is in it.
    pub fn first(&self) -> Option<IpAddr> {
        let v4 = self.v4.0.first().and_then(|(first, _)| u32::try_from(*first).ok());
        let v6 = self.v6.0.first().map(|(first, _)| Ipv6Addr::from_bits(*first).into());
        v4.map(|bits| Ipv4Addr::from_bits(bits).into()).or(v6)
    }

    /// As ranges.
    pub fn to_sources(&self) -> Sources {
        let v4 = self.v4.0.iter().filter_map(|(first, last)| {
            let ends = (u32::try_from(*first).ok()?, u32::try_from(*last).ok()?);
            Some(
                Ipv4Subnets::new(Ipv4Addr::from_bits(ends.0), Ipv4Addr::from_bits(ends.1), 0)
                    .map(IpNet::from),
            )
        });
        let v6 = self.v6.0.iter().map(|(first, last)| {
            Ipv6Subnets::new(Ipv6Addr::from_bits(*first), Ipv6Addr::from_bits(*last), 0).map(IpNet::from)
        });
        Sources::of(v4.flatten().chain(v6.flatten()))
    }

    /// Who is in it, for people: a few ranges, or how many there are.
    pub fn summary(&self) -> String {
        const SHOWN_MAX: usize = 6;
        let (v4, v6) = (self.v4 == Self::all().v4, self.v6 == Self::all().v6);
        let ranges = self.to_sources();
        let count = ranges.ranges().len();
        match (v4, v6) {
            (true, true) => "anywhere".to_owned(),
            (true, false) if self.v6.0.is_empty() => "anywhere over IPv4".to_owned(),
            (false, true) if self.v4.0.is_empty() => "anywhere over IPv6".to_owned(),
            (true | false, _) if count <= SHOWN_MAX => ranges.to_string(),
            (true | false, _) => {
                let who =
                    Vec::<String>::from(ranges).into_iter().take(SHOWN_MAX).collect::<Vec<_>>().join(", ");
                format!("{who} and {} more ranges", count - SHOWN_MAX)
            }
        }
    }

    fn pairwise(&self, other: &Self, of: impl Fn(&Spans, &Spans) -> Spans) -> Self {
        Self { v4: of(&self.v4, &other.v4), v6: of(&self.v6, &other.v6) }
    }
}

impl Spans {
    fn merged(mut spans: Vec<(u128, u128)>) -> Self {
        spans.sort_unstable();
        let mut merged: Vec<(u128, u128)> = vec![];
        for (first, last) in spans {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                Some(_) | None => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    /// Both lists are sorted, so each span is passed once.
    fn intersection(&self, other: &Self) -> Self {
        let (mut one, mut two) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut both = vec![];
        while let (Some(a), Some(b)) = (one.peek(), two.peek()) {
            let (first, last) = (a.0.max(b.0), a.1.min(b.1));
            if first <= last {
                both.push((first, last));
            }
            if a.1 < b.1 {
                one.next();
            } else {
                two.next();
            }
        }
        Self(both)
    }

    fn without(&self, other: &Self) -> Self {
        let mut left = vec![];
        let mut holes = other.0.iter().peekable();
        for &(first, last) in &self.0 {
            let mut from = Some(first);
            while let (Some(at), Some(&&(hole, end))) = (from, holes.peek()) {
                if last < hole {
                    break;
                }
                if at < hole {
                    left.push((at, hole - 1));
                }
                if last < end {
                    from = None;
                    break;
                }
                holes.next();
                from = end.checked_add(1).map(|next| next.max(at)).filter(|next| *next <= last);
            }
            left.extend(from.map(|at| (at, last)));
        }
        Self(left)
    }
}

impl fmt::Display for AddressSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_sources().fmt(f)
    }
}

impl From<&Sources> for AddressSet {
    fn from(sources: &Sources) -> Self {
        let (mut v4, mut v6) = (vec![], vec![]);
        for range in sources.ranges() {
            match range {
                IpNet::V4(it) => v4.push((it.network().to_bits().into(), it.broadcast().to_bits().into())),
                IpNet::V6(it) => v6.push((it.network().to_bits(), it.broadcast().to_bits())),
            }
        }
        Self { v4: Spans::merged(v4), v6: Spans::merged(v6) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pair of sets over a space of eight addresses, against sets of bits.
    #[test]
    fn algebra_agrees_with_bits() {
        let set = |bits: u128| {
            let spans = (0..8).filter(|at| bits >> at & 1 == 1).map(|at| (at, at)).collect();
            AddressSet { v4: Spans::merged(spans), v6: Spans::default() }
        };
        for one in 0..256 {
            for two in 0..256 {
                let (a, b) = (set(one), set(two));
                assert_eq!(a.union(&b), set(one | two));
                assert_eq!(a.intersection(&b), set(one & two));
                assert_eq!(a.without(&b), set(one & !two), "{one:08b} without {two:08b}");
                assert_eq!(a.is_within(&b), one & !two == 0);
            }
        }
    }

    #[test]
    fn the_ends_of_the_space_are_in_it() {
        let all = AddressSet::all();
        assert!(all.without(&all).is_empty());
        assert_eq!(AddressSet::from(&Sources::anywhere()), all);
        assert!(all.contains([255, 255, 255, 255].into()));
    }
}
