//! Founding a store, and opening one that was founded.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::checks::Checks;
use super::data_folder::{DataFolder, IfAbsent};
use super::error::FoundingError;
use super::identity::{Identity, Stage};
use super::item::{Item, ItemName};
use super::material::{MakeError, Material, Piece};
use super::told::ToldEpochs;
use super::vault::{Creation, FormerEpochs, Founding, FoundingObject, Vault};
use super::waiting::{RETRY_AFTER, not_stopped};
use crate::clock::Clock;
use crate::lifecycle::State;
use crate::lifecycle::command::{AdoptKey, Founded, RaiseRules};
use crate::lifecycle::outcome::{AdoptKeyOutcome, FoundedOutcome};
use crate::pki::{Authority, TrustDomain};
use crate::store::{OpenError, TokenStore, submit};
use crate::token::SigningKey;

/// The greatest epoch that a status can hold: the API server takes integers as every reader of JSON keeps them (2^53 - 1).
pub const MAX_EPOCH: u64 = (1 << 53) - 1;

/// Where a store is founded or opened.
pub struct Site<'a> {
    /// The replica's own folder.
    pub data: &'a dyn DataFolder,
    /// Where the keys are.
    pub vault: &'a dyn Vault,
    /// The mark for the whole cluster; `None` outside Kubernetes.
    pub object: Option<&'a dyn FoundingObject>,
    /// What former stores have left behind; `None` outside Kubernetes.
    pub former: Option<&'a dyn FormerEpochs>,
    /// The configured trust domain.
    pub trust_domain: &'a TrustDomain,
    /// For the dates of the CAs.
    pub clock: &'a dyn Clock,
    /// Which of a group's replicas this is; `None`: it is alone.
    pub group: Option<GroupPlace>,
}

/// What a replica of a group may do while there is no store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupPlace {
    /// It is the first of the list, and nothing says that there was a group: it founds.
    Founder,
    /// It is the first of the list, and was not told that there is no group yet.
    First,
    /// Another founds.
    Further,
}

/// A store that is open, with everything that signs for it.
pub struct Opened {
    /// Whose folder it is; its stage is [`Stage::Founded`].
    pub identity: Identity,
    /// The store.
    pub store: Arc<dyn TokenStore>,
    /// The keys, each checked against what the store recorded.
    pub material: Material,
    /// This call has founded it, or ended its founding.
    pub founded_now: bool,
}

/// Opens the store of this folder; if the folder is empty and nobody else founded, founds it.
///
/// Founding can be stopped after any step and goes on from there when it is called again: the
/// identity is drawn and kept first, each item is created once and adopted if it is there, and
/// the commands to the store may be repeated. Once all items are there, none is made any more.
///
/// # Errors
/// [`FoundingError`] names the item and what to do.
pub async fn found_or_open(site: Site<'_>) -> Result<Opened, FoundingError> {
    let mut identity = match site.data.identity()? {
        Some(identity) => identity,
        None => site.settle().await?,
    };
    if identity.trust_domain != *site.trust_domain {
        return Err(FoundingError::TrustDomain {
            founded: identity.trust_domain.to_string(),
            configured: site.trust_domain.to_string(),
        });
    }
    let was_founded = identity.stage == Stage::Founded;
    let founded_now = !was_founded && identity.stage != Stage::Joining;
    if identity.stage == Stage::Items {
        site.make_items(&identity).await?;
        site.advance(&mut identity, Stage::Store)?;
    }
    if identity.stage == Stage::Joining {
        site.wait_for_items().await?;
    }
    let checks = site.checks();
    checks.check_object(&identity).await?;
    let pieces = checks.load_items(&identity).await?;
    let if_absent = match identity.stage {
        Stage::Founded => IfAbsent::Refuse,
        Stage::Joining => IfAbsent::Join,
        Stage::Items | Stage::Store => IfAbsent::Make,
    };
    let opened = site.data.open_store(&identity, if_absent).await;
    let store = opened.map_err(|error| match error {
        OpenError::NotFounded { path } if identity.stage == Stage::Founded => {
            FoundingError::StoreMissing {
                store_id: identity.store_id,
                path,
            }
        }
        error => error.into(),
    })?;
    match identity.stage {
        Stage::Items | Stage::Store => {
            let founded = founded(&identity, &pieces);
            site.begin_by_newest_rules(&*store).await?;
            site.commit(&*store, &founded).await?;
        }
        Stage::Joining => site.until_let_in(&*store, &identity).await?,
        Stage::Founded => site.patiently(&*store, || store.barrier()).await?,
    }
    // Who founds may have been let in before it could write down that it did.
    while identity.stage == Stage::Joining && store.founded().is_none() {
        not_stopped(&*store)?;
        tokio::time::sleep(RETRY_AFTER).await;
    }
    checks.check_record(&*store, &identity, &pieces)?;
    let material = Material::of(pieces).ok_or(FoundingError::NoRecord(identity.store_id))?;
    site.adopt(&*store, &material.resource_key).await?;
    if !was_founded {
        site.advance(&mut identity, Stage::Founded)?;
    }
    Ok(Opened {
        identity,
        store,
        material,
        founded_now,
    })
}

