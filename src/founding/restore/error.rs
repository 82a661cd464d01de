//! Why a store is not restored, and what to do about it.

use std::path::PathBuf;

use super::former_keys::Mismatch;
use super::report::NoReport;
use crate::founding::cluster::ClusterError;
use crate::founding::item::ItemName;
use crate::founding::material::ContentError;
use crate::founding::vault::{FormerEpoch, Founding, VaultError};
use crate::lifecycle::RestoreRefusal;
use crate::pki::PkiError;
use crate::store::OpenError;
use crate::token::RandomError;

/// Why a store is not restored. Whatever was there is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is something in the data folder.
    #[error(
        "{} is not empty, there is {}: a store is restored into an empty data folder alone. Nothing was changed. What may be in it is a folder whose name begins with removed-, into which you can move the rest",
        data.display(), names.join(", ")
    )]
    NotEmpty { data: PathBuf, names: Vec<String> },
    /// What the snapshot needs is not there, or is something else.
    #[error(
        "the keys {}: {}. Give the backup of the keys that belongs to it: a folder with --keys-dir, or, of an operator's store, --system-namespace, in which its Secrets are or are put back first. Nothing was changed",
        wrong_keys(.0), lines(.0)
    )]
    Keys(Vec<Mismatch>),
    /// The trust domain of the snapshot is none.
    #[error("the snapshot is of a store with the trust domain {0:?}, which is none")]
    TrustDomain(String),
    /// No store can have a higher epoch.
    #[error("no store can have an epoch above {0}: is --epoch-above right?")]
    NoEpochLeft(u64),
    /// No log goes so far.
    #[error("the snapshot ends at the last entry that a log can have")]
    NoIndexLeft,
    /// Another snapshot's restore has to be finished first.
    #[error(
        "a restore of another snapshot into {} was interrupted: run that one again, or empty the folder",
        .0.display()
    )]
    OtherSnapshot(PathBuf),
    /// It was begun for a store elsewhere.
    #[error("{}", other_home(*.in_cluster))]
    OtherHome { in_cluster: bool },
    /// The mark, or a status that is believed, tells of the last epoch that there can be.
    #[error(
        "{} says that there was epoch {}, and no store can have a higher one: find out where that number comes from, and put it right",
        .0.place, .0.epoch
    )]
    NoEpochAbove(FormerEpoch),
    /// The cluster's mark is that of a store that the snapshot does not know.
    #[error(
        "{place} names store {} in epoch {}, and the snapshot is not of that store: is this the right namespace? Nothing was changed",
        .found.store_id, .found.epoch
    )]
    OtherFounding { place: String, found: Founding },
    /// Mark or keys of the cluster could not be exchanged.
    #[error("{0}; to go on, run the same command again")]
    Cluster(#[from] ClusterError),
    /// The state cannot be made that of a new store.
    #[error(transparent)]
    State(#[from] RestoreRefusal),
    /// A CA that was whole a moment ago.
    #[error("the {item} cannot be used: {source}")]
    Unfit {
        item: ItemName,
        source: ContentError,
    },
    /// A CA could not be made.
    #[error("the {item} could not be made: {source}")]
    Authority { item: ItemName, source: PkiError },
    /// The folder of the store could not be written.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Something else in the data folder could not be read or written.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The state does not say that it was restored.
    #[error(transparent)]
    Report(#[from] NoReport),
    /// No random numbers.
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl RestoreError {
    /// Something that was given does not fit: nothing failed.
    pub const fn is_about_input(&self) -> bool {
        matches!(
            self,
            Self::NotEmpty { .. }
                | Self::Keys(_)
                | Self::NoEpochLeft(_)
                | Self::NoEpochAbove(_)
                | Self::OtherSnapshot(_)
                | Self::OtherHome { .. }
                | Self::OtherFounding { .. }
        )
    }
}

const fn other_home(in_cluster: bool) -> &'static str {
    match in_cluster {
        true => {
            "a restore of a store in Kubernetes into this folder was interrupted: give --system-namespace as before"
        }
        false => {
            "a restore of a store outside Kubernetes into this folder was interrupted: leave out --system-namespace as before"
        }
    }
}

/// What is missing altogether may be so because the folder or the namespace is.
fn wrong_keys(mismatches: &[Mismatch]) -> &'static str {
    let is_missing = |of: &Mismatch| matches!(of, Mismatch::Missing { .. });
    match mismatches.iter().all(is_missing) {
        true => {
            "of the former store are not there (does the folder or the namespace exist, and is it the right one?)"
        }
        false => "do not belong to the former store",
    }
}

fn lines(mismatches: &[Mismatch]) -> String {
    let lines: Vec<String> = mismatches.iter().map(ToString::to_string).collect();
    lines.join("; ")
}
