//! Which store a data folder belongs to, and how far its founding has come.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::OLDER_COPY;
use super::folder_vault::{at, make_folder, sync_folder, write_synced};
use super::restore::is_interrupted;
use super::vault::{Creation, Founding, VaultError};
use crate::pki::TrustDomain;
use crate::token::{RandomError, StoreId};

const FIRST_LINE: &str = "jointoken identity 1";

/// What a replica knows of itself before it can read anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The store.
    pub store_id: StoreId,
    /// Its epoch.
    pub epoch: u64,
    /// The replica, random and never used again.
    pub node_id: u64,
    /// The trust domain that all names end in; fixed from here on.
    pub trust_domain: TrustDomain,
    /// How far the founding has come.
    pub stage: Stage,
}

/// How far a founding has come. Only forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The group is founded elsewhere, or was: this replica is to be let in. Nothing is made here.
    Joining,
    /// Items are being made: one that is not there yet is made. The store does not exist.
    Items,
    /// All items are there; the store is being made. An item that is missing is missing.
    Store,
    /// The store knows the fingerprints of its items. It must be there from now on.
    Founded,
}

impl Stage {
    const fn as_str(self) -> &'static str {
        match self {
            Stage::Joining => "joining",
            Stage::Items => "items",
            Stage::Store => "store",
            Stage::Founded => "founded",
        }
    }
}

impl Identity {
    /// Draws a new store and its first replica.
    pub(super) fn draw(trust_domain: TrustDomain, epoch: u64) -> Result<Self, RandomError> {
        // A node's name has no type of its own in the token room; eight bytes of randomness do.
        let node = crate::token::KeyId::random()?;
        Ok(Self {
            store_id: StoreId::random()?,
            epoch,
            // 0 stands for whoever is at an address.
            node_id: u64::from_be_bytes(node.0).max(1),
            trust_domain,
            stage: Stage::Items,
        })
    }

    /// Draws another replica of a store whose founding is known.
    pub(super) fn draw_newcomer(
        trust_domain: TrustDomain,
        founding: Founding,
    ) -> Result<Self, RandomError> {
        Ok(Self {
            store_id: founding.store_id,
            epoch: founding.epoch,
            stage: Stage::Joining,
            ..Self::draw(trust_domain, founding.epoch)?
        })
    }

    /// Which founding it belongs to.
    pub const fn founding(&self) -> Founding {
        Founding {
            store_id: self.store_id,
            epoch: self.epoch,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut field = |name: &str| {
            let (key, value) = lines.next()?.split_once(' ')?;
            (key == name).then_some(value)
        };
        let version = field("jointoken")? == &FIRST_LINE["jointoken ".len()..];
        let identity = Self {
            store_id: field("store-id")?.parse().ok()?,
            epoch: field("epoch")?.parse().ok()?,
            node_id: u64::from_str_radix(field("node-id")?, 16).ok()?,
            trust_domain: field("trust-domain")?.parse().ok()?,
            stage: match field("stage")? {
                "joining" => Stage::Joining,
                "items" => Stage::Items,
                "store" => Stage::Store,
                "founded" => Stage::Founded,
                _ => return None,
            },
        };
        // One text for one identity: what was edited by hand is not trusted.
        (version && identity.to_string() == text).then_some(identity)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST_LINE}")?;
        writeln!(f, "store-id {}", self.store_id)?;
        writeln!(f, "epoch {}", self.epoch)?;
        writeln!(f, "node-id {:016x}", self.node_id)?;
        writeln!(f, "trust-domain {}", self.trust_domain)?;
        writeln!(f, "stage {}", self.stage.as_str())
    }
}

/// The file `identity` in a data folder.
#[derive(Debug, Clone)]
pub struct IdentityFile {
    folder: PathBuf,
}

