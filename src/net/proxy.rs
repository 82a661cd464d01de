//! Which HTTP proxy leads where: what the environment and the user say, by curl's rules.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use data_encoding::BASE64;
use ipnet::IpNet;
use zeroize::Zeroizing;

/// Where a proxy is when its URL does not say the port.
const HTTP_PORT: u16 = 80;

/// An HTTP proxy. Shown, it has no credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// A DNS name, or an address without brackets.
    host: String,
    port: u16,
    /// The value of `Proxy-Authorization`.
    authorization: Option<Zeroizing<String>>,
}

/// What is no proxy's URL. Says nothing of it: there may be a password in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyUrlError {
    /// Another scheme than `http`.
    #[error("only HTTP proxies are known: write http://[USER:PASSWORD@]HOST[:PORT]")]
    Scheme,
    /// No host, no port, or something behind them.
    #[error("this is not a proxy's URL: write http://[USER:PASSWORD@]HOST[:PORT]")]
    Malformed,
    /// A `%` without two hexadecimal digits.
    #[error("a % in the user name or password of a proxy's URL is written %25")]
    Percent,
}

impl FromStr for Proxy {
    type Err = ProxyUrlError;

    fn from_str(text: &str) -> Result<Self, ProxyUrlError> {
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some(_) => return Err(ProxyUrlError::Scheme),
            None => text,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user, authority) = match rest.rsplit_once('@') {
            Some((user, authority)) => (Some(user), authority),
            None => (None, rest),
        };
        let (host, port) = host_and_port(authority).ok_or(ProxyUrlError::Malformed)?;
        Ok(Self {
            host: host.to_owned(),
            port: port.unwrap_or(HTTP_PORT),
            authorization: user.map(basic).transpose()?,
        })
    }
}

/// Splits `host[:port]`, version 6 addresses in brackets.
fn host_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            match port {
                "" => (host, None),
                port => (host, Some(port.strip_prefix(':')?)),
            }
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let is_of_host = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_host = authority.starts_with('[') || (!host.is_empty() && host.chars().all(is_of_host));
    let port = match port {
        Some(port) => Some(port.parse().ok().filter(|port| *port > 0)?),
        None => None,
    };
    is_host.then_some((host, port))
}

/// `user[:password]`, percent-encoded, as a header has it (RFC 7617).
fn basic(user: &str) -> Result<Zeroizing<String>, ProxyUrlError> {
    let mut plain = percent_decoded(user)?;
    if !user.contains(':') {
        plain.push(b':');
    }
    let encoded = Zeroizing::new(BASE64.encode(&plain));
    Ok(Zeroizing::new(format!("Basic {}", *encoded)))
}

fn percent_decoded(text: &str) -> Result<Zeroizing<Vec<u8>>, ProxyUrlError> {
    // One byte more than it can become: what grows leaves a copy behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(text.len() + 1));
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            plain.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let value = digit().zip(digit()).map(|(high, low)| high * 16 + low);
        let value = value.and_then(|value| u8::try_from(value).ok());
        plain.push(value.ok_or(ProxyUrlError::Percent)?);
    }
    Ok(plain)
}

