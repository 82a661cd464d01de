//! The transport of a lone replica: there is nobody to reach.

use std::future::Future;

use openraft::alias::{SnapshotOf, VoteOf};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{AsyncRuntime, OptionalSend, RaftNetworkFactory, RaftNetworkV2};

use super::snapshot::Image;
use super::types::{Member, NodeId, TypeConfig};

/// Reaches nobody.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Isolated;

impl<Rt: AsyncRuntime> RaftNetworkFactory<TypeConfig<Rt>> for Isolated {
    type Network = Self;

    async fn new_client(&mut self, _: NodeId, _: &Member) -> Self {
        Self
    }
}

fn unreachable<Rt: AsyncRuntime>() -> Unreachable<TypeConfig<Rt>> {
    Unreachable::from_string("a lone replica has no peers")
}

impl<Rt: AsyncRuntime> RaftNetworkV2<TypeConfig<Rt>> for Isolated {
    type SnapshotData = Image;

    async fn append_entries(
        &mut self,
        _: AppendEntriesRequest<TypeConfig<Rt>>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig<Rt>>, RPCError<TypeConfig<Rt>>> {
        Err(unreachable().into())
    }

    async fn vote(
        &mut self,
        _: VoteRequest<TypeConfig<Rt>>,
        _: RPCOption,
    ) -> Result<VoteResponse<TypeConfig<Rt>>, RPCError<TypeConfig<Rt>>> {
        Err(unreachable().into())
    }

    /// Never the default, which would grant what nobody was asked.
    async fn pre_vote(
        &mut self,
        _: VoteRequest<TypeConfig<Rt>>,
        _: RPCOption,
    ) -> Result<VoteResponse<TypeConfig<Rt>>, RPCError<TypeConfig<Rt>>> {
        Err(unreachable().into())
    }

    async fn full_snapshot(
        &mut self,
        _: VoteOf<TypeConfig<Rt>>,
        _: SnapshotOf<TypeConfig<Rt>, Image>,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig<Rt>>, StreamingError<TypeConfig<Rt>>> {
        Err(unreachable().into())
    }
}
