//! The way to one peer: what openraft sends to it, and what else is asked of it.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, Either, select};
use futures::stream::BoxStream;
use futures::{FutureExt as _, Stream, StreamExt as _};
use openraft::alias::{SnapshotOf, VoteOf};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{AsyncRuntime, OptionalSend, RaftNetworkFactory, RaftNetworkV2};

use crate::faults::{self, Fault};
use crate::store::snapshot::Image;
use crate::store::types::{LogId, Member, NodeId, TypeConfig};

use super::acknowledged::Acknowledged;
use super::caller::{AskError, Caller};
use super::message::{Append, Ask, Reply};
use super::transport::{CallError, PeerAddress};
use super::whereabouts::Whereabouts;

/// How long an answer to appended entries is waited for: a peer's disk may be slow for once.
const APPEND: Duration = Duration::from_secs(2);
/// So many requests to append are on their way at once.
const PIPELINE: usize = 32;

/// Makes openraft's ways to the members.
pub(crate) struct Links<Rt> {
    caller: Caller,
    whereabouts: Arc<Whereabouts>,
    acknowledged: Arc<Acknowledged>,
    runtime: PhantomData<fn() -> Rt>,
}

impl<Rt> Links<Rt> {
    pub(crate) fn new(caller: Caller, whereabouts: Arc<Whereabouts>) -> Self {
        Self {
            caller,
            whereabouts,
            acknowledged: Arc::default(),
            runtime: PhantomData,
        }
    }
}

impl<Rt: AsyncRuntime> RaftNetworkFactory<TypeConfig<Rt>> for Links<Rt> {
    type Network = Link<Rt>;

    async fn new_client(&mut self, target: NodeId, member: &Member) -> Link<Rt> {
        Link {
            caller: self.caller.clone(),
            whereabouts: self.whereabouts.clone(),
            acknowledged: self.acknowledged.clone(),
            to: target,
            began_at: PeerAddress::new(&member.address),
            runtime: PhantomData,
        }
    }
}

/// The way to one member, wherever it is.
pub(crate) struct Link<Rt> {
    caller: Caller,
    whereabouts: Arc<Whereabouts>,
    acknowledged: Arc<Acknowledged>,
    to: NodeId,
    /// Where its entry said that it was when openraft made this.
    began_at: PeerAddress,
    runtime: PhantomData<fn() -> Rt>,
}

impl<Rt: AsyncRuntime> Link<Rt> {
    /// Where it is now: openraft keeps this for as long as it leads, while the member may move.
    fn address(&self) -> PeerAddress {
        let known = self.whereabouts.of(self.to);
        let known = known.filter(|_| !faults::is_on(Fault::AddressKept));
        known.unwrap_or_else(|| self.began_at.clone())
    }

    pub(super) fn ask(
        &self,
        ask: Ask,
        patience: Duration,
    ) -> impl Future<Output = Result<Reply, AskError>> + Send + use<Rt> {
        let asked = (self.caller).ask::<Rt>(&self.address(), self.to, ask, patience);
        asked.map(|answered| answered.map(|(_, reply)| reply))
    }

    fn append(
        &self,
        rpc: AppendEntriesRequest<TypeConfig<Rt>>,
    ) -> impl Future<
        Output = Result<AppendEntriesResponse<TypeConfig<Rt>>, RPCError<TypeConfig<Rt>>>,
    > + Send
    + use<Rt> {
        let append = Append {
            vote: rpc.vote,
            previous: rpc.prev_log_id,
            entries: rpc.entries,
            committed: rpc.leader_commit,
        };
        let (vote, previous) = (append.vote, append.previous);
        let last = append
            .entries
            .last()
            .map_or(previous, |last| Some(last.log_id));
        let (to, acknowledged) = (self.to, self.acknowledged.clone());
        // Before it is sent: what is acknowledged only meanwhile may have been overtaken by this.
        let had_it = acknowledged.has(to, vote, previous);
        self.ask(Ask::Append(append), APPEND).map(move |reply| {
            Ok(match reply.map_err(rpc_error)? {
                Reply::Appended => {
                    acknowledged.extend(to, vote, last);
                    AppendEntriesResponse::Success
                }
                Reply::AppendedTo(last) => {
                    acknowledged.extend(to, vote, last);
                    AppendEntriesResponse::PartialSuccess(last)
                }
                Reply::Conflict if had_it && !faults::is_on(Fault::LostNotSentAgain) => {
                    acknowledged.take_back(to, vote, previous);
                    AppendEntriesResponse::Conflict
                }
                Reply::Conflict if acknowledged.has(to, vote, previous) => {
                    return Err(another_answer());
                }
                Reply::Conflict => AppendEntriesResponse::Conflict,
                Reply::HigherVote(vote) => AppendEntriesResponse::HigherVote(vote),
                _ => return Err(another_answer()),
            })
        })
    }

