//! What `serve` and `operator` can be told. `serve` reads it from a file; `operator` from its flags.

mod defaults;
mod file;
mod limits;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

pub use defaults::*;
pub use limits::LimitsConfig;

use super::duration::HumanDuration;
use super::group::PeersConfig;
use super::ports::{self, Watched};
use crate::lifecycle::{NamespaceLimits, Settings};
use crate::pki::TrustDomain;
use crate::store::file_trouble;
use crate::token::{
    Audience, Claims, Delivery, KeyId, MAX_URLS, NodePattern, Purpose, SigningKey, TokenId,
    door_url_fault, is_node_name, mint,
};

/// Where a door listens unless told otherwise.
pub const DEFAULT_LISTEN: &str = "[::]:8443";
/// Where metrics are served unless told otherwise: to this machine alone.
pub const DEFAULT_METRICS_LISTEN: &str = "127.0.0.1:9090";
/// Where probes are answered unless told otherwise: to this machine alone.
pub const DEFAULT_PROBE_LISTEN: &str = "127.0.0.1:8081";

/// As long as a token may ever be let live: the tombstone of one that was aborted by its id alone is kept
/// for as long as any token could live.
const MAX_TOKEN_TTL: HumanDuration = HumanDuration::from_days(90);
/// As long as a member's certificate may ever live: that a machine is barred is remembered for as long.
const MAX_CERTIFICATE_LIFETIME: HumanDuration = HumanDuration::from_days(365);
/// `sun_path` holds 108 bytes, the last of them zero (`man 7 unix`).
const MAX_SOCKET_PATH: usize = 107;

/// A replica's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerConfig {
    /// The folder that holds the store, and for `serve` its keys.
    pub data_dir: PathBuf,
    /// The name that all certificates end in, e.g. `edge.example`. Fixed once the store is founded.
    #[serde(deserialize_with = "text_or_nothing")]
    pub trust_domain: String,
    /// Where the door listens.
    #[serde(default = "default_listen", deserialize_with = "address")]
    pub listen: SocketAddr,
    /// Where `/metrics` is served.
    #[serde(default = "default_metrics_listen", deserialize_with = "address")]
    pub metrics_listen: SocketAddr,
    /// Where `/livez` and `/readyz` are served.
    #[serde(default = "default_probe_listen", deserialize_with = "address")]
    pub probe_listen: SocketAddr,
    /// Where joiners reach the door; tokens carry these. One to four of `https://host[:port]`.
    #[serde(deserialize_with = "one_or_more")]
    pub advertise_urls: Vec<String>,
    /// The other replicas; left out: this one is alone.
    #[serde(default)]
    pub peers: Option<PeersConfig>,
    /// Where `serve` keeps the keys; `keys` in the data folder unless told otherwise. The same for all replicas of a group.
    #[serde(default)]
    pub keys_dir: Option<PathBuf>,
    /// The Unix socket for `jointoken key export`; `admin.sock` in the data folder unless told otherwise.
    #[serde(default)]
    pub admin_socket: Option<PathBuf>,
    /// How long a member's certificate is valid.
    #[serde(default = "default_certificate_lifetime")]
    pub certificate_lifetime: HumanDuration,
    /// The longest that any token may live.
    #[serde(default = "default_max_token_ttl")]
    pub max_token_ttl: HumanDuration,
    /// Namespaces whose machines get the bare node name as a DNS name too, each with the pattern of the names it may use.
    #[serde(default)]
    pub bare_names: BTreeMap<String, String>,
    /// Accept the join tokens of a NodeDB cluster.
    #[serde(default)]
    pub nodedb: Option<NodeDbConfig>,
    /// What protects the door.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// How much of the store a namespace may take; by flags alone, since `serve` has no JoinTokens.
    #[serde(skip)]
    pub namespaces: NamespaceLimits,
    /// How long the name of a deleted JoinToken is remembered; for ever unless told otherwise. By flags alone.
    #[serde(skip)]
    pub remember_issuances: Option<HumanDuration>,
    /// It was put together from flags, which messages then name, and not read from a file.
    #[serde(skip)]
    pub is_of_flags: bool,
}

/// How NodeDB's join tokens are accepted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeDbConfig {
    /// Holds the cluster's secret: 32 bytes, raw or as 64 hexadecimal digits.
    pub secret_file: PathBuf,
    /// The longest that such a token may live.
    #[serde(default = "default_nodedb_max_ttl")]
    pub max_ttl: HumanDuration,
}

