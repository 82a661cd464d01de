//! Snapshots on ways that lose things, and pieces that do not fit.

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
    // What is refused takes nobody's place, and how long it is is said once.
    assert_eq!(take(&piece(5, 0, &[1], 4)), Some(false));
    assert_eq!(take(&piece(6, 0, &[1], LONGEST_IMAGE + 1)), None);
    assert_eq!(take(&piece(5, 1, &[2], LONGEST_IMAGE)), None);
    assert_eq!(take(&piece(5, 1, &[2], 3)), None);
    assert_eq!(take(&piece(5, 1, &[2, 3, 4], 4)), Some(true));
}

#[test]
fn memory_is_taken_for_what_has_come_alone() {
    let room = |total, pieces: u64| {
        let incoming = Incoming::default();
        for number in 0..pieces {
            let piece = Piece {
                vote: VOTE,
                transfer: 1,
                meta: SnapshotMeta::default(),
                removed: [].into(),
                offset: number * 1_000,
                total,
                bytes: vec![1; 1_000],
                crc32c: 0,
            };
            let taken = incoming.take(1, &piece, |_| panic!("it is not whole"));
            assert!(matches!(taken, Some(None)));
        }
        let there = incoming.0.lock().unwrap();
        there.as_ref().unwrap().image.capacity()
    };
    assert!(room(LONGEST_IMAGE, 5) <= 10_000);
    assert!(room(5_500, 5) <= 5_500);
}
