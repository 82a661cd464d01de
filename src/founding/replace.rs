//! Founding a new store of a cluster in the place of one that is lost for good, without a snapshot.
//!
//! What is done here only makes room: the folder gets an identity, the cluster's mark is exchanged, the lost store's keys
//! are taken away. The operator, started on the folder, finds a founding that has begun and goes on with it.

use std::path::PathBuf;

use super::cluster::{Cluster, ClusterError};
use super::data_folder::lock_folder;
use super::found::MAX_EPOCH;
use super::identity::{Identity, IdentityFile, Stage};
use super::item::ItemName;
use super::told::Disbelieved;
use super::vault::{FormerEpoch, Founding, VaultError};
use crate::pki::TrustDomain;
use crate::token::{RandomError, StoreId};

/// Which store is lost, and where the new one is founded.
#[derive(Debug, Clone)]
pub struct ReplaceRequest {
    /// The data folder of the first replica, with nothing in it.
    pub data: PathBuf,
    pub cluster: Cluster,
    /// As the mark names it, so that nobody replaces a store by mistake.
    pub lost: StoreId,
    pub trust_domain: TrustDomain,
    /// The new epoch is above this one, too.
    pub epoch_above: u64,
}

/// Why no store is founded in the place of the lost one.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    /// There is no mark, so nothing is in the way.
    #[error(
        "{0} is not there, so nothing has to be replaced: start the operator, it founds a store by itself"
    )]
    NothingToReplace(String),
    /// The mark names another store than the caller.
    #[error(
        "{place} names store {found}, and not {lost}: only the store that it names can be replaced. Nothing was changed"
    )]
    OtherStore {
        place: String,
        found: StoreId,
        lost: StoreId,
    },
    /// The folder is that of a store.
    #[error("{} belongs to store {store_id}, which is not lost then: start the operator on it. Nothing was changed", data.display())]
    NotEmpty { data: PathBuf, store_id: StoreId },
    /// All volumes were lost, and the replicas were started on empty ones.
    #[error(
        "{} is that of a new replica, which waits to be let in by the group of store {store_id}: empty it, and run this again. Nothing was changed",
        data.display()
    )]
    Newcomer { data: PathBuf, store_id: StoreId },
    /// It was begun with another name, which the founding would go on with.
    #[error(
        "what was begun in {} is for the trust domain {begun}, and {given} is given: give {begun} again; or, to have {given}, empty the folder and replace the store that {place} names now",
        data.display()
    )]
    OtherTrustDomain {
        data: PathBuf,
        place: String,
        begun: TrustDomain,
        given: TrustDomain,
    },
    /// It was begun long ago, and the cluster has gone on.
    #[error("what was begun in {} is of epoch {epoch}, and there has been epoch {} since ({}): empty the folder and begin anew", data.display(), told.epoch, told.place)]
    Outdated {
        data: PathBuf,
        epoch: u64,
        told: FormerEpoch,
    },
    /// No store can have a higher epoch.
    #[error(
        "{} says that there was epoch {}, and no store can have a higher one: find out where that number comes from, and put it right",
        .0.place, .0.epoch
    )]
    NoEpochLeft(FormerEpoch),
    #[error("{0}; to go on, run the same command again")]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl ReplaceError {
    /// Something that was given does not fit: nothing failed.
    pub const fn is_about_input(&self) -> bool {
        matches!(
            self,
            Self::NothingToReplace(_)
                | Self::OtherStore { .. }
                | Self::NotEmpty { .. }
                | Self::Newcomer { .. }
                | Self::OtherTrustDomain { .. }
                | Self::Outdated { .. }
                | Self::NoEpochLeft(_)
        )
    }
}

/// A store that is to be founded in the place of another. Nothing was changed yet.
#[derive(Debug)]
pub struct Replacement {
    request: ReplaceRequest,
    identity: Identity,
    /// What the mark says.
    marked: Founding,
    disbelieved: Option<Disbelieved>,
}

