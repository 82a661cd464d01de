//! How a replica is.

use crate::lifecycle::StateHash;
use crate::store::codec::{Malformed, Reader, Writer};

/// A replica tells of 64; a later release might of more.
pub(super) const MOST_HASHES: usize = 256;

/// How a replica is, told to all others again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pulse {
    /// Its clock, milliseconds since the epoch.
    pub clock_ms: u64,
    /// It is in no group yet: it has never been told of one.
    pub is_new: bool,
    /// Which list of replicas it was given: SHA-256 of the sorted addresses.
    pub list: [u8; 32],
    /// The last index that it has applied.
    pub applied: u64,
    /// The hashes of its state at the last round indices.
    pub hashes: Vec<(u64, StateHash)>,
    /// The highest rules that it can apply.
    pub rules: u32,
}

impl Pulse {
    pub(super) fn encode(&self, w: &mut Writer) {
        w.array(6)
            .number(self.clock_ms)
            .bool(self.is_new)
            .bytes(&self.list)
            .number(self.applied)
            .list(self.hashes.iter(), |w, (index, hash)| {
                w.array(2).number(*index).bytes(&hash.0);
            })
            .number(self.rules.into());
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        r.array(6)?;
        Ok(Self {
            clock_ms: r.number()?,
            is_new: r.bool()?,
            list: r.fixed()?,
            applied: r.number()?,
            hashes: r.list_of(MOST_HASHES, |r| {
                r.array(2)?;
                Ok((r.number()?, StateHash(r.fixed()?)))
            })?,
            rules: r.number_u32()?,
        })
    }
}