    async fn ask_vote(
        &self,
        pre: bool,
        rpc: VoteRequest<TypeConfig<Rt>>,
        patience: Duration,
    ) -> Result<VoteResponse<TypeConfig<Rt>>, RPCError<TypeConfig<Rt>>> {
        let ask = Ask::Vote {
            pre,
            vote: rpc.vote,
            last: rpc.last_log_id,
            leadership_transfer: rpc.leadership_transfer,
        };
        match self.ask(ask, patience).await.map_err(rpc_error)? {
            Reply::Vote {
                vote,
                granted,
                last,
            } => Ok(VoteResponse::new(vote, last, granted)),
            _ => Err(another_answer()),
        }
    }
}

fn rpc_error<Rt: AsyncRuntime>(error: AskError) -> RPCError<TypeConfig<Rt>> {
    match error {
        AskError::Call(CallError::NoAnswer(_)) => {
            NetworkError::from_string(error.to_string()).into()
        }
        _ => Unreachable::from_string(error.to_string()).into(),
    }
}

fn another_answer<Rt: AsyncRuntime>() -> RPCError<TypeConfig<Rt>> {
    rpc_error(AskError::no_answer("an answer to something else"))
}

type AppendResults<'s, Rt> =
    BoxStream<'s, Result<StreamAppendResult<TypeConfig<Rt>>, RPCError<TypeConfig<Rt>>>>;

impl<Rt: AsyncRuntime> RaftNetworkV2<TypeConfig<Rt>> for Link<Rt> {
    type SnapshotData = Image;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig<Rt>>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig<Rt>>, RPCError<TypeConfig<Rt>>> {
        self.append(rpc).await
    }

    /// Many requests on their way, their answers in the same order. What follows one that failed is of no use.
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _: RPCOption,
    ) -> BoxFuture<'s, Result<AppendResults<'s, Rt>, RPCError<TypeConfig<Rt>>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig<Rt>>> + OptionalSend + Unpin + 'static,
    {
        let asked = input.map(move |rpc| {
            let previous = rpc.prev_log_id;
            let last = rpc.entries.last().map(|entry| entry.log_id).or(previous);
            self.append(rpc)
                .map(move |response| (response, previous, last))
        });
        let mut over = false;
        let mut acknowledged = None;
        let results = asked
            .buffered(PIPELINE)
            .map(move |(response, previous, last)| {
                let is_overtaken = previous <= acknowledged;
                acknowledged = last;
                to_result(response, previous, last, is_overtaken)
            })
            .take_while(move |result| {
                let goes_on = !std::mem::replace(&mut over, is_end(result));
                async move { goes_on }
            })
            .map(|(result, _)| result)
            .boxed();
        async { Ok(results) }.boxed()
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig<Rt>>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig<Rt>>, RPCError<TypeConfig<Rt>>> {
        self.ask_vote(false, rpc, option.soft_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig<Rt>>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig<Rt>>, RPCError<TypeConfig<Rt>>> {
        self.ask_vote(true, rpc, option.soft_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<TypeConfig<Rt>>,
        snapshot: SnapshotOf<TypeConfig<Rt>, Image>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig<Rt>>, StreamingError<TypeConfig<Rt>>> {
        let sent = std::pin::pin!(self.send_snapshot(vote, snapshot));
        match select(sent, std::pin::pin!(cancel)).await {
            Either::Left((sent, _)) => sent.map_err(|error| rpc_error(error).into()),
            Either::Right((closed, _)) => Err(closed.into()),
        }
    }

    async fn transfer_leader(
        &mut self,
        rpc: TransferLeaderRequest<TypeConfig<Rt>>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig<Rt>>, RPCError<TypeConfig<Rt>>> {
        let ask = Ask::TakeOver {
            from: *rpc.from_leader(),
            last: rpc.last_log_id().copied(),
        };
        match self.ask(ask, option.soft_ttl()).await.map_err(rpc_error)? {
            Reply::Done => Ok(Ok(())),
            _ => Err(another_answer()),
        }
    }
}

type Appended<Rt> = (
    Result<StreamAppendResult<TypeConfig<Rt>>, RPCError<TypeConfig<Rt>>>,
    // Up to where it should have gone.
    Option<LogId>,
);

fn to_result<Rt: AsyncRuntime>(
    response: Result<AppendEntriesResponse<TypeConfig<Rt>>, RPCError<TypeConfig<Rt>>>,
    previous: Option<LogId>,
    last: Option<LogId>,
    is_overtaken: bool,
) -> Appended<Rt> {
    let result = match response {
        // The entry before those was acknowledged a moment ago: they came before it. Openraft would take it for a log that
        // has lost entries. (There is none before the first.)
        Ok(AppendEntriesResponse::Conflict) if is_overtaken => Err(another_answer()),
        Ok(response) => Ok(response.into_stream_result(previous, last)),
        Err(error) => Err(error),
    };
    (result, last)
}

/// Nothing after it counts: it failed, or went less far than it should have.
fn is_end<Rt: AsyncRuntime>((result, last): &Appended<Rt>) -> bool {
    !matches!(result, Ok(Ok(reached)) if reached == last)
}
