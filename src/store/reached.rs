//! How far a store's log has been, as something outside of the data folder remembers it.

use std::fmt;
use std::str::FromStr;

use super::types::LogId;

/// A place in the log up to which everything was committed. The log of no later leader ends before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reached {
    pub term: u64,
    pub index: u64,
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.index)
    }
}

/// It is not `<term>.<index>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not <term>.<index>")]
pub struct NotReached;

impl FromStr for Reached {
    type Err = NotReached;

    fn from_str(text: &str) -> Result<Self, NotReached> {
        let (term, index) = text.split_once('.').ok_or(NotReached)?;
        let number = |text: &str| text.parse().map_err(|_| NotReached);
        let reached = Self {
            term: number(term)?,
            index: number(index)?,
        };
        // One text for one place.
        match reached.to_string() == text {
            true => Ok(reached),
            false => Err(NotReached),
        }
    }
}

impl From<LogId> for Reached {
    fn from(id: LogId) -> Self {
        Self {
            term: id.leader_id.term,
            index: id.index,
        }
    }
}

/// Something outside of the data folder that tells how far the log has been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// `None`: it knows the index alone.
    pub term: Option<u64>,
    pub index: u64,
    /// What tells it, for messages.
    pub place: String,
}

impl Witness {
    /// A log that ends with this entry has been as far.
    pub(super) fn is_met(&self, last: Option<LogId>) -> bool {
        let Some(last) = last.map(Reached::from) else {
            return false;
        };
        let index = self.index;
        match self.term {
            Some(term) => last >= Reached { term, index },
            None => last.index >= index,
        }
    }
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tells of entry {}", self.place, self.index)?;
        match self.term {
            Some(term) => write!(f, " of term {term}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::types::LeaderId;

    fn last(term: u64, index: u64) -> Option<LogId> {
        Some(LogId::new(LeaderId { term, node_id: 7 }, index))
    }

    #[test]
    fn a_place_has_one_text() {
        let reached = Reached { term: 3, index: 17 };
        assert_eq!(reached.to_string(), "3.17");
        assert_eq!("3.17".parse(), Ok(reached));
        for odd in [
            "", "3", "3.", ".17", "03.17", "3.17 ", "3.17.1", "-3.17", "3.+1",
        ] {
            assert_eq!(odd.parse::<Reached>(), Err(NotReached), "{odd:?}");
        }
    }

    #[test]
    fn a_later_term_counts_more_than_a_higher_index() {
        let witness = |term| Witness {
            term,
            index: 17,
            place: String::new(),
        };
        for (term, log, is_met) in [
            (Some(3), None, false),
            (Some(3), last(3, 16), false),
            (Some(3), last(2, 99), false),
            (Some(3), last(3, 17), true),
            (Some(3), last(4, 5), true),
            (None, None, false),
            (None, last(9, 16), false),
            (None, last(1, 17), true),
        ] {
            assert_eq!(witness(term).is_met(log), is_met, "{term:?} {log:?}");
        }
    }
}
