//! What is answered.

use std::collections::BTreeSet;

use crate::store::codec::{Malformed, Reader, Writer};
use crate::store::contradiction::Contradiction;
use crate::store::members::RemoveError;
use crate::store::token_store::StoreError;
use crate::store::types::{LogId, NodeId, Vote};
use crate::store::upgrade::UpgradeError;

use super::request::MOST_NODES;
use super::{Pulse, Unreadable, VERSION, at_end, check_version, put};

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
    /// The store has two pasts, and nothing is done any more. (Releases before this kind take it for no answer.)
    Contradicted(Contradiction),
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
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NotMe => "another replica was meant",
            Self::OtherStore => "it is one of another store",
            Self::NotYou => "this replica's id belongs to another address",
            Self::Removed => "this replica was removed from the group",
            Self::NotLeader => "it does not lead",
            Self::Clock => "the store's clock is ahead",
            Self::Unknown => "whether it was done is not known",
            Self::Stopped => "it stops",
            Self::Malformed => "the request could not be read",
            Self::Version => "the request is of a later release",
            Self::IdInUse => "another replica has this one's id, and is there",
        }
    }

    pub(super) fn of_number(number: u64) -> Option<Self> {
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
const CONTRADICTED: u64 = 15;

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
                // Whoever asks judges by itself that nobody is there.
                Err(RemoveError::Store(_) | RemoveError::NoMajority) => 4,
            }),
            Reply::Finalized(result) => put(w.number(FINALIZED), |w| put_finalized(w, result)),
            Reply::Contradicted(it) => put(w.number(CONTRADICTED), |w| {
                w.array(2).log_id(it.applied);
                w.vote(it.leader);
            }),
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
            CONTRADICTED => {
                r.array(2)?;
                Reply::Contradicted(Contradiction {
                    applied: r.log_id()?,
                    leader: r.vote()?,
                })
            }
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
    let unheard = r.list_of(MOST_NODES, Reader::number)?.into_iter().collect();
    Ok(match kind {
        0 => Ok(number),
        1 => Err(UpgradeError::Unheard(unheard)),
        2 => Err(UpgradeError::NothingLater(number)),
        _ => Err(UpgradeError::Store(StoreError::Unknown)),
    })
}

fn empty(r: &mut Reader<'_>, reply: Reply) -> Result<Reply, Malformed> {
    r.array(0)?;
    Ok(reply)
}
