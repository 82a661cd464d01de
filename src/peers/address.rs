//! The address of a peer, as it comes from a configuration.

use crate::pki::{NameError, peer_host};
use crate::store::PeerAddress;

/// The address in `text`: `host:port`, the host a DNS name in lower case, an IPv4 address or an IPv6 address in brackets and in
/// its shortest form, the port from 1 to 65535.
///
/// # Errors
/// Anything else. The error is one line that repeats the text, cut to 80 characters, and says what to write.
pub fn peer_address(text: &str) -> Result<PeerAddress, NameError> {
    peer_host(text)?;
    Ok(PeerAddress::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_is_told_in_one_line() {
        assert_eq!(peer_address("a.b:1").unwrap().as_str(), "a.b:1");
        assert_eq!(
            peer_address("A\nb:1").unwrap_err().to_string(),
            r#""A\nb:1" is not the address of a peer: write host:port, the host as a DNS name in lower case, an IPv4 address or an IPv6 address in brackets, the port from 1 to 65535, and nothing else"#
        );
    }
}
