//! What a replica promises by an answer, as it is seen on the wire: for whoever judges a simulation, and in no release.

use crate::store::codec::{Reader, Record, Writer};
use crate::store::types::{LeaderId, LogId};

use super::message::{Answer, Append, Ask, Piece, Reply, Request, is_of_raft};

/// Who leads, in which term; of two the later one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ruler {
    pub term: u64,
    pub node: u64,
}

/// An entry of the log: there must never be two of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EntryName {
    pub index: u64,
    pub by: Ruler,
}

/// What must be on the disk of whoever said it, from then on and for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// It gave its vote.
    Vote { by: u64, to: Ruler },
    /// It has all entries up to this one, and obeys nobody before this ruler.
    Appended {
        by: u64,
        to: Ruler,
        upto: Option<EntryName>,
    },
    /// It has the snapshot up to this entry.
    Installed {
        by: u64,
        to: Ruler,
        upto: Option<EntryName>,
    },
}

/// What was said in a request and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overheard {
    pub promise: Option<Promise>,
    /// The entries that were sent, as bytes.
    pub sent: Vec<(EntryName, Vec<u8>)>,
}

/// Reads what two replicas said to each other; `None` if it is none of Raft's business or cannot be read.
pub fn overhear(request: &[u8], answer: &[u8]) -> Option<Overheard> {
    if !is_of_raft(&mut Reader::new(request)) {
        return None;
    }
    let request = Request::decode(request).ok()?;
    let Answer { from: by, reply } = Answer::decode(answer).ok()?;
    let mut sent = Vec::new();
    let promise = match (request.ask, reply) {
        (
            Ask::Vote {
                pre: false, vote, ..
            },
            Reply::Vote { granted: true, .. },
        ) => Some(Promise::Vote {
            by,
            to: vote.leader_id.into(),
        }),
        (Ask::Append(append), reply) => {
            sent = append.entries.iter().map(as_bytes).collect();
            appended(&append, &reply).map(|upto| Promise::Appended {
                by,
                to: append.vote.leader_id.into(),
                upto: upto.map(Into::into),
            })
        }
        (Ask::Snapshot(piece), Reply::Received(known))
            if is_last(&piece) && known <= piece.vote =>
        {
            Some(Promise::Installed {
                by,
                to: piece.vote.leader_id.into(),
                upto: piece.meta.last_log_id.map(Into::into),
            })
        }
        _ => None,
    };
    Some(Overheard { promise, sent })
}

/// How many entries of the log are sent in a request; `None` if it sends none of the log.
pub fn entries_sent(request: &[u8]) -> Option<usize> {
    match Request::decode(request).ok()?.ask {
        Ask::Append(append) => Some(append.entries.len()),
        Ask::Snapshot(_) => Some(1),
        _ => None,
    }
}

fn as_bytes(entry: &crate::store::types::Entry) -> (EntryName, Vec<u8>) {
    let mut w = Writer::new();
    Record::encode_entry(entry, &mut w);
    (entry.log_id.into(), w.into_bytes())
}

fn is_last(piece: &Piece) -> bool {
    piece.offset + piece.bytes.len() as u64 == piece.total
}

/// Up to which entry it says that it has all; `None`: it says nothing of the kind.
fn appended(append: &Append, reply: &Reply) -> Option<Option<LogId>> {
    match reply {
        Reply::Appended => {
            let last = append.entries.last().map(|entry| entry.log_id);
            Some(last.or(append.previous))
        }
        Reply::AppendedTo(last) => Some(*last),
        _ => None,
    }
}

impl From<LeaderId> for Ruler {
    fn from(id: LeaderId) -> Self {
        Self {
            term: id.term,
            node: id.node_id,
        }
    }
}

impl From<LogId> for EntryName {
    fn from(id: LogId) -> Self {
        Self {
            index: id.index,
            by: id.leader_id.into(),
        }
    }
}
