//! What is asked.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::lifecycle::Command;
use crate::store::codec::{Malformed, Reader, Record, Writer, decode_command, encode_command};
use crate::store::types::{Entry, LogId, NodeId, Payload, SnapshotMeta, StoredMembership, Vote};
use crate::token::StoreId;

use super::{Pulse, Unreadable, VERSION, at_end, check_version};

/// A request and who asks whom.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub store_id: StoreId,
    pub from: NodeId,
    pub to: NodeId,
    pub ask: Ask,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ask {
    Append(Append),
    /// A vote; `pre`: only whether it would be given.
    Vote {
        pre: bool,
        vote: Vote,
        last: Option<LogId>,
        leadership_transfer: bool,
    },
    Snapshot(Piece),
    /// Lead, since the one who leads is about to stop.
    TakeOver {
        from: Vote,
        last: Option<LogId>,
    },
    /// Have it stamped and committed; its time is 0, the leader's counts.
    Propose(Arc<Command>),
    /// Up to where must be applied what is to be seen.
    ReadIndex,
    /// How one is; answered by the same.
    Pulse(Pulse),
    /// Remove these members.
    Remove {
        nodes: BTreeSet<NodeId>,
        force: bool,
    },
    /// Put the latest rules in force that every member knows.
    Finalize,
}

/// Entries to be appended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Append {
    pub vote: Vote,
    pub previous: Option<LogId>,
    pub entries: Vec<Entry>,
    pub committed: Option<LogId>,
}

impl Append {
    /// Entries that the sender's log has, with what they say, as far as that is sent.
    pub(crate) fn named(&self) -> impl Iterator<Item = (LogId, Option<&Payload>)> {
        let names = self.previous.into_iter().chain(self.committed);
        let sent = self.entries.iter();
        let sent = sent.map(|entry| (entry.log_id, Some(&entry.payload)));
        names.map(|name| (name, None)).chain(sent)
    }
}

/// A part of a snapshot's image, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Piece {
    pub vote: Vote,
    /// Random: which sending of which snapshot.
    pub transfer: u64,
    pub meta: SnapshotMeta,
    pub removed: BTreeSet<NodeId>,
    /// Where in the image it belongs, and how long that is.
    pub offset: u64,
    pub total: u64,
    pub bytes: Vec<u8>,
    /// Of the whole image.
    pub crc32c: u32,
}

/// No store has removed more members: one a minute for half a year.
pub(super) const MOST_REMOVED: usize = 1 << 18;
/// No group has more members, nor nearly as many.
pub(super) const MOST_NODES: usize = 1_024;

const APPEND: u64 = 1;
const VOTE: u64 = 2;
const SNAPSHOT: u64 = 3;
const TAKE_OVER: u64 = 4;
const PROPOSE: u64 = 5;
const READ_INDEX: u64 = 6;
const PULSE: u64 = 7;
const REMOVE: u64 = 8;
const FINALIZE: u64 = 9;

