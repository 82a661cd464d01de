//! The entries of the log that are not in a snapshot yet, in memory.
//!
//! All of them: replication and `apply` read what was just written, and the snapshot policy
//! bounds how many there are.

use std::collections::VecDeque;
use std::ops::{Bound, RangeBounds};

use crate::store::types::{Entry, LogId};

/// The present entries, without a gap.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// The entry before the first present one.
    floor: Option<LogId>,
    present: VecDeque<Entry>,
}

/// An entry does not follow the last one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {found} follows entry {last}")]
pub(super) struct Gap {
    last: u64,
    found: u64,
}

impl Entries {
    /// None, after `floor`.
    pub(super) const fn after(floor: Option<LogId>) -> Self {
        Self {
            floor,
            present: VecDeque::new(),
        }
    }

    pub(super) const fn floor(&self) -> Option<LogId> {
        self.floor
    }

    /// The last entry, present or purged.
    pub(super) fn last(&self) -> Option<LogId> {
        self.present.back().map(|entry| entry.log_id).or(self.floor)
    }

    pub(super) fn push(&mut self, entry: Entry) -> Result<(), Gap> {
        if let Some(last) = self.last()
            && entry.log_id.index != last.index + 1
        {
            return Err(Gap {
                last: last.index,
                found: entry.log_id.index,
            });
        }
        self.present.push_back(entry);
        Ok(())
    }

    /// Drops what comes after `last`.
    pub(super) fn truncate(&mut self, last: Option<LogId>) {
        let next = last.map_or(0, |last| last.index + 1);
        while self
            .present
            .back()
            .is_some_and(|entry| entry.log_id.index >= next)
        {
            self.present.pop_back();
        }
        if self.present.is_empty() && self.floor > last {
            self.floor = last;
        }
    }

    /// Drops what comes before and at `upto`.
    pub(super) fn purge(&mut self, upto: LogId) {
        while self
            .present
            .front()
            .is_some_and(|entry| entry.log_id.index <= upto.index)
        {
            self.present.pop_front();
        }
        self.floor = self.floor.max(Some(upto));
    }

    /// The present ones among those asked for.
    pub(super) fn range(&self, range: impl RangeBounds<u64>) -> Vec<Entry> {
        let Some(first) = self.present.front().map(|entry| entry.log_id.index) else {
            return Vec::new();
        };
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(to) => *to,
            Bound::Unbounded => u64::MAX,
        };
        let skip = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
        let take = usize::try_from(to.saturating_sub(from.max(first))).unwrap_or(usize::MAX);
        let skip = skip.min(self.present.len());
        let end = skip.saturating_add(take).min(self.present.len());
        self.present.range(skip..end).cloned().collect()
    }
}