impl Replacement {
    /// Looks at folder and cluster.
    ///
    /// # Errors
    /// [`ReplaceError`] says what is in the way.
    pub async fn of(request: ReplaceRequest) -> Result<Self, ReplaceError> {
        let begun = IdentityFile::new(&request.data).load()?;
        let object = &request.cluster.object;
        let marked = object.load().await?;
        let marked = marked.ok_or_else(|| ReplaceError::NothingToReplace(object.place()))?;
        if let Some(begun) = begun {
            return Self::go_on(request, begun, marked).await;
        }
        if marked.store_id != request.lost {
            return Err(other_store(&request, marked));
        }
        let known = known(&request).await?;
        let told = request.cluster.told_epochs(known.epoch).await?;
        let greatest = match known.epoch > told.greatest.epoch {
            true => known,
            false => told.greatest,
        };
        let epoch = greatest
            .epoch
            .checked_add(1)
            .filter(|epoch| *epoch <= MAX_EPOCH);
        let epoch = epoch.ok_or(ReplaceError::NoEpochLeft(greatest))?;
        Ok(Self {
            identity: Identity::draw(request.trust_domain.clone(), epoch)?,
            request,
            marked,
            disbelieved: told.disbelieved,
        })
    }

    /// It was interrupted.
    async fn go_on(
        request: ReplaceRequest,
        begun: Identity,
        marked: Founding,
    ) -> Result<Self, ReplaceError> {
        let (data, store_id) = (&request.data, begun.store_id);
        match begun.stage {
            Stage::Items => {}
            Stage::Joining => {
                let data = data.clone();
                return Err(ReplaceError::Newcomer { data, store_id });
            }
            Stage::Store | Stage::Founded => {
                let data = data.clone();
                return Err(ReplaceError::NotEmpty { data, store_id });
            }
        }
        if begun.trust_domain != request.trust_domain {
            return Err(ReplaceError::OtherTrustDomain {
                data: request.data,
                place: request.cluster.object.place(),
                begun: begun.trust_domain,
                given: request.trust_domain,
            });
        }
        let mut disbelieved = None;
        if marked != begun.founding() {
            if marked.store_id != request.lost {
                return Err(other_store(&request, marked));
            }
            let told = request.cluster.told_epochs(begun.epoch).await?;
            if told.greatest.epoch >= begun.epoch {
                return Err(ReplaceError::Outdated {
                    data: request.data,
                    epoch: begun.epoch,
                    told: told.greatest,
                });
            }
            disbelieved = told.disbelieved;
        }
        Ok(Self {
            request,
            identity: begun,
            marked,
            disbelieved,
        })
    }

    /// The new store.
    pub const fn founding(&self) -> Founding {
        self.identity.founding()
    }

    /// Statuses above which its epoch is not, though they say that there was such a one.
    pub const fn disbelieved(&self) -> Option<&Disbelieved> {
        self.disbelieved.as_ref()
    }

    /// Makes room. May be repeated.
    ///
    /// # Errors
    /// When the disk or the API server fails, or somebody else was faster.
    pub async fn carry_out(self) -> Result<Founding, ReplaceError> {
        let Self {
            request,
            identity,
            marked,
            ..
        } = self;
        let _lock = lock_folder(&request.data)?;
        // First: from here on it is this store, however often this is stopped.
        IdentityFile::new(&request.data).create(&identity)?;
        let ours = identity.founding();
        request.cluster.mark(Some(marked), ours).await?;
        for name in ItemName::ALL {
            request.cluster.clear(name, ours).await?;
        }
        Ok(ours)
    }
}

/// The greatest epoch that the keys or the caller tell of. The keys may have been carried into a later store than the mark says.
async fn known(request: &ReplaceRequest) -> Result<FormerEpoch, VaultError> {
    let vault = &request.cluster.vault;
    let mut known = FormerEpoch {
        epoch: request.epoch_above,
        place: "--epoch-above".to_owned(),
    };
    for name in ItemName::ALL {
        if let Some(there) = vault.load(name).await?
            && there.epoch > known.epoch
        {
            known = FormerEpoch {
                epoch: there.epoch,
                place: vault.place(name),
            };
        }
    }
    Ok(known)
}

fn other_store(request: &ReplaceRequest, marked: Founding) -> ReplaceError {
    ReplaceError::OtherStore {
        place: request.cluster.object.place(),
        found: marked.store_id,
        lost: request.lost,
    }
}
