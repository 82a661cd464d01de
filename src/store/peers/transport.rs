//! How replicas reach each other, as far as the store needs to know: a way to ask, and somebody who answers.
//!
//! The real one speaks mutual TLS; the simulation loses, delays, doubles and reorders what is sent.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;

/// Where a replica is reached, `host:port`, as it stands in the list of the group. It is what a peer's certificate proves.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerAddress(Arc<str>);

impl PeerAddress {
    /// This address; what form it has is checked where it is read from a configuration.
    pub fn new(address: &str) -> Self {
        Self(address.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a peer gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nothing was sent: no connection, or one that proved another address.
    #[error("not reached: {0}")]
    NotSent(String),
    /// It may have arrived and been carried out.
    #[error("no answer: {0}")]
    NoAnswer(String),
}

/// Asks peers.
pub trait Transport: Send + Sync + 'static {
    /// Sends a request to the replica at this address and waits for its answer, however long that takes: who
    /// waits no longer drops the future.
    ///
    /// The request is on its way when the call returns, not only when the future is polled. Requests to one
    /// address are begun there in the order of the calls, for as long as one connection lasts; answers come in
    /// any order. An answer is of the very replica whose certificate proves the address.
    fn call(
        &self,
        to: &PeerAddress,
        request: Vec<u8>,
    ) -> BoxFuture<'static, Result<Vec<u8>, CallError>>;
}

/// Answers peers.
pub trait PeerService: Send + Sync + 'static {
    /// What to answer to a request; `from` is the address that the caller's certificate proves. The request has been
    /// begun once the future was polled for the first time.
    fn answer(&self, from: &PeerAddress, request: Vec<u8>) -> BoxFuture<'static, Vec<u8>>;
}

/// So many bytes are in a request or an answer at the most; what is longer is sent in pieces.
pub const MAX_MESSAGE: usize = 16 << 20;
