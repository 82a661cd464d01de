//! What a `jt1_` token says, and what makes it well-formed.

use super::{Audience, KeyId, Purpose, TokenId, jt1};

/// The most URLs that a token may name.
pub const MAX_URLS: usize = 4;
/// The longest URL in a token, in bytes.
pub const MAX_URL: usize = 255;
/// The last millisecond of the year 9998: later times are refused, so that every time in a token
/// can be computed with and printed in every time zone, all of which RFC 3339 cannot do for the
/// last day of 9999.
pub const MAX_TIME_MS: u64 = 253_370_764_799_999;

/// Who is let in, by which key, into which store, and when. All of it is under the MAC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The kind of key that mints it: resource or offline.
    pub purpose: Purpose,
    /// The key that mints it.
    pub key_id: KeyId,
    /// The store that it is for.
    pub audience: Audience,
    /// 128 random bits that tell this token from every other: of a resource token its public name,
    /// of an offline one what goes into it ([`Claims::public_id`]).
    pub token_id: TokenId,
    /// The name of the node that it admits, an RFC 1123 label.
    pub node_name: String,
    /// When it was issued, in milliseconds since the epoch.
    pub issued_at_ms: u64,
    /// From when on it admits nobody, in milliseconds since the epoch.
    pub expires_at_ms: u64,
}

/// What helps a joiner to find the right door. Under the MAC as well, but no part of the token's
/// identity: the same claims with another delivery are the same token to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// SHA-256 of the public key (SubjectPublicKeyInfo, DER) of the CA that signs for the door.
    pub door_pin: [u8; 32],
    /// Where the door is, in the order to try: at most four, each `https://host[:port]`.
    pub urls: Vec<String>,
}

/// A claim or a URL that no token may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// Only resource and offline keys mint this format.
    #[error("its purpose is neither resource nor offline")]
    Purpose,
    /// Not an RFC 1123 label.
    #[error("its node name is not a DNS label: 1 to 63 of a-z, 0-9 and -, with no - at either end")]
    NodeName,
    /// It would have expired before it was issued.
    #[error("it expires before it is issued")]
    Times,
    /// A time beyond the year 9998.
    #[error("it has a time after the year 9998")]
    FarFuture,
    /// More URLs than a token may name.
    #[error("it names more than {MAX_URLS} URLs")]
    TooManyUrls,
    /// A URL that is not plain `https://host[:port]`.
    #[error(
        "it names a URL that is not of the form https://host[:port], in lower case and with nothing behind it"
    )]
    Url,
}

impl Claims {
    /// The token's public name and the key of its record.
    ///
    /// Of an offline token it is a hash over all claims, the key's name among them: names are public,
    /// and whoever holds an offline key chooses what it mints. With a name of its own choosing it
    /// could take that of somebody else's token, which would then be refused, or give one name to
    /// tokens for several nodes.
    pub fn public_id(&self) -> TokenId {
        match self.purpose {
            Purpose::Offline => jt1::offline_id(self),
            Purpose::Resource | Purpose::NodeDb => self.token_id,
        }
    }

    /// Whether a token may say this.
    pub fn check(&self) -> Result<(), ClaimError> {
        if !matches!(self.purpose, Purpose::Resource | Purpose::Offline) {
            return Err(ClaimError::Purpose);
        }
        if !is_node_name(&self.node_name) {
            return Err(ClaimError::NodeName);
        }
        if self.expires_at_ms <= self.issued_at_ms {
            return Err(ClaimError::Times);
        }
        if self.expires_at_ms > MAX_TIME_MS {
            return Err(ClaimError::FarFuture);
        }
        Ok(())
    }
}

impl Delivery {
    /// Whether a token may say this.
    pub fn check(&self) -> Result<(), ClaimError> {
        if self.urls.len() > MAX_URLS {
            return Err(ClaimError::TooManyUrls);
        }
        if !self.urls.iter().all(|url| is_door_url(url)) {
            return Err(ClaimError::Url);
        }
        Ok(())
    }
}

/// Whether this is a label as RFC 1123 (section 2.1) and Kubernetes have it: 1 to 63 of a-z, 0-9
/// and `-`, beginning and ending with a letter or a digit.
pub fn is_node_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes
            .iter()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && bytes.first() != Some(&b'-')
        && bytes.last() != Some(&b'-')
}

/// Whether this is the URL of a door: `https://`, a DNS name in lower case or an IP address
/// (version 6 in brackets), perhaps `:port`, and nothing behind it. No path, since the door has
/// its paths at the root and is reached without anything in between that routes by path; no user
/// name or query, which would be secrets in the wrong place.
pub fn is_door_url(url: &str) -> bool {
    door_url_fault(url).is_none()
}

