//! What openraft is told of our types.

use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use openraft::impls::{InlineBatch, OneshotResponder, leader_id_adv};
use openraft::{AsyncRuntime, OptionalSend, RaftTypeConfig};

use crate::lifecycle::Command;

use super::token_store::Committed;

/// Openraft over our types, on the runtime `Rt`.
pub(crate) struct TypeConfig<Rt>(PhantomData<fn() -> Rt>);

/// A replica's name: random, drawn at its first start, never used again.
pub(crate) type NodeId = u64;

/// (term, node), totally ordered.
pub(crate) type LeaderId = leader_id_adv::LeaderId<u64, NodeId>;
pub(crate) type LogId = openraft::LogId<LeaderId>;
pub(crate) type Vote = openraft::impls::Vote<LeaderId>;
pub(crate) type Membership = openraft::Membership<NodeId, Member>;
pub(crate) type StoredMembership = openraft::StoredMembership<LeaderId, NodeId, Member>;
pub(crate) type Payload = openraft::EntryPayload<Proposal, NodeId, Member>;
pub(crate) type Entry = openraft::Entry<LeaderId, Payload>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<LeaderId, NodeId, Member>;

/// What the group knows of a replica beside its name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Member {
    /// Where its peers reach it; empty for a lone replica.
    pub address: String,
}

/// A command on its way through the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proposal(pub Arc<Command>);

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command at {} ms", self.0.at_ms)
    }
}

impl<Rt: AsyncRuntime> RaftTypeConfig for TypeConfig<Rt> {
    type D = Proposal;
    /// `None` for entries that carry no command.
    type R = Option<Committed>;
    type NodeId = NodeId;
    type Node = Member;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = Vote;
    type Payload = Payload;
    type Entry = Entry;
    type AsyncRuntime = Rt;
    type Responder<T>
        = OneshotResponder<Self, T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = openraft::AnyError;
}

// By hand: a derive would ask the same of the runtime.
impl<Rt> fmt::Debug for TypeConfig<Rt> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TypeConfig")
    }
}

impl<Rt> Clone for TypeConfig<Rt> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Rt> Copy for TypeConfig<Rt> {}

impl<Rt> Default for TypeConfig<Rt> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<Rt> PartialEq for TypeConfig<Rt> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<Rt> Eq for TypeConfig<Rt> {}

impl<Rt> PartialOrd for TypeConfig<Rt> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<Rt> Ord for TypeConfig<Rt> {
    fn cmp(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}
