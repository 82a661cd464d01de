//! What becomes of the data of a replica that was removed from its group: they are of no use to anybody, and are kept.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::folder_vault::{at, make_folder, sync_folder};
use super::identity::IdentityFile;
use super::vault::VaultError;

/// How the names of such folders begin. What is recovered may lie in one of the new store's own volume.
pub(super) const ASIDE: &str = "removed-";

/// Sets everything aside that made the folder `data` a replica of its store; afterwards it is as good as empty. Where it is
/// now; `None`: there was nothing.
///
/// It can be stopped after any step and goes on when it is called again, or when the folder is next used.
pub fn set_aside(data: &Path) -> Result<Option<PathBuf>, VaultError> {
    let Some(aside) = place(data)? else {
        return Ok(None);
    };
    make_folder(&aside)?;
    sync_folder(data)?;
    // The identity last: as long as it is there, its node's folder says that this is to be gone on with.
    for name in ["store", "identity"] {
        let (from, to) = (data.join(name), aside.join(name));
        match fs::rename(&from, &to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&from)(error)),
            _ => {}
        }
        sync_folder(&aside)?;
        sync_folder(data)?;
    }
    Ok(Some(aside))
}

/// Goes on with what was begun, if it was.
pub(super) fn resume(data: &Path) -> Result<(), VaultError> {
    match place(data)? {
        Some(aside) if aside.exists() => set_aside(data).map(|_| ()),
        _ => Ok(()),
    }
}

/// Warns whoever has a store founded here though one was moved aside: a restore that was refused leaves it there.
pub(super) fn warn_of_stores(data: &Path) {
    for aside in stores(data) {
        tracing::warn!(
            "a new store is founded in {}, and {} holds one that was moved aside. If that one was to be gone on with, as after a `store recover` that was refused: \
             stop this replica, move what was made now away and everything in that folder back, and start it again",
            data.display(),
            aside.display(),
        );
    }
}

/// Folders of this one in which a store was set aside, as far as that can be seen.
fn stores(data: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data).into_iter().flatten().flatten();
    let is_aside = |name: &OsStr| name.as_encoded_bytes().starts_with(ASIDE.as_bytes());
    entries
        .filter(|entry| is_aside(&entry.file_name()))
        .map(|entry| entry.path())
        .filter(|path| path.join("store").is_dir())
        .collect()
}

/// Where the data of this folder's replica are set aside.
fn place(data: &Path) -> Result<Option<PathBuf>, VaultError> {
    let identity = IdentityFile::new(data).load()?;
    Ok(identity.map(|of| data.join(format!("{ASIDE}{:016x}", of.node_id))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::founding::Identity;
    use crate::pki::TrustDomain;

    fn folder() -> (tempfile::TempDir, Identity) {
        let folder = tempfile::tempdir().unwrap();
        let domain = TrustDomain::parse("prod.example.com").unwrap();
        let identity = Identity::draw(domain, 1).unwrap();
        IdentityFile::new(folder.path()).create(&identity).unwrap();
        fs::create_dir(folder.path().join("store")).unwrap();
        fs::write(folder.path().join("store/log"), "what it knew").unwrap();
        (folder, identity)
    }

    #[test]
    fn afterwards_the_folder_is_as_good_as_empty_and_nothing_is_lost() {
        let (folder, _) = folder();
        let aside = set_aside(folder.path()).unwrap().unwrap();
        assert_eq!(IdentityFile::new(folder.path()).load().unwrap(), None);
        let log = fs::read_to_string(aside.join("store/log")).unwrap();
        assert_eq!(log, "what it knew");
        assert_eq!(set_aside(folder.path()).unwrap(), None);
    }

    #[test]
    fn a_store_that_was_moved_aside_is_seen() {
        let (folder, _) = folder();
        let data = folder.path();
        fs::create_dir(data.join("removed-empty")).unwrap();
        fs::create_dir(data.join("lost+found")).unwrap();
        assert_eq!(stores(data), Vec::<PathBuf>::new());
        assert_eq!(stores(&data.join("none")), Vec::<PathBuf>::new());
        let ahead = data.join("removed-ahead");
        fs::create_dir(&ahead).unwrap();
        fs::rename(data.join("store"), ahead.join("store")).unwrap();
        assert_eq!(stores(data), [ahead]);
    }

    #[test]
    fn what_was_begun_is_gone_on_with() {
        for steps in 0..2 {
            let (folder, identity) = folder();
            let name = format!("removed-{:016x}", identity.node_id);
            let aside = folder.path().join(name);
            fs::create_dir(&aside).unwrap();
            if steps > 0 {
                fs::rename(folder.path().join("store"), aside.join("store")).unwrap();
            }
            resume(folder.path()).unwrap();
            assert_eq!(IdentityFile::new(folder.path()).load().unwrap(), None);
            assert!(aside.join("store/log").exists());
        }
        // Whoever was not removed is left alone.
        let (folder, identity) = folder();
        resume(folder.path()).unwrap();
        let there = IdentityFile::new(folder.path()).load().unwrap();
        assert_eq!(there, Some(identity));
    }
}