impl Request {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.array(6)
            .number(VERSION)
            .bytes(&self.store_id.0)
            .number(self.from)
            .number(self.to);
        match &self.ask {
            Ask::Append(append) => {
                w.number(APPEND).array(4).vote(append.vote);
                w.option(append.previous, Writer::log_id)
                    .list(append.entries.iter(), |w, entry| {
                        Record::encode_entry(entry, w);
                    })
                    .option(append.committed, Writer::log_id);
            }
            Ask::Vote {
                pre,
                vote,
                last,
                leadership_transfer,
            } => {
                w.number(VOTE).array(4).bool(*pre).vote(*vote);
                w.option(*last, Writer::log_id).bool(*leadership_transfer);
            }
            Ask::Snapshot(piece) => {
                w.number(SNAPSHOT).array(9).vote(piece.vote);
                w.number(piece.transfer)
                    .option(piece.meta.last_log_id, Writer::log_id)
                    .stored_membership(&piece.meta.last_membership);
                w.list(piece.removed.iter(), |w, node| {
                    w.number(*node);
                })
                .number(piece.offset)
                .number(piece.total)
                .bytes(&piece.bytes)
                .number(piece.crc32c.into());
            }
            Ask::TakeOver { from, last } => {
                w.number(TAKE_OVER).array(2).vote(*from);
                w.option(*last, Writer::log_id);
            }
            Ask::Propose(command) => {
                w.number(PROPOSE);
                encode_command(command, &mut w);
            }
            Ask::ReadIndex => {
                w.number(READ_INDEX).array(0);
            }
            Ask::Pulse(pulse) => {
                w.number(PULSE);
                pulse.encode(&mut w);
            }
            Ask::Finalize => {
                w.number(FINALIZE).array(0);
            }
            Ask::Remove { nodes, force } => {
                w.number(REMOVE).array(2);
                w.list(nodes.iter(), |w, node| {
                    w.number(*node);
                })
                .bool(*force);
            }
        }
        w.into_bytes()
    }

    /// Reads a request.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let mut r = Reader::new(bytes);
        let fields = r.array_len()?;
        check_version(&mut r)?;
        if fields != 6 {
            return Err(Malformed::new("a request of so many fields").into());
        }
        let store_id = StoreId(r.fixed()?);
        let (from, to) = (r.number()?, r.number()?);
        let ask = match r.number()? {
            APPEND => {
                r.array(4)?;
                Ask::Append(Append {
                    vote: r.vote()?,
                    previous: r.option(Reader::log_id)?,
                    entries: r.list(Record::decode_entry)?,
                    committed: r.option(Reader::log_id)?,
                })
            }
            VOTE => {
                r.array(4)?;
                Ask::Vote {
                    pre: r.bool()?,
                    vote: r.vote()?,
                    last: r.option(Reader::log_id)?,
                    leadership_transfer: r.bool()?,
                }
            }
            SNAPSHOT => {
                r.array(9)?;
                Ask::Snapshot(Piece {
                    vote: r.vote()?,
                    transfer: r.number()?,
                    meta: snapshot_meta(&mut r)?,
                    removed: r
                        .list_of(MOST_REMOVED, Reader::number)?
                        .into_iter()
                        .collect(),
                    offset: r.number()?,
                    total: r.number()?,
                    bytes: r.bytes()?.to_vec(),
                    crc32c: r.number_u32()?,
                })
            }
            TAKE_OVER => {
                r.array(2)?;
                Ask::TakeOver {
                    from: r.vote()?,
                    last: r.option(Reader::log_id)?,
                }
            }
            PROPOSE => Ask::Propose(decode_command(&mut r)?.into()),
            READ_INDEX => {
                r.array(0)?;
                Ask::ReadIndex
            }
            PULSE => Ask::Pulse(Pulse::decode(&mut r)?),
            FINALIZE => {
                r.array(0)?;
                Ask::Finalize
            }
            REMOVE => {
                r.array(2)?;
                Ask::Remove {
                    nodes: r.list_of(MOST_NODES, Reader::number)?.into_iter().collect(),
                    force: r.bool()?,
                }
            }
            other => return Err(Malformed::new(format!("unknown kind {other} of request")).into()),
        };
        at_end(&r)?;
        Ok(Self {
            store_id,
            from,
            to,
            ask,
        })
    }
}

fn snapshot_meta(r: &mut Reader<'_>) -> Result<SnapshotMeta, Malformed> {
    let last_log_id = r.option(Reader::log_id)?;
    let last_membership: StoredMembership = r.stored_membership()?;
    Ok(SnapshotMeta {
        last_log_id,
        last_membership,
    })
}

/// It asks for entries, a vote or a snapshot to be taken; what else replicas say is not read.
#[cfg(debug_assertions)]
pub(in crate::store::peers) fn is_of_raft(r: &mut Reader<'_>) -> bool {
    let mut kind = || {
        r.array_len()?;
        r.number()?;
        r.bytes()?;
        r.number()?;
        r.number()?;
        r.number()
    };
    kind().is_ok_and(|kind| matches!(kind, APPEND | VOTE | SNAPSHOT))
}
