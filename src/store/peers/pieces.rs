//! Snapshots on their way: they are sent in pieces, and put together again.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, Shared};
use openraft::AsyncRuntime;
use openraft::alias::{SnapshotOf, VoteOf};
use openraft::raft::SnapshotResponse;
use rand::Rng as _;

use crate::store::snapshot::Image;
use crate::store::types::{NodeId, TypeConfig, Vote};

use super::caller::AskError;
use super::link::Link;
use super::message::{Ask, Piece, Reply};

/// So long a piece is: small enough that what else is sent need not wait for it.
const PIECE_BYTES: usize = 256 << 10;
/// So long an answer to a piece is waited for before it is sent once more. Openraft sends a member nothing else until the
/// snapshot is there or has failed: a piece or an answer that is lost must not hold that up for as long as installing may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// So often it is sent: the last one is answered when all of it is installed.
const TIMES: usize = 6;
/// No snapshot is longer: a peer that says so is not believed. Some 40 million tokens.
const LONGEST_IMAGE: u64 = 8 << 30;

impl<Rt: AsyncRuntime> Link<Rt> {
    /// Sends all of it, piece by piece. Each waits for the one before: what else is sent comes in between.
    pub(super) async fn send_snapshot(
        &self,
        vote: VoteOf<TypeConfig<Rt>>,
        snapshot: SnapshotOf<TypeConfig<Rt>, Image>,
    ) -> Result<SnapshotResponse<TypeConfig<Rt>>, AskError> {
        let Image {
            state: image,
            removed,
        } = snapshot.snapshot;
        let crc32c = crc32c::crc32c(&image);
        let transfer = Rt::thread_rng().next_u64();
        let mut offset = 0;
        loop {
            let end = image.len().min(offset + PIECE_BYTES);
            let piece = Piece {
                vote,
                transfer,
                meta: snapshot.meta.clone(),
                removed: removed.clone(),
                offset: offset as u64,
                total: image.len() as u64,
                bytes: image[offset..end].to_vec(),
                crc32c,
            };
            let is_last = end == image.len();
            match self.send_piece(piece).await? {
                Reply::Received(known) if is_last || known > vote => {
                    return Ok(SnapshotResponse::new(known));
                }
                Reply::Received(_) => offset = end,
                _ => return Err(AskError::no_answer("a piece of the snapshot was lost")),
            }
        }
    }

    /// Sends it until it is answered, each time to where the member is then.
    async fn send_piece(&self, piece: Piece) -> Result<Reply, AskError> {
        for _ in 0..TIMES {
            // The patience of the request itself is longer: so it is known here that it was not refused or answered wrongly.
            let asked = self.ask(Ask::Snapshot(piece.clone()), PATIENCE * 2);
            if let Ok(answered) = Rt::timeout(PATIENCE, asked).await {
                return answered;
            }
        }
        Err(AskError::no_answer("it took too long"))
    }
}

/// What becomes of a snapshot: whoever sends its last piece again waits for the same.
pub(super) type Installing = Shared<BoxFuture<'static, Reply>>;

/// The snapshot that is being sent here. There is one at a time: a later one takes its place, unless an earlier leader sends it.
#[derive(Default)]
pub(super) struct Incoming(Mutex<Option<Transfer>>);

struct Transfer {
    from: NodeId,
    vote: Vote,
    transfer: u64,
    image: Vec<u8>,
    /// All of it was there.
    installing: Option<Installing>,
}

