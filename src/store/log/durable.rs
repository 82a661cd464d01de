//! What would be left of a log if the power were lost now: for whoever judges a simulation, and in no release.

use std::path::PathBuf;
use std::sync::Arc;

use crate::store::OpenError;
use crate::store::disk::Disk;
use crate::store::peers::{EntryName, Ruler};
use crate::token::StoreId;

use super::recovery::Replay;
use super::segments::{Place, number_of, path};

/// Reads the log of one process again and again, each time only what has been added.
pub struct DurableLog {
    place: Place,
    replay: Replay,
    /// The last segment, the seed of its checksums, and up to where it was read.
    last: Option<(u64, u32, usize)>,
}

impl DurableLog {
    /// Of the log in this folder of a disk that shows only what cannot be lost any more.
    pub fn new(disk: Arc<dyn Disk>, dir: PathBuf, store_id: StoreId) -> Self {
        let place = Place {
            disk,
            dir,
            store_id,
            segment_bytes: 0,
            salt: 0,
        };
        Self {
            place,
            replay: Replay::default(),
            last: None,
        }
    }

    /// Reads what has been added.
    ///
    /// # Errors
    /// If a replica could not start with what is there.
    pub fn read(&mut self) -> Result<(), OpenError> {
        if self.go_on().is_ok() {
            return Ok(());
        }
        // Segments went before they were read to their end; or it is damaged, and is so from the beginning, too.
        (self.replay, self.last) = (Replay::default(), None);
        self.go_on()
    }

    fn go_on(&mut self) -> Result<(), OpenError> {
        let names =
            (self.place.disk.list(&self.place.dir)).map_err(OpenError::io(&self.place.dir))?;
        let numbers: Vec<u64> = names.iter().filter_map(|name| number_of(name)).collect();
        for number in &numbers {
            let path = path(&self.place.dir, *number);
            let read = || self.place.disk.read(&path).map_err(OpenError::io(&path));
            let is_last = Some(number) == numbers.last();
            match self.last {
                Some((last, ..)) if *number < last => {}
                Some((last, seed, from)) if *number == last => {
                    let upto = self
                        .replay
                        .frames(&path, &read()?, from, seed, false, is_last)?;
                    self.last = Some((last, seed, upto));
                }
                _ => {
                    let bytes = read()?;
                    let (header, upto) =
                        self.replay
                            .segment(&self.place, *number, &path, &bytes, is_last)?;
                    self.last = Some((*number, header.seed(), upto));
                }
            }
        }
        Ok(())
    }

    /// Whom it has promised to obey, and nobody before.
    pub fn vote(&self) -> Option<Ruler> {
        Some(self.replay.base.vote?.leader_id.into())
    }

    /// The entry is there, or is in a snapshot.
    pub fn holds(&self, entry: EntryName) -> bool {
        let purged = self.replay.base.purged;
        if purged.is_some_and(|purged| entry.index <= purged.index) {
            return true;
        }
        let there = self.replay.entries.range(entry.index..=entry.index);
        there.first().map(|it| EntryName::from(it.log_id)) == Some(entry)
    }

    /// The last entry that there is, or that is in a snapshot.
    pub fn last(&self) -> Option<EntryName> {
        self.replay.entries.last().map(Into::into)
    }
}
