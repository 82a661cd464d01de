//! How one record is kept: a slot of fixed size, and beside it what few records have.

use std::net::IpAddr;

use crate::lifecycle::command::Bindings;
use crate::lifecycle::record::{Bar, Issuance, LastFailure, Phase, Reason};
use crate::token::{JoinerId, TokenId};

/// The part that every record has. A token minted offline that nobody holds is nothing else: with
/// the hash table and the due heap it stays under 80 bytes.
#[derive(Debug, Clone, Copy)]
pub(in crate::lifecycle) struct Slot {
    pub token_id: TokenId,
    pub issued_at_ms: u64,
    pub expires_at_ms: u64,
    /// Issued: 0. InFlight: when the claim lapses. Terminal: when the phase was reached.
    pub at_ms: u64,
    pub changed_at_index: u64,
    /// Number of the side, or `NONE`.
    pub side: u32,
    /// How many claims there were.
    pub attempts: u32,
    /// Place in the due heap.
    pub position: u32,
    /// Place of the key among the adopted ones, or [`NO_KEY`].
    pub key: u16,
    pub phase: Phase,
    pub aborted: Option<Reason>,
}

/// A tombstone has no key.
pub(in crate::lifecycle) const NO_KEY: u16 = u16::MAX;

const _: () = assert!(size_of::<Option<Slot>>() == 64);

/// What lies beside the slot of a resource's token, or of one that somebody holds.
#[derive(Debug, Clone, Default)]
pub(in crate::lifecycle) struct Side {
    pub resource: Option<Box<Resource>>,
    pub hold: Hold,
    /// Of resources only, for their status: an offline token that was given back is a slot again
    /// and nothing else.
    pub last_failure: Option<LastFailure>,
}

/// What the registration of a resource's token said.
#[derive(Debug, Clone)]
pub(in crate::lifecycle) struct Resource {
    pub issuance: Issuance,
    pub revision: u64,
    pub reissue: u32,
    pub node_name: String,
    pub in_flight_timeout_ms: Option<u64>,
    pub max_claims: Option<u32>,
    pub bindings: Bindings,
}

/// Who has the token.
#[derive(Debug, Clone, Default)]
pub(in crate::lifecycle) enum Hold {
    #[default]
    Nobody,
    /// While InFlight.
    Claimed(Claimed),
    /// While Consumed.
    Admitted(Admitted),
}

#[derive(Debug, Clone)]
pub(in crate::lifecycle) struct Claimed {
    pub joiner: JoinerId,
    pub holder: [u8; 16],
    pub address: Option<IpAddr>,
}

#[derive(Debug, Clone)]
pub(in crate::lifecycle) struct Admitted {
    pub joiner: JoinerId,
    pub address: Option<IpAddr>,
    pub redeliver_until_ms: u64,
    pub leaf: Option<Box<[u8]>>,
    pub barred: Option<Bar>,
    pub contested: bool,
}

impl Side {
    pub fn claimed(&self) -> Option<&Claimed> {
        match &self.hold {
            Hold::Claimed(claimed) => Some(claimed),
            _ => None,
        }
    }

    pub fn admitted(&self) -> Option<&Admitted> {
        match &self.hold {
            Hold::Admitted(admitted) => Some(admitted),
            _ => None,
        }
    }

    pub fn admitted_mut(&mut self) -> Option<&mut Admitted> {
        match &mut self.hold {
            Hold::Admitted(admitted) => Some(admitted),
            _ => None,
        }
    }
}
