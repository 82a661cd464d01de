//! What is answered to peers.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use openraft::AsyncRuntime;
use openraft::alias::SnapshotOf;
use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{Fatal, RaftError};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use openraft::storage::Snapshot;

use crate::store::inner::Inner;
use crate::store::snapshot::Image;
use crate::store::token_store::StoreError;
use crate::store::types::{NodeId, TypeConfig};

use super::message::{ANYBODY, Answer, Append, Ask, Piece, Refusal, Reply, Request, Unreadable};
use super::pieces::Incoming;
use super::transport::{PeerAddress, PeerService};

/// Answers peers for one replica.
pub(crate) struct Service<Rt: AsyncRuntime> {
    store: Arc<Inner<Rt>>,
    incoming: Arc<Incoming>,
}

impl<Rt: AsyncRuntime> Service<Rt> {
    pub(crate) fn new(store: Arc<Inner<Rt>>) -> Self {
        Self {
            store,
            incoming: Arc::default(),
        }
    }
}

impl<Rt: AsyncRuntime> PeerService for Service<Rt> {
    fn answer(&self, from: &PeerAddress, request: Vec<u8>) -> BoxFuture<'static, Vec<u8>> {
        let (store, incoming) = (self.store.clone(), self.incoming.clone());
        let address = from.clone();
        async move {
            let reply = match Request::decode(&request) {
                Ok(request) => reply(&store, &incoming, &address, request).await,
                Err(Unreadable::Version) => Reply::Refused(Refusal::Version),
                Err(Unreadable::Malformed(error)) => {
                    tracing::warn!(peer = %address, %error, "a peer sent what cannot be read");
                    Reply::Refused(Refusal::Malformed)
                }
            };
            let from = store.identity().node_id;
            Answer { from, reply }.encode()
        }
        .boxed()
    }
}

/// Whether the caller may ask this, here.
fn check<Rt: AsyncRuntime>(
    store: &Inner<Rt>,
    address: &PeerAddress,
    request: &Request,
) -> Result<(), Refusal> {
    let me = store.identity();
    if request.store_id != me.store_id {
        return Err(Refusal::OtherStore);
    }
    if request.to != ANYBODY && request.to != me.node_id {
        return Err(Refusal::NotMe);
    }
    if store.was_removed(request.from) {
        return Err(Refusal::Removed);
    }
    if store.is_used_elsewhere(request.from, address) {
        return Err(Refusal::IdInUse);
    }
    let may_ask = match request.ask {
        // The leader knows all members, and only they have it do something.
        Ask::Propose(_) | Ask::ReadIndex | Ask::Remove { .. } | Ask::Finalize => {
            store.address_of(request.from).as_ref() == Some(address)
        }
        // Nobody would reach a leader that is somewhere else.
        Ask::Vote { .. } | Ask::TakeOver { .. } | Ask::Pulse(_) => {
            store.is_at_home(request.from, address)
        }
        // Whoever lags knows neither the newest members nor where the others have moved to; to refuse what would tell it so
        // would leave it behind for ever.
        Ask::Append(_) | Ask::Snapshot(_) => true,
    };
    match may_ask {
        true => Ok(()),
        false => Err(Refusal::NotYou),
    }
}

async fn reply<Rt: AsyncRuntime>(
    store: &Arc<Inner<Rt>>,
    incoming: &Incoming,
    address: &PeerAddress,
    request: Request,
) -> Reply {
    if let Err(refusal) = check(store, address, &request) {
        return Reply::Refused(refusal);
    }
    if let Some(it) = store.contradiction() {
        return Reply::Contradicted(it);
    }
    let from = request.from;
    match request.ask {
        Ask::Append(append) => append_entries(store, append).await,
        Ask::Vote {
            pre,
            vote,
            last,
            leadership_transfer,
        } => {
            store.is_sought(from);
            if store.refuses_to_elect(from, last) {
                return no_vote(store);
            }
            let mut rpc = VoteRequest::new(vote, last);
            rpc.leadership_transfer = leadership_transfer;
            let raft = store.raft();
            let voted = match pre {
                true => raft.pre_vote(rpc).await,
                false => raft.vote(rpc).await,
            };
            voted.map_or_else(
                refuse,
                |VoteResponse {
                     vote,
                     vote_granted,
                     last_log_id,
                 }| {
                    Reply::Vote {
                        vote,
                        granted: vote_granted,
                        last: last_log_id,
                    }
                },
            )
        }
        Ask::Snapshot(piece) => receive(store, incoming, from, piece).await,
        Ask::TakeOver { from, last } => {
            let rpc = TransferLeaderRequest::new(from, store.identity().node_id, last);
            match store.raft().handle_transfer_leader(rpc).await {
                Ok(Ok(())) => Reply::Done,
                Ok(Err(_)) => Reply::Refused(Refusal::Unknown),
                Err(_) => Reply::Refused(Refusal::Stopped),
            }
        }
        Ask::Propose(command) => match store.commit(command.operation.clone()).await {
            Ok((log_id, _)) => Reply::Committed(log_id),
            Err(error) => Reply::Refused(match error {
                StoreError::NoLeader | StoreError::KeysAmiss => Refusal::NotLeader,
                StoreError::Unknown => Refusal::Unknown,
                StoreError::Clock => Refusal::Clock,
                StoreError::Stopped => Refusal::Stopped,
            }),
        },
        Ask::ReadIndex => match store.read_log_id().await {
            Ok(log_id) => Reply::ReadAfter(log_id),
            Err(StoreError::Stopped) => Reply::Refused(Refusal::Stopped),
            Err(_) => Reply::Refused(Refusal::NotLeader),
        },
        Ask::Remove { nodes, force } => match store.leads() {
            false => Reply::Refused(Refusal::NotLeader),
            true => Reply::Removed(store.remove_here(nodes, force).await),
        },
        Ask::Finalize => match store.leads() {
            false => Reply::Refused(Refusal::NotLeader),
            true => Reply::Finalized(store.finalize_here().await),
        },
        Ask::Pulse(pulse) => {
            store.hear(from, address, pulse);
            Reply::Pulse(store.pulse())
        }
    }
}

