//! An API server behind a proxy: what goes wrong there is told of the proxy, since nobody looks for it there.

use std::error::Error as StdError;
use std::fmt;

use kube::Client;
use kube::client::ClientBuilder;
use tower::BoxError;
use tower::util::MapErrLayer;

use super::api_error::causes;
use super::deadline::Deadlines;
use crate::net::tls_in;

/// A proxy before the API server. Shown, it has no credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiProxy {
    /// `http://host:port`.
    url: String,
    /// What names it.
    named_by: String,
}

impl ApiProxy {
    /// The proxy at this URL, which that names.
    pub fn new(url: &hyper::Uri, named_by: impl Into<String>) -> Self {
        let scheme = url.scheme_str().unwrap_or("http");
        let authority = url.authority().map_or("", |authority| authority.as_str());
        let host = authority
            .rsplit_once('@')
            .map_or(authority, |(_, host)| host);
        Self {
            url: format!("{scheme}://{host}"),
            named_by: named_by.into(),
        }
    }

    /// A client of this configuration, whose errors tell of the proxy.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub fn client(self, config: kube::Config) -> kube::Result<Client> {
        let wrap = move |error: BoxError| -> BoxError {
            match error.is::<kube::Error>() || error.is::<hyper::Error>() {
                true => error,
                false => ThroughProxy {
                    proxy: self.clone(),
                    error,
                }
                .into(),
            }
        };
        let builder = ClientBuilder::try_from(config)?;
        let builder = builder.with_layer(&MapErrLayer::new(wrap));
        Ok(builder.with_layer(&Deadlines).build())
    }
}

impl fmt::Display for ApiProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.url, self.named_by)
    }
}

/// A request that failed on its way through a proxy.
#[derive(Debug)]
pub(super) struct ThroughProxy {
    proxy: ApiProxy,
    error: BoxError,
}

impl fmt::Display for ThroughProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { proxy, error } = self;
        let why = match causes(&**error) {
            why if why.contains("underlying connection") => String::new(),
            why => format!(" ({why})"),
        };
        match said_of(&**error) {
            Said::NotReached => write!(
                f,
                "the proxy {proxy} before the API server is not reached: start it, or correct its URL{why}"
            ),
            Said::Credentials => write!(
                f,
                "the proxy {proxy} before the API server asks who this is: put the right USER:PASSWORD into its URL"
            ),
            Said::Refused => write!(
                f,
                "the proxy {proxy} does not let connections through to the API server, or is none: its rules have to allow it, or NO_PROXY to name the host"
            ),
            Said::Broken => write!(
                f,
                "the connection to the proxy {proxy} before the API server broke: is it a proxy of that kind, and well?{why}"
            ),
            Said::Socks(status) => write!(
                f,
                "the proxy {proxy} did not get through to the API server: is that running, and does the proxy reach it? ({status})"
            ),
            Said::Beyond => write!(
                f,
                "the API server does not answer through the proxy {proxy}{why}"
            ),
        }
    }
}

// The error behind it is part of what it says.
impl StdError for ThroughProxy {}

enum Said {
    NotReached,
    Credentials,
    Refused,
    Broken,
    /// By the proxy, of its own try.
    Socks(String),
    /// The proxy did its part.
    Beyond,
}

/// The connectors' errors have no public type: they are told by their words.
fn said_of(error: &(dyn StdError + 'static)) -> Said {
    let mut next = Some(error);
    while let Some(error) = next {
        next = error.source();
        if error
            .downcast_ref::<std::io::Error>()
            .is_some_and(|io| tls_in(io).is_some())
        {
            return Said::Beyond;
        }
        let text = error.to_string();
        let said = text
            .strip_prefix("tunnel error: ")
            .or_else(|| text.strip_prefix("SOCKS error: "));
        match said {
            None => {}
            Some("failed to create underlying connection") => return Said::NotReached,
            Some(
                "proxy authorization required"
                | "credentials not accepted"
                | "server does not support user/pass authentication",
            ) => return Said::Credentials,
            Some("unsuccessful") => return Said::Refused,
            Some(said)
                if text.starts_with("tunnel")
                    || said.starts_with("io error")
                    || said.starts_with("failed pars") =>
            {
                return Said::Broken;
            }
            Some(said) => return Said::Socks(said.to_owned()),
        }
    }
    Said::Beyond
}
