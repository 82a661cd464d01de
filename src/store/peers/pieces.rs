//! Snapshots on their way: they are sent in pieces, and put together again.

#[cfg(test)]
mod tests;

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
    /// How long the first piece said that it is.
    total: u64,
    /// What has come of it.
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
        let end = piece.offset.checked_add(piece.bytes.len() as u64)?;
        if end > piece.total || piece.total > LONGEST_IMAGE {
            return None;
        }
        let mut incoming = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_of_this = |it: &Transfer| it.from == from && it.transfer == piece.transfer;
        let is_kept = |running: &Transfer| is_of_this(running) || running.vote > piece.vote;
        if piece.offset == 0 && !incoming.as_ref().is_some_and(is_kept) {
            *incoming = Some(Transfer {
                from,
                vote: piece.vote,
                transfer: piece.transfer,
                total: piece.total,
                image: Vec::new(),
                installing: None,
            });
        }
        let there = incoming.as_mut().filter(|it| is_of_this(it))?;
        if piece.total != there.total {
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
        there.append(&piece.bytes);
        if !is_last {
            return Some(None);
        }
        let installing = install(std::mem::take(&mut there.image));
        there.installing = Some(installing.clone());
        Some(Some(installing))
    }
}

impl Transfer {
    /// Room is made for twice what has come, never for what was only announced, and never for more than that.
    fn append(&mut self, bytes: &[u8]) {
        let had = self.image.len();
        let wanted = had + bytes.len();
        if wanted > self.image.capacity() {
            let announced = usize::try_from(self.total).unwrap_or(usize::MAX);
            let room = (2 * wanted).min(announced).max(wanted);
            self.image.reserve_exact(room - had);
        }
        self.image.extend_from_slice(bytes);
    }
}
