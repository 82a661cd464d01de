//! The mark of the store's founding, kept in the operator's namespace.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::watch;

use super::api_error::told;
use super::founding_data::{OBJECT, REACHED, data_of, exchange_data, former_of, name_former};
use super::ownership::FormerStores;
use super::vault::{by_us, metadata, owner};
use crate::founding::{
    Creation, ExchangeObject, Founding, FoundingObject, ReachedMark, Remembered, VaultError,
    WrittenFor,
};
use crate::store::Reached;
use crate::token::StoreId;

/// Says, with the object's uid, that the replicas' volumes are those in use last, though the object was made anew. Of a copy of
/// another store's object it says nothing: that one may live on.
const VOLUMES_ARE_CURRENT: &str = "jointoken.io/volumes-are-current";
/// How often a write is repeated that somebody else's write came before.
const TRIES: usize = 5;

/// The founding object: a ConfigMap `<prefix>-founding` with the store's id and epoch, and how far its log has been. Keys of
/// its data that are not known here are left as they are.
pub struct FoundingConfigMap {
    config_maps: Api<ConfigMap>,
    namespace: String,
    name: String,
    /// What was last seen of it; `None`: it is gone, or is another store's.
    seen: watch::Sender<Option<Remembered>>,
    /// The store whose mark it has to be, once that was asked for.
    of: OnceLock<StoreId>,
    former: watch::Sender<FormerStores>,
}

impl FoundingConfigMap {
    /// The object in this namespace.
    pub fn new(client: Client, namespace: &str, prefix: &str) -> Self {
        Self {
            config_maps: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            name: format!("{prefix}-founding"),
            seen: watch::Sender::new(None),
            of: OnceLock::new(),
            former: watch::Sender::default(),
        }
    }

    /// The former stores, as the object named them when it was last read.
    pub fn former_stores(&self) -> watch::Receiver<FormerStores> {
        self.former.subscribe()
    }

    fn object(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    fn saw(&self, config_map: &ConfigMap) {
        let seen = config_map.data.as_ref().map(former_of).unwrap_or_default();
        self.former.send_if_modified(|former| {
            let is_news = *former != seen;
            *former = seen;
            is_news
        });
    }

    async fn read(&self) -> Result<Option<Founding>, VaultError> {
        let found = self.config_maps.get_opt(&self.name).await;
        let found = found.map_err(|error| self.failed(&error))?;
        let founding = found.as_ref().and_then(founding_of);
        let is_of = |of: &StoreId| founding.is_some_and(|founding| founding.store_id == *of);
        let ours = found.as_ref().filter(|_| self.of.get().is_none_or(is_of));
        self.show(ours);
        let Some(config_map) = found else {
            return Ok(None);
        };
        let founding = self.founding_in(&config_map)?;
        self.saw(&config_map);
        Ok(Some(founding))
    }

    fn founding_in(&self, config_map: &ConfigMap) -> Result<Founding, VaultError> {
        let what = "does not say which store was founded: data must have store-id and epoch, restore it from the backup";
        founding_of(config_map).ok_or_else(|| VaultError::unfit(FoundingObject::place(self), what))
    }

    async fn write(&self, founding: Founding) -> Result<Creation<Founding>, VaultError> {
        let mut data = data_of(founding);
        data.insert(OBJECT.to_owned(), self.object());
        let config_map = ConfigMap {
            metadata: metadata(&self.name),
            data: Some(data),
            ..ConfigMap::default()
        };
        match self.config_maps.create(&by_us(), &config_map).await {
            Ok(_) => Ok(Creation::Created),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let there = self.read().await?;
                there.map(Creation::Exists).ok_or_else(|| {
                    VaultError::new(
                        FoundingObject::place(self),
                        "was there a moment ago and is gone",
                    )
                })
            }
            Err(error) => Err(self.failed(&error)),
        }
    }
}

impl FoundingConfigMap {
    fn failed(&self, error: &kube::Error) -> VaultError {
        VaultError::new(FoundingObject::place(self), told(error))
    }

    /// Compares and swaps. `change` says whether it has changed anything. What is written carries the version that was read: what
    /// somebody else wrote meanwhile is looked at anew. Returns the object as it is then.
    async fn update(
        &self,
        change: impl Fn(&mut ConfigMap) -> Result<bool, VaultError>,
    ) -> Result<ConfigMap, VaultError> {
        for _ in 0..TRIES {
            let found = self.config_maps.get_opt(&self.name).await;
            let found = found.map_err(|error| self.failed(&error))?;
            let mut found = found
                .ok_or_else(|| VaultError::unfit(FoundingObject::place(self), "is not there"))?;
            if !change(&mut found)? {
                return Ok(found);
            }
            match self.config_maps.replace(&self.name, &by_us(), &found).await {
                Err(kube::Error::Api(status)) if status.is_conflict() => {}
                written => return written.map_err(|error| self.failed(&error)),
            }
        }
        Err(VaultError::new(
            FoundingObject::place(self),
            format!(
                "somebody else changes it all the time: it could not be written in {TRIES} tries"
            ),
        ))
    }

