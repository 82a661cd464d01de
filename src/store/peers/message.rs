//! What replicas say to each other, as bytes. Written by hand, with explicit numbers, as the log is: neither a renamed
//! field nor a new version of openraft can change what is on the wire.
//!
//! ```text
//! request: [version, store id, from node, to node (0: whoever is there), kind, body…]
//! answer:  [version, node that answers, kind, body…]
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::lifecycle::{Command, StateHash};
use crate::store::codec::{Malformed, Reader, Record, Writer, decode_command, encode_command};
use crate::store::members::RemoveError;
use crate::store::token_store::StoreError;
use crate::store::types::{Entry, LogId, NodeId, SnapshotMeta, StoredMembership, Vote};
use crate::store::upgrade::UpgradeError;
use crate::token::StoreId;

/// Raised when what is said changes in a way that the release before cannot read.
const VERSION: u64 = 1;

/// Whoever is reached at the address.
pub(crate) const ANYBODY: NodeId = 0;

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

/// How a replica is, told to all others again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pulse {
    /// Its clock, milliseconds since the epoch.
    pub clock_ms: u64,
    /// It is in no group yet: it has never been told of one.
    pub is_new: bool,
    /// Which list of replicas it was given: SHA-256 of the sorted addresses.
    pub list: [u8; 32],
    /// The last index that it has applied.
    pub applied: u64,
    /// The hashes of its state at the last round indices.
    pub hashes: Vec<(u64, StateHash)>,
    /// The highest rules that it can apply.
    pub rules: u32,
}

/// An answer and whose it is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub from: NodeId,
    pub reply: Reply,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reply {
    Appended,
    /// Only up to here.
    AppendedTo(Option<LogId>),
    /// The entry before those is not there.
    Conflict,
    HigherVote(Vote),
    Vote {
        vote: Vote,
        granted: bool,
        last: Option<LogId>,
    },
    /// The piece is there; the last one: the snapshot is installed. With the vote known here.
    Received(Vote),
    /// The piece does not follow what is there: begin again.
    Lost,
    Done,
    /// Committed as this entry.
    Committed(LogId),
    /// Everything up to this entry must be applied.
    ReadAfter(LogId),
    Pulse(Pulse),
    /// Whether the members were removed.
    Removed(Result<(), RemoveError>),
    /// Which rules are in force now, or why not.
    Finalized(Result<u32, UpgradeError>),
    Refused(Refusal),
}

/// Why nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The replica at this address is another than was meant.
    NotMe = 1,
    /// The caller belongs to another store.
    OtherStore = 2,
    /// The caller's node id is another replica's, by its address.
    NotYou = 3,
    /// The caller was removed from the group.
    Removed = 4,
    /// Only the leader does it.
    NotLeader = 5,
    /// The store's clock is ahead.
    Clock = 6,
    /// Whether it was done is not known.
    Unknown = 7,
    /// The replica stops.
    Stopped = 8,
    /// It could not be read.
    Malformed = 9,
    /// Of a later release.
    Version = 10,
    /// Another replica has the caller's node id, and is there.
    IdInUse = 11,
}

impl Refusal {
    fn of_number(number: u64) -> Option<Self> {
        Some(match number {
            1 => Self::NotMe,
            2 => Self::OtherStore,
            3 => Self::NotYou,
            4 => Self::Removed,
            5 => Self::NotLeader,
            6 => Self::Clock,
            7 => Self::Unknown,
            8 => Self::Stopped,
            9 => Self::Malformed,
            10 => Self::Version,
            11 => Self::IdInUse,
            _ => return None,
        })
    }
}

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
                    removed: r.list(Reader::number)?.into_iter().collect(),
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
                    nodes: r.list(Reader::number)?.into_iter().collect(),
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

impl Pulse {
    fn encode(&self, w: &mut Writer) {
        w.array(6)
            .number(self.clock_ms)
            .bool(self.is_new)
            .bytes(&self.list)
            .number(self.applied)
            .list(self.hashes.iter(), |w, (index, hash)| {
                w.array(2).number(*index).bytes(&hash.0);
            })
            .number(self.rules.into());
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        r.array(6)?;
        Ok(Self {
            clock_ms: r.number()?,
            is_new: r.bool()?,
            list: r.fixed()?,
            applied: r.number()?,
            hashes: r.list(|r| {
                r.array(2)?;
                Ok((r.number()?, StateHash(r.fixed()?)))
            })?,
            rules: r.number_u32()?,
        })
    }
}

