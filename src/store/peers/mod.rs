//! The other replicas of the group: what is said to them, and how they are reached.

mod transport;

pub use transport::{CallError, MAX_MESSAGE, PeerAddress, PeerService, Transport};
