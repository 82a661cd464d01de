//! The hash of the state: a sum, so that it grows with every change instead of being made anew.

use std::fmt;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// Two replicas that applied the same log have the same one. It finds replicas that diverged by
/// fault; it is no proof against somebody who makes up states.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StateHash(pub [u8; 16]);

impl fmt::Display for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StateHash({self})")
    }
}

/// A sum of hashes of parts, in whatever order they came and went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum(u128);

impl Sum {
    pub fn add(&mut self, part: Sum) {
        self.0 = self.0.wrapping_add(part.0);
    }

    pub fn subtract(&mut self, part: Sum) {
        self.0 = self.0.wrapping_sub(part.0);
    }

    /// The hash of one part: of its kind and its canonical bytes.
    pub fn of(kind: Kind, bytes: &[u8]) -> Self {
        let digest = Sha256::new()
            .chain_update([kind as u8])
            .chain_update(bytes)
            .finalize();
        let mut first = [0; 16];
        first.copy_from_slice(&digest[..16]);
        Self(u128::from_le_bytes(first))
    }

    pub fn finish(self) -> StateHash {
        StateHash(self.0.to_le_bytes())
    }
}

/// Keeps parts of different kinds apart.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(super) enum Kind {
    Globals = 1,
    Issuance = 2,
    Record = 3,
}