const APPENDED: u64 = 1;
const APPENDED_TO: u64 = 2;
const CONFLICT: u64 = 3;
const HIGHER_VOTE: u64 = 4;
const VOTED: u64 = 5;
const RECEIVED: u64 = 6;
const LOST: u64 = 7;
const DONE: u64 = 8;
const COMMITTED: u64 = 9;
const READ_AFTER: u64 = 10;
const PULSE_BACK: u64 = 11;
const REFUSED: u64 = 12;
const REMOVED: u64 = 13;
const FINALIZED: u64 = 14;

impl Answer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.array(4).number(VERSION).number(self.from);
        match &self.reply {
            Reply::Appended => w.number(APPENDED).array(0),
            Reply::AppendedTo(last) => w.number(APPENDED_TO).option(*last, Writer::log_id),
            Reply::Conflict => w.number(CONFLICT).array(0),
            Reply::HigherVote(vote) => put(w.number(HIGHER_VOTE), |w| w.vote(*vote)),
            Reply::Vote {
                vote,
                granted,
                last,
            } => {
                w.number(VOTED).array(3).vote(*vote);
                w.bool(*granted).option(*last, Writer::log_id)
            }
            Reply::Received(vote) => put(w.number(RECEIVED), |w| w.vote(*vote)),
            Reply::Lost => w.number(LOST).array(0),
            Reply::Done => w.number(DONE).array(0),
            Reply::Committed(id) => put(w.number(COMMITTED), |w| w.log_id(*id)),
            Reply::ReadAfter(id) => put(w.number(READ_AFTER), |w| w.log_id(*id)),
            Reply::Pulse(pulse) => put(w.number(PULSE_BACK), |w| pulse.encode(w)),
            Reply::Removed(result) => w.number(REMOVED).number(match result {
                Ok(()) => 0,
                Err(RemoveError::NotAMember) => 1,
                Err(RemoveError::WouldLoseQuorum) => 2,
                Err(RemoveError::NobodyLeft) => 3,
                Err(RemoveError::Store(_)) => 4,
            }),
            Reply::Finalized(result) => put(w.number(FINALIZED), |w| put_finalized(w, result)),
            Reply::Refused(refusal) => w.number(REFUSED).number(*refusal as u64),
        };
        w.into_bytes()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let mut r = Reader::new(bytes);
        let fields = r.array_len()?;
        check_version(&mut r)?;
        if fields != 4 {
            return Err(Malformed::new("an answer of so many fields").into());
        }
        let from = r.number()?;
        let reply = match r.number()? {
            APPENDED => empty(&mut r, Reply::Appended)?,
            APPENDED_TO => Reply::AppendedTo(r.option(Reader::log_id)?),
            CONFLICT => empty(&mut r, Reply::Conflict)?,
            HIGHER_VOTE => Reply::HigherVote(r.vote()?),
            VOTED => {
                r.array(3)?;
                Reply::Vote {
                    vote: r.vote()?,
                    granted: r.bool()?,
                    last: r.option(Reader::log_id)?,
                }
            }
            RECEIVED => Reply::Received(r.vote()?),
            LOST => empty(&mut r, Reply::Lost)?,
            DONE => empty(&mut r, Reply::Done)?,
            COMMITTED => Reply::Committed(r.log_id()?),
            READ_AFTER => Reply::ReadAfter(r.log_id()?),
            PULSE_BACK => Reply::Pulse(Pulse::decode(&mut r)?),
            REMOVED => Reply::Removed(match r.number()? {
                0 => Ok(()),
                1 => Err(RemoveError::NotAMember),
                2 => Err(RemoveError::WouldLoseQuorum),
                3 => Err(RemoveError::NobodyLeft),
                _ => Err(RemoveError::Store(StoreError::Unknown)),
            }),
            FINALIZED => Reply::Finalized(get_finalized(&mut r)?),
            REFUSED => {
                let refusal = Refusal::of_number(r.number()?);
                Reply::Refused(refusal.ok_or_else(|| Malformed::new("an unknown refusal"))?)
            }
            other => return Err(Malformed::new(format!("unknown kind {other} of answer")).into()),
        };
        at_end(&r)?;
        Ok(Self { from, reply })
    }
}

