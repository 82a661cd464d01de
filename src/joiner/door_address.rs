//! Where a door is.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rustls::pki_types::ServerName;

use crate::net::{Proxies, Proxy};
use crate::token::{DoorUrlFault, door_url_fault};

const HTTPS_PORT: u16 = 443;

/// The URL of a door, `https://host[:port]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoorAddress {
    url: String,
    /// A DNS name, or an address without brackets.
    host: String,
    port: u16,
    /// What leads there.
    proxy: Option<Arc<Proxy>>,
}

/// A URL that is no door's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} is not the URL of a door: {fault}")]
pub struct DoorAddressError {
    url: String,
    fault: DoorUrlFault,
}

impl FromStr for DoorAddress {
    type Err = DoorAddressError;

    fn from_str(text: &str) -> Result<Self, DoorAddressError> {
        let error = |fault| DoorAddressError {
            url: text.chars().take(80).collect(),
            fault,
        };
        // The same rule as for the URLs in tokens.
        if let Some(fault) = door_url_fault(text) {
            return Err(error(fault));
        }
        let error = || error(DoorUrlFault::Form);
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
            proxy: None,
        })
    }
}

impl DoorAddress {
    /// What to connect to.
    pub(super) fn host_and_port(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// The same door, through the proxy that leads to it, if one does.
    pub(super) fn through(mut self, proxies: &Proxies) -> Self {
        self.proxy = proxies.to(&self.host, self.port).cloned().map(Arc::new);
        self
    }

    pub(super) fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_deref()
    }

    /// What to call the server in the handshake (for those who route by it; the door is
    /// recognised by its pin and URI).
    pub(super) fn server_name(&self) -> Result<ServerName<'static>, DoorAddressError> {
        ServerName::try_from(self.host.clone()).map_err(|_| DoorAddressError {
            url: self.url.clone(),
            fault: DoorUrlFault::Host,
        })
    }

    /// The value of the header `Host`.
    pub(super) fn authority(&self) -> &str {
        self.url.strip_prefix("https://").unwrap_or(&self.url)
    }
}

impl fmt::Display for DoorAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)?;
        match &self.proxy {
            Some(proxy) => write!(f, " (through the proxy {proxy})"),
            None => Ok(()),
        }
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
        for (url, hint) in [
            ("http://door", "it begins with https://"),
            ("https://Door", "in lower case"),
            ("https://door/v1/join", "nothing behind host and port"),
            ("https://door:08443", "without zeros before it"),
            ("https://door:99999", "from 1 to 65535"),
            ("https://[0:0:0:0:0:0:0:1]:8443", "write [::1]"),
            ("https://::1", "in brackets"),
            ("https://my_door", "no _"),
            ("https://user@door", "no user name"),
            ("https://1.2.3", "four numbers"),
            ("https://-door", "a-z, 0-9 and -"),
        ] {
            let error = url.parse::<DoorAddress>().unwrap_err().to_string();
            let begin = format!("{url:?} is not the URL of a door: ");
            assert!(error.starts_with(&begin) && error.contains(hint), "{error}");
        }
    }

    #[test]
    fn what_is_no_url_stays_in_its_line_and_moves_no_cursor() {
        let odd = "https://a\r\n\u{1b}[2J\u{202e}\u{200b}\u{7f}\"b";
        let said = odd.parse::<DoorAddress>().unwrap_err().to_string();
        let is_seen = |c: char| c.is_ascii_graphic() || c == ' ';
        assert!(said.chars().all(is_seen), "{said}");
    }

    #[test]
    fn the_proxy_is_named_with_the_door() {
        let proxies = Proxies::of(
            Some("http://user:s3cret@proxy:3128".parse().unwrap()),
            |name| (name == "NO_PROXY").then(|| "near".to_owned()),
        )
        .unwrap();
        let door = |url: &str| url.parse::<DoorAddress>().unwrap().through(&proxies);
        assert_eq!(
            door("https://far:1").to_string(),
            "https://far:1 (through the proxy http://proxy:3128)"
        );
        assert_eq!(door("https://far:1").authority(), "far:1");
        assert_eq!(door("https://near:1").to_string(), "https://near:1");
    }
}
