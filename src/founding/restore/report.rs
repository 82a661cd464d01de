//! What a restore came to, kept until it is finished.

use std::fmt;

use crate::lifecycle::State;
use crate::token::StoreId;

/// What a restore came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The SHA-256 at the end of the snapshot's file.
    pub snapshot: String,
    /// The new store.
    pub store_id: StoreId,
    pub epoch: u64,
    /// The one that the snapshot is of.
    pub former_store_id: StoreId,
    pub former_epoch: u64,
    /// The place in the log that the restore took.
    pub index: u64,
    /// How many live tokens it ended.
    pub ended: u64,
}

/// The state does not say that it was restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the state does not say that it was restored")]
pub struct NoReport;

const FIRST_LINE: &str = "jointoken restore 1";

impl Report {
    pub(super) fn of(state: &State, snapshot: &str) -> Result<Self, NoReport> {
        let (founded, restored) = state.founded().zip(state.restored()).ok_or(NoReport)?;
        Ok(Self {
            snapshot: snapshot.to_owned(),
            store_id: founded.store_id,
            epoch: founded.epoch,
            former_store_id: restored.former_store_id,
            former_epoch: restored.former_epoch,
            index: restored.index,
            ended: restored.ended,
        })
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        (lines.next()? == FIRST_LINE).then_some(())?;
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let report = Self {
            snapshot: field("snapshot")?.to_owned(),
            store_id: field("store-id")?.parse().ok()?,
            epoch: field("epoch")?.parse().ok()?,
            former_store_id: field("former-store-id")?.parse().ok()?,
            former_epoch: field("former-epoch")?.parse().ok()?,
            index: field("index")?.parse().ok()?,
            ended: field("ended")?.parse().ok()?,
        };
        // One text for one report.
        (report.to_string() == text).then_some(report)
    }
}

/// As it is kept.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST_LINE}")?;
        writeln!(f, "snapshot {}", self.snapshot)?;
        writeln!(f, "store-id {}", self.store_id)?;
        writeln!(f, "epoch {}", self.epoch)?;
        writeln!(f, "former-store-id {}", self.former_store_id)?;
        writeln!(f, "former-epoch {}", self.former_epoch)?;
        writeln!(f, "index {}", self.index)?;
        writeln!(f, "ended {}", self.ended)
    }
}
