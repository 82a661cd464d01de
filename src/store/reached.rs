//! How far a store's log has been, as something outside of the data folder remembers it.

use std::fmt;
use std::str::FromStr;

use crate::faults::{self, Fault};

use super::types::{LeaderId, LogId, Vote};

/// A place in the log up to which everything was committed. The log of no later leader ends before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reached {
    pub term: u64,
    /// Who led when the entry was written: two may have led in one term, and the one with the higher id came later.
    pub node: u64,
    pub index: u64,
}

impl Reached {
    /// What every member of a majority had promised when this was committed: to obey nobody before this leader.
    pub(super) const fn promise(self) -> Vote {
        Vote {
            leader_id: LeaderId {
                term: self.term,
                node_id: self.node,
            },
            committed: false,
        }
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { term, node, index } = self;
        write!(f, "{term}.{node:016x}.{index}")
    }
}

/// It is not `<term>.<node id>.<index>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not <term>.<node id>.<index>")]
pub struct NotReached;

impl FromStr for Reached {
    type Err = NotReached;

    fn from_str(text: &str) -> Result<Self, NotReached> {
        let (term, rest) = text.split_once('.').ok_or(NotReached)?;
        // Earlier commits did not name the node: it is taken for the lowest, until the mark is written the next time.
        let (node, index) = match rest.split_once('.') {
            Some((node, index)) => (Some(node), index),
            None => (None, rest),
        };
        let number = |text: &str| text.parse().map_err(|_| NotReached);
        let reached = Self {
            term: number(term)?,
            node: u64::from_str_radix(node.unwrap_or("0"), 16).map_err(|_| NotReached)?,
            index: number(index)?,
        };
        // One text for one place.
        let is_its_text = match node {
            Some(_) => reached.to_string() == text,
            None => format!("{}.{}", reached.term, reached.index) == text,
        };
        is_its_text.then_some(reached).ok_or(NotReached)
    }
}

impl From<LogId> for Reached {
    fn from(id: LogId) -> Self {
        Self {
            term: id.leader_id.term,
            node: id.leader_id.node_id,
            index: id.index,
        }
    }
}

/// Something outside of the data folder that tells how far the log has been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    pub told: Told,
    /// What tells it, for messages.
    pub place: String,
}

/// What is told of an entry that was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// All of its name, by the mark.
    Entry(Reached),
    /// Its index alone, by a status, which somebody may have edited.
    Index(u64),
}

impl Witness {
    /// Of the statuses that tell of the furthest entries so many count: enough to see who has edited what.
    pub const STATUSES: usize = 100;
    /// How many are named in one message.
    const NAMED: usize = 5;

    /// What all of these tell, for messages. Where the mark tells it, what statuses tell follows from it.
    pub(super) fn all(witnesses: &[Self]) -> String {
        if let Some(mark) = witnesses.iter().find(|of| of.entry().is_some()) {
            return mark.to_string();
        }
        let named = witnesses.iter().take(Self::NAMED).map(Self::to_string);
        let named = named.collect::<Vec<_>>().join(", ");
        let more = witnesses.len().saturating_sub(Self::NAMED);
        let at_least = match witnesses.len() < Self::STATUSES {
            true => "",
            false => "at least ",
        };
        match more {
            0 => named,
            more => format!("{named} and {at_least}{more} more statuses of later ones"),
        }
    }

    /// A log that ends with this entry has been as far.
    pub(super) fn is_met(&self, last: Option<LogId>) -> bool {
        let Some(last) = last.map(Reached::from) else {
            return false;
        };
        match self.told {
            // Of the mark of an earlier commit: who led is not known.
            Told::Entry(Reached {
                term,
                node: 0,
                index,
            }) => (last.term, last.index) >= (term, index),
            Told::Entry(entry) => last >= entry,
            Told::Index(index) => last.index >= index || faults::is_on(Fault::StatusesNotBelieved),
        }
    }

