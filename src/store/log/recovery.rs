//! Reads the log again: a torn tail is cut, anything else that is not as it was written is refused.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use crate::store::OpenError;
use crate::store::codec::{Base, Reader, Record};
use crate::store::disk::{Disk, TEMPORARY, write_whole};
use crate::store::types::{Entry, LogId};

use super::entries::Entries;
use super::frame::{self, FORMAT, Found as Frame, HEAD, HEADER, Header, NoHeader};
use super::segments::{Active, Place, Sealed, Segments, number_of, path};

/// A log as it was found, ready to go on.
pub(crate) struct Recovered {
    pub(super) segments: Segments,
    pub(super) base: Base,
    pub(super) entries: Entries,
    /// Of all segments together.
    pub(super) bytes: u64,
}

/// Whether there is a log in a folder, whatever its state.
pub(crate) fn has_begun(disk: &dyn Disk, dir: &Path) -> Result<bool, OpenError> {
    let names = disk.list(dir).map_err(OpenError::io(dir))?;
    Ok(names.iter().any(|name| number_of(name).is_some()))
}

/// A log as it was read; nothing was changed yet.
pub(crate) struct Found {
    place: Place,
    replay: Replay,
    sealed: VecDeque<Sealed>,
    last: Option<Last>,
    /// What a crash left of files that were being written.
    leftovers: Vec<PathBuf>,
    bytes: u64,
}

/// The segment that is to be gone on with.
struct Last {
    number: u64,
    path: PathBuf,
    /// As far as they count.
    bytes: Vec<u8>,
    /// How many bytes follow of a write that never completed.
    torn: usize,
    header: Header,
}

/// Reads the log in a folder and leaves it as it is. Blocks.
pub(crate) fn read(place: Place) -> Result<Found, OpenError> {
    let disk = place.disk.clone();
    let names = disk.list(&place.dir).map_err(OpenError::io(&place.dir))?;
    let numbers: Vec<u64> = names.iter().filter_map(|name| number_of(name)).collect();
    let mut replay = Replay::default();
    let mut sealed = VecDeque::new();
    let mut last = None;
    let mut bytes_total = 0;
    for (i, number) in numbers.iter().enumerate() {
        let path = path(&place.dir, *number);
        let mut bytes = disk.read(&path).map_err(OpenError::io(&path))?;
        let is_last = i + 1 == numbers.len();
        let (header, len) = replay.segment(&place, *number, &path, &bytes, is_last)?;
        bytes_total += len as u64;
        if is_last {
            let torn = bytes.len() - len;
            bytes.truncate(len);
            last = Some(Last {
                torn,
                number: *number,
                path,
                bytes,
                header,
            });
        } else {
            sealed.push_back(Sealed {
                number: *number,
                last: replay.base.last,
            });
        }
    }
    replay.check_floor(&place.dir)?;
    let leftovers = (names.iter())
        .filter(|name| name.ends_with(TEMPORARY))
        .map(|name| place.dir.join(name))
        .collect();
    Ok(Found {
        place,
        replay,
        sealed,
        last,
        leftovers,
        bytes: bytes_total,
    })
}

impl Found {
    /// Up to where the entries may be found in the snapshot alone.
    pub(crate) const fn purged(&self) -> Option<LogId> {
        self.replay.base.purged
    }

    /// The last entry, present or purged.
    pub(crate) fn last_entry(&self) -> Option<LogId> {
        self.replay.entries.last()
    }

    /// The last entry that the log says is committed.
    pub(crate) const fn committed(&self) -> Option<LogId> {
        self.replay.base.committed
    }

    /// All entries that are present. The very first one, by which the store was founded, has index 0.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.replay.entries.range(..)
    }

    /// The entries that are present and come after this index.
    pub(crate) fn entries_after(&self, index: u64) -> Vec<Entry> {
        self.replay.entries.range(index.saturating_add(1)..)
    }

    /// Makes the log ready to go on, begins it if there is none. Whatever it returns is on the disk. Blocks.
    pub(crate) fn resume(self) -> Result<Recovered, OpenError> {
        let Self { place, replay, .. } = self;
        let disk = place.disk.clone();
        for path in self.leftovers {
            disk.remove(&path).map_err(OpenError::io(&path))?;
        }
        let base = replay.base;
        let segments = match self.last {
            None => Segments::create(place.clone()).map_err(OpenError::io(&place.dir))?,
            Some(last) => {
                // Written anew, not just synced: where an earlier sync has failed, the pages that
                // were read now may pass for clean without being on the disk.
                let path = &last.path;
                if last.torn > 0 {
                    tracing::warn!(
                        file = %path.display(),
                        offset = last.bytes.len(),
                        bytes = last.torn,
                        "cut the torn tail of the log: its last write never completed"
                    );
                }
                write_whole(&*disk, path, &[&last.bytes]).map_err(OpenError::io(path))?;
                let active = Active {
                    file: disk.open(path).map_err(OpenError::io(path))?,
                    number: last.number,
                    len: last.bytes.len() as u64,
                    seed: last.header.seed(),
                    format: last.header.format,
                };
                Segments::resume(place, active, self.sealed, replay.next_frame, base)
            }
        };
        Ok(Recovered {
            segments,
            base,
            entries: replay.entries,
            bytes: self.bytes,
        })
    }
}

