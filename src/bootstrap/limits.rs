//! The door's limits: what they are, and who is told that one was reached.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::observer::DoorObserver;
use super::rate::RateLimits;

/// How much the door puts up with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoorLimits {
    /// From the connection to the end of the handshake.
    pub handshake: Duration,
    /// From the end of one request (or of the handshake) to the end of the next one's headers.
    pub headers: Duration,
    /// From the headers to the end of the body.
    pub body: Duration,
    /// From the body's end to the answer.
    pub request: Duration,
    /// What a caller who is told to slow down waits for being told so.
    pub slow_answer: Duration,
    /// From the handshake to the last request of the connection.
    pub connection: Duration,
    /// Connections at one time. When there are more, who has come the least far makes room.
    pub connections: usize,
    /// Connections of one address (of IPv6: one /64) at one time; when there are more, who of them
    /// has come the least far makes room. Machines behind one NAT share it, and a join takes a
    /// fraction of a second.
    pub connections_per_address: usize,
    /// So many percent of all connections, and of one address', may be such that make room for
    /// nobody: those with a request that the store has found good.
    pub kept_percent: u8,
    /// Handshakes that are computed at one time; the others wait their turn, address by address.
    pub handshakes: usize,
    /// Requests of one connection.
    pub requests_per_connection: u32,
    /// The load balancers that say by the PROXY protocol, version 2, whose connections they pass on.
    /// All of theirs have to, and nobody else's may.
    pub proxy_protocol_from: Vec<IpNet>,
    /// What runs when the door stops may go on for so long.
    pub stop: Duration,
    pub rates: RateLimits,
}

impl DoorLimits {
    /// Whether connections from this address begin with a header of the PROXY protocol.
    pub(super) fn is_load_balancer(&self, address: IpAddr) -> bool {
        let mut listed = self.proxy_protocol_from.iter();
        listed.any(|net| net.contains(&address))
    }
}

impl Default for DoorLimits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            headers: Duration::from_secs(10),
            body: Duration::from_secs(5),
            request: Duration::from_secs(20),
            slow_answer: Duration::from_secs(1),
            connection: Duration::from_secs(120),
            connections: 2_048,
            connections_per_address: 256,
            kept_percent: 50,
            handshakes: 2 * std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            requests_per_connection: 16,
            proxy_protocol_from: Vec::new(),
            stop: Duration::from_secs(20),
            rates: RateLimits::default(),
        }
    }
}

/// A limit that was reached. Few enough for a metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// All places for connections were taken, and one made room.
    Connections,
    /// One address had all the connections that it may have.
    ConnectionsPerAddress,
    /// As many connections as may were such that make room for nobody.
    KeptConnections,
    /// A handshake had to wait for others.
    Handshakes,
    /// More came than any handshake takes.
    HandshakeBytes,
    /// A connection had made all the requests that it may make.
    RequestsPerConnection,
    /// Somebody asked too often, and was told to slow down.
    RequestRate,
}

impl Limit {
    const ALL: [Self; 7] = [
        Self::Connections,
        Self::ConnectionsPerAddress,
        Self::KeptConnections,
        Self::Handshakes,
        Self::HandshakeBytes,
        Self::RequestsPerConnection,
        Self::RequestRate,
    ];

    /// Its name, for a metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ConnectionsPerAddress => "connections_per_address",
            Self::KeptConnections => "kept_connections",
            Self::Handshakes => "handshakes",
            Self::HandshakeBytes => "handshake_bytes",
            Self::RequestsPerConnection => "requests_per_connection",
            Self::RequestRate => "request_rate",
        }
    }
}

/// Of each limit there is a line in the log at most so often.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Tells the observer of each limit that is reached, and the log now and then.
pub(crate) struct LimitReports {
    observer: Arc<dyn DoorObserver>,
    said: [Mutex<Said>; Limit::ALL.len()],
}

#[derive(Default)]
struct Said {
    last: Option<Instant>,
    /// How often it was reached since.
    times: u64,
}

impl LimitReports {
    pub(super) fn new(observer: Arc<dyn DoorObserver>) -> Self {
        Self {
            observer,
            said: Default::default(),
        }
    }

    pub(super) fn reached(&self, limit: Limit, address: IpAddr) {
        self.observer.limit_reached(limit);
        let of_limit = Limit::ALL.iter().position(|known| *known == limit);
        let Some(said) = of_limit.and_then(|position| self.said.get(position)) else {
            return;
        };
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        said.times += 1;
        if said.last.is_none_or(|last| last.elapsed() >= LOG_EVERY) {
            said.last = Some(Instant::now());
            let times = std::mem::take(&mut said.times);
            tracing::warn!(
                limit = limit.as_str(),
                times,
                %address,
                "a limit of the door was reached, last by this address; see \"Limits\" in docs/operations.md"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> =
            Limit::ALL.iter().map(|limit| limit.as_str()).collect();
        assert_eq!(names.len(), Limit::ALL.len());
    }
}
