//! The other replicas of the group: what is said to them, and how they are reached.

mod acknowledged;
mod caller;
mod doubles;
mod forwards;
mod link;
mod message;
mod pieces;
#[cfg(debug_assertions)]
mod promise;
mod roster;
mod service;
mod transport;
mod whereabouts;

pub(crate) use caller::{AskError, Caller};
pub(crate) use doubles::Doubles;
pub(crate) use forwards::Forwards;
pub(crate) use link::Links;
pub(crate) use message::{ANYBODY, Ask, Pulse, Refusal, Reply};
#[cfg(debug_assertions)]
pub use promise::{EntryName, Overheard, Promise, Ruler, entries_sent, overhear};
pub(crate) use roster::{Heard, LATELY_MS};
pub(crate) use service::Service;
pub use transport::{CallError, MAX_MESSAGE, PeerAddress, PeerService, Transport};
pub(crate) use whereabouts::Whereabouts;
