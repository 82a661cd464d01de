//! The backup file: a store's whole state as of one place in its log, to be kept elsewhere.
//!
//! ```text
//! magic 8 | format u32 | length of header u32 | length of image u64 | header | image | SHA-256 of all before it
//! header: store id 16 | epoch u64 | log index u64 | taken at u64 (ms) | rules u32 | length u32 | trust domain
//! ```
//!
//! Integers are little endian. The image is the state's own canonical one; the header repeats what says whose it is, so
//! that other tools need not read images. Unlike the snapshots in a data folder it knows nothing of replicas: a store that
//! is restored from it has a new one. It holds no key, only the fingerprints that are in the state.

use sha2::{Digest as _, Sha256};

use crate::lifecycle::command::Founded;
use crate::lifecycle::{ImageError, State};

const MAGIC: &[u8; 8] = b"jtback\r\n";
/// The format written here, and the newest that is read.
const FORMAT: u32 = 1;
/// Up to the header.
const FRONT: usize = 24;
const CHECKSUM: usize = 32;

/// A store's state and the place in its log that it is of.
#[derive(Debug, Clone)]
pub struct Backup {
    state: State,
    founded: Founded,
    index: u64,
    taken_at_ms: u64,
}

/// Why bytes are not a backup that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    #[error("this is no snapshot that `jointoken store snapshot save` has written")]
    NotABackup,
    #[error(
        "this snapshot has format {0}, and this release reads formats up to {FORMAT}: use the release that wrote it or a later one"
    )]
    NewerFormat(u32),
    #[error("this snapshot was written by a later release ({0}): use that one or a later one")]
    LaterRelease(ImageError),
    #[error("this snapshot is cut short: {found} of {expected} bytes are there")]
    CutShort { expected: u64, found: u64 },
    #[error("this snapshot has something behind its end: {found} bytes instead of {expected}")]
    Trailing { expected: u64, found: u64 },
    #[error("this snapshot is damaged: its checksum does not match")]
    Checksum,
    #[error("this snapshot is damaged: {0}")]
    Image(ImageError),
    #[error("this snapshot contradicts itself: {0}")]
    Contradiction(&'static str),
}

/// A store that was not founded has nothing to back up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store is not founded yet")]
pub struct NotFounded;

impl Backup {
    /// A backup of this state, taken now, in milliseconds since the epoch.
    ///
    /// # Errors
    /// When the state is that of no store.
    pub fn of(index: u64, taken_at_ms: u64, state: State) -> Result<Self, NotFounded> {
        Ok(Self {
            founded: state.founded().cloned().ok_or(NotFounded)?,
            state,
            index,
            taken_at_ms,
        })
    }

    /// The state.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Whose state it is.
    pub const fn founded(&self) -> &Founded {
        &self.founded
    }

    /// The place in the log of the last command that is in it.
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// When it was taken, by the clock of the replica, in milliseconds since the epoch.
    pub const fn taken_at_ms(&self) -> u64 {
        self.taken_at_ms
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let header = self.header();
        let image = self.state.encode();
        let mut out = Vec::with_capacity(FRONT + header.len() + image.len() + CHECKSUM);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&length(&header).to_le_bytes());
        out.extend_from_slice(&(image.len() as u64).to_le_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(&image);
        let checksum = Sha256::digest(&out);
        out.extend_from_slice(&checksum);
        out
    }

    fn header(&self) -> Vec<u8> {
        let Founded {
            store_id,
            epoch,
            trust_domain,
            ..
        } = &self.founded;
        let mut header = store_id.0.to_vec();
        for number in [*epoch, self.index, self.taken_at_ms] {
            header.extend_from_slice(&number.to_le_bytes());
        }
        header.extend_from_slice(&self.state.rules_version().to_le_bytes());
        header.extend_from_slice(&length(trust_domain.as_bytes()).to_le_bytes());
        header.extend_from_slice(trust_domain.as_bytes());
        header
    }

