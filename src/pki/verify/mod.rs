//! Who is at the other end of a TLS 1.3 handshake: the joiner's check of the door, and the
//! door's of the joiner.

mod client;
mod door;

pub use client::SelfSignedClientVerifier;
pub use door::{DoorRefusal, DoorVerifier, door_refusal};

#[cfg(test)]
mod tests;