impl Site<'_> {
    fn checks(&self) -> Checks<'_> {
        Checks {
            vault: self.vault,
            object: self.object,
        }
    }

    /// Gives an empty folder its identity.
    async fn settle(&self) -> Result<Identity, FoundingError> {
        let drawn = match self.group {
            None => self.draw_founder().await?,
            Some(place) => self.draw_in_group(place).await?,
        };
        Ok(match self.data.create_identity(&drawn)? {
            Creation::Created => drawn,
            Creation::Exists(identity) => identity,
        })
    }

    /// Who finds the group's keys is to be let in by whoever made them.
    async fn draw_in_group(&self, place: GroupPlace) -> Result<Identity, FoundingError> {
        let there = match (self.vault.load(ItemName::PeersCa).await?, place) {
            (Some(there), _) => there,
            (None, GroupPlace::Founder) => {
                return self.draw_founder().await.map_err(|error| match error {
                    FoundingError::Taken { place, found, .. } => {
                        FoundingError::Begun { place, found }
                    }
                    error => error,
                });
            }
            (None, GroupPlace::First) => {
                let keys = self.vault.place(ItemName::PeersCa);
                return Err(FoundingError::NotToldToFound(keys));
            }
            (None, GroupPlace::Further) => self.wait_for_item(ItemName::PeersCa).await?,
        };
        let founding = Founding {
            store_id: there.store_id,
            epoch: there.epoch,
        };
        Ok(Identity::draw_newcomer(
            self.trust_domain.clone(),
            founding,
        )?)
    }

    /// A new store, unless another founding is in the way.
    async fn draw_founder(&self) -> Result<Identity, FoundingError> {
        if let Some(object) = self.object
            && let Some(founding) = object.load().await?
        {
            return Err(FoundingError::EmptyFolder {
                place: object.place(),
                founding,
            });
        }
        for item in ItemName::ALL {
            // The store's id is yet to be drawn: whatever is there is another's.
            if let Some(there) = self.vault.load(item).await? {
                return Err(self.taken(item, &there));
            }
        }
        let mut told = ToldEpochs::default();
        if let Some(former) = self.former {
            let strangers = former.strangers().await?;
            if !strangers.is_empty() {
                return Err(FoundingError::Strangers(strangers));
            }
            // There is neither object nor key: nothing is known but what statuses tell.
            told = former.greatest(0).await?;
        }
        if let Some(disbelieved) = &told.disbelieved {
            tracing::warn!("{disbelieved}");
        }
        // What is believed is far from the greatest that there can be.
        let epoch = told.greatest.epoch.saturating_add(1);
        Ok(Identity::draw(self.trust_domain.clone(), epoch)?)
    }

    fn advance(&self, identity: &mut Identity, stage: Stage) -> Result<(), FoundingError> {
        let next = Identity {
            stage,
            ..identity.clone()
        };
        self.data.replace_identity(&next)?;
        *identity = next;
        Ok(())
    }

    /// Creates the founding object, then each item that is not there yet.
    async fn make_items(&self, identity: &Identity) -> Result<(), FoundingError> {
        if let Some(object) = self.object {
            let ours = identity.founding();
            match object.create(ours).await? {
                Creation::Created => {}
                Creation::Exists(found) if found == ours => {}
                Creation::Exists(found) => {
                    return Err(FoundingError::Outrun {
                        place: object.place(),
                        found,
                    });
                }
            }
        }
        for name in ItemName::ALL {
            let there = match self.vault.load(name).await? {
                Some(there) => there,
                None => {
                    let made = make(name, identity, self.clock.now_ms())?;
                    match self.vault.create(name, &made).await? {
                        Creation::Created => continue,
                        Creation::Exists(there) => there,
                    }
                }
            };
            if there.store_id == identity.store_id {
                continue;
            }
            // There was none when this founding was begun, and whoever makes the first of them makes all.
            return Err(match name == ItemName::ALL[0] {
                true => FoundingError::Outrun {
                    place: self.vault.place(name),
                    found: Founding {
                        store_id: there.store_id,
                        epoch: there.epoch,
                    },
                },
                false => self.taken(name, &there),
            });
        }
        Ok(())
    }

    fn taken(&self, item: ItemName, there: &Item) -> FoundingError {
        FoundingError::Taken {
            item,
            place: self.vault.place(item),
            found: there.store_id,
        }
    }
}