impl Incoming {
    /// Takes a piece, perhaps once more. `None`: it does not fit; `Some(None)`: more is to come; else what becomes of the whole.
    pub(super) fn take(
        &self,
        from: NodeId,
        piece: &Piece,
        install: impl FnOnce(Vec<u8>) -> Installing,
    ) -> Option<Option<Installing>> {
        let mut incoming = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_of_this = |it: &Transfer| it.from == from && it.transfer == piece.transfer;
        let is_kept = |running: &Transfer| is_of_this(running) || running.vote > piece.vote;
        if piece.offset == 0 && !incoming.as_ref().is_some_and(is_kept) {
            *incoming = Some(Transfer {
                from,
                vote: piece.vote,
                transfer: piece.transfer,
                image: Vec::new(),
                installing: None,
            });
        }
        let there = incoming.as_mut().filter(|it| is_of_this(it))?;
        let end = piece.offset.checked_add(piece.bytes.len() as u64)?;
        if end > piece.total || piece.total > LONGEST_IMAGE {
            return None;
        }
        let is_last = end == piece.total;
        if let Some(installing) = &there.installing {
            return Some(is_last.then(|| installing.clone()));
        }
        let length = there.image.len() as u64;
        if !is_last && end <= length {
            return Some(None);
        }
        if piece.offset != length {
            return None;
        }
        there.image.extend_from_slice(&piece.bytes);
        if !is_last {
            return Some(None);
        }
        let installing = install(std::mem::take(&mut there.image));
        there.installing = Some(installing.clone());
        Some(Some(installing))
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::slice;
    use std::sync::Arc;

    use futures::FutureExt as _;
    use openraft::RaftNetworkFactory as _;
    use openraft::storage::Snapshot;
    use openraft_rt_tokio::TokioRuntime;
    use tokio::time::{Instant, sleep};

    use crate::clock::SystemClock;
    use crate::store::types::{LeaderId, LogId, Member, SnapshotMeta, StoredMembership};
    use crate::token::StoreId;

    use super::super::caller::{Caller, Claim};
    use super::super::link::Links;
    use super::super::message::{Answer, Request};
    use super::super::transport::{CallError, PeerAddress, Transport};
    use super::super::whereabouts::Whereabouts;
    use super::*;

    const MEMBER: NodeId = 2;
    const VOTE: Vote = Vote {
        leader_id: LeaderId {
            term: 3,
            node_id: 1,
        },
        committed: true,
    };

    /// A member, and a way to it that loses things.
    #[derive(Default)]
    struct Lossy {
        incoming: Incoming,
        /// The request of this number is lost, and the answer to that one.
        request: Option<usize>,
        answer: Option<usize>,
        installs_for: Duration,
        asked: Mutex<Vec<PeerAddress>>,
        installed: Arc<Mutex<Vec<Vec<u8>>>>,
    }

    impl Lossy {
        fn receive(&self, request: &[u8]) -> BoxFuture<'static, Reply> {
            let request = Request::decode(request).unwrap();
            let Ask::Snapshot(piece) = request.ask else {
                panic!("something else is asked: {:?}", request.ask);
            };
            let (installed, takes) = (self.installed.clone(), self.installs_for);
            let install = |image| {
                let install = async move {
                    sleep(takes).await;
                    installed.lock().unwrap().push(image);
                    Reply::Received(VOTE)
                };
                install.boxed().shared()
            };
            match self.incoming.take(request.from, &piece, install) {
                None => async { Reply::Lost }.boxed(),
                Some(None) => async { Reply::Received(VOTE) }.boxed(),
                Some(Some(installing)) => installing.boxed(),
            }
        }
    }