/// What the records read so far come to.
#[derive(Default)]
pub(super) struct Replay {
    pub base: Base,
    pub entries: Entries,
    next_segment: Option<u64>,
    next_frame: u64,
}

impl Replay {
    /// Reads one segment. Returns its header and how many of its bytes count.
    pub(super) fn segment(
        &mut self,
        place: &Place,
        number: u64,
        path: &Path,
        bytes: &[u8],
        is_last: bool,
    ) -> Result<(Header, usize), OpenError> {
        let header = Header::decode(bytes).map_err(|error| match error {
            NoHeader::Newer(found) => OpenError::NewerFormat {
                path: path.to_path_buf(),
                found,
                known: FORMAT,
            },
            NoHeader::Damaged => OpenError::damaged(path, 0, "this is no header of a log segment"),
        })?;
        if header.store_id != place.store_id {
            return Err(OpenError::OtherStore {
                path: path.to_path_buf(),
                found: header.store_id,
                expected: place.store_id,
            });
        }
        if header.segment != number {
            let what = format!("it says that it is segment {}", header.segment);
            return Err(OpenError::damaged(path, 0, what));
        }
        match self.next_segment {
            None => self.next_frame = header.first_frame,
            Some(next) if next != number => {
                return Err(OpenError::Incomplete {
                    path: place.dir.clone(),
                    what: format!("segment {next} is missing"),
                });
            }
            Some(_) if self.next_frame != header.first_frame => {
                let what = "frames before it are missing";
                return Err(OpenError::damaged(path, 0, what));
            }
            Some(_) => {}
        }
        let is_first = self.next_segment.is_none();
        self.next_segment = Some(number + 1);
        let seed = header.seed();
        let len = self.frames(path, bytes, HEADER, seed, is_first, is_last)?;
        Ok((header, len))
    }

    /// Reads the frames from this place on. Returns up to where they count.
    pub(super) fn frames(
        &mut self,
        path: &Path,
        bytes: &[u8],
        from: usize,
        seed: u32,
        is_first: bool,
        is_last: bool,
    ) -> Result<usize, OpenError> {
        let mut at = from;
        loop {
            let damaged = |what: String| OpenError::damaged(path, at as u64, what);
            match frame::read(seed, bytes, at) {
                Frame::Frame { number, .. } if number != self.next_frame => {
                    let next = self.next_frame;
                    return Err(damaged(format!("frame {number} instead of frame {next}")));
                }
                Frame::Frame { body, .. } => {
                    let is_base = at == HEADER;
                    self.records(body, is_base, is_first).map_err(damaged)?;
                    self.next_frame += 1;
                    at += HEAD + body.len();
                }
                Frame::End if at == HEADER => return Err(damaged("its base is missing".into())),
                Frame::End => return Ok(at),
                Frame::Damaged(what) => return Err(damaged(what.into())),
                // The base was synced before the segment got its name.
                Frame::Torn if !is_last || at == HEADER => {
                    return Err(damaged(
                        "a frame is not whole, but it is not the last".into(),
                    ));
                }
                Frame::Torn if frame::frame_follows(seed, bytes, at, self.next_frame) => {
                    return Err(damaged("a frame is not whole, but later ones are".into()));
                }
                Frame::Torn => return Ok(at),
            }
        }
    }

    fn records(&mut self, body: &[u8], is_base: bool, is_first: bool) -> Result<(), String> {
        let mut r = Reader::new(body);
        while !r.at_end() {
            let record = Record::decode(&mut r).map_err(|error| error.to_string())?;
            match &record {
                Record::Base(base) if is_base && is_first => {
                    self.entries = Entries::after(base.last);
                }
                Record::Base(base) if is_base && *base == self.base => {}
                Record::Base(_) => return Err("a base that does not fit what is before it".into()),
                _ if is_base => return Err("the base of the segment is missing".into()),
                Record::Entry(entry) => self
                    .entries
                    .push(entry.clone())
                    .map_err(|error| error.to_string())?,
                Record::Truncate(last) => self.entries.truncate(*last),
                Record::Purge(upto) => self.entries.purge(*upto),
                Record::Vote(_) | Record::Committed(_) => {}
            }
            self.base.follow(&record);
        }
        Ok(())
    }

    /// The first segments may only be gone if all their entries were purged.
    fn check_floor(&mut self, dir: &Path) -> Result<(), OpenError> {
        if self.entries.floor() > self.base.purged {
            return Err(OpenError::Incomplete {
                path: dir.to_path_buf(),
                what: "segments at its beginning are missing".into(),
            });
        }
        Ok(())
    }
}
