//! How one record is kept: a slot of fixed size, and beside it what few records have.

use std::net::IpAddr;

use crate::lifecycle::command::Bindings;
use crate::lifecycle::limits;
use crate::lifecycle::record::{Bar, Issuance, LastFailure, Phase, Reason};
use crate::token::{JoinerId, TokenId};

/// The part that every record has. A token minted offline that nobody holds is nothing else, not even its node's name: with
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
    pub source: Source,
    pub hold: Hold,
}

// The name that a token minted offline has takes no more room here than what only resources' have.
const _: () = assert!(size_of::<Side>() == 120);

/// What is known of whom the token is for.
#[derive(Debug, Clone, Default)]
pub(in crate::lifecycle) enum Source {
    #[default]
    Nothing,
    /// Minted offline and held: the node's name. An offline token that was given back is a slot again and nothing else;
    /// whoever claims it says the name again.
    Offline(Box<str>),
    Resource {
        resource: Box<Resource>,
        /// For the resource's status.
        last_failure: Option<LastFailure>,
    },
}

/// What the registration of a resource's token said.
#[derive(Debug, Clone)]
pub(in crate::lifecycle) struct Resource {
    pub issuance: Issuance,
    pub revision: u64,
    pub reissue: u32,
    pub node_name: String,
    pub in_flight_timeout_ms: Option<u64>,
    /// The token that this one took the place of, whatever became of it.
    pub predecessor: Option<TokenId>,
    /// Of a token that only so many may claim.
    pub claims: Option<Box<Claims>>,
    pub bindings: Bindings,
}

/// By how many joiners a token may be claimed, and who has claimed it while it is live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::lifecycle) struct Claims {
    pub max: u32,
    /// How many claims count: one of each joiner that is remembered, and each of the others.
    pub counted: u32,
    /// The first that claimed it, in their order.
    pub joiners: Vec<JoinerId>,
}

impl Claims {
    pub const fn up_to(max: u32) -> Self {
        Self {
            max,
            counted: 0,
            joiners: Vec::new(),
        }
    }

    fn count(&mut self, joiner: JoinerId) {
        if self.joiners.contains(&joiner) {
            return;
        }
        self.counted = self.counted.saturating_add(1);
        if self.joiners.len() < limits::COUNTED_JOINERS {
            self.joiners.push(joiner);
        }
    }
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
    pub fn resource(&self) -> Option<&Resource> {
        match &self.source {
            Source::Resource { resource, .. } => Some(resource),
            _ => None,
        }
    }

    pub const fn last_failure(&self) -> Option<LastFailure> {
        match &self.source {
            Source::Resource { last_failure, .. } => *last_failure,
            _ => None,
        }
    }

    fn claims_mut(&mut self) -> Option<&mut Claims> {
        match &mut self.source {
            Source::Resource { resource, .. } => resource.claims.as_deref_mut(),
            _ => None,
        }
    }

    /// The joiner has claimed the token.
    pub fn count(&mut self, joiner: JoinerId) {
        if let Some(claims) = self.claims_mut() {
            claims.count(joiner);
        }
    }

    /// The token has ended: who claimed it matters no more.
    pub fn forget_claims(&mut self) {
        if let Some(claims) = self.claims_mut() {
            *claims = Claims::up_to(claims.max);
        }
    }

    /// The name in a token that was minted offline.
    pub fn offline_node(&self) -> Option<&str> {
        match &self.source {
            Source::Offline(node) => Some(node),
            _ => None,
        }
    }

    /// Whoever claims a token minted offline says for which node it is.
    pub fn take_node(&mut self, node: &str) {
        if self.resource().is_none() {
            self.source = Source::Offline(node.into());
        }
    }

    /// From here on nobody holds the token.
    pub fn let_go(&mut self) {
        self.hold = Hold::Nobody;
        if self.resource().is_none() {
            self.source = Source::Nothing;
        }
    }

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
