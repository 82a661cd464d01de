//! Who is at the other end of a TLS 1.3 handshake: the joiner's check of the door, the door's of
//! the joiner, and two replicas' of each other.

mod client;
mod door;
mod peer;
mod signatures;

pub use client::SelfSignedClientVerifier;
pub use door::{DoorRefusal, DoorVerifier, door_refusal};
pub use peer::{NotAPeer, PeerVerifier};

#[cfg(test)]
mod tests;