    /// Reads the bytes of a file, all of them checked.
    ///
    /// # Errors
    /// [`BackupError`] says in one line what is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, BackupError> {
        let found = bytes.len() as u64;
        let known = bytes.len().min(MAGIC.len());
        if known == 0 || bytes[..known] != MAGIC[..known] {
            return Err(BackupError::NotABackup);
        }
        let cut_at = |expected| BackupError::CutShort { expected, found };
        let mut front = Fields(bytes.get(MAGIC.len()..).unwrap_or_default());
        let format = front.u32().ok_or(cut_at(FRONT as u64))?;
        if format > FORMAT {
            return Err(BackupError::NewerFormat(format));
        }
        let lengths = front.u32().zip(front.u64());
        let (header_len, image_len) = lengths.ok_or(cut_at(FRONT as u64))?;
        let expected = (FRONT as u64 + CHECKSUM as u64 + u64::from(header_len))
            .checked_add(image_len)
            .ok_or(BackupError::Checksum)?;
        if found < expected {
            return Err(cut_at(expected));
        }
        if found > expected {
            return Err(BackupError::Trailing { expected, found });
        }
        let Some((body, checksum)) = bytes.split_last_chunk::<CHECKSUM>() else {
            return Err(cut_at(expected));
        };
        if Sha256::digest(body)[..] != checksum[..] {
            return Err(BackupError::Checksum);
        }
        let mut rest = Fields(body.get(FRONT..).unwrap_or_default());
        let header_len = usize::try_from(header_len).map_err(|_| BackupError::Checksum)?;
        let header = rest.take(header_len).ok_or(BackupError::Checksum)?;
        Self::read(header, rest.0)
    }

    fn read(header: &[u8], image: &[u8]) -> Result<Self, BackupError> {
        let state = State::decode(image).map_err(|error| match error {
            error if error.is_of_later_release() => BackupError::LaterRelease(error),
            error => BackupError::Image(error),
        })?;
        let mut fields = Fields(header);
        let told = (|| {
            let _store_id_and_epoch = fields.take(16 + 8)?;
            fields.u64().zip(fields.u64())
        })();
        let (index, taken_at_ms) =
            told.ok_or(BackupError::Contradiction("its header is too short"))?;
        let backup = Self::of(index, taken_at_ms, state)
            .map_err(|NotFounded| BackupError::Contradiction("its store was never founded"))?;
        if backup.header() != header {
            return Err(BackupError::Contradiction("its header is of another state"));
        }
        if backup.state.last_change() > index {
            return Err(BackupError::Contradiction(
                "its state goes beyond the place in the log that it says",
            ));
        }
        Ok(backup)
    }
}

/// What is left to read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, left) = self.0.split_at_checked(length)?;
        self.0 = left;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
}

/// Trust domains and headers are far shorter than what a `u32` can say.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &[u8] = include_bytes!("../../tests/store/golden/backup-1.backup");

    fn sample() -> Backup {
        let image = include_bytes!("../../tests/lifecycle/golden/state-1.image");
        let state = State::decode(image).unwrap();
        Backup::of(state.last_change() + 7, 1_800_000_123_456, state).unwrap()
    }

    #[test]
    fn the_first_format_is_read_for_ever() {
        assert!(sample().encode() == GOLDEN, "other bytes are written");
        let read = Backup::decode(GOLDEN).unwrap();
        assert_eq!(read.index(), sample().index());
        assert_eq!(read.taken_at_ms(), 1_800_000_123_456);
        assert_eq!(read.state().encode(), sample().state().encode());
    }

    #[test]
    fn what_is_not_whole_says_in_which_way() {
        for len in 0..GOLDEN.len() {
            let error = Backup::decode(&GOLDEN[..len]).unwrap_err();
            let is_cut = matches!(error, BackupError::CutShort { .. });
            assert_eq!(is_cut, len > 0, "{len}: {error}");
        }
        let longer = [GOLDEN, b"x"].concat();
        assert!(matches!(
            Backup::decode(&longer),
            Err(BackupError::Trailing { .. })
        ));
        for at in 0..GOLDEN.len() {
            let mut flipped = GOLDEN.to_vec();
            flipped[at] ^= 4;
            assert!(Backup::decode(&flipped).is_err(), "{at}");
        }
        assert_eq!(
            Backup::decode(b"-----BEGIN").unwrap_err(),
            BackupError::NotABackup
        );
        let mut newer = GOLDEN.to_vec();
        newer[8] = 2;
        assert_eq!(
            Backup::decode(&newer).unwrap_err(),
            BackupError::NewerFormat(2)
        );
    }

    fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.truncate(bytes.len() - CHECKSUM);
        let checksum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&checksum);
        bytes
    }

    /// The checksum is no proof against somebody who makes up files; but no file is taken that says two things.
    #[test]
    fn what_contradicts_itself_is_refused() {
        for at in [FRONT, FRONT + 16, FRONT + 40, FRONT + 48] {
            let mut changed = GOLDEN.to_vec();
            changed[at] ^= 1;
            let error = Backup::decode(&with_checksum(changed)).unwrap_err();
            assert!(matches!(error, BackupError::Contradiction(_)), "{error}");
        }
        let state = sample().state().clone();
        let early = Backup::of(1, 0, state).unwrap().encode();
        assert!(matches!(
            Backup::decode(&early),
            Err(BackupError::Contradiction(_))
        ));
        assert!(Backup::of(1, 0, State::new()).is_err());
    }

    #[test]
    fn an_image_of_a_later_release_is_not_called_damaged() {
        let image_at = FRONT + sample().header().len();
        for at in [8, 10] {
            let mut later = GOLDEN.to_vec();
            later[image_at + at] += 8;
            let error = Backup::decode(&with_checksum(later)).unwrap_err();
            assert!(matches!(error, BackupError::LaterRelease(_)), "{error}");
        }
    }
}
