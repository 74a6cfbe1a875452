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
    fn ports_are_parsed_and_sorted() {
        assert_eq!("443,80".parse::<Ports>().unwrap().to_string(), "80,443");
        for invalid in ["", "0", "ssh", "10:5", "1,", "65536", "1:2:3"] {
            assert!(invalid.parse::<Ports>().is_err(), "{invalid}");
        }
    }
}
