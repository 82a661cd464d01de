//! A vault in the data folder, for a store outside Kubernetes.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt as _, OpenOptionsExt};
use std::path::{Path, PathBuf};

use futures::future::{BoxFuture, ready};
use zeroize::Zeroizing;

use super::item::{Item, ItemName};
use super::vault::{Creation, Vault, VaultError};
use crate::store::file_trouble;

/// The file in an item's folder that says whose the item is.
const OWNER: &str = "store";

/// Keeps each item in a folder of its own, `<root>/<name>/` (0700), each part in a file (0600)
/// that other programs can read as it is.
///
/// An item is made beside its place, synced, and put there by renaming its folder: that is one
/// step, and it fails if the place is taken, since a folder is never put in the place of one that
/// is not empty. Beside it each store has a place of its own: two that are founded at once do not mix.
#[derive(Debug, Clone)]
pub struct FolderVault {
    root: PathBuf,
}

impl FolderVault {
    /// A vault under `root`, which is made with the first item.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn folder(&self, name: ItemName) -> PathBuf {
        self.root.join(name.as_str())
    }

    /// Where the item is made before it is put in its place.
    fn beside(&self, name: ItemName, item: &Item) -> PathBuf {
        self.root.join(format!(".{name}.{}.new", item.store_id))
    }

    fn load_now(&self, name: ItemName) -> Result<Option<Item>, VaultError> {
        let folder = self.folder(name);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            entries => entries.map_err(at(&folder))?,
        };
        // It may have been put here by a process that was stopped before it could sync.
        sync_folder(&self.root)?;
        let mut owner = None;
        let mut parts = BTreeMap::new();
        for entry in entries {
            let entry = entry.map_err(at(&folder))?;
            let path = entry.path();
            let file_name = entry.file_name().into_string().map_err(|_| {
                VaultError::unfit(
                    path.display().to_string(),
                    "does not belong there, by its name: move it away",
                )
            })?;
            let content = Zeroizing::new(fs::read(&path).map_err(at(&path))?);
            if is_secret(&file_name) {
                self.refuse_if_open_to_all(&path)?;
            }
            if file_name == OWNER {
                owner = Some(parse_owner(&content).ok_or_else(|| {
                    VaultError::unfit(
                        path.display().to_string(),
                        "does not say which store the key is of, it was damaged or edited: put this folder back from the backup of the keys",
                    )
                })?);
            } else {
                parts.insert(file_name, content);
            }
        }
        match owner {
            Some((store_id, epoch)) => Ok(Some(Item {
                store_id,
                epoch,
                parts,
            })),
            // Creating would take an empty folder's place, so it counts as nothing.
            None if parts.is_empty() => Ok(None),
            None => Err(VaultError::unfit(
                folder.join(OWNER).display().to_string(),
                "is missing, which says which store the key is of: put this folder back from the backup of the keys",
            )),
        }
    }

    /// A key that everybody could read or change may be somebody else's as well by now.
    fn refuse_if_open_to_all(&self, key: &Path) -> Result<(), VaultError> {
        let mode = fs::metadata(key).map_err(at(key))?.mode() & 0o777;
        if mode & 0o007 == 0 {
            return Ok(());
        }
        let keys = self.root.display();
        Err(VaultError::new(
            key.display().to_string(),
            format!(
                "everybody on this machine can use this key (mode {mode:03o}): run `chmod -R go-rwx {keys}`, and start again; if somebody may have read it, found the store anew"
            ),
        ))
    }

    fn create_now(&self, name: ItemName, item: &Item) -> Result<Creation<Item>, VaultError> {
        make_folder(&self.root)?;
        let folder = self.folder(name);
        let beside = self.beside(name, item);
        match fs::remove_dir_all(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(at(&beside)(error));
            }
            _ => {}
        }
        make_folder(&beside)?;
        for (part, content) in &item.parts {
            write_synced(&beside.join(part), content)?;
        }
        let owner = format!("store-id {}\nepoch {}\n", item.store_id, item.epoch);
        write_synced(&beside.join(OWNER), owner.as_bytes())?;
        sync_folder(&beside)?;
        match fs::rename(&beside, &folder) {
            Ok(()) => {
                sync_folder(&self.root)?;
                Ok(Creation::Created)
            }
            Err(error) => {
                let there = self.load_now(name)?.ok_or_else(|| at(&folder)(error))?;
                fs::remove_dir_all(&beside).map_err(at(&beside))?;
                Ok(Creation::Exists(there))
            }
        }
    }
}

impl Vault for FolderVault {
    // Founding happens before anything is served: there is nobody to be kept waiting.
    fn load(&self, name: ItemName) -> BoxFuture<'_, Result<Option<Item>, VaultError>> {
        Box::pin(ready(self.load_now(name)))
    }

    fn create<'a>(
        &'a self,
        name: ItemName,
        item: &'a Item,
    ) -> BoxFuture<'a, Result<Creation<Item>, VaultError>> {
        Box::pin(ready(self.create_now(name, item)))
    }

    fn place(&self, name: ItemName) -> String {
        self.folder(name).display().to_string()
    }
}

/// Whether a part of an item must be known to nobody else: a CA's certificate and a key's name may be.
fn is_secret(part: &str) -> bool {
    part == "key" || part.ends_with(".key")
}

fn parse_owner(content: &[u8]) -> Option<(crate::token::StoreId, u64)> {
    let text = std::str::from_utf8(content).ok()?;
    let (first, second) = text.trim_end().split_once('\n')?;
    let store_id = first.strip_prefix("store-id ")?.parse().ok()?;
    let epoch = second.strip_prefix("epoch ")?.parse().ok()?;
    Some((store_id, epoch))
}