/// What keeps a text from being the URL of a door. Shown, it is how to write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DoorUrlFault {
    /// Another scheme, or none.
    #[error("it begins with https://, in lower case: write https://host or https://host:port")]
    Scheme,
    /// Longer than a token may carry.
    #[error("it has at most {MAX_URL} characters")]
    TooLong,
    /// Capital letters.
    #[error("write the host in lower case")]
    UpperCase,
    /// A user name before the host.
    #[error("there is no user name in it")]
    User,
    /// A path, a query or a fragment.
    #[error("there is nothing behind host and port, not even a /")]
    Tail,
    /// No port, or one with zeros before it.
    #[error("write the port from 1 to 65535, without zeros before it, or leave : out with it")]
    Port,
    /// An IPv6 address without brackets.
    #[error("write an IPv6 address in brackets: https://[::1]:8443")]
    Brackets,
    /// An IPv6 address that can be written shorter.
    #[error("of the ways to write this address one is used: write [{0}]")]
    LongV6(std::net::Ipv6Addr),
    /// No IPv6 address within brackets.
    #[error("within brackets stands an IPv6 address, and nothing else")]
    V6,
    /// A name that ends in a number.
    #[error(
        "a host that ends in a number is an IPv4 address: four numbers from 0 to 255, without zeros before them"
    )]
    V4,
    /// An underscore in the host's name.
    #[error("there is no _ in a host's name: give the door another name, or use its address")]
    Underscore,
    /// No DNS name.
    #[error(
        "the host is labels of a-z, 0-9 and -, with a dot between them and no - at either end of one"
    )]
    Host,
    /// Anything else.
    #[error("write https://host or https://host:port")]
    Form,
}

/// What keeps this text from being the URL of a door, if something does.
pub fn door_url_fault(url: &str) -> Option<DoorUrlFault> {
    let Some(authority) = url.strip_prefix("https://") else {
        return Some(DoorUrlFault::Scheme);
    };
    if url.len() > MAX_URL {
        return Some(DoorUrlFault::TooLong);
    }
    if authority.contains('@') {
        return Some(DoorUrlFault::User);
    }
    if authority.contains(['/', '?', '#']) {
        return Some(DoorUrlFault::Tail);
    }
    let (fault, port) = match authority.strip_prefix('[') {
        Some(bracketed) => match bracketed.split_once(']') {
            Some((address, "")) => (v6_fault(address), None),
            Some((address, tail)) => match tail.strip_prefix(':') {
                Some(port) => (v6_fault(address), Some(port)),
                None => return Some(DoorUrlFault::Form),
            },
            None => return Some(DoorUrlFault::Form),
        },
        None if authority.parse::<std::net::Ipv6Addr>().is_ok() => {
            return Some(DoorUrlFault::Brackets);
        }
        None => match authority.split_once(':') {
            Some((name, port)) => (name_fault(name), Some(port)),
            None => (name_fault(authority), None),
        },
    };
    fault.or_else(|| {
        port.is_some_and(|port| !is_port(port))
            .then_some(DoorUrlFault::Port)
    })
}

/// An IPv6 address stands in its one canonical form (RFC 5952), which is how Rust prints it.
fn v6_fault(text: &str) -> Option<DoorUrlFault> {
    match text.parse::<std::net::Ipv6Addr>() {
        Ok(address) if address.to_string() == text => None,
        Ok(address) => Some(DoorUrlFault::LongV6(address)),
        Err(_) => Some(DoorUrlFault::V6),
    }
}

fn name_fault(name: &str) -> Option<DoorUrlFault> {
    // Four numbers are labels too, but a name that ends in a number is an address
    // (WHATWG URL, "ends in a number") and must be one.
    if name.rsplit('.').next().is_some_and(ends_in_number) {
        let is_address = name.parse::<std::net::Ipv4Addr>().is_ok();
        return (!is_address).then_some(DoorUrlFault::V4);
    }
    if name.len() <= 253 && name.split('.').all(is_node_name) {
        return None;
    }
    Some(if name.bytes().any(|b| b.is_ascii_uppercase()) {
        DoorUrlFault::UpperCase
    } else if name.contains('_') {
        DoorUrlFault::Underscore
    } else {
        DoorUrlFault::Host
    })
}

/// Whether URL parsers take a host with this last label for an IPv4 address.
fn ends_in_number(label: &str) -> bool {
    label.bytes().all(|b| b.is_ascii_digit())
        || label
            .strip_prefix("0x")
            .is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// 1 to 65535, without leading zeros.
fn is_port(port: &str) -> bool {
    port.parse::<u16>()
        .is_ok_and(|number| number > 0 && number.to_string() == port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_names_are_labels() {
        for good in ["a", "edge-1", "7", &"a".repeat(63)] {
            assert!(is_node_name(good), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a.b",
            "a_b",
            "é",
            "a b",
            "a\n",
            &"a".repeat(64),
        ] {
            assert!(!is_node_name(bad), "{bad}");
        }
    }

    #[test]
    fn urls_are_plain_https_origins() {
        for good in [
            "https://door",
            "https://door.example.org",
            "https://door.example.org:8443",
            "https://10.0.0.1:443",
            "https://[2001:db8::1]",
            "https://[::1]:8443",
        ] {
            assert!(is_door_url(good), "{good}");
        }
        let long = format!("https://{}example", "label.".repeat(50));
        for bad in [
            "",
            "door",
            "https://",
            "http://door",
            "HTTPS://door",
            "https://Door",
            "https://door/",
            "https://door/v1/join",
            "https://door?x",
            "https://door#x",
            "https://user@door",
            "https://user:word@door",
            "https://door:",
            "https://door:0",
            "https://door:0443",
            "https://door:+443",
            "https://door:65536",
            "https://door.",
            "https://.door",
            "https://door..example",
            "https://1.2.3",
            "https://1.2.3.256",
            "https://01.2.3.4",
            "https://0x7f",
            "https://::1",
            "https://[::1",
            "https://[::1]8443",
            "https://[::0001]",
            "https://[1.2.3.4]",
            "https://do or",
            "https://döör",
            " https://door",
            &long,
        ] {
            assert!(!is_door_url(bad), "{bad}");
        }
    }
}