impl Proxy {
    /// What to connect to.
    pub fn host_and_port(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// What to show it, if it was given credentials.
    pub(super) fn authorization(&self) -> Option<&str> {
        self.authorization.as_ref().map(|value| value.as_str())
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        match host.contains(':') {
            true => write!(f, "http://[{host}]:{port}"),
            false => write!(f, "http://{host}:{port}"),
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// The proxy for HTTPS, and the hosts that are reached without it.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    proxy: Option<Proxy>,
    without: NoProxy,
}

impl Proxies {
    /// None at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// What `given` says, or else the environment: `https_proxy`, `HTTPS_PROXY`, `all_proxy` or `ALL_PROXY`, the first that is
    /// set and not empty. Hosts in `no_proxy` or `NO_PROXY` are reached directly, whoever named the proxy. As with curl, hosts on
    /// the loopback interface are hosts like others: they are excepted only when `NO_PROXY` names them.
    ///
    /// # Errors
    /// The name of the variable that holds no proxy's URL, and why it is none.
    pub fn of(
        given: Option<Proxy>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, (&'static str, ProxyUrlError)> {
        let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let mut proxy = given;
        for name in ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
            if proxy.is_some() {
                break;
            }
            if let Some(url) = set(name) {
                proxy = Some(url.trim().parse().map_err(|error| (name, error))?);
            }
        }
        let without = set("no_proxy").or_else(|| set("NO_PROXY"));
        let without = NoProxy::of(without.as_deref().unwrap_or_default());
        Ok(Self { proxy, without })
    }

    /// The proxy through which this host is reached, if it is through one.
    pub fn to(&self, host: &str, port: u16) -> Option<&Proxy> {
        let proxy = self.proxy.as_ref();
        proxy.filter(|_| !self.without.covers(host, port))
    }
}

/// The hosts that are reached without a proxy, as `NO_PROXY` names them.
#[derive(Debug, Clone, Default)]
pub struct NoProxy(Vec<Exception>);

impl NoProxy {
    /// A list with commas or white space in between. What is neither an address nor a range names a domain.
    pub fn of(list: &str) -> Self {
        let words = list.split(|c: char| c == ',' || c.is_whitespace());
        let words = words.filter(|word| !word.is_empty());
        Self(words.map(Exception::of).collect())
    }

    /// Whether this host is one of them: a name, or an address without brackets.
    pub fn covers(&self, host: &str, port: u16) -> bool {
        self.0.iter().any(|entry| entry.covers(host, port))
    }
}

/// One entry of `NO_PROXY`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Exception {
    /// `*`
    All,
    /// An address, or a range such as `10.0.0.0/8`.
    Range(IpNet),
    /// A domain and all below it, with a dot before it or not; perhaps at one port alone.
    Domain { name: String, port: Option<u16> },
}

impl Exception {
    fn of(word: &str) -> Self {
        if word == "*" {
            return Self::All;
        }
        let bare = word
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let bare = bare.unwrap_or(word);
        if let Some(range) = bare.parse().ok().or_else(|| {
            let address: IpAddr = bare.parse().ok()?;
            Some(address.into())
        }) {
            return Self::Range(range);
        }
        let (name, port) = match host_and_port(word) {
            Some((name, Some(port))) => (name, Some(port)),
            _ => (word, None),
        };
        let name = name.trim_start_matches("*.").trim_matches('.');
        Self::Domain {
            name: name.to_ascii_lowercase(),
            port,
        }
    }

    fn covers(&self, host: &str, port: u16) -> bool {
        match self {
            Self::All => true,
            Self::Range(range) => host
                .parse::<IpAddr>()
                .is_ok_and(|address| range.contains(&address)),
            Self::Domain { name, port: at } => {
                let host = host.trim_end_matches('.').to_ascii_lowercase();
                let is_below = host
                    .strip_suffix(name.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
                is_below && !name.is_empty() && at.is_none_or(|at| at == port)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_shown_without_credentials() {
        for (url, shown, authorization) in [
            ("http://proxy:3128", "http://proxy:3128", None),
            ("HTTP://proxy.example/", "http://proxy.example:80", None),
            ("10.0.0.1:8080", "http://10.0.0.1:8080", None),
            ("http://[::1]:3128", "http://[::1]:3128", None),
            // user:pass word@
            (
                "http://user:pass%20word%40@proxy:1",
                "http://proxy:1",
                Some("Basic dXNlcjpwYXNzIHdvcmRA"),
            ),
            (
                "http://user@proxy:1",
                "http://proxy:1",
                Some("Basic dXNlcjo="),
            ),
            (
                "http://a@b:c@proxy:1",
                "http://proxy:1",
                Some("Basic YUBiOmM="),
            ),
        ] {
            let proxy: Proxy = url.parse().unwrap();
            assert_eq!(proxy.to_string(), shown);
            assert_eq!(format!("{proxy:?}"), format!("Proxy({shown})"));
            assert_eq!(proxy.authorization(), authorization);
        }
        use ProxyUrlError::{Malformed, Percent, Scheme};
        for (bad, why) in [
            ("", Malformed),
            ("http://", Malformed),
            ("http://:3128", Malformed),
            ("http://proxy:0", Malformed),
            ("http://proxy:x", Malformed),
            ("http://proxy/path", Malformed),
            ("http://pro xy", Malformed),
            ("http://[::1", Malformed),
            ("http://[proxy]:1", Malformed),
            ("http://u:s3cret@", Malformed),
            ("https://proxy:1", Scheme),
            ("socks5h://proxy:1", Scheme),
            ("http://u:100%@proxy:1", Percent),
        ] {
            assert_eq!(bad.parse::<Proxy>(), Err(why), "{bad}");
        }
    }

    fn proxies(given: Option<&str>, variables: &[(&str, &str)]) -> Proxies {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Proxies::of(given.map(|url| url.parse().unwrap()), variable).unwrap()
    }

    #[test]
    fn the_first_that_is_set_is_the_proxy() {
        let all = [
            ("ALL_PROXY", "http://d:1"),
            ("all_proxy", "http://c:1"),
            ("HTTPS_PROXY", "http://b:1"),
            ("https_proxy", "http://a:1"),
        ];
        let to = |proxies: Proxies| proxies.to("door", 443).map(ToString::to_string);
        for (set, shown) in [
            (1, "http://d:1"),
            (2, "http://c:1"),
            (3, "http://b:1"),
            (4, "http://a:1"),
        ] {
            assert_eq!(to(proxies(None, &all[..set])).as_deref(), Some(shown));
        }
        assert_eq!(
            to(proxies(Some("e:1"), &all)).as_deref(),
            Some("http://e:1")
        );
        assert_eq!(
            to(proxies(
                None,
                &[("https_proxy", ""), ("HTTP_PROXY", "http://x")]
            )),
            None
        );
        let error = Proxies::of(None, |name| {
            (name == "HTTPS_PROXY").then(|| "socks5://user:s3cret@x".to_owned())
        });
        let (name, error) = error.unwrap_err();
        assert_eq!((name, error), ("HTTPS_PROXY", ProxyUrlError::Scheme));
    }

    #[test]
    fn exceptions_cover_what_they_should() {
        let is_direct = |without: &str, host: &str, port| {
            let proxies = proxies(Some("http://proxy:1"), &[("NO_PROXY", without)]);
            proxies.to(host, port).is_none()
        };
        for (without, host) in [
            ("*", "anything"),
            ("example.com", "example.com"),
            ("Example.COM", "a.b.example.com"),
            (".example.com", "example.com"),
            ("*.example.com", "a.example.com"),
            ("example.com.", "a.example.com."),
            ("x, y example.com", "example.com"),
            ("127.0.0.1", "127.0.0.1"),
            ("10.0.0.0/8,fd00::/8", "10.1.2.3"),
            ("10.0.0.0/8,fd00::/8", "fd00::1"),
            ("[::1]", "::1"),
            ("localhost", "localhost"),
            ("door:8443", "door"),
        ] {
            assert!(is_direct(without, host, 8443), "{without}: {host}");
        }
        for (without, host) in [
            ("", "localhost"),
            ("", "127.0.0.1"),
            (",. ,", "example.com"),
            ("example.com", "notexample.com"),
            ("a.example.com", "example.com"),
            ("10.0.0.0/8", "11.0.0.1"),
            ("10.0.0.0/8", "10.example.com"),
            ("10.0.0.1", "10.0.0.10"),
            ("door:443", "door"),
        ] {
            assert!(!is_direct(without, host, 8443), "{without}: {host}");
        }
    }
}