/// For `map_err`: an error of the operating system at this path.
pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> VaultError {
    let path = path.to_path_buf();
    move |error| VaultError::new(path.display().to_string(), file_trouble(&error, &path))
}

/// A folder that only its owner may enter, and its parents; fine if it is there.
pub(super) fn make_folder(path: &Path) -> Result<(), VaultError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(path).map_err(at(path))?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_folder(parent),
        _ => Ok(()),
    }
}

/// A new file that only its owner may read, synced.
pub(super) fn write_synced(path: &Path, content: &[u8]) -> Result<(), VaultError> {
    let write = || {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(at(path))
}

/// Makes what was created, renamed or removed in the folder last through a loss of power.
pub(super) fn sync_folder(path: &Path) -> Result<(), VaultError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(at(path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::token::StoreId;

    fn item(byte: u8) -> Item {
        let part = |text: &str| Zeroizing::new(text.as_bytes().to_vec());
        Item {
            store_id: StoreId([byte; 16]),
            epoch: 3,
            parts: BTreeMap::from([
                ("id".to_owned(), part("0011")),
                ("key".to_owned(), part(&format!("secret {byte}"))),
            ]),
        }
    }

    fn vault() -> (tempfile::TempDir, FolderVault) {
        let folder = tempfile::tempdir().unwrap();
        let vault = FolderVault::new(folder.path().join("data/keys"));
        (folder, vault)
    }

    #[test]
    fn an_item_is_created_once_and_comes_back() {
        let (_folder, vault) = vault();
        let name = ItemName::ResourceKey;
        assert_eq!(vault.load_now(name).unwrap(), None);
        let created = vault.create_now(name, &item(1)).unwrap();
        assert_eq!(created, Creation::Created);
        assert_eq!(vault.load_now(name).unwrap(), Some(item(1)));
        let again = vault.create_now(name, &item(2)).unwrap();
        assert_eq!(again, Creation::Exists(item(1)));
        assert_eq!(vault.load_now(name).unwrap(), Some(item(1)));
        assert_eq!(vault.load_now(ItemName::DoorCa).unwrap(), None);
        let left: Vec<_> = fs::read_dir(&vault.root).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn of_two_that_are_made_at_once_one_is_there_whole() {
        for _ in 0..50 {
            let (_folder, vault) = vault();
            let name = ItemName::DoorCa;
            let made = std::thread::scope(|scope| {
                let makers = [1, 2].map(|byte| {
                    let vault = &vault;
                    scope.spawn(move || vault.create_now(name, &item(byte)).unwrap())
                });
                makers.map(|maker| maker.join().unwrap())
            });
            let there = vault.load_now(name).unwrap().unwrap();
            let (first, second) = (Creation::Created, Creation::Exists(there.clone()));
            match there == item(1) {
                true => assert_eq!(made, [first, second]),
                false => assert_eq!((made, there), ([second, first], item(2))),
            }
            assert_eq!(fs::read_dir(&vault.root).unwrap().count(), 1);
        }
    }

    #[test]
    fn only_the_owner_may_read() {
        let (_folder, vault) = vault();
        vault.create_now(ItemName::DoorCa, &item(1)).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let folder = vault.folder(ItemName::DoorCa);
        assert_eq!((mode(&vault.root), mode(&folder)), (0o700, 0o700));
        for part in ["store", "id", "key"] {
            assert_eq!(mode(&folder.join(part)), 0o600);
        }
    }

    #[test]
    fn what_a_crash_left_half_made_is_not_taken_for_an_item() {
        let (_folder, vault) = vault();
        let beside = vault.beside(ItemName::DoorCa, &item(1));
        make_folder(&beside).unwrap();
        write_synced(&beside.join("key"), b"half").unwrap();
        assert_eq!(vault.load_now(ItemName::DoorCa).unwrap(), None);
        let created = vault.create_now(ItemName::DoorCa, &item(1)).unwrap();
        assert_eq!(created, Creation::Created);
        assert_eq!(vault.load_now(ItemName::DoorCa).unwrap(), Some(item(1)));
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        for root in [file.clone(), file.join("keys")] {
            let vault = FolderVault::new(root);
            let name = ItemName::DoorCa;
            let loaded = vault.load_now(name).unwrap_err();
            let created = vault.create_now(name, &item(1)).unwrap_err();
            for error in [loaded, created] {
                let said = error.to_string();
                let way = format!("{} is in the way", file.display());
                assert!(
                    said.contains(&way) && said.contains("move it away"),
                    "{said}"
                );
                assert!(!said.contains("os error"), "{said}");
            }
        }
    }

    #[test]
    fn an_item_without_an_owner_is_an_error_that_names_the_file() {
        let (_folder, vault) = vault();
        vault.create_now(ItemName::DoorCa, &item(1)).unwrap();
        let owner = vault.folder(ItemName::DoorCa).join(OWNER);
        fs::write(&owner, "store-id what\n").unwrap();
        let error = vault.load_now(ItemName::DoorCa).unwrap_err().to_string();
        assert!(error.contains("door-ca/store: does not say"), "{error}");
        fs::remove_file(&owner).unwrap();
        let error = vault.load_now(ItemName::DoorCa).unwrap_err().to_string();
        assert!(error.contains("door-ca/store: is missing"), "{error}");
        // Nor is it overwritten.
        assert!(vault.create_now(ItemName::DoorCa, &item(2)).is_err());
        assert!(vault.folder(ItemName::DoorCa).join("key").exists());
    }
}
