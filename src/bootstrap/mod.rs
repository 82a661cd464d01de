//! The door: HTTPS, where machines join.
//!
//! [`serve`] accepts TLS 1.3 connections and answers four paths ([`wire`]). One request runs, from
//! start to finish, through `server` (connection, handshake, who the peer is), `routes` (body,
//! time limit, observation), `join` (the order of steps) and `claim` (which gives a claim back
//! when its request ends badly, in whatever way). [`DoorError`] is the one table of what a caller
//! is told.
//!
//! This room must not know the controller or Kubernetes.

mod ack;
mod certificate;
mod claim;
mod error;
#[cfg(test)]
mod error_table_test;
mod join;
mod observer;
mod openapi;
mod peer;
mod places;
mod rate;
mod refusals;
mod routes;
mod server;
mod tls;
pub mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::pki::{Authority, DoorIdentity, TrustDomain};
use crate::store::TokenStore;
use crate::token::{KeyRing, NodePattern};

pub use certificate::DoorCertificates;
pub use error::DoorError;
pub use observer::{Answered, Class, DoorObserver, Refused, Route};
pub use openapi::openapi_json;
pub use peer::Peer;
pub(crate) use places::Places;
pub use rate::{Rate, RateLimits};
pub use server::{ServeError, serve};
pub use tls::tls_provider;

use rate::Limiters;

/// The longest body that is read, in bytes.
pub const MAX_BODY: usize = 16 * 1024;

/// Everything that the door needs.
pub struct Door {
    /// The records.
    pub store: Arc<dyn TokenStore>,
    /// The keys that tokens are verified by, as of now.
    pub keys: watch::Receiver<Arc<KeyRing>>,
    /// The CA that signs for machines.
    pub members: Arc<Authority>,
    /// The door's own certificate; a new one is shown from the next connection on.
    pub identity: watch::Receiver<Arc<DoorIdentity>>,
    /// What all names in certificates end in.
    pub trust_domain: TrustDomain,
    /// The time of day: for `Date`, and to see whether a token is worth asking the store about.
    pub clock: Arc<dyn Clock>,
    /// Namespaces whose machines get their bare node names as well, and the names that these must
    /// fit. In all others a bare name would let one namespace pose as another's machine.
    pub bare_names: BTreeMap<String, NodePattern>,
    /// How long a machine's certificate lives, in milliseconds; never longer than the store's
    /// settings say, since bars are kept for that long.
    pub certificate_lifetime_ms: u64,
    pub limits: DoorLimits,
    pub observer: Arc<dyn DoorObserver>,
}

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
    /// Connections at one time. When there are more, who came first of those that have shown no
    /// valid token makes room.
    pub connections: usize,
    /// Connections of one address (of IPv6: one /64) at one time; more are hung up on. Machines
    /// behind one NAT share it, and a join takes a fraction of a second.
    pub connections_per_address: usize,
    /// What runs when the door stops may go on for so long.
    pub stop: Duration,
    pub rates: RateLimits,
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
            stop: Duration::from_secs(20),
            rates: RateLimits::default(),
        }
    }
}

/// A door that is being served.
struct OpenDoor {
    door: Door,
    limiters: Limiters,
    /// What must not be cut off with the request that began it: claims being made or given back.
    tasks: TaskTracker,
}
