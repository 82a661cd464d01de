//! The other replicas of the group: what is said to them, and how they are reached.

mod forwards;
mod link;
mod message;
mod roster;
mod service;
mod transport;

pub(crate) use forwards::Forwards;
pub(crate) use link::{AskError, Caller, Links};
pub(crate) use message::{ANYBODY, Ask, Pulse, Refusal, Reply};
pub(crate) use roster::{Heard, LATELY_MS, Roster};
pub(crate) use service::Service;
pub use transport::{CallError, MAX_MESSAGE, PeerAddress, PeerService, Transport};