/// The CA of the replicas' certificates, for who has to speak to the others before the store is open.
///
/// # Errors
/// When it is missing, or is another store's.
pub async fn peers_ca(vault: &dyn Vault, of: &Identity) -> Result<Arc<Authority>, FoundingError> {
    let checks = Checks {
        vault,
        object: None,
    };
    let missing = FoundingError::NoRecord(of.store_id);
    match checks.load_item(ItemName::PeersCa, of).await? {
        Piece::Authority(ca) => Ok(Arc::new(*ca)),
        Piece::Key(_) => Err(missing),
    }
}

fn make(name: ItemName, of: &Identity, now_ms: u64) -> Result<Item, FoundingError> {
    match Piece::make(name, of, now_ms) {
        Ok(piece) => Ok(piece.to_item(of)),
        Err(MakeError::Pki(source)) => Err(FoundingError::Authority { item: name, source }),
        Err(MakeError::Random(error)) => Err(error.into()),
    }
}

/// The store's birth certificate.
pub(super) fn founded(identity: &Identity, pieces: &BTreeMap<ItemName, Piece>) -> Founded {
    let print = |(name, piece): (&ItemName, &Piece)| (name.to_string(), piece.fingerprint());
    let mut fingerprints: Vec<_> = pieces.iter().map(print).collect();
    fingerprints.sort();
    Founded {
        store_id: identity.store_id,
        epoch: identity.epoch,
        trust_domain: identity.trust_domain.to_string(),
        fingerprints,
    }
}

impl Site<'_> {
    /// A new store goes by the latest rules from its beginning. Where a founding is recorded already, the group may have members
    /// of an earlier release.
    async fn begin_by_newest_rules(&self, store: &dyn TokenStore) -> Result<(), FoundingError> {
        self.patiently(store, || store.barrier()).await?;
        let to = State::newest_rules();
        if store.founded().is_none() && to > State::new().rules_version() {
            self.patiently(store, || submit(store, RaiseRules { to }))
                .await?;
        }
        Ok(())
    }

    /// Has the founding recorded. If another one is recorded, what differs is found by comparing.
    async fn commit(&self, store: &dyn TokenStore, founded: &Founded) -> Result<(), FoundingError> {
        match self
            .patiently(store, || submit(store, founded.clone()))
            .await?
        {
            FoundedOutcome::Founded | FoundedOutcome::Known | FoundedOutcome::Conflict => Ok(()),
            FoundedOutcome::Refused => Err(FoundingError::NoRecord(founded.store_id)),
        }
    }

    /// Makes the key that mints known to the store, if it is not.
    async fn adopt(&self, store: &dyn TokenStore, key: &SigningKey) -> Result<(), FoundingError> {
        let command = AdoptKey {
            key_id: key.id(),
            purpose: key.purpose(),
            fingerprint: key.fingerprint(),
            max_ttl_ms: None,
            node_pattern: None,
        };
        if store.key(&command.key_id).as_ref() == Some(&command) {
            return Ok(());
        }
        match self
            .patiently(store, || submit(store, command.clone()))
            .await?
        {
            AdoptKeyOutcome::Adopted | AdoptKeyOutcome::Known => Ok(()),
            AdoptKeyOutcome::Conflict
            | AdoptKeyOutcome::Refused
            | AdoptKeyOutcome::Full
            | AdoptKeyOutcome::Retired => Err(FoundingError::Key(key.id())),
        }
    }
}
