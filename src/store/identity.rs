//! Who a data folder is: the first thing written into it, and what a founding resumes from.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use crate::token::StoreId;

use super::OpenError;
use super::disk::{Disk, write_whole};
use super::folder;

/// Who a data folder is. A small text, so that an operator can read it; not to be edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The store that the folder is a replica of.
    pub store_id: StoreId,
    /// This replica: random, never used again.
    pub node_id: u64,
    /// Grows with each founding, restore or recovery of the store. At least 1.
    pub epoch: u64,
    /// The founding has begun and is not complete.
    pub founding: bool,
}

const NAME: &str = "identity";
const FORMAT: u32 = 1;

impl Identity {
    fn render(&self) -> String {
        let mut text = format!(
            "jointoken identity {FORMAT}\nstore {}\nnode {:016x}\nepoch {}\nfounding {}\n",
            self.store_id,
            self.node_id,
            self.epoch,
            if self.founding { "yes" } else { "no" },
        );
        let crc = crc32c::crc32c(text.as_bytes());
        // Writing to a string cannot fail.
        let _ = writeln!(text, "crc32c {crc:08x}");
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        field("jointoken identity")?;
        let identity = Self {
            store_id: field("store")?.parse().ok()?,
            node_id: u64::from_str_radix(field("node")?, 16).ok()?,
            epoch: field("epoch")?.parse().ok()?,
            founding: match field("founding")? {
                "yes" => true,
                "no" => false,
                _ => return None,
            },
        };
        // One text for one identity, the checksum included.
        (identity.render() == text).then_some(identity)
    }
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(NAME)
}

/// Who the folder is; `None` if it is empty or does not exist.
///
/// # Errors
/// If it cannot be read, is damaged or was written by a later release.
pub fn read(disk: &dyn Disk, data_dir: &Path) -> Result<Option<Identity>, OpenError> {
    let path = path(data_dir);
    let bytes = match disk.read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::io(&path)(error)),
    };
    let damaged = || OpenError::damaged(&path, 0, "this is no identity of a replica");
    let text = String::from_utf8(bytes).map_err(|_| damaged())?;
    let format = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("jointoken identity "))
        .and_then(|format| format.parse().ok())
        .ok_or_else(damaged)?;
    if format > FORMAT {
        return Err(OpenError::NewerFormat {
            path,
            found: format,
            known: FORMAT,
        });
    }
    Identity::parse(&text).map(Some).ok_or_else(damaged)
}

/// Gives an empty folder an identity; makes the folder if need be. What it returned for is on the disk.
///
/// # Errors
/// If the folder has an identity, is in use, or cannot be written.
pub fn create(disk: &dyn Disk, data_dir: &Path, identity: &Identity) -> Result<(), OpenError> {
    let _lock = folder::lock(disk, data_dir)?;
    if read(disk, data_dir)?.is_some() {
        return Err(OpenError::Io {
            path: path(data_dir),
            source: io::ErrorKind::AlreadyExists.into(),
        });
    }
    write(disk, data_dir, identity)
}

/// Says that the founding is complete. Whoever calls it works on the folder.
pub(super) fn founding_complete(
    disk: &dyn Disk,
    data_dir: &Path,
    identity: &Identity,
) -> Result<(), OpenError> {
    let identity = Identity {
        founding: false,
        ..*identity
    };
    write(disk, data_dir, &identity)
}

fn write(disk: &dyn Disk, data_dir: &Path, identity: &Identity) -> Result<(), OpenError> {
    let path = path(data_dir);
    write_whole(disk, &path, &[identity.render().as_bytes()]).map_err(OpenError::io(&path))?;
    // The folder itself must last, too.
    let parent = data_dir
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    disk.sync_dir(parent).map_err(OpenError::io(parent))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::disk::RealDisk;

    const IDENTITY: Identity = Identity {
        store_id: StoreId([0xab; 16]),
        node_id: 0x0123_4567_89ab_cdef,
        epoch: 3,
        founding: true,
    };

    #[test]
    fn it_is_read_as_it_was_created_and_created_once() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        assert_eq!(read(&RealDisk, &data).unwrap(), None);
        create(&RealDisk, &data, &IDENTITY).unwrap();
        assert_eq!(read(&RealDisk, &data).unwrap(), Some(IDENTITY));
        assert!(create(&RealDisk, &data, &IDENTITY).is_err());
        founding_complete(&RealDisk, &data, &IDENTITY).unwrap();
        assert!(!read(&RealDisk, &data).unwrap().unwrap().founding);
    }

    #[test]
    fn the_text_stays_as_it_is() {
        let text = "jointoken identity 1\n\
            store abababababababababababababababab\n\
            node 0123456789abcdef\n\
            epoch 3\n\
            founding yes\n\
            crc32c cc41d53a\n";
        assert_eq!(IDENTITY.render(), text);
        assert_eq!(Identity::parse(text), Some(IDENTITY));
    }

    #[test]
    fn a_changed_or_later_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        create(&RealDisk, folder.path(), &IDENTITY).unwrap();
        let file = folder.path().join(NAME);
        let text = fs::read_to_string(&file).unwrap();
        for changed in [
            text.replace("epoch 3", "epoch 4"),
            text.replace("node 0123", "node 123"),
            text[..text.len() - 1].to_owned(),
            String::new(),
        ] {
            fs::write(&file, changed).unwrap();
            let error = read(&RealDisk, folder.path()).unwrap_err();
            assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        }
        fs::write(&file, text.replace("identity 1", "identity 2")).unwrap();
        let error = read(&RealDisk, folder.path()).unwrap_err();
        assert!(
            matches!(error, OpenError::NewerFormat { found: 2, .. }),
            "{error}"
        );
    }
}
