//! What becomes of the data of a replica that was removed from its group: they are of no use to anybody, and are kept.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::folder_vault::{at, make_folder, sync_folder};
use super::identity::IdentityFile;
use super::vault::VaultError;

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

/// Where the data of this folder's replica are set aside.
fn place(data: &Path) -> Result<Option<PathBuf>, VaultError> {
    let identity = IdentityFile::new(data).load()?;
    Ok(identity.map(|of| data.join(format!("removed-{:016x}", of.node_id))))
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
