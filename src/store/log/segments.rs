//! Writes the log: one file after the other, one frame a write.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::faults::{self, Fault};
use crate::store::codec::{Base, Record, Writer};
use crate::store::disk::{Disk, DiskFile, write_whole};
use crate::store::types::{LogId, Vote};
use crate::token::StoreId;

use super::frame::{self, Header};

/// Where segments are kept and how they are to be written.
#[derive(Clone)]
pub(crate) struct Place {
    pub disk: Arc<dyn Disk>,
    pub dir: PathBuf,
    pub store_id: StoreId,
    /// A segment that has grown to this many bytes gets a successor.
    pub segment_bytes: u64,
    /// Random; goes into the checksums.
    pub salt: u64,
}

/// A segment that has a successor.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    pub number: u64,
    /// The last entry there was when it ended.
    pub last: Option<LogId>,
}

/// The segment that is written to.
pub(super) struct Active {
    pub file: Box<dyn DiskFile>,
    pub number: u64,
    pub len: u64,
    pub seed: u32,
    /// What it can hold.
    pub format: u32,
}

/// All segments, open for writing.
pub(super) struct Segments {
    place: Place,
    active: Active,
    sealed: VecDeque<Sealed>,
    next_frame: u64,
    base: Base,
}

impl Segments {
    /// Begins a log.
    pub(super) fn create(place: Place) -> io::Result<Self> {
        let base = Base::default();
        let active = begin(&place, 1, 1, &base, 1)?;
        Ok(Self {
            place,
            active,
            sealed: VecDeque::new(),
            next_frame: 2,
            base,
        })
    }

    /// Goes on with a log that was read and whose tail is on the disk.
    pub(super) const fn resume(
        place: Place,
        active: Active,
        sealed: VecDeque<Sealed>,
        next_frame: u64,
        base: Base,
    ) -> Self {
        Self {
            place,
            active,
            sealed,
            next_frame,
            base,
        }
    }

    /// Appends records and syncs. Returns how many bytes that took. After an error nothing is
    /// known of what is on the disk: no more may be written.
    pub(super) fn write(&mut self, records: &[Record]) -> io::Result<u64> {
        let needed = records.iter().map(Record::format).max().unwrap_or(1);
        if self.active.len >= self.place.segment_bytes || needed > self.active.format {
            self.roll(needed.max(self.active.format))?;
        }
        let mut w = Writer::new();
        let mut purged = false;
        for record in records {
            record.encode(&mut w);
            self.base.follow(record);
            purged |= matches!(record, Record::Purge(_));
        }
        let frame = frame::encode(self.active.seed, self.next_frame, &w.into_bytes())
            .ok_or_else(|| io::Error::other("more than 4 GiB in one write of the log"))?;
        self.active.file.append(&frame)?;
        if !is_sync_forgotten(records) {
            self.active.file.sync()?;
        }
        self.active.len += frame.len() as u64;
        self.next_frame += 1;
        if purged {
            self.drop_purged()?;
        }
        Ok(frame.len() as u64)
    }

    fn roll(&mut self, format: u32) -> io::Result<()> {
        let number = self.active.number;
        self.active = begin(&self.place, number + 1, self.next_frame, &self.base, format)?;
        self.next_frame += 1;
        self.sealed.push_back(Sealed {
            number,
            last: self.base.last,
        });
        Ok(())
    }

    /// Removes the segments that hold only purged entries; all else in them is in the next one's
    /// base. One after the other: were they removed together, a loss of power could bring back an
    /// earlier one without a later one.
    fn drop_purged(&mut self) -> io::Result<()> {
        while let Some(sealed) = self.sealed.front()
            && sealed.last <= self.base.purged
        {
            let path = path(&self.place.dir, sealed.number);
            self.place.disk.remove(&path)?;
            self.place.disk.sync_dir(&self.place.dir)?;
            self.sealed.pop_front();
        }
        Ok(())
    }
}

/// Begins a log whose entries up to `last` are in a snapshot, and whose replica last voted for that entry's leader.
pub(crate) fn begin_after(place: &Place, last: LogId) -> io::Result<()> {
    let base = Base {
        vote: Some(Vote {
            leader_id: last.leader_id,
            committed: true,
        }),
        committed: Some(last),
        purged: Some(last),
        last: Some(last),
    };
    begin(place, 1, 1, &base, 1).map(|_| ())
}

/// In tests, and on purpose.
fn is_sync_forgotten(records: &[Record]) -> bool {
    let has_vote = records.iter().any(|it| matches!(it, Record::Vote(_)));
    match has_vote {
        true => faults::is_on(Fault::VoteNotSynced),
        false => faults::is_on(Fault::AcknowledgeBeforeSync),
    }
}

/// Makes a segment whose first frame says what came before.
fn begin(
    place: &Place,
    number: u64,
    first_frame: u64,
    base: &Base,
    format: u32,
) -> io::Result<Active> {
    let header = Header {
        format,
        store_id: place.store_id,
        segment: number,
        first_frame,
        salt: place.salt.wrapping_add(number),
    };
    let mut w = Writer::new();
    Record::Base(*base).encode(&mut w);
    let frame = frame::encode(header.seed(), first_frame, &w.into_bytes())
        .ok_or_else(|| io::Error::other("the base of a segment is too long"))?;
    let path = path(&place.dir, number);
    let header_bytes = header.encode();
    // Under its name there is only ever a segment with its header and base whole.
    write_whole(&*place.disk, &path, &[&header_bytes, &frame])?;
    Ok(Active {
        file: place.disk.open(&path)?,
        number,
        len: (header_bytes.len() + frame.len()) as u64,
        seed: header.seed(),
        format,
    })
}

const SUFFIX: &str = ".log";

pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}{SUFFIX}"))
}

/// The number in a segment's name.
pub(super) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    (digits.len() == 16).then_some(number)
}
