//! Which addresses are one source.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What one site can make up addresses in: of IPv6 the first 64 bits. What NAT64 translates is as
/// many sites as there are IPv4 addresses behind it.
pub(crate) fn site(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            match translated(v6) {
                Some(v4) => v4.into(),
                None => Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into(),
            }
        }
    }
}

/// The IPv4 address in one of NAT64's: of the well-known prefix (RFC 6052), and of the prefix for
/// use within a network (RFC 8215), in which it stands at the end or behind the first 48 bits.
fn translated(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = address.octets();
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] => (),
        [0x64, 0xff9b, 1, _, _, _, 0, 0] => {
            return Some([octets[6], octets[7], octets[9], octets[10]].into());
        }
        [0x64, 0xff9b, 1, ..] => (),
        _ => return None,
    }
    Some([octets[12], octets[13], octets[14], octets[15]].into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// All of the world's IPv4 was one site to a server that has IPv6 alone.
    #[test]
    fn behind_nat64_each_ipv4_address_is_a_site() {
        let expected = ip("192.0.2.1");
        for translated in [
            "64:ff9b::192.0.2.1",
            "64:ff9b:1::192.0.2.1",
            "64:ff9b:1:7::192.0.2.1",
            // Behind 48 bits, around the octet that is always zero.
            "64:ff9b:1:c000:2:100::",
        ] {
            assert_eq!(site(ip(translated)), expected, "{translated}");
        }
        for other in ["64:ff9b::1:0:0", "64:ff9b:2::1", "64:ff9a::1"] {
            assert!(site(ip(other)).is_ipv6(), "{other}");
        }
    }
}
