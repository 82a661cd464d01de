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
mod anonymous;
mod certificate;
mod claim;
mod error;
#[cfg(test)]
mod error_table_test;
mod join;
mod limits;
mod observer;
mod openapi;
mod peer;
mod places;
mod proxy_protocol;
mod rate;
mod refusals;
mod routes;
mod server;
mod tls;
pub mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::body::Bytes;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::pki::{Authority, DoorIdentity, TrustDomain};
use crate::store::TokenStore;
use crate::token::{KeyRing, NodePattern};

pub use certificate::DoorCertificates;
pub use error::DoorError;
pub use limits::{DoorLimits, Limit};
pub use observer::{Answered, Class, DoorObserver, Refused, Route};
pub use openapi::openapi_json;
pub use peer::Peer;
pub(crate) use places::Places;
pub use rate::{Rate, RateLimits};
pub use server::{ServeError, serve};
pub use tls::tls_provider;

use limits::LimitReports;
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

/// A door that is being served.
struct OpenDoor {
    door: Door,
    limiters: Limiters,
    limits: Arc<LimitReports>,
    /// The answer to who asks for the CA.
    ca_json: Bytes,
    /// What must not be cut off with the request that began it: claims being made or given back.
    tasks: TaskTracker,
}
