//! Reads the log again: a torn tail is cut, anything else that is not as it was written is refused.

use std::collections::VecDeque;
use std::path::Path;

use crate::store::OpenError;
use crate::store::codec::{Base, Reader, Record};
use crate::store::disk::{Disk, TEMPORARY, write_whole};

use super::entries::Entries;
use super::frame::{self, FORMAT, Found, HEAD, HEADER, Header, NoHeader};
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

/// Reads the log in a folder, or begins one. Whatever it returns is on the disk. Blocks.
pub(crate) fn recover(place: Place) -> Result<Recovered, OpenError> {
    let disk = place.disk.clone();
    let names = disk.list(&place.dir).map_err(OpenError::io(&place.dir))?;
    let numbers: Vec<u64> = names.iter().filter_map(|name| number_of(name)).collect();
    let mut replay = Replay::default();
    let mut sealed = VecDeque::new();
    let mut last = None;
    let mut bytes_total = 0;
    for (i, number) in numbers.iter().enumerate() {
        let path = path(&place.dir, *number);
        let bytes = disk.read(&path).map_err(OpenError::io(&path))?;
        let is_last = i + 1 == numbers.len();
        let (seed, len) = replay.segment(&place, *number, &path, &bytes, is_last)?;
        bytes_total += len as u64;
        if is_last {
            last = Some((*number, path, bytes, seed, len));
        } else {
            sealed.push_back(Sealed {
                number: *number,
                last: replay.base.last,
            });
        }
    }
    replay.check_floor(&place.dir)?;
    for name in names.iter().filter(|name| name.ends_with(TEMPORARY)) {
        let path = place.dir.join(name);
        disk.remove(&path).map_err(OpenError::io(&path))?;
    }
    let base = replay.base;
    let segments = match last {
        None => Segments::create(place.clone()).map_err(OpenError::io(&place.dir))?,
        Some((number, path, bytes, seed, len)) => {
            // Written anew, not just synced: where an earlier sync has failed, the pages that were
            // read now may pass for clean without being on the disk.
            write_whole(&*disk, &path, &[&bytes[..len]]).map_err(OpenError::io(&path))?;
            let active = Active {
                file: disk.open(&path).map_err(OpenError::io(&path))?,
                number,
                len: len as u64,
                seed,
            };
            Segments::resume(place, active, sealed, replay.next_frame, base)
        }
    };
    Ok(Recovered {
        segments,
        base,
        entries: replay.entries,
        bytes: bytes_total,
    })
}

/// What the records read so far come to.
#[derive(Default)]
struct Replay {
    base: Base,
    entries: Entries,
    next_segment: Option<u64>,
    next_frame: u64,
}

impl Replay {
    /// Reads one segment. Returns what its checksums start from and how many of its bytes count.
    fn segment(
        &mut self,
        place: &Place,
        number: u64,
        path: &Path,
        bytes: &[u8],
        is_last: bool,
    ) -> Result<(u32, usize), OpenError> {
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
                let what = format!("segment {next} before it is missing");
                return Err(OpenError::damaged(path, 0, what));
            }
            Some(_) if self.next_frame != header.first_frame => {
                let what = "frames before it are missing";
                return Err(OpenError::damaged(path, 0, what));
            }
            Some(_) => {}
        }
        let is_first = self.next_segment.is_none();
        self.next_segment = Some(number + 1);
        let len = self.frames(path, bytes, header.seed(), is_first, is_last)?;
        Ok((header.seed(), len))
    }

    fn frames(
        &mut self,
        path: &Path,
        bytes: &[u8],
        seed: u32,
        is_first: bool,
        is_last: bool,
    ) -> Result<usize, OpenError> {
        let mut at = HEADER;
        loop {
            let damaged = |what: String| OpenError::damaged(path, at as u64, what);
            match frame::read(seed, bytes, at) {
                Found::Frame { number, .. } if number != self.next_frame => {
                    let next = self.next_frame;
                    return Err(damaged(format!("frame {number} instead of frame {next}")));
                }
                Found::Frame { body, .. } => {
                    let is_base = at == HEADER;
                    self.records(body, is_base, is_first).map_err(damaged)?;
                    self.next_frame += 1;
                    at += HEAD + body.len();
                }
                Found::End if at == HEADER => return Err(damaged("its base is missing".into())),
                Found::End => return Ok(at),
                Found::Damaged(what) => return Err(damaged(what.into())),
                // The base was synced before the segment got its name.
                Found::Torn if !is_last || at == HEADER => {
                    return Err(damaged(
                        "a frame is not whole, but it is not the last".into(),
                    ));
                }
                Found::Torn if frame::frame_follows(seed, bytes, at, self.next_frame) => {
                    return Err(damaged("a frame is not whole, but later ones are".into()));
                }
                Found::Torn => {
                    tracing::warn!(
                        file = %path.display(),
                        offset = at,
                        bytes = bytes.len() - at,
                        "cut the torn tail of the log: its last write never completed"
                    );
                    return Ok(at);
                }
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
            return Err(OpenError::damaged(
                dir,
                0,
                "segments at the beginning of the log are missing",
            ));
        }
        Ok(())
    }
}