    async fn swap(
        &self,
        there: Founding,
        next: Founding,
    ) -> Result<Creation<Founding>, VaultError> {
        let now = self.update(|found| {
            if self.founding_in(found)? != there {
                return Ok(false);
            }
            let data = found.data.get_or_insert_default();
            exchange_data(data, there, next, self.object());
            Ok(true)
        });
        let now = self.founding_in(&now.await?)?;
        Ok(match now == next {
            true => Creation::Created,
            false => Creation::Exists(now),
        })
    }

    /// Has it say that these are former stores of the one that it names, too: what they looked after is that store's now.
    ///
    /// # Errors
    /// If it cannot be read or written.
    pub async fn add_former(&self, former: &[StoreId]) -> Result<(), VaultError> {
        let add =
            |found: &mut ConfigMap| Ok(name_former(found.data.get_or_insert_default(), former));
        let now = self.update(add).await?;
        self.saw(&now);
        Ok(())
    }
}

impl ExchangeObject for FoundingConfigMap {
    fn exchange(
        &self,
        there: Founding,
        next: Founding,
    ) -> BoxFuture<'_, Result<Creation<Founding>, VaultError>> {
        self.swap(there, next).boxed()
    }

    fn inherited(&self) -> BoxFuture<'_, Result<BTreeSet<StoreId>, VaultError>> {
        async {
            self.read().await?;
            Ok((**self.former.borrow()).clone())
        }
        .boxed()
    }
}

fn founding_of(config_map: &ConfigMap) -> Option<Founding> {
    let data = config_map.data.as_ref()?;
    owner(data.get("store-id"), data.get("epoch"))
}

impl FoundingConfigMap {
    fn remembered_in(&self, config_map: &ConfigMap) -> Remembered {
        let data = config_map.data.as_ref();
        let reached = data.and_then(|data| data.get(REACHED)?.parse().ok());
        let told = config_map.annotations().get(VOLUMES_ARE_CURRENT);
        let written_for = match data.and_then(|data| data.get(OBJECT)) {
            None => WrittenFor::Untold,
            Some(object) if *object == self.object() => WrittenFor::Itself,
            Some(object) => WrittenFor::Another(object.clone()),
        };
        Remembered {
            reached,
            folders_are_current: told.is_some() && told == config_map.metadata.uid.as_ref(),
            object: config_map.uid(),
            written_for,
        }
    }

    fn show(&self, config_map: Option<&ConfigMap>) {
        let now = config_map.map(|config_map| self.remembered_in(config_map));
        self.seen
            .send_if_modified(|seen| std::mem::replace(seen, now.clone()) != now);
    }

    /// The object has to be this store's.
    fn check_is_of(&self, of: StoreId, found: &ConfigMap) -> Result<(), VaultError> {
        match founding_of(found) {
            Some(founding) if founding.store_id == of => Ok(()),
            _ => Err(VaultError::unfit(
                FoundingObject::place(self),
                "is not this store's",
            )),
        }
    }

    async fn look(&self, of: StoreId) -> Result<Remembered, VaultError> {
        self.of.get_or_init(|| of);
        let found = self.config_maps.get(&self.name).await;
        let found = found.map_err(|error| self.failed(&error))?;
        self.check_is_of(of, &found)?;
        let text = found.data.as_ref().and_then(|data| data.get(REACHED));
        if text.is_some_and(|text| text.parse::<Reached>().is_err()) {
            let what = "does not say in its data `reached` how far the log of the store has been: somebody has changed it, put it back or remove that key";
            return Err(VaultError::unfit(FoundingObject::place(self), what));
        }
        self.show(Some(&found));
        Ok(self.remembered_in(&found))
    }

    async fn raise(&self, of: StoreId, reached: Reached) -> Result<Remembered, VaultError> {
        self.of.get_or_init(|| of);
        let now = self.update(|found| {
            self.check_is_of(of, found)?;
            let is_further = self.remembered_in(found).reached < Some(reached);
            if is_further {
                let data = found.data.get_or_insert_default();
                data.insert(REACHED.to_owned(), reached.to_string());
                // Whoever made it by hand may not have said so.
                data.insert(OBJECT.to_owned(), self.object());
            }
            Ok(is_further)
        });
        let now = now.await?;
        self.show(Some(&now));
        Ok(self.remembered_in(&now))
    }
}

impl ReachedMark for FoundingConfigMap {
    fn remembered(&self, of: StoreId) -> BoxFuture<'_, Result<Remembered, VaultError>> {
        self.look(of).boxed()
    }

    fn remember(
        &self,
        of: StoreId,
        reached: Reached,
    ) -> BoxFuture<'_, Result<Remembered, VaultError>> {
        self.raise(of, reached).boxed()
    }

    fn seen(&self) -> Option<watch::Receiver<Option<Remembered>>> {
        Some(self.seen.subscribe())
    }

    fn place(&self) -> String {
        FoundingObject::place(self)
    }
}

impl FoundingObject for FoundingConfigMap {
    fn load(&self) -> BoxFuture<'_, Result<Option<Founding>, VaultError>> {
        self.read().boxed()
    }

    fn create(&self, founding: Founding) -> BoxFuture<'_, Result<Creation<Founding>, VaultError>> {
        self.write(founding).boxed()
    }

    fn place(&self) -> String {
        format!("ConfigMap {}", self.object())
    }
}

#[cfg(test)]
mod tests;