fn put_finalized(w: &mut Writer, result: &Result<u32, UpgradeError>) {
    let (kind, number) = match result {
        Ok(to) => (0, *to),
        Err(UpgradeError::Unheard(_)) => (1, 0),
        Err(UpgradeError::NothingLater(in_force)) => (2, *in_force),
        Err(UpgradeError::Store(_)) => (3, 0),
    };
    w.array(3).number(kind).number(number.into());
    let unheard = match result {
        Err(UpgradeError::Unheard(nodes)) => nodes.clone(),
        _ => BTreeSet::new(),
    };
    w.list(unheard.iter(), |w, node| {
        w.number(*node);
    });
}

fn get_finalized(r: &mut Reader<'_>) -> Result<Result<u32, UpgradeError>, Malformed> {
    r.array(3)?;
    let (kind, number) = (r.number()?, r.number_u32()?);
    let unheard = r.list(Reader::number)?.into_iter().collect();
    Ok(match kind {
        0 => Ok(number),
        1 => Err(UpgradeError::Unheard(unheard)),
        2 => Err(UpgradeError::NothingLater(number)),
        _ => Err(UpgradeError::Store(StoreError::Unknown)),
    })
}

fn put(w: &mut Writer, it: impl FnOnce(&mut Writer)) -> &mut Writer {
    it(w);
    w
}

fn empty(r: &mut Reader<'_>, reply: Reply) -> Result<Reply, Malformed> {
    r.array(0)?;
    Ok(reply)
}

fn at_end(r: &Reader<'_>) -> Result<(), Malformed> {
    match r.at_end() {
        true => Ok(()),
        false => Err(Malformed::new("something follows")),
    }
}

fn check_version(r: &mut Reader<'_>) -> Result<(), Unreadable> {
    match r.number()? {
        VERSION => Ok(()),
        _ => Err(Unreadable::Version),
    }
}

