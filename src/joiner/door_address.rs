//! Where a door is.

use std::fmt;
use std::str::FromStr;

use rustls::pki_types::ServerName;

use crate::token::is_door_url;

const HTTPS_PORT: u16 = 443;

/// The URL of a door, `https://host[:port]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoorAddress {
    url: String,
    /// A DNS name, or an address without brackets.
    host: String,
    port: u16,
}

/// A URL that is no door's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not the URL of a door: write https://host or https://host:port, in lower case and with nothing behind it"
)]
pub struct DoorAddressError(String);

impl FromStr for DoorAddress {
    type Err = DoorAddressError;

    fn from_str(text: &str) -> Result<Self, DoorAddressError> {
        let error = || DoorAddressError(text.chars().take(80).collect());
        // The same rule as for the URLs in tokens.
        if !is_door_url(text) {
            return Err(error());
        }
        let authority = text.strip_prefix("https://").ok_or_else(error)?;
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(error)?;
                (host, port.strip_prefix(':'))
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let port = match port {
            Some(port) => port.parse().map_err(|_| error())?,
            None => HTTPS_PORT,
        };
        Ok(Self {
            url: text.to_owned(),
            host: host.to_owned(),
            port,
        })
    }
}

impl DoorAddress {
    /// What to connect to.
    pub(super) fn host_and_port(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// What to call the server in the handshake (for those who route by it; the door is
    /// recognised by its pin and URI).
    pub(super) fn server_name(&self) -> Result<ServerName<'static>, DoorAddressError> {
        ServerName::try_from(self.host.clone()).map_err(|_| DoorAddressError(self.url.clone()))
    }

    /// The value of the header `Host`.
    pub(super) fn authority(&self) -> &str {
        self.url.strip_prefix("https://").unwrap_or(&self.url)
    }
}

impl fmt::Display for DoorAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_become_addresses() {
        for (url, host, port) in [
            ("https://door.example.com", "door.example.com", 443),
            ("https://door:8443", "door", 8443),
            ("https://192.0.2.1:1", "192.0.2.1", 1),
            ("https://[2001:db8::1]", "2001:db8::1", 443),
            ("https://[::1]:8443", "::1", 8443),
        ] {
            let address: DoorAddress = url.parse().unwrap();
            assert_eq!(address.host_and_port(), (host, port));
            assert_eq!(address.to_string(), url);
            assert!(address.server_name().is_ok(), "{url}");
        }
        assert_eq!(
            "http://door"
                .parse::<DoorAddress>()
                .unwrap_err()
                .to_string(),
            "\"http://door\" is not the URL of a door: write https://host or https://host:port, in lower case and with nothing behind it"
        );
    }
}
