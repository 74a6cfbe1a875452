//! Addresses and ports of a rule, in ufw's normal form.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Deserializer, de};

/// A network in CIDR notation. The host bits are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Returns the network of all IPv4 addresses, or of all IPv6 addresses.
    #[must_use]
    pub fn everything(v6: bool) -> Self {
        let address = if v6 { IpAddr::from([0_u8; 16]) } else { IpAddr::from([0_u8; 4]) };
        Self { address, prefix: 0 }
    }

    /// Whether this is an IPv6 network.
    #[must_use]
    pub fn is_v6(self) -> bool {
        self.address.is_ipv6()
    }

    /// Whether this network holds all addresses of its IP version.
    #[must_use]
    pub fn is_everything(self) -> bool {
        self.prefix == 0
    }

    /// Whether all addresses of `other` are in this network.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.address)
    }

    /// Whether the networks have an address in common.
    #[must_use]
    pub fn meets(self, other: Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// Returns the addresses that are in both networks: one of the two.
    #[must_use]
    pub fn both(self, other: Self) -> Option<Self> {
        if self.covers(other) { Some(other) } else { other.covers(self).then_some(self) }
    }

    /// Returns the networks that together hold all addresses of this IP version that are not in this network.
    #[must_use]
    pub fn others(self) -> Vec<Self> {
        let beside = |prefix: u8| {
            let bit = u32::from(width(self.address) - prefix);
            let address = match self.address {
                IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() ^ 1 << bit).into()),
                IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() ^ 1 << bit).into()),
            };
            Self { address: masked(address, prefix), prefix }
        };
        (1..=self.prefix).map(beside).collect()
    }

    /// Whether no connection comes from or goes to its addresses through a network: loopback, and several or all hosts at once.
    #[must_use]
    pub fn is_no_host(self) -> bool {
        ["127.0.0.0/8", "224.0.0.0/4", "255.255.255.255", "::1", "ff00::/8"]
            .into_iter()
            .filter_map(|network| network.parse::<Self>().ok())
            .any(|network| network.covers(self))
    }

    /// Whether `address` is in this network.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        self.is_v6() == address.is_ipv6() && masked(address, self.prefix) == self.address
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv6() { 128 } else { 32 }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)).into()),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)).into()),
    }
}

impl FromStr for Network {
    type Err = String;
    /// Parses an address, optionally with `/` and a prefix length. Host bits are cleared, as ufw does.
    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || format!("`{text}` is not an address such as 198.18.0.1 or 198.18.0.0/24");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let prefix = prefix.map_or(Ok(width(address)), |prefix| prefix.parse().map_err(|_| invalid()))?;
        if prefix > width(address) {
            return Err(invalid());
        }
        Ok(Self { address: masked(address, prefix), prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix == width(self.address) {
            write!(formatter, "{}", self.address)
        } else {
            write!(formatter, "{}/{}", self.address, self.prefix)
        }
    }
}

/// Ports as ranges in ascending order; empty means any port.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ports(Vec<(u16, u16)>);

impl Ports {
    /// Whether this matches every port.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is a single port.
    #[must_use]
    pub fn is_one(&self) -> bool {
        matches!(self.0.as_slice(), [(first, last)] if first == last)
    }

    /// Whether some port is matched by both.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        let meets = |one: &(u16, u16), two: &(u16, u16)| one.0 <= two.1 && two.0 <= one.1;
        self.is_any() || other.is_any() || self.0.iter().any(|one| other.0.iter().any(|two| meets(one, two)))
    }

    /// Whether this matches every port that `other` matches. Ranges that only together cover one of `other` are not seen as such.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.is_any() || !other.is_any() && other.0.iter().all(|range| self.covers_range(*range))
    }

    /// Whether this matches all ports of one of the ranges or single ports that `other` consists of.
    #[must_use]
    pub fn covers_one_of(&self, other: &Self) -> bool {
        self.is_any() || other.0.iter().any(|range| self.covers_range(*range))
    }

    fn covers_range(&self, (first, last): (u16, u16)) -> bool {
        self.0.iter().any(|range| range.0 <= first && last <= range.1)
    }

    /// Returns the ports that both match; `None` if there are none.
    #[must_use]
    pub fn both(&self, other: &Self) -> Option<Self> {
        if self.is_any() || other.is_any() {
            return Some(if self.is_any() { other.clone() } else { self.clone() });
        }
        let pairs = self.0.iter().flat_map(|one| other.0.iter().map(move |two| (one.0.max(two.0), one.1.min(two.1))));
        let mut ranges: Vec<_> = pairs.filter(|(first, last)| first <= last).collect();
        ranges.sort_unstable();
        ranges.dedup();
        (!ranges.is_empty()).then_some(Self(ranges))
    }

    /// Returns the ports that this does not match; `None` if there are none.
    #[must_use]
    pub fn others(&self) -> Option<Self> {
        let (mut ranges, mut next) = (Vec::new(), 1_u32);
        for (first, last) in if self.is_any() { &[(1, u16::MAX)] } else { self.0.as_slice() } {
            if let (Ok(start), Some(end)) = (u16::try_from(next), first.checked_sub(1))
                && start <= end
            {
                ranges.push((start, end));
            }
            next = next.max(u32::from(*last) + 1);
        }
        if let Ok(start) = u16::try_from(next) {
            ranges.push((start, u16::MAX));
        }
        (!ranges.is_empty()).then_some(Self(ranges))
    }

    /// Whether this matches `port`.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        self.is_any() || self.0.iter().any(|(first, last)| (*first..=*last).contains(&port))
    }
}

