//! Names that certificates carry, each checked once, where it comes in.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use rustls_pki_types::{DnsName, ServerName};

use super::error::NameError;

/// Longest trust domain. A member's longest DNS name, `<node>.<namespace>.<trust domain>` with
/// labels of 63, then still fits the 253 characters of DNS.
pub const MAX_TRUST_DOMAIN: usize = 125;

/// The name of the world that one store's certificates speak of, such as `prod.example.com`.
///
/// RFC 1123 labels joined by dots, lower case, at most [`MAX_TRUST_DOMAIN`] characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(String);

impl TrustDomain {
    /// Checks and keeps `value`. Upper case is refused, not folded: one domain, one spelling.
    pub fn parse(value: &str) -> Result<Self, NameError> {
        if value.len() > MAX_TRUST_DOMAIN {
            return Err(NameError::TooLong {
                what: "trust domain",
                length: value.len(),
                limit: MAX_TRUST_DOMAIN,
            });
        }
        for part in value.split('.') {
            label("trust domain", part, value)?;
        }
        Ok(Self(value.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a machine: one RFC 1123 label, lower case, at most 63 characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeName(String);

impl NodeName {
    /// Checks and keeps `value`.
    pub fn parse(value: &str) -> Result<Self, NameError> {
        label("node name", value, value)?;
        Ok(Self(value.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! text_of {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(value: &str) -> Result<Self, NameError> {
                Self::parse(value)
            }
        }
    };
}
text_of!(TrustDomain);
text_of!(NodeName);

/// A namespace is one label too; Kubernetes has the same rule for its own.
pub(super) fn namespace(value: &str) -> Result<(), NameError> {
    label("namespace", value, value)
}

/// A DNS name by which the door is reached: labels joined by dots, at most 253 characters.
/// No wildcard: a certificate of the door speaks for the door alone.
pub(super) fn dns_name(value: &str) -> Result<(), NameError> {
    if value.len() > 253 {
        return Err(NameError::TooLong {
            what: "DNS name",
            length: value.len(),
            limit: 253,
        });
    }
    value
        .split('.')
        .try_for_each(|part| label("DNS name", part, value))
}

/// The host and the port of a peer's address `host:port`.
///
/// The host is a DNS name in lower case, an IPv4 address, or an IPv6 address in brackets and in its shortest form; the port is
/// 1 to 65535. One address has one spelling, since addresses are compared as texts.
pub fn peer_host(address: &str) -> Result<(ServerName<'static>, u16), NameError> {
    let error = || NameError::NotAPeerAddress {
        value: address.chars().take(80).collect(),
    };
    let (host, port) = address.rsplit_once(':').ok_or_else(error)?;
    let number: u16 = port.parse().map_err(|_| error())?;
    if number == 0 || number.to_string() != port {
        return Err(error());
    }
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let host = match bracketed {
        Some(inside) => inside
            .parse::<Ipv6Addr>()
            .ok()
            .filter(|six| six.to_string() == inside && !six.is_unspecified())
            .map(|six| ServerName::from(IpAddr::from(six))),
        None if ends_in_a_number(host) => host
            .parse::<Ipv4Addr>()
            .ok()
            .filter(|four| !four.is_unspecified())
            .map(|four| ServerName::from(IpAddr::from(four))),
        None => dns_name(host)
            .ok()
            .and_then(|()| DnsName::try_from(host.to_owned()).ok())
            .map(ServerName::DnsName),
    };
    Ok((host.ok_or_else(error)?, number))
}

/// No DNS name ends in a number: such a host is an IPv4 address, or one that is mistyped.
fn ends_in_a_number(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit())
}

/// Lower-case hexadecimal of `min..=max` digits; `digits` says the range in words.
pub(super) fn hex_id(
    what: &'static str,
    value: &str,
    range: std::ops::RangeInclusive<usize>,
    digits: &'static str,
) -> Result<(), NameError> {
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if range.contains(&value.len()) && value.bytes().all(hex) {
        Ok(())
    } else {
        Err(NameError::NotHex { what, digits })
    }
}

fn label(what: &'static str, part: &str, whole: &str) -> Result<(), NameError> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let edge = |b: Option<&u8>| b.is_some_and(|b| *b != b'-');
    let bytes = part.as_bytes();
    if bytes.len() <= 63
        && bytes.iter().all(|b| inner(*b))
        && edge(bytes.first())
        && edge(bytes.last())
    {
        return Ok(());
    }
    Err(NameError::NotALabel {
        what,
        value: whole.chars().take(80).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_follow_rfc_1123() {
        for good in ["a", "0", "node-1", "a--b", &"x".repeat(63)] {
            assert_eq!(NodeName::parse(good).unwrap().as_str(), good);
        }
        let long = "x".repeat(64);
        for bad in [
            "", "-a", "a-", "A", "a.b", "a_b", "ä", "a b", "*", "a\0", "door\n", &long,
        ] {
            assert!(NodeName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_error_says_what_to_write() {
        let error = NodeName::parse("Node_1").unwrap_err().to_string();
        assert!(error.starts_with("node name \"Node_1\" is not a DNS label: use 1 to 63"));
        let flood = NodeName::parse(&"?".repeat(100_000)).unwrap_err();
        assert!(flood.to_string().len() < 300);
    }

    #[test]
    fn trust_domains_are_labels_and_leave_room_for_members() {
        for good in ["prod", "prod.example.com", "a.b.c.d"] {
            assert_eq!(TrustDomain::parse(good).unwrap().to_string(), good);
        }
        let longest = format!("{}.{}", "x".repeat(63), "y".repeat(61));
        assert_eq!(longest.len(), MAX_TRUST_DOMAIN);
        assert!(TrustDomain::parse(&longest).is_ok());
        assert!(TrustDomain::parse(&format!("{longest}z")).is_err());
        for bad in ["", ".", "a.", ".a", "a..b", "Prod", "a/b", "a:1", "*.a"] {
            assert!(TrustDomain::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn peer_addresses_have_one_spelling() {
        for good in [
            "a:1",
            "jointoken-0.jointoken.prod.svc.cluster.local:7443",
            "1a.example:65535",
            "10.0.0.1:7443",
            "[::1]:7443",
            "[2001:db8::7]:7443",
        ] {
            let (host, port) = peer_host(good).unwrap();
            let host = host.to_str();
            let host = if host.contains(':') {
                format!("[{host}]")
            } else {
                host.into_owned()
            };
            assert_eq!(format!("{host}:{port}"), good);
        }
        let long = format!("{}:1", "a.".repeat(130));
        for bad in [
            "",
            ":",
            "a",
            "a:",
            ":1",
            "a:0",
            "a:65536",
            "a:01",
            "a:+1",
            "a:-1",
            "a: 1",
            "a:1 ",
            " a:1",
            "A:1",
            "a.:1",
            ".a:1",
            "a..b:1",
            "a_b:1",
            "-a:1",
            "*.a:1",
            "a:1:2",
            "a:1/",
            "a/b:1",
            "https://a:1",
            "u@a:1",
            "ä:1",
            "::1:1",
            "[::1]",
            "[]:1",
            "[::1:1",
            "::1]:1",
            "[0::1]:1",
            "[::A]:1",
            "[fe80::1%eth0]:1",
            "[10.0.0.1]:1",
            "[a]:1",
            "010.0.0.1:1",
            "10.0.0.256:1",
            "10.0.0:1",
            "1:1",
            "a.1:1",
            "0.0.0.0:1",
            "[::]:1",
            "a\n:1",
            "a\0:1",
            &long,
        ] {
            let error = peer_host(bad).unwrap_err().to_string();
            assert!(!error.contains('\n'), "{bad:?}");
        }
        let flood = peer_host(&"?".repeat(100_000)).unwrap_err();
        assert!(flood.to_string().len() < 400);
    }

    #[test]
    fn ids_are_lower_case_hex_of_the_right_length() {
        let check = |value: &str| hex_id("token id", value, 32..=32, "32");
        assert!(check(&"0a".repeat(16)).is_ok());
        for bad in [
            "",
            "0a",
            &"0A".repeat(16),
            &"0g".repeat(16),
            &"0a".repeat(17),
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
