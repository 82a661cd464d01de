//! How much the two ends put up with.

use std::thread::available_parallelism;
use std::time::Duration;

use crate::store::MAX_MESSAGE;

/// How much the two ends of a connection put up with. Tests make it less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerLimits {
    /// To find the address of a host name and to reach it.
    pub dial: Duration,
    /// From the connection to the end of the handshake, for the client to the first sign of life.
    pub handshake: Duration,
    /// How long nobody is dialled after a connection could not be made or broke. It doubles with each failure, up to
    /// `longest_backoff`, until a connection is made.
    pub backoff: Duration,
    pub longest_backoff: Duration,
    /// How often each end gives a sign of life.
    pub heartbeat: Duration,
    /// A connection on which nothing arrives for so long is dead.
    pub silence: Duration,
    /// What is not written for so long, because the other end takes nothing, ends the connection. Longer than `silence`: who
    /// lives and is only busy is given time.
    pub write: Duration,
    /// Requests to one peer that wait to be written or for their answers; answers of one connection that wait to be written.
    pub waiting: usize,
    /// Bytes of requests to one peer that wait to be written; of one connection's requests that are being answered; of
    /// its answers that wait to be written. One message is always let in.
    pub waiting_bytes: usize,
    /// Answers under way on one connection; no further request is read.
    pub answers: usize,
    /// Connections of proven peers to the server at one time; more are hung up on.
    pub connections: usize,
    /// Handshakes under way at one time; when there are more, the source that has most of them makes room. As many again are kept
    /// for sources of which a peer has come before.
    pub handshakes: usize,
    /// Of these one source (an IPv4 address, a /64 of IPv6) may have so many.
    pub handshakes_per_source: usize,
    /// Handshakes that are computed at one time; the others wait, source by source in turn.
    pub computing: usize,
}

impl Default for PeerLimits {
    fn default() -> Self {
        Self {
            dial: Duration::from_secs(5),
            handshake: Duration::from_secs(10),
            backoff: Duration::from_millis(100),
            longest_backoff: Duration::from_secs(1),
            heartbeat: Duration::from_secs(1),
            silence: Duration::from_secs(5),
            write: Duration::from_secs(30),
            waiting: 16_384,
            waiting_bytes: 4 * MAX_MESSAGE,
            answers: 1_024,
            connections: 64,
            handshakes: 128,
            handshakes_per_source: 16,
            // The store's heartbeats need the rest.
            computing: available_parallelism().map_or(1, |cpus| cpus.get().div_ceil(2)),
        }
    }
}