/// Why a message cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("it is of another release")]
    Version,
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// It asks for entries, a vote or a snapshot to be taken; what else replicas say is not read.
#[cfg(debug_assertions)]
pub(super) fn is_of_raft(r: &mut Reader<'_>) -> bool {
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::lifecycle::command::Sweep;
    use crate::store::codec::samples;
    use crate::store::types::{LeaderId, Member, Membership, Payload, Proposal};

    fn log_id(index: u64) -> LogId {
        let leader_id = LeaderId {
            term: 3,
            node_id: 9,
        };
        LogId::new(leader_id, index)
    }

    fn vote() -> Vote {
        Vote {
            leader_id: LeaderId {
                term: 3,
                node_id: 9,
            },
            committed: true,
        }
    }

    fn membership() -> Membership {
        let member = Member {
            address: "a:1".into(),
        };
        let nodes = std::collections::BTreeMap::from([(9, member)]);
        Membership::new(vec![[9].into()], nodes).unwrap()
    }

    fn pulse() -> Pulse {
        Pulse {
            clock_ms: 1_750_000_000_000,
            is_new: false,
            list: [7; 32],
            applied: 70,
            hashes: vec![(64, StateHash([8; 16]))],
            rules: 1,
        }
    }

    /// One of every kind, with every field in every form.
    fn asks() -> Vec<Ask> {
        let payloads = [
            Payload::Blank,
            Payload::Membership(membership()),
            Payload::Normal(Proposal(Arc::new(Command {
                at_ms: 5,
                operation: samples::operations().remove(0),
            }))),
        ];
        let entries = (5..).zip(payloads);
        let entries = entries.map(|(index, payload)| Entry {
            log_id: log_id(index),
            payload,
        });
        vec![
            Ask::Append(Append {
                vote: vote(),
                previous: Some(log_id(4)),
                entries: entries.collect(),
                committed: Some(log_id(3)),
            }),
            Ask::Append(Append {
                vote: vote(),
                previous: None,
                entries: Vec::new(),
                committed: None,
            }),
            Ask::Vote {
                pre: true,
                vote: vote(),
                last: Some(log_id(4)),
                leadership_transfer: false,
            },
            Ask::Snapshot(Piece {
                vote: vote(),
                transfer: 11,
                meta: SnapshotMeta {
                    last_log_id: Some(log_id(4)),
                    last_membership: StoredMembership::new(Some(log_id(2)), membership()),
                },
                removed: [1, 2].into(),
                offset: 3,
                total: 8,
                bytes: vec![1, 2, 3],
                crc32c: 0xdead_beef,
            }),
            Ask::TakeOver {
                from: vote(),
                last: None,
            },
            Ask::Propose(Arc::new(Command {
                at_ms: 0,
                operation: Sweep { limit: 3 }.into(),
            })),
            Ask::ReadIndex,
            Ask::Pulse(pulse()),
            Ask::Remove {
                nodes: [5].into(),
                force: true,
            },
            Ask::Finalize,
        ]
    }

    fn replies() -> Vec<Reply> {
        let mut all = vec![
            Reply::Appended,
            Reply::AppendedTo(Some(log_id(4))),
            Reply::AppendedTo(None),
            Reply::Conflict,
            Reply::HigherVote(vote()),
            Reply::Vote {
                vote: vote(),
                granted: true,
                last: Some(log_id(4)),
            },
            Reply::Received(vote()),
            Reply::Lost,
            Reply::Done,
            Reply::Committed(log_id(4)),
            Reply::ReadAfter(log_id(4)),
            Reply::Pulse(pulse()),
            Reply::Removed(Ok(())),
            Reply::Removed(Err(RemoveError::NotAMember)),
            Reply::Removed(Err(RemoveError::WouldLoseQuorum)),
            Reply::Removed(Err(RemoveError::NobodyLeft)),
            Reply::Removed(Err(RemoveError::Store(StoreError::Unknown))),
            Reply::Finalized(Ok(2)),
            Reply::Finalized(Err(UpgradeError::Unheard([5].into()))),
            Reply::Finalized(Err(UpgradeError::NothingLater(1))),
            Reply::Finalized(Err(UpgradeError::Store(StoreError::Unknown))),
        ];
        all.extend((1..=11).filter_map(Refusal::of_number).map(Reply::Refused));
        all
    }

    fn requests() -> impl Iterator<Item = Request> {
        asks().into_iter().map(|ask| Request {
            store_id: StoreId([6; 16]),
            from: 9,
            to: ANYBODY,
            ask,
        })
    }

    fn answers() -> impl Iterator<Item = Answer> {
        replies().into_iter().map(|reply| Answer { from: 9, reply })
    }

    #[test]
    fn what_is_said_is_understood() {
        for request in requests() {
            let bytes = request.encode();
            assert_eq!(Request::decode(&bytes).unwrap(), request);
            // Nothing less, and nothing more.
            for len in 0..bytes.len() {
                assert!(Request::decode(&bytes[..len]).is_err());
            }
            assert!(Request::decode(&[&bytes[..], &[0]].concat()).is_err());
        }
        for answer in answers() {
            let bytes = answer.encode();
            assert_eq!(Answer::decode(&bytes).unwrap(), answer);
            for len in 0..bytes.len() {
                assert!(Answer::decode(&bytes[..len]).is_err());
            }
        }
    }

    #[test]
    fn another_version_is_told_from_nonsense() {
        let mut bytes = requests().last().unwrap().encode();
        assert_eq!(bytes[1], 1);
        bytes[1] = 2;
        assert_eq!(Request::decode(&bytes), Err(Unreadable::Version));
        let mut bytes = answers().last().unwrap().encode();
        bytes[1] = 2;
        assert_eq!(Answer::decode(&bytes), Err(Unreadable::Version));
        let nonsense = Request::decode(b"nonsense");
        assert!(matches!(nonsense, Err(Unreadable::Malformed(_))));
    }

    /// What this version says, written once: two releases of one version understand each other.
    #[test]
    fn the_bytes_of_this_version_stay_as_they_are() {
        let mut said = Vec::new();
        let requests = requests().map(|request| request.encode());
        for message in requests.chain(answers().map(|answer| answer.encode())) {
            said.extend_from_slice(&(message.len() as u32).to_le_bytes());
            said.extend_from_slice(&message);
        }
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/store/golden/peers-1.messages"
        );
        assert!(fs::read(path).unwrap() == said, "other bytes are said");
    }
}