fn no_vote<Rt: AsyncRuntime>(store: &Inner<Rt>) -> Reply {
    Reply::Vote {
        vote: store.raft().metrics().borrow_watched().vote,
        granted: false,
        last: store.log_gauge().last(),
    }
}

async fn append_entries<Rt: AsyncRuntime>(store: &Inner<Rt>, append: Append) -> Reply {
    // Openraft takes for granted that it cannot be, and goes on with a state that is nobody's.
    if let Some(it) = store.contradicts(append.vote, append.named()) {
        return Reply::Contradicted(it);
    }
    let rpc = AppendEntriesRequest {
        vote: append.vote,
        prev_log_id: append.previous,
        entries: append.entries,
        leader_commit: append.committed,
    };
    let appended = store.raft().append_entries(rpc).await;
    if !matches!(appended, Ok(AppendEntriesResponse::HigherVote(_)) | Err(_)) {
        store.follows();
    }
    appended.map_or_else(refuse, |response| match response {
        AppendEntriesResponse::Success => Reply::Appended,
        AppendEntriesResponse::PartialSuccess(last) => Reply::AppendedTo(last),
        AppendEntriesResponse::Conflict => Reply::Conflict,
        AppendEntriesResponse::HigherVote(vote) => Reply::HigherVote(vote),
    })
}

fn refuse<Rt: AsyncRuntime>(_: RaftError<TypeConfig<Rt>>) -> Reply {
    Reply::Refused(Refusal::Stopped)
}

/// Takes a piece; with the last one installs the whole.
async fn receive<Rt: AsyncRuntime>(
    store: &Arc<Inner<Rt>>,
    incoming: &Incoming,
    from: NodeId,
    piece: Piece,
) -> Reply {
    let known = store.raft().metrics().borrow_watched().vote;
    if known > piece.vote {
        return Reply::Received(known);
    }
    let named = (piece.meta.last_log_id.into_iter()).map(|last| (last, None));
    if let Some(it) = store.contradicts(piece.vote, named) {
        return Reply::Contradicted(it);
    }
    let install = |image| {
        let installed = install(store.clone(), piece.clone(), image);
        installed.boxed().shared()
    };
    let Some(installing) = incoming.take(from, &piece, install) else {
        return Reply::Lost;
    };
    store.follows();
    match installing {
        Some(installing) => installing.await,
        None => Reply::Received(piece.vote),
    }
}

/// `last`: the last piece of it.
async fn install<Rt: AsyncRuntime>(store: Arc<Inner<Rt>>, last: Piece, image: Vec<u8>) -> Reply {
    if crc32c::crc32c(&image) != last.crc32c {
        tracing::warn!("a snapshot that was sent here has the wrong checksum");
        return Reply::Lost;
    }
    let snapshot: SnapshotOf<TypeConfig<Rt>, Image> = Snapshot {
        meta: last.meta,
        snapshot: Image {
            state: Arc::new(image),
            removed: last.removed,
        },
    };
    let installed = store.raft().install_full_snapshot(last.vote, snapshot);
    match installed.await {
        Ok(response) => Reply::Received(response.vote),
        Err(Fatal::Panicked | Fatal::Stopped | Fatal::StorageError(_)) => {
            Reply::Refused(Refusal::Stopped)
        }
    }
}
