//! The door's limits, as far as they can be set: one struct for the file of `serve` and the flags of
//! `operator`.

use ipnet::IpNet;
use serde::Deserialize;

use super::ConfigError;
use crate::bootstrap::DoorLimits;

/// More connections than this are not meant.
const MAX_CONNECTIONS: usize = 65_536;

/// What protects the door from too much of anything.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, clap::Args)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[command(next_help_heading = "Limits of the door")]
pub struct LimitsConfig {
    /// Connections to the door at one time: protects memory and file descriptors
    ///
    /// When there are more, the connection that has made the least progress is closed. Each takes up to 64 KiB of memory and one
    /// file descriptor.
    #[arg(long = "max-connections", value_name = "NUMBER", default_value_t = Self::default().connections)]
    pub connections: usize,
    /// Of these from one source, an IPv4 address or an IPv6 /64: protects all other sources from it
    ///
    /// When there are more, the source's own connection that has made the least progress is closed. Machines behind one NAT are one
    /// source, and so is everything behind a load balancer that hides addresses without the PROXY protocol.
    #[arg(long = "max-connections-per-source", value_name = "NUMBER", default_value_t = Self::default().connections_per_source)]
    pub connections_per_source: usize,
    /// Percent of all connections, and of each source's, that are never closed for others while a machine is being admitted
    ///
    /// Protects admissions under way from crowds, and newcomers from those who have valid tokens.
    #[arg(long = "max-kept-connections-percent", value_name = "PERCENT", default_value_t = Self::default().kept_connections_percent)]
    pub kept_connections_percent: u8,
    /// TLS handshakes computed at one time, the others in turn by source: protects the CPU [default: two for each CPU]
    #[arg(long = "max-concurrent-handshakes", value_name = "NUMBER")]
    pub concurrent_handshakes: Option<usize>,
    /// Requests on one connection, which is closed after the last: protects bandwidth. Joining takes three
    #[arg(long = "max-requests-per-connection", value_name = "NUMBER", default_value_t = Self::default().requests_per_connection)]
    pub requests_per_connection: u32,
    /// Load balancers (CIDRs) that send the PROXY protocol, version 2: the source is then the client that they name
    ///
    /// They have to send it with every connection; anybody else who sends it is refused. List no network from which others
    /// can connect: they could claim any address.
    #[arg(
        long = "proxy-protocol-from",
        value_name = "CIDRS",
        value_delimiter = ','
    )]
    pub proxy_protocol_from: Vec<IpNet>,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let door = DoorLimits::default();
        Self {
            connections: door.connections,
            connections_per_source: door.connections_per_address,
            kept_connections_percent: door.kept_percent,
            concurrent_handshakes: None,
            requests_per_connection: door.requests_per_connection,
            proxy_protocol_from: Vec::new(),
        }
    }
}

impl LimitsConfig {
    /// Whether every value can be.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let bounds = |name: &str, value: usize, least: usize, most: usize| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            Err(ConfigError::Invalid(format!(
                "the limit of {name}, {value}, is not between {least} and {most}"
            )))
        };
        bounds("connections", self.connections, 1, MAX_CONNECTIONS)?;
        bounds(
            "connections per source",
            self.connections_per_source,
            1,
            self.connections,
        )?;
        let percent = self.kept_connections_percent.into();
        bounds("kept connections, in percent", percent, 0, 90)?;
        if let Some(handshakes) = self.concurrent_handshakes {
            bounds("concurrent handshakes", handshakes, 1, MAX_CONNECTIONS)?;
        }
        // A machine asks for the time, for its admission, and acknowledges; with one try again.
        let requests = usize::try_from(self.requests_per_connection).unwrap_or(usize::MAX);
        bounds("requests per connection", requests, 4, 1_000_000)
    }

    /// As the door takes them.
    pub fn door(&self) -> DoorLimits {
        let door = DoorLimits::default();
        DoorLimits {
            connections: self.connections,
            connections_per_address: self.connections_per_source,
            kept_percent: self.kept_connections_percent,
            handshakes: self.concurrent_handshakes.unwrap_or(door.handshakes),
            requests_per_connection: self.requests_per_connection,
            proxy_protocol_from: self.proxy_protocol_from.clone(),
            ..door
        }
    }
}
