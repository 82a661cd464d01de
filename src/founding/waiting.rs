//! What is waited for while a store is founded or opened: the others of a group, and a leader.

use std::time::Duration;

use super::error::{FOUND_ANEW, FoundingError};
use super::found::Site;
use super::identity::Identity;
use super::item::{Item, ItemName};
use crate::store::{StoreError, TokenStore};

/// How long a lone replica gets to become its own leader. One of a group waits for the others, however long that takes.
const LEADER_PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether others have done what is waited for.
const LOOK: Duration = Duration::from_secs(1);
/// At every how manieth look it is said what is waited for.
const SAY: u32 = 30;
pub(super) const RETRY_AFTER: Duration = Duration::from_millis(50);
/// A leader that is not there by then is waited for aloud.
const SILENTLY: Duration = Duration::from_secs(5);

impl Site<'_> {
    /// Waits until the first of the group has made this item.
    pub(super) async fn wait_for_item(&self, name: ItemName) -> Result<Item, FoundingError> {
        let mut looks: u32 = 0;
        loop {
            if let Some(item) = self.vault.load(name).await? {
                return Ok(item);
            }
            if looks.is_multiple_of(SAY) {
                let keys = self.vault.place(name);
                tracing::info!(%keys, "waiting for the first of the group to make its keys");
            }
            looks = looks.wrapping_add(1);
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until whoever founds has made all items.
    pub(super) async fn wait_for_items(&self) -> Result<(), FoundingError> {
        for name in ItemName::ALL {
            self.wait_for_item(name).await?;
        }
        Ok(())
    }

    /// Waits until the group has let this replica in, and says so: it may be that there is no group any more.
    pub(super) async fn until_let_in(
        &self,
        store: &dyn TokenStore,
        identity: &Identity,
    ) -> Result<(), StoreError> {
        // The keys stay: no snapshot can be restored without its CAs.
        let anew = match self.object {
            Some(_) => format!(
                "`jointoken store found --replace-lost {}` founds a new store",
                identity.store_id
            ),
            None => "remove the keys: that founds a new store".to_owned(),
        };
        let waiting = async {
            loop {
                tracing::info!(
                    store_id = %identity.store_id,
                    keys = %ItemName::ALL.map(|item| self.vault.place(item)).join(", "),
                    mark = self.object.map(|object| object.place()),
                    "this replica is new: it waits until the group of this store lets it in. Only if all replicas have lost their data for good, stop them and empty their data folders: \
                     `jointoken store snapshot restore` makes a new store of a snapshot and the keys. Without a snapshot, {anew}, {FOUND_ANEW}"
                );
                tokio::time::sleep(LOOK * SAY).await;
            }
        };
        tokio::select! {
            let_in = self.patiently(store, || store.barrier()) => let_in,
            never = waiting => never,
        }
    }

    /// Repeats what failed only because the store has just been started.
    pub(super) async fn patiently<T, F>(
        &self,
        store: &dyn TokenStore,
        mut call: impl FnMut() -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let began = tokio::time::Instant::now();
        let mut is_said = false;
        loop {
            match call().await {
                Err(StoreError::NoLeader | StoreError::Unknown)
                    if self.group.is_some() || began.elapsed() < LEADER_PATIENCE =>
                {
                    not_stopped(store)?;
                    if !is_said && began.elapsed() > SILENTLY {
                        tracing::info!(
                            "waiting for a majority of the group to be there and to have a leader"
                        );
                        is_said = true;
                    }
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                result => return result,
            }
        }
    }
}

/// Nothing is waited for in vain: not by a replica that was removed from its group while it was down.
pub(super) fn not_stopped(store: &dyn TokenStore) -> Result<(), StoreError> {
    match store.health().borrow().fatal {
        None => Ok(()),
        Some(_) => Err(StoreError::Stopped),
    }
}
