//! What the log is made of.

use crate::lifecycle::Operation;

use super::super::types::{Entry, LogId, Payload, Proposal, Vote};
use super::{Malformed, Reader, Writer, command};

/// One step of the log. Applied in order they give what the log holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Record {
    /// The first of every segment: what the segments before it came to, so that they may go.
    Base(Base),
    Vote(Vote),
    Entry(Entry),
    /// The entries after this one are void (`None`: all).
    Truncate(Option<LogId>),
    /// The entries up to this one are in a snapshot.
    Purge(LogId),
    /// The entries up to this one are committed.
    Committed(Option<LogId>),
}

/// What a log comes to, entries aside.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Base {
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
    pub purged: Option<LogId>,
    /// The last entry there was, present or purged.
    pub last: Option<LogId>,
}

impl Base {
    /// Takes one more record into account.
    pub(crate) fn follow(&mut self, record: &Record) {
        match record {
            Record::Base(base) => *self = *base,
            Record::Vote(vote) => self.vote = Some(*vote),
            Record::Entry(entry) => self.last = Some(entry.log_id),
            Record::Truncate(last) => self.last = *last,
            Record::Purge(upto) => {
                self.purged = Some(*upto);
                self.last = self.last.max(Some(*upto));
            }
            Record::Committed(upto) => self.committed = *upto,
        }
    }
}

// On disk for ever.
const BASE: u64 = 0;
const VOTE: u64 = 1;
const ENTRY: u64 = 2;
const TRUNCATE: u64 = 3;
const PURGE: u64 = 4;
const COMMITTED: u64 = 5;

const BLANK: u64 = 0;
const COMMAND: u64 = 1;
const MEMBERSHIP: u64 = 2;

impl Record {
    pub(crate) fn encode(&self, w: &mut Writer) {
        match self {
            Self::Base(base) => {
                w.array(5)
                    .number(BASE)
                    .option(base.vote, Writer::vote)
                    .option(base.committed, Writer::log_id)
                    .option(base.purged, Writer::log_id)
                    .option(base.last, Writer::log_id);
            }
            Self::Vote(vote) => w.array(2).number(VOTE).vote(*vote),
            Self::Entry(entry) => Self::encode_entry(entry, w),
            Self::Truncate(last) => {
                w.array(2).number(TRUNCATE).option(*last, Writer::log_id);
            }
            Self::Purge(upto) => w.array(2).number(PURGE).log_id(*upto),
            Self::Committed(upto) => {
                w.array(2).number(COMMITTED).option(*upto, Writer::log_id);
            }
        }
    }

    /// The format that a segment of the log must have to hold it: a release that knows only an earlier one refuses the
    /// segment by its format, and does not call it damaged.
    pub(crate) fn format(&self) -> u32 {
        match self {
            Self::Entry(entry) => match &entry.payload {
                Payload::Normal(proposal) => match &proposal.0.operation {
                    Operation::RaiseRules(_) => 2,
                    // What goes by later rules has fields that came with them.
                    operation => match operation.needs_rules() {
                        None => 1,
                        Some(2) => 3,
                        Some(_) => 4,
                    },
                },
                _ => 1,
            },
            _ => 1,
        }
    }

    /// As [`Record::Entry`] is encoded.
    pub(crate) fn encode_entry(entry: &Entry, w: &mut Writer) {
        w.array(4).number(ENTRY).log_id(entry.log_id);
        match &entry.payload {
            Payload::Blank => {
                w.number(BLANK).array(0);
            }
            Payload::Normal(proposal) => {
                w.number(COMMAND);
                command::encode(&proposal.0, w);
            }
            Payload::Membership(membership) => w.number(MEMBERSHIP).membership(membership),
        }
    }

    /// Reads what must be an entry.
    pub(crate) fn decode_entry(r: &mut Reader<'_>) -> Result<Entry, Malformed> {
        match Self::decode(r)? {
            Self::Entry(entry) => Ok(entry),
            _ => Err(Malformed::new("a record that is no entry")),
        }
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let fields = r.array_len()?;
        let kind = r.number()?;
        match (kind, fields) {
            (BASE, 5) => Ok(Self::Base(Base {
                vote: r.option(Reader::vote)?,
                committed: r.option(Reader::log_id)?,
                purged: r.option(Reader::log_id)?,
                last: r.option(Reader::log_id)?,
            })),
            (VOTE, 2) => r.vote().map(Self::Vote),
            (ENTRY, 4) => {
                let log_id = r.log_id()?;
                let payload = match r.number()? {
                    BLANK => {
                        r.array(0)?;
                        Payload::Blank
                    }
                    COMMAND => Payload::Normal(Proposal(command::decode(r)?.into())),
                    MEMBERSHIP => Payload::Membership(r.membership()?),
                    other => return Err(Malformed::new(format!("unknown kind {other} of entry"))),
                };
                Ok(Self::Entry(Entry { log_id, payload }))
            }
            (TRUNCATE, 2) => r.option(Reader::log_id).map(Self::Truncate),
            (PURGE, 2) => r.log_id().map(Self::Purge),
            (COMMITTED, 2) => r.option(Reader::log_id).map(Self::Committed),
            _ => Err(Malformed::new(format!(
                "unknown kind {kind} of record with {fields} fields"
            ))),
        }
    }
}
