//! Restoring a store from a backup, offline, into the empty data folder of a lone replica. In a cluster that is the first
//! one's, and its mark and keys outside of the folder become those of the new store, too.
//!
//! [`Prospect::of`] looks at everything and changes nothing; [`Prospect::carry_out`] makes the store. What it makes lies
//! beside its place until it is whole (`staging`): a crash leaves either nothing that can be used, and a message that says
//! so, or the restored store.
//!
//! The CAs are the former store's, so that machines go on trusting each other. The signing keys are new: whoever has an
//! old one, or a token of one, gets nowhere.

mod error;
mod former_keys;
mod home;
mod report;
mod staging;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use error::RestoreError;
pub use former_keys::Mismatch;
pub use home::Home;
pub use report::Report;
pub(super) use staging::is_interrupted;

use self::former_keys::FormerKeys;
use self::home::{Mark, take_over};
use self::staging::Staging;
use super::cluster::Cluster;
use super::data_folder::lock_folder;
use super::folder_vault::FolderVault;
use super::found::{MAX_EPOCH, founded};
use super::identity::{Identity, IdentityFile, Stage};
use super::item::{Item, ItemName};
use super::material::{MakeError, Piece};
use super::told::{Disbelieved, ToldEpochs};
use super::vault::{Founding, Vault as _};
use crate::lifecycle::{Restore, State};
use crate::store::disk::{Disk, RealDisk};
use crate::store::{Backup, Seed, seed};
use crate::token::KeyId;

/// What is to be restored, and where.
#[derive(Debug, Clone)]
pub struct RestoreRequest {
    /// The data folder, empty but for the keys.
    pub data: PathBuf,
    /// Where the keys are.
    pub home: Home,
    /// The new epoch is above this one, too.
    pub epoch_above: u64,
    /// The new store's clock is set back to this.
    pub clock_ms: Option<u64>,
}

/// What a restore would come to. Nothing was changed yet.
#[derive(Debug)]
pub enum Prospect {
    /// A store will be made.
    Restore(Box<Plan>),
    /// A restore of this very snapshot was interrupted when all was made and not all in its place.
    Finish(Unfinished),
}

/// A store that is to be made of a former one.
#[derive(Debug)]
pub struct Plan {
    request: RestoreRequest,
    /// The former state.
    state: State,
    /// Identifies the file that it came from.
    digest: String,
    /// The place in the log that the restore takes.
    index: u64,
    keys: FormerKeys,
    identity: Identity,
    /// In a cluster.
    mark: Option<Mark>,
    disbelieved: Option<Disbelieved>,
}

/// A restore that has to be finished.
#[derive(Debug)]
pub struct Unfinished {
    staging: Staging,
    report: Report,
    home: Home,
    mark: Option<Mark>,
}

impl Prospect {
    /// Looks at the folder, and at the keys beside the snapshot whose file has this digest.
    ///
    /// # Errors
    /// [`RestoreError`] names everything that does not fit.
    pub async fn of(
        backup: &Backup,
        digest: &str,
        request: RestoreRequest,
    ) -> Result<Self, RestoreError> {
        let staging = Staging::new(&request.data);
        if let Some(report) = staging.ready()? {
            if report.snapshot != digest {
                return Err(RestoreError::OtherSnapshot(request.data));
            }
            let (home, mark) = (request.home, staging.mark()?);
            if mark.is_some() != matches!(home, Home::Cluster(_)) {
                return Err(RestoreError::OtherHome {
                    in_cluster: mark.is_some(),
                });
            }
            return Ok(Self::Finish(Unfinished {
                staging,
                report,
                home,
                mark,
            }));
        }
        staging.check_empty(request.home.folder())?;
        let former = backup.founded();
        let keys = FormerKeys::load(&*request.home.vault(), former).await?;
        let mut above = former.epoch.max(request.epoch_above).max(keys.epoch);
        let (mut mark, mut disbelieved) = (None, None);
        if let Home::Cluster(cluster) = &request.home {
            let told;
            (mark, told) = look_at(cluster, &keys, above).await?;
            above = above.max(told.greatest.epoch);
            disbelieved = told.disbelieved;
        }
        let epoch = above.checked_add(1).filter(|epoch| *epoch <= MAX_EPOCH);
        let drawn = Identity::draw(
            keys.trust_domain.clone(),
            epoch.ok_or(RestoreError::NoEpochLeft(above))?,
        )?;
        Ok(Self::Restore(Box::new(Plan {
            request,
            state: backup.state().clone(),
            digest: digest.to_owned(),
            index: backup
                .index()
                .checked_add(1)
                .ok_or(RestoreError::NoIndexLeft)?,
            keys,
            identity: Identity {
                stage: Stage::Founded,
                ..drawn
            },
            mark,
            disbelieved,
        })))
    }

    /// What was found beside the snapshot and is not what it was, though it is not needed: signing keys.
    pub fn notes(&self) -> &[Mismatch] {
        match self {
            Self::Restore(plan) => &plan.keys.notes,
            Self::Finish(_) => &[],
        }
    }

    /// Statuses above which the new epoch is not, though they say that there was such a one.
    pub const fn disbelieved(&self) -> Option<&Disbelieved> {
        match self {
            Self::Restore(plan) => plan.disbelieved.as_ref(),
            Self::Finish(_) => None,
        }
    }