/// A configuration that cannot be used. The message says which part and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "the configuration file {} cannot be read: {}; `jointoken serve --help` shows what it holds",
        path.display(), file_trouble(source, path)
    )]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the configuration file {} is not valid: {message}", path.display())]
    Malformed { path: PathBuf, message: String },
    #[error("{0}")]
    Invalid(String),
}

impl ServerConfig {
    /// Reads a YAML file.
    ///
    /// # Errors
    /// When it cannot be read, has an unknown or a missing field, or a value that cannot be.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_path_buf(),
            source,
        })?;
        let config = file::parse(&text).map_err(|message| ConfigError::Malformed {
            path: path.to_path_buf(),
            message,
        })?;
        config.check().map_err(|error| ConfigError::Malformed {
            path: path.to_path_buf(),
            message: error.to_string(),
        })?;
        Ok(config)
    }

    /// Whether every value can be.
    ///
    /// # Errors
    /// Names the first that cannot.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.trust_domain()?;
        self.bare_name_patterns()?;
        self.limits.check()?;
        if self.advertise_urls.is_empty() || self.advertise_urls.len() > MAX_URLS {
            return Err(ConfigError::Invalid(format!(
                "give one to {MAX_URLS} advertised URLs, where joiners reach the door, e.g. https://join.example.org:8443"
            )));
        }
        let faulty = |url: &String| Some((url.clone(), door_url_fault(url)?));
        if let Some((url, fault)) = self.advertise_urls.iter().find_map(faulty) {
            return Err(ConfigError::Invalid(format!(
                "the advertised URL {url:?} is not the URL of a door: {fault}"
            )));
        }
        for (name, duration, most) in [
            (
                "certificate lifetime",
                self.certificate_lifetime,
                MAX_CERTIFICATE_LIFETIME,
            ),
            ("maximum token TTL", self.max_token_ttl, MAX_TOKEN_TTL),
        ] {
            in_bounds(name, duration, most)?;
        }
        // What the store would refuse later, whatever else it goes by.
        self.settings()
            .check()
            .map_err(|error| ConfigError::Invalid(error.to_string()))?;
        if let Some(nodedb) = &self.nodedb {
            in_bounds(
                "maximum TTL of NodeDB tokens",
                nodedb.max_ttl,
                MAX_TOKEN_TTL,
            )?;
            if nodedb.max_ttl > self.max_token_ttl {
                return Err(ConfigError::Invalid(format!(
                    "the maximum TTL of NodeDB tokens, {}, is more than that of any token, {}: raise that one or lower this one",
                    nodedb.max_ttl, self.max_token_ttl
                )));
            }
        }
        self.check_token_length()?;
        if let Some(peers) = &self.peers {
            peers.check()?;
        }
        ports::check(self).map_err(ConfigError::Invalid)?;
        if self.data_dir.as_os_str().is_empty() {
            return Err(ConfigError::Invalid(
                "the data folder has no name".to_owned(),
            ));
        }
        let socket = self.admin_socket();
        if socket.as_os_str().len() > MAX_SOCKET_PATH {
            return Err(ConfigError::Invalid(format!(
                "the path of the admin socket, {}, is longer than the {MAX_SOCKET_PATH} bytes that a Unix socket may have: give a shorter one",
                socket.display()
            )));
        }
        Ok(())
    }

    /// Whether every token can carry the URLs, that of the longest node name too.
    fn check_token_length(&self) -> Result<(), ConfigError> {
        let probe = SigningKey::from_bytes(Purpose::Resource, KeyId([0; 8]), &[0; 32]);
        let claims = Claims {
            purpose: Purpose::Resource,
            key_id: probe.id(),
            audience: Audience([0; 8]),
            token_id: TokenId([0; 16]),
            node_name: "n".repeat(63),
            issued_at_ms: 0,
            expires_at_ms: 1,
        };
        let delivery = Delivery {
            door_pin: [0; 32],
            urls: self.advertise_urls.clone(),
        };
        match mint(&probe, &claims, &delivery) {
            Ok(_) => Ok(()),
            Err(error) => Err(ConfigError::Invalid(format!(
                "the advertised URLs are together too long for a token ({error}): give fewer or shorter ones"
            ))),
        }
    }

    /// The trust domain, checked.
    ///
    /// # Errors
    /// When it is not a DNS name.
    pub fn trust_domain(&self) -> Result<TrustDomain, ConfigError> {
        self.trust_domain
            .parse()
            .map_err(|error| ConfigError::Invalid(format!("the trust domain: {error}")))
    }

    /// Namespace → pattern of the bare names that its machines may have.
    ///
    /// # Errors
    /// When a pattern is none.
    pub fn bare_name_patterns(&self) -> Result<BTreeMap<String, NodePattern>, ConfigError> {
        self.bare_names
            .iter()
            .map(|(namespace, pattern)| match pattern.parse() {
                _ if !is_node_name(namespace) => Err(ConfigError::Invalid(format!(
                    "the bare names of {namespace:?}: that is not the name of a namespace"
                ))),
                Ok(pattern) => Ok((namespace.clone(), pattern)),
                Err(error) => Err(ConfigError::Invalid(format!(
                    "the bare names of namespace {namespace}: {error}"
                ))),
            })
            .collect()
    }

    /// The limits that the store is to go by.
    pub fn settings(&self) -> Settings {
        Settings {
            max_token_ttl_ms: self.max_token_ttl.as_ms(),
            longest_certificate_lifetime_ms: self.certificate_lifetime.as_ms(),
            remember_issuances_ms: self.remember_issuances.map(HumanDuration::as_ms),
            namespaces: Some(self.namespaces),
            ..Settings::default()
        }
    }

    /// Where `serve` keeps the keys.
    ///
    /// # Errors
    /// When the replica is of a group and they would be in its own folder, where the others have none of them.
    pub fn keys_folder(&self) -> Result<PathBuf, ConfigError> {
        match &self.keys_dir {
            Some(keys) if self.peers.is_some() && keys.starts_with(&self.data_dir) => {
                Err(ConfigError::Invalid(format!(
                    "the keys folder {} lies in the data folder: a group's replicas have the same keys, and lose them if they lose their data; give a folder outside of it",
                    keys.display()
                )))
            }
            Some(keys) => Ok(keys.clone()),
            None if self.peers.is_some() => Err(ConfigError::Invalid(
                "keysDir is missing: the replicas of a group have the same keys; give a folder that they share, or that you copy to each once the first has made them".to_owned(),
            )),
            None => Ok(self.data_dir.join("keys")),
        }
    }

    /// Where it is told how the replica is.
    pub(super) fn watched(&self) -> Watched {
        Watched {
            metrics: self.metrics_listen,
            probes: self.probe_listen,
        }
    }

    /// Where the admin socket is.
    pub fn admin_socket(&self) -> PathBuf {
        self.admin_socket
            .clone()
            .unwrap_or_else(|| self.data_dir.join("admin.sock"))
    }

    /// The names and addresses under which joiners reach the door: the hosts of the advertised URLs.
    pub fn door_hosts(&self) -> Vec<String> {
        let mut hosts: Vec<String> = self
            .advertise_urls
            .iter()
            .filter_map(|url| host_of(url))
            .map(str::to_owned)
            .collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts
    }
}