    /// The entry, if all of its name is told.
    pub(super) const fn entry(&self) -> Option<Reached> {
        match self.told {
            Told::Entry(entry) => Some(entry),
            Told::Index(_) => None,
        }
    }
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = &self.place;
        match self.told {
            Told::Entry(Reached { term, index, .. }) => {
                write!(f, "{place} tells of entry {index} of term {term}")
            }
            Told::Index(index) => write!(f, "{place} tells of entry {index}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn reached(term: u64, node: u64, index: u64) -> Reached {
        Reached { term, node, index }
    }

    fn last(term: u64, node_id: u64, index: u64) -> Option<LogId> {
        Some(LogId::new(LeaderId { term, node_id }, index))
    }

    #[test]
    fn a_place_has_one_text() {
        let text = "3.00000000000000ab.17";
        assert_eq!(reached(3, 0xab, 17).to_string(), text);
        assert_eq!(text.parse(), Ok(reached(3, 0xab, 17)));
        // As earlier commits wrote it.
        assert_eq!("3.17".parse(), Ok(reached(3, 0, 17)));
        for odd in [
            "",
            "3",
            "3.017",
            "3.00000000000000ab.",
            ".00000000000000ab.17",
            "3..17",
            "3.ab.17",
            "3.00000000000000AB.17",
            "03.00000000000000ab.17",
            "3.00000000000000ab.17 ",
            "3.00000000000000ab.17.1",
            "-3.00000000000000ab.17",
            "3.00000000000000ab.+1",
        ] {
            assert_eq!(odd.parse::<Reached>(), Err(NotReached), "{odd:?}");
        }
    }

    #[test]
    fn all_statuses_that_tell_of_too_much_are_named_at_once() {
        let status = |n: u64| Witness {
            told: Told::Index(1_000 - n),
            place: format!("the status of JoinToken a/n{n}"),
        };
        let all = |count| Witness::all(&(0..count).map(status).collect::<Vec<_>>());
        let one = "the status of JoinToken a/n0 tells of entry 1000";
        assert_eq!(all(1), one);
        let two = format!("{one}, the status of JoinToken a/n1 tells of entry 999");
        assert_eq!(all(2), two);
        assert!(all(5).ends_with("a/n4 tells of entry 996"), "{}", all(5));
        let more = " and 2 more statuses of later ones";
        assert_eq!(all(7), format!("{}{more}", all(5)));
        assert!(all(100).ends_with(" and at least 95 more statuses of later ones"));
        let mark = Witness {
            told: Told::Entry(reached(3, 7, 17)),
            place: "ConfigMap a/b".to_owned(),
        };
        let told = Witness::all(&[mark, status(0)]);
        assert_eq!(told, "ConfigMap a/b tells of entry 17 of term 3");
    }

    #[test]
    fn a_later_leader_counts_more_than_a_higher_index() {
        let witness = |told| Witness {
            told,
            place: String::new(),
        };
        let entry = Told::Entry(reached(3, 7, 17));
        let index = Told::Index(17);
        let of_before = Told::Entry(reached(3, 0, 17));
        for (told, log, is_met) in [
            (entry, None, false),
            (entry, last(3, 7, 16), false),
            (entry, last(2, 9, 99), false),
            (entry, last(3, 6, 99), false),
            (entry, last(3, 7, 17), true),
            (entry, last(3, 8, 5), true),
            (entry, last(4, 1, 5), true),
            (of_before, last(3, 7, 16), false),
            (of_before, last(3, 7, 17), true),
            (of_before, last(4, 1, 5), true),
            (index, None, false),
            (index, last(9, 1, 16), false),
            (index, last(1, 1, 17), true),
        ] {
            assert_eq!(witness(told).is_met(log), is_met, "{told:?} {log:?}");
        }
    }

    #[test]
    fn whoever_has_promised_an_entry_obeys_its_leader_and_nobody_before() {
        let promise = reached(3, 7, 17).promise();
        let leader = |term, node_id| Vote {
            leader_id: LeaderId { term, node_id },
            committed: true,
        };
        for (term, node, is_obeyed) in [
            (2, 9, false),
            (3, 6, false),
            (3, 7, true),
            (3, 8, true),
            (4, 1, true),
        ] {
            assert_eq!(leader(term, node) >= promise, is_obeyed, "{term} {node}");
        }
    }
}