impl IdentityFile {
    /// The file in this folder.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            folder: data.into(),
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The identity, if the folder has one; durable.
    pub fn load(&self) -> Result<Option<Identity>, VaultError> {
        let path = self.folder.join("identity");
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return self.without_identity(&path);
            }
            bytes => bytes.map_err(at(&path))?,
        };
        sync_folder(&self.folder)?;
        match Identity::parse(&String::from_utf8_lossy(&text)) {
            Some(identity) => Ok(Some(identity)),
            None => Err(VaultError::unfit(
                path.display().to_string(),
                format!(
                    "is damaged or of a later release: use the release that wrote it, or put the file back from a copy (it changes only while the store is founded); the rest of the folder must stay as it is, {OLDER_COPY}"
                ),
            )),
        }
    }

    /// A folder without an identity is empty, for it comes first. When a store is restored it comes last.
    fn without_identity(&self, path: &Path) -> Result<Option<Identity>, VaultError> {
        if is_interrupted(&self.folder) {
            return Err(VaultError::unfit(
                self.folder.display().to_string(),
                "a restore into this data folder was interrupted: run the same command (`jointoken store snapshot restore` or `recover`) again",
            ));
        }
        for later in ["store", "keys"] {
            let there = self.folder.join(later);
            // Its parent is made a moment before the first thing in it.
            let mut content = match fs::read_dir(&there) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                content => content.map_err(at(&there))?,
            };
            if content.next().is_some() {
                return Err(VaultError::unfit(
                    path.display().to_string(),
                    format!(
                        "is missing, and {} is there: put the file back from a copy (it changes only while the store is founded), or give an empty data folder to found a new store in",
                        there.display()
                    ),
                ));
            }
        }
        Ok(None)
    }

    /// Creates it, unless there is one: two processes that begin at once in one folder get one
    /// identity.
    pub fn create(&self, identity: &Identity) -> Result<Creation<Identity>, VaultError> {
        make_folder(&self.folder)?;
        let path = self.folder.join("identity");
        // Its own name for each process: the other's must not be pulled away from under it.
        let beside = self
            .folder
            .join(format!(".identity.{}", std::process::id()));
        remove_if_there(&beside)?;
        write_synced(&beside, identity.to_string().as_bytes())?;
        // Unlike a rename, a link fails if the name is taken.
        let linked = fs::hard_link(&beside, &path);
        remove_if_there(&beside)?;
        match linked {
            Ok(()) => {
                sync_folder(&self.folder)?;
                Ok(Creation::Created)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match self.load()? {
                Some(there) => Ok(Creation::Exists(there)),
                None => Err(at(&path)(error)),
            },
            Err(error) => Err(at(&path)(error)),
        }
    }

    /// Puts `identity` in the place of the one that is there.
    pub fn replace(&self, identity: &Identity) -> Result<(), VaultError> {
        let beside = self.folder.join(".identity.next");
        remove_if_there(&beside)?;
        write_synced(&beside, identity.to_string().as_bytes())?;
        let path = self.folder.join("identity");
        fs::rename(&beside, &path).map_err(at(&path))?;
        sync_folder(&self.folder)
    }
}

fn remove_if_there(path: &Path) -> Result<(), VaultError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn() -> Identity {
        Identity::draw(TrustDomain::parse("prod.example.com").unwrap(), 1).unwrap()
    }

    #[test]
    fn the_file_is_created_once_and_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = IdentityFile::new(folder.path().join("data"));
        assert_eq!(file.load().unwrap(), None);
        let (one, two) = (drawn(), drawn());
        assert_ne!((one.store_id, one.node_id), (two.store_id, two.node_id));
        assert_eq!(file.create(&one).unwrap(), Creation::Created);
        assert_eq!(file.create(&two).unwrap(), Creation::Exists(one.clone()));
        let founded = Identity {
            stage: Stage::Founded,
            ..one
        };
        file.replace(&founded).unwrap();
        assert_eq!(file.load().unwrap(), Some(founded));
        let left = fs::read_dir(folder.path().join("data")).unwrap().count();
        assert_eq!(left, 1);
    }

    #[test]
    fn its_text_is_fixed() {
        let identity = Identity {
            store_id: StoreId([0xab; 16]),
            epoch: 7,
            node_id: 0x1234,
            trust_domain: TrustDomain::parse("prod").unwrap(),
            stage: Stage::Store,
        };
        let text = "jointoken identity 1\nstore-id abababababababababababababababab\nepoch 7\n\
                    node-id 0000000000001234\ntrust-domain prod\nstage store\n";
        assert_eq!(identity.to_string(), text);
        assert_eq!(Identity::parse(text), Some(identity));
        for bad in [
            "",
            &text[..text.len() - 1],
            &text.replace("identity 1", "identity 2"),
            &text.replace("epoch 7", "epoch 07"),
            &text.replace("prod", "Prod"),
            &text.replace("stage store", "stage done"),
            &format!("{text}more\n"),
        ] {
            assert_eq!(Identity::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_damaged_file_is_an_error_and_not_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = IdentityFile::new(folder.path());
        for damaged in [&b""[..], b"\x80"] {
            fs::write(folder.path().join("identity"), damaged).unwrap();
            let error = file.load().unwrap_err().to_string();
            assert!(error.contains("identity: is damaged"), "{error}");
            assert!(file.create(&drawn()).is_err());
        }
    }
}