/// Whether a length of time is at least a minute and no longer than this.
fn in_bounds(name: &str, duration: HumanDuration, most: HumanDuration) -> Result<(), ConfigError> {
    if duration.as_ms() < 60_000 {
        return Err(ConfigError::Invalid(format!(
            "the {name}, {duration}, is less than a minute"
        )));
    }
    if duration > most {
        return Err(ConfigError::Invalid(format!(
            "the {name}, {duration}, is more than {most}"
        )));
    }
    Ok(())
}

/// A value that was left out behind its name: YAML's null, which the check of the field then names.
fn text_or_nothing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// An address and a port.
pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        D::Error::custom(format_args!(
            "{text:?} is not an address and a port, such as 127.0.0.1:8443 or \"[::]:8443\""
        ))
    })
}

/// A list, or its only element.
fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a URL or a list of URLs")]
    enum OneOrMore {
        One(String),
        More(Vec<String>),
    }
    Ok(match OneOrMore::deserialize(deserializer)? {
        OneOrMore::One(url) => vec![url],
        OneOrMore::More(urls) => urls,
    })
}

/// The host of `https://host[:port]`, an IPv6 address without its brackets.
fn host_of(url: &str) -> Option<&str> {
    let authority = url.strip_prefix("https://")?;
    match authority.strip_prefix('[') {
        Some(v6) => v6.split_once(']').map(|(host, _)| host),
        None => authority.split(':').next(),
    }
}

#[cfg(test)]
mod tests;
