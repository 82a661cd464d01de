//! Names that certificates carry, each checked once, where it comes in.

use std::fmt;
use std::str::FromStr;

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