    /// Restores. What it returned for is on the disk.
    ///
    /// # Errors
    /// When the disk fails, or somebody else was faster.
    pub async fn carry_out(self) -> Result<Report, RestoreError> {
        self.step_by_step(&mut || Ok(())).await
    }

    /// Calls `between` before each step; when that fails, the restore was interrupted there.
    async fn step_by_step(self, between: Between<'_>) -> Result<Report, RestoreError> {
        match self {
            Self::Restore(plan) => plan.carry_out(between).await,
            Self::Finish(unfinished) => {
                let _lock = lock_folder(unfinished.staging.data())?;
                unfinished.finish(between).await
            }
        }
    }
}

/// The mark, which has to be of one of the snapshot's stores, and the epochs that a cluster tells of beside what is known.
async fn look_at(
    cluster: &Cluster,
    keys: &FormerKeys,
    known: u64,
) -> Result<(Option<Mark>, ToldEpochs), RestoreError> {
    let before = cluster.object.load().await?;
    if let Some(found) = before.filter(|found| !keys.stores.contains(&found.store_id)) {
        return Err(RestoreError::OtherFounding {
            place: cluster.object.place(),
            found,
        });
    }
    let told = cluster.told_epochs(known).await?;
    if told.greatest.epoch >= MAX_EPOCH {
        return Err(RestoreError::NoEpochAbove(told.greatest));
    }
    Ok((Some(Mark { before }), told))
}

type Between<'a> = &'a mut (dyn FnMut() -> Result<(), RestoreError> + Send);

impl Unfinished {
    /// From wherever it was stopped.
    async fn finish(self, between: Between<'_>) -> Result<Report, RestoreError> {
        let Self {
            staging,
            report,
            home,
            mark,
        } = self;
        if let (Some(mark), Home::Cluster(cluster)) = (mark, &home) {
            let ours = Founding {
                store_id: report.store_id,
                epoch: report.epoch,
            };
            take_over(cluster, mark, ours, &staging.made_keys(), between).await?;
            // Nothing opens the folder while they are still in it.
            staging.forget_keys()?;
            between()?;
        }
        staging.finish(between)?;
        Ok(report)
    }
}

impl Plan {
    async fn carry_out(self, between: Between<'_>) -> Result<Report, RestoreError> {
        let identity = &self.identity;
        let pieces = self.pieces()?;
        let state = self.state.clone().restore(&Restore {
            index: self.index,
            founded: founded(identity, &pieces),
            clock_ms: self.request.clock_ms,
        })?;
        let report = Report::of(&state, &self.digest)?;

        let staging = Staging::new(&self.request.data);
        let _lock = lock_folder(staging.data())?;
        // Again, now that nobody else can change it.
        staging.check_empty(self.request.home.folder())?;
        between()?;
        let beside = staging.begin()?;
        self.write_keys(&beside, &pieces, between).await?;
        self.write_store(&beside, &state)?;
        between()?;
        IdentityFile::new(&beside).create(identity)?;
        between()?;
        staging.complete(&report, self.mark.as_ref())?;
        between()?;
        let unfinished = Unfinished {
            staging,
            report,
            home: self.request.home,
            mark: self.mark,
        };
        unfinished.finish(between).await
    }

    /// The CAs as they were, the signing keys anew.
    fn pieces(&self) -> Result<BTreeMap<ItemName, Piece>, RestoreError> {
        let piece = |name: ItemName| {
            let piece = match self.keys.cas.get(&name) {
                Some(item) => Piece::from_item(name, item, &self.identity)
                    .map_err(|source| RestoreError::Unfit { item: name, source })?,
                // Of CAs nothing is made: all three were loaded.
                None => Piece::make(name, &self.identity, 0).map_err(|error| match error {
                    MakeError::Pki(source) => RestoreError::Authority { item: name, source },
                    MakeError::Random(error) => error.into(),
                })?,
            };
            Ok((name, piece))
        };
        ItemName::ALL.into_iter().map(piece).collect()
    }

    async fn write_keys(
        &self,
        beside: &Path,
        pieces: &BTreeMap<ItemName, Piece>,
        between: Between<'_>,
    ) -> Result<(), RestoreError> {
        let vault = FolderVault::new(beside.join(staging::KEYS));
        for (name, piece) in pieces {
            between()?;
            let item = match self.keys.cas.get(name) {
                // To the byte as it was; it is this store's now.
                Some(ca) => Item {
                    store_id: self.identity.store_id,
                    epoch: self.identity.epoch,
                    parts: ca.parts.clone(),
                },
                None => piece.to_item(&self.identity),
            };
            vault.create(*name, &item).await?;
        }
        between()
    }

    fn write_store(&self, beside: &Path, state: &State) -> Result<(), RestoreError> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let salt = KeyId::random()?;
        let begin = Seed {
            identity: crate::store::Identity {
                store_id: self.identity.store_id,
                node_id: self.identity.node_id,
                epoch: self.identity.epoch,
                founding: false,
            },
            state,
            index: self.index,
            salt: u64::from_be_bytes(salt.0),
        };
        seed(&disk, &beside.join(staging::STORE), &begin)?;
        Ok(())
    }
}
