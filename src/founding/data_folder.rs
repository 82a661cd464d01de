//! A replica's own data folder, as far as founding goes: its identity, and the store in it.

use std::fs::{File, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::LocalBoxFuture;

use super::folder_vault::{at, make_folder};
use super::identity::{Identity, IdentityFile, Stage};
use super::set_aside;
use super::vault::{Creation, VaultError};
use crate::store::{OpenError, TokenStore};

/// Whether a store that is not there yet is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfAbsent {
    /// It is made, and initialised once nobody else of its group, if it has one, is in another.
    Make,
    /// It is made, and waits to be let in by a group that is there.
    Join,
    /// It was there before: not to find it is an error.
    Refuse,
}

/// A replica's own data folder.
pub trait DataFolder: Send + Sync {
    /// Whom it belongs to, if to anybody. What is returned is durable.
    fn identity(&self) -> Result<Option<Identity>, VaultError>;

    /// Gives it to `identity`, unless it has one; durable when it returns.
    fn create_identity(&self, identity: &Identity) -> Result<Creation<Identity>, VaultError>;

    /// Puts `identity` in the place of the one that it has; durable when it returns.
    fn replace_identity(&self, identity: &Identity) -> Result<(), VaultError>;

    /// Opens the store in it. A store of another id is an error. Who drops the future stops the opening, at any moment.
    fn open_store<'a>(
        &'a self,
        identity: &'a Identity,
        if_absent: IfAbsent,
    ) -> LocalBoxFuture<'a, Result<Arc<dyn TokenStore>, OpenError>>;
}

/// A folder on disk with a way to open the store in it.
///
/// It is locked against other processes: two that found at once in one folder would each undo the
/// other's steps. The store has a lock of its own, for as long as it is open.
pub struct OnDisk<F> {
    file: IdentityFile,
    open: F,
    _lock: File,
}

impl<F> OnDisk<F>
where
    F: for<'a> Fn(
        &'a Identity,
        IfAbsent,
    ) -> LocalBoxFuture<'a, Result<Arc<dyn TokenStore>, OpenError>>,
{
    /// The folder `data`, made if need be, whose store `open` opens.
    ///
    /// # Errors
    /// When it cannot be made or another process has it.
    pub fn new(data: impl Into<PathBuf>, open: F) -> Result<Self, VaultError> {
        let data = data.into();
        let lock = lock_folder(&data)?;
        set_aside::resume(&data)?;
        Ok(Self {
            file: IdentityFile::new(data),
            open,
            _lock: lock,
        })
    }
}

/// Keeps other processes from working in the folder, which is made if need be, for as long as what is returned is there.
pub(super) fn lock_folder(data: &Path) -> Result<File, VaultError> {
    make_folder(data)?;
    let path = data.join("founding.lock");
    let mut options = File::options();
    options.create(true).truncate(false).write(true).mode(0o600);
    let lock = options.open(&path).map_err(at(&path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(VaultError::new(
            data.display().to_string(),
            "the data folder is in use by another process: stop that one, or give this one a folder of its own",
        )),
        Err(TryLockError::Error(error)) => Err(at(&path)(error)),
    }
}

impl<F> DataFolder for OnDisk<F>
where
    F: for<'a> Fn(
            &'a Identity,
            IfAbsent,
        ) -> LocalBoxFuture<'a, Result<Arc<dyn TokenStore>, OpenError>>
        + Send
        + Sync,
{
    fn identity(&self) -> Result<Option<Identity>, VaultError> {
        self.file.load()
    }

    fn create_identity(&self, identity: &Identity) -> Result<Creation<Identity>, VaultError> {
        let created = self.file.create(identity)?;
        // A newcomer is given a store by its group.
        if matches!(created, Creation::Created) && identity.stage != Stage::Joining {
            set_aside::warn_of_stores(self.file.folder());
        }
        Ok(created)
    }

    fn replace_identity(&self, identity: &Identity) -> Result<(), VaultError> {
        self.file.replace(identity)
    }

    fn open_store<'a>(
        &'a self,
        identity: &'a Identity,
        if_absent: IfAbsent,
    ) -> LocalBoxFuture<'a, Result<Arc<dyn TokenStore>, OpenError>> {
        (self.open)(identity, if_absent)
    }
}