impl FromStr for Ports {
    type Err = String;
    /// Parses `any`, `22`, `1000:1010`, or a comma-separated list of these.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "any" {
            return Ok(Self::default());
        }
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
        let range = |text: &str| match text.split_once(':') {
            Some((first, last)) => port(first).zip(port(last)).filter(|(first, last)| first < last),
            None => port(text).map(|port| (port, port)),
        };
        let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
        let mut ranges = ranges.ok_or_else(|| format!("`{text}` is not a port such as 22, 80,443 or 1000:1010"))?;
        ranges.sort_unstable();
        Ok(Self(ranges))
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_any() {
            return formatter.write_str("any");
        }
        for (index, (first, last)) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            if first == last { write!(formatter, "{comma}{first}")? } else { write!(formatter, "{comma}{first}:{last}")? }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Ports;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a port such as 22, 80,443 or 1000:1010")
            }
            fn visit_u64<E: de::Error>(self, port: u64) -> Result<Ports, E> {
                self.visit_str(&port.to_string())
            }
            fn visit_i64<E: de::Error>(self, port: i64) -> Result<Ports, E> {
                self.visit_str(&port.to_string())
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Ports, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_of_networks_are_cleared() {
        let shown = |text: &str| text.parse::<Network>().unwrap().to_string();
        assert_eq!(shown("172.16.168.77/24"), "172.16.168.0/24");
        assert_eq!(shown("10.0.0.1/32"), "10.0.0.1");
        assert_eq!(shown("2001:db8::1/64"), "2001:db8::/64");
        assert_eq!(shown("1.2.3.4/0"), "0.0.0.0/0");
        for invalid in ["", "any", "10.0.0.0/33", "10.0.0/8", "::1/129", "10.0.0.0/", "host"] {
            assert!(invalid.parse::<Network>().is_err(), "{invalid}");
        }
    }

    #[test]
    fn networks_and_ports_cover_and_meet_each_other() {
        let network = |text: &str| text.parse::<Network>().unwrap();
        for (one, two, covers, meets) in [
            ("0.0.0.0/0", "10.0.0.1", true, true),
            ("10.0.0.0/8", "10.1.0.0/16", true, true),
            ("10.1.0.0/16", "10.0.0.0/8", false, true),
            ("10.1.0.0/16", "10.2.0.0/16", false, false),
            ("0.0.0.0/0", "::/0", false, false),
            ("2001:db8::/32", "2001:db8::1", true, true),
        ] {
            assert_eq!((network(one).covers(network(two)), network(one).meets(network(two))), (covers, meets), "{one} {two}");
        }
        let ports = |text: &str| text.parse::<Ports>().unwrap();
        for (one, two, covers, one_of, meets) in [
            ("any", "22", true, true, true),
            ("22", "any", false, false, true),
            ("6000:7000", "6379", true, true, true),
            ("6379", "6000:7000", false, false, true),
            ("80", "80,443", false, true, true),
            ("80,443", "80", true, true, true),
            ("1:5", "6:9", false, false, false),
        ] {
            let (one, two) = (ports(one), ports(two));
            assert_eq!((one.covers(&two), one.covers_one_of(&two), one.meets(&two)), (covers, one_of, meets), "{one} {two}");
        }
    }

    #[test]
    fn the_others_of_networks_and_ports_are_all_others() {
        let shown = |text: &str| {
            let others = text.parse::<Network>().unwrap().others();
            others.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown("10.0.0.0/8"), "128.0.0.0/1 64.0.0.0/2 32.0.0.0/3 16.0.0.0/4 0.0.0.0/5 12.0.0.0/6 8.0.0.0/7 11.0.0.0/8");
        assert_eq!((shown("0.0.0.0/0").as_str(), shown("::/1").as_str()), ("", "8000::/1"));
        assert_eq!(shown("198.18.0.1").split(' ').count(), 32);
        assert!(shown("198.18.0.1").ends_with(" 198.18.0.0"));
        let ports = |text: &str| text.parse::<Ports>().unwrap();
        let others = |text: &str| ports(text).others().map(|ports| ports.to_string());
        for (text, wanted) in [
            ("22", Some("1:21,23:65535")),
            ("1:79,81:65535", Some("80")),
            ("1:10,5:20,22", Some("21,23:65535")),
            ("any", None),
            ("1:65535", None),
        ] {
            assert_eq!(others(text).as_deref(), wanted, "{text}");
        }
        let both = |one: &str, two: &str| ports(one).both(&ports(two)).map(|ports| ports.to_string());
        for (one, two, wanted) in [
            ("any", "22", Some("22")),
            ("6000:7000,22", "6379,8001", Some("6379")),
            ("22", "80,443", None),
            ("any", "any", Some("any")),
        ] {
            assert_eq!(both(one, two).as_deref(), wanted, "{one} {two}");
            assert_eq!(both(two, one).as_deref(), wanted, "{two} {one}");
        }
    }

    #[test]
    fn ports_are_parsed_and_sorted() {
        assert_eq!("443,80".parse::<Ports>().unwrap().to_string(), "80,443");
        for invalid in ["", "0", "ssh", "10:5", "1,", "65536", "1:2:3"] {
            assert!(invalid.parse::<Ports>().is_err(), "{invalid}");
        }
    }
}