    impl Transport for Lossy {
        fn call(
            &self,
            to: &PeerAddress,
            request: Vec<u8>,
        ) -> BoxFuture<'static, Result<Vec<u8>, CallError>> {
            let number = {
                let mut asked = self.asked.lock().unwrap();
                asked.push(to.clone());
                asked.len() - 1
            };
            if self.request == Some(number) {
                return pending().boxed();
            }
            let reply = self.receive(&request);
            let is_lost = self.answer == Some(number);
            async move {
                let reply = reply.await;
                if is_lost {
                    return pending().await;
                }
                let from = MEMBER;
                Ok(Answer { from, reply }.encode())
            }
            .boxed()
        }
    }

    async fn link(transport: Arc<Lossy>, whereabouts: Arc<Whereabouts>) -> Link<TokioRuntime> {
        let caller = Caller {
            store_id: StoreId([1; 16]),
            node_id: 1,
            transport,
            claim: Claim::default(),
        };
        let member = Member {
            address: "first:1".to_owned(),
        };
        let mut links = Links::<TokioRuntime>::new(caller, whereabouts);
        links.new_client(MEMBER, &member).await
    }

    async fn send(
        lossy: Lossy,
        image: &[u8],
    ) -> (
        Arc<Lossy>,
        Result<SnapshotResponse<TypeConfig<TokioRuntime>>, AskError>,
    ) {
        let lossy = Arc::new(lossy);
        let link = link(lossy.clone(), whereabouts()).await;
        let sent = link.send_snapshot(VOTE, snapshot(image)).await;
        (lossy, sent)
    }

    fn whereabouts() -> Arc<Whereabouts> {
        Arc::new(Whereabouts::new(Arc::new(SystemClock)))
    }

    fn snapshot(image: &[u8]) -> SnapshotOf<TypeConfig<TokioRuntime>, Image> {
        Snapshot {
            meta: SnapshotMeta {
                last_log_id: Some(LogId::new(VOTE.leader_id, 9)),
                last_membership: StoredMembership::default(),
            },
            snapshot: Image {
                state: Arc::new(image.to_vec()),
                removed: [].into(),
            },
        }
    }

    fn image(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|n| n as u8).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_piece_or_an_answer_that_is_lost_holds_a_snapshot_up_for_seconds_only() {
        for (bytes, pieces) in [(0, 1), (1_000, 1), (2 * PIECE_BYTES + 1, 3)] {
            let image = image(bytes);
            for lost in 0..pieces {
                for (request, answer) in [(Some(lost), None), (None, Some(lost))] {
                    let began = Instant::now();
                    let way = Lossy {
                        request,
                        answer,
                        ..Lossy::default()
                    };
                    let (way, sent) = send(way, &image).await;
                    assert_eq!(sent.unwrap().vote, VOTE);
                    assert_eq!(began.elapsed().as_secs(), PATIENCE.as_secs());
                    assert_eq!(way.asked.lock().unwrap().len(), pieces + 1);
                    assert_eq!(*way.installed.lock().unwrap(), slice::from_ref(&image));
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_snapshot_that_is_long_to_install_is_installed_once() {
        let image = image(PIECE_BYTES);
        let way = Lossy {
            installs_for: PATIENCE * 5 / 2,
            ..Lossy::default()
        };
        let (way, sent) = send(way, &image).await;
        assert_eq!(sent.unwrap().vote, VOTE);
        assert_eq!(way.asked.lock().unwrap().len(), 3);
        assert_eq!(*way.installed.lock().unwrap(), [image]);
    }

    /// It is not waited for where it was until it is believed that it installs no more.
    #[tokio::test(start_paused = true)]
    async fn who_moves_while_it_is_sent_a_snapshot_is_sent_it_where_it_is() {
        let way = Arc::new(Lossy {
            request: Some(0),
            ..Lossy::default()
        });
        let whereabouts = whereabouts();
        let began = Instant::now();
        whereabouts.follow(Box::new(move |_| {
            let moved = began.elapsed() >= Duration::from_secs(1);
            Some(PeerAddress::new(if moved { "second:1" } else { "first:1" }))
        }));
        let link = link(way.clone(), whereabouts).await;
        link.send_snapshot(VOTE, snapshot(&[7])).await.unwrap();
        assert_eq!(began.elapsed().as_secs(), PATIENCE.as_secs());
        let asked = way.asked.lock().unwrap().clone();
        assert_eq!(asked, ["first:1", "second:1"].map(PeerAddress::new));
        assert_eq!(*way.installed.lock().unwrap(), [[7]]);
    }

    #[test]
    fn pieces_that_do_not_fit_are_not_taken() {
        let incoming = Incoming::default();
        let piece = |transfer, offset, bytes: &[u8], total| Piece {
            vote: VOTE,
            transfer,
            meta: SnapshotMeta::default(),
            removed: [].into(),
            offset,
            total,
            bytes: bytes.to_vec(),
            crc32c: 0,
        };
        let take = |piece: &Piece| {
            let install = |_| async { Reply::Done }.boxed().shared();
            incoming.take(1, piece, install).map(|it| it.is_some())
        };
        assert_eq!(take(&piece(1, 2, &[3], 3)), None);
        assert_eq!(take(&piece(1, 0, &[1, 2], 5)), Some(false));
        assert_eq!(take(&piece(1, 3, &[4], 5)), None);
        assert_eq!(take(&piece(1, 2, &[3, 4, 5, 6], 5)), None);
        assert_eq!(take(&piece(1, u64::MAX, &[3], 5)), None);
        assert_eq!(take(&piece(1, 0, &[1, 2], 5)), Some(false));
        // Another sending takes its place.
        assert_eq!(take(&piece(2, 0, &[1], 2)), Some(false));
        assert_eq!(take(&piece(1, 2, &[3, 4, 5], 5)), None);
        // Unless by an earlier leader.
        let mut earlier = piece(3, 0, &[1], 2);
        earlier.vote.leader_id.term = 2;
        assert_eq!(take(&earlier), None);
        assert_eq!(take(&piece(2, 1, &[2], 2)), Some(true));
        assert_eq!(take(&piece(2, 0, &[1], 2)), Some(false));
        assert_eq!(take(&piece(2, 1, &[2], 2)), Some(true));
        assert_eq!(take(&piece(4, 0, &[1], LONGEST_IMAGE + 1)), None);
    }
}
