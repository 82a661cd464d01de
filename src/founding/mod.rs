//! How a store comes to be, once: its identity, three CAs, two signing keys, and the record of
//! them in the store itself.
//!
//! [`found_or_open`] founds a store in an empty data folder, resumes a founding that was stopped
//! at any point, and opens a store that was founded, after checking every key against what the
//! store recorded. **Nothing is made anew after the founding:** what vanished or changed is an
//! error that names it and says what to do. [`KeyGuard`] goes on looking while the store is served,
//! and [`GuardedStore`] issues nothing while something is amiss.
//!
//! [`Prospect`] restores a store from a backup, which is the other way in which one comes to be.
//!
//! Its effects are behind three traits: [`DataFolder`] (the replica's own disk), [`Vault`] (where
//! keys are kept; [`FolderVault`] here, Secrets in the controller's room) and [`FoundingObject`]
//! (the mark for the whole cluster). This room must not know HTTP, Kubernetes or the resource.

mod checks;
mod cluster;
mod data_folder;
mod error;
mod folder_vault;
mod found;
mod guard;
mod identity;
mod item;
mod key_ring;
mod material;
mod reached;
mod replace;
mod restore;
mod set_aside;
#[cfg(test)]
mod tests;
mod told;
mod vault;
mod waiting;

pub use cluster::{Cluster, ClusterError};
pub use data_folder::{DataFolder, IfAbsent, OnDisk};
pub use error::{FoundingError, UNNAMED};
pub use folder_vault::FolderVault;
pub use found::{GroupPlace, MAX_EPOCH, Opened, Site, found_or_open, peers_ca};
pub use guard::{GuardedStore, KeyGuard};
pub use identity::{Identity, IdentityFile, Stage};
pub use item::{Item, ItemName};
pub use key_ring::{AdoptError, KeySource, adopt_nodedb};
pub use material::{ContentError, Material};
pub use reached::{ReachedFile, ReachedMark, Remembered, SeenObject, WrittenFor};
pub use replace::{ReplaceError, ReplaceRequest, Replacement};
pub use restore::{
    Home, Mismatch, Plan, Prospect, Report, RestoreError, RestoreRequest, Unfinished,
};
pub use set_aside::set_aside;
pub use told::{BELIEVED_ABOVE, Disbelieved, ToldEpochs};
pub use vault::{
    Creation, ExchangeObject, ExchangeVault, FormerEpoch, FormerEpochs, Founding, FoundingObject,
    Stranger, Vault, VaultError, whole,
};
