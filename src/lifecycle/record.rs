//! What is known of one token, as others see it. How it is kept is the business of `state/`.

use std::fmt;
use std::net::IpAddr;

use crate::token::{JoinerId, KeyId, TokenId};

use super::command::{Bindings, Failure};

/// Namespace and name of a `JoinToken` resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Issuance {
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for Issuance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Where a token is in its life. The numbers are on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    Issued = 1,
    InFlight = 2,
    Consumed = 3,
    Expired = 4,
    Aborted = 5,
}

impl Phase {
    /// The phase with this number, if there is one.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Issued),
            2 => Some(Self::InFlight),
            3 => Some(Self::Consumed),
            4 => Some(Self::Expired),
            5 => Some(Self::Aborted),
            _ => None,
        }
    }

    /// Nothing but a bar can change a record in such a phase.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Consumed | Self::Expired | Self::Aborted)
    }
}

/// Why a token was aborted or a machine barred. The numbers are on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Reason {
    /// `spec.revoked` was set, or an operator revoked it.
    Revoked = 1,
    /// The resource was deleted while its token lived.
    Deleted = 2,
    /// A later revision or reissue took its place.
    Superseded = 3,
    /// `maxClaims` was used up.
    Attempts = 4,
    /// A restore or recovery made it impossible to know whether it had been used.
    Restored = 5,
    /// An operator aborted it by hand.
    Operator = 6,
}

impl Reason {
    /// The reason with this number, if there is one.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Revoked),
            2 => Some(Self::Deleted),
            3 => Some(Self::Superseded),
            4 => Some(Self::Attempts),
            5 => Some(Self::Restored),
            6 => Some(Self::Operator),
            _ => None,
        }
    }

    /// The reason as users read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Deleted => "deleted",
            Self::Superseded => "superseded",
            Self::Attempts => "attempts",
            Self::Restored => "restored",
            Self::Operator => "operator",
        }
    }
}

/// Everything the state says of one token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub token_id: TokenId,
    pub phase: Phase,
    pub origin: Origin,
    /// Milliseconds since the epoch, as everywhere here. For a tombstone the time of the abort.
    pub issued_at_ms: u64,
    /// For a tombstone: until when it is kept.
    pub expires_at_ms: u64,
    /// How many claims there were; the attempt of the last one.
    pub attempts: u32,
    pub bindings: Bindings,
    /// While InFlight.
    pub claim: Option<Claim>,
    /// While Consumed.
    pub admission: Option<Admission>,
    /// While Aborted.
    pub aborted: Option<Reason>,
    /// When the terminal phase was reached.
    pub terminal_at_ms: Option<u64>,
    /// Another key than the admitted one presented the token after its admission: it may have been stolen.
    pub contested: bool,
    /// Of a resource's token, for its status.
    pub last_failure: Option<LastFailure>,
    /// The log index that last changed this record.
    pub changed_at_index: u64,
}

impl Record {
    /// The token can still admit somebody (as of the last command; time may have passed since).
    pub const fn is_live(&self) -> bool {
        !self.phase.is_terminal()
    }
}

/// Where a token came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Minted for a resource. With these fields and the key, the token can be rendered again.
    Resource {
        issuance: Issuance,
        revision: u64,
        /// 0 for the first token of a revision, then one more for each re-issue.
        reissue: u32,
        key_id: KeyId,
        node_name: String,
    },
    /// Minted without a server.
    Offline {
        key_id: KeyId,
        /// The machine that may join, while one has claimed the token or was admitted by it. `None` if nobody holds it, or
        /// its holder came before the rules that keep the name.
        node_name: Option<String>,
    },
    /// Never seen: aborted by its id.
    Tombstone,
}

/// A joiner's hold on a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub joiner: JoinerId,
    /// Equals the record's `attempts`.
    pub attempt: u32,
    pub holder: [u8; 16],
    pub address: Option<IpAddr>,
    /// When the claim lapses by itself.
    pub deadline_ms: u64,
}

/// Who was admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    pub joiner: JoinerId,
    pub attempt: u32,
    pub address: Option<IpAddr>,
    pub at_ms: u64,
    /// Until when the joiner may have its answer again.
    pub redeliver_until_ms: u64,
    /// The certificate (DER), while it may be redelivered.
    pub leaf: Option<Vec<u8>>,
    /// The machine gets no further certificate, and why.
    pub barred: Option<Bar>,
}

/// When and why a machine was barred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    pub reason: Reason,
    pub at_ms: u64,
}

/// The last time that a claimed request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastFailure {
    pub failure: Failure,
    pub at_ms: u64,
}

/// What stays of a resource's name: its highest revision and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuanceEntry {
    pub issuance: Issuance,
    pub namespace_uid: String,
    pub revision: u64,
    pub reissue: u32,
    pub spec_hash: [u8; 32],
    pub token_id: TokenId,
    /// As of the last change of its record, which may be forgotten by now.
    pub phase: Phase,
    /// While Aborted.
    pub aborted: Option<Reason>,
    /// When it got into this phase.
    pub at_ms: u64,
    /// The token of the last admission under this name, whatever its revision.
    pub last_admission: Option<TokenId>,
    /// The log index that last changed this entry or its record.
    pub changed_at_index: u64,
}
