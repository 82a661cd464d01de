//! The mark of the store's founding, kept in the operator's namespace.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use tokio::sync::watch;

use super::ownership::FormerStores;
use super::vault::{by_us, metadata, owner};
use crate::founding::{Creation, ExchangeObject, Founding, FoundingObject, VaultError};
use crate::token::StoreId;

/// The stores that the one which is named was made of, or has taken the place of: their ids, with spaces in between.
const FORMER: &str = "former-store-ids";

/// The founding object: a ConfigMap `<prefix>-founding` with the store's id and epoch.
pub struct FoundingConfigMap {
    config_maps: Api<ConfigMap>,
    namespace: String,
    name: String,
    former: watch::Sender<FormerStores>,
}

impl FoundingConfigMap {
    /// The object in this namespace.
    pub fn new(client: Client, namespace: &str, prefix: &str) -> Self {
        Self {
            config_maps: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            name: format!("{prefix}-founding"),
            former: watch::Sender::default(),
        }
    }

    /// The former stores, as the object named them when it was last read.
    pub fn former_stores(&self) -> watch::Receiver<FormerStores> {
        self.former.subscribe()
    }

    fn saw(&self, data: &BTreeMap<String, String>) {
        let seen = former_of(data);
        self.former.send_if_modified(|former| {
            let is_news = *former != seen;
            *former = seen;
            is_news
        });
    }

    async fn read(&self) -> Result<Option<Founding>, VaultError> {
        let found = self.config_maps.get_opt(&self.name).await;
        let found = found.map_err(|error| VaultError::new(self.place(), error))?;
        let Some(config_map) = found else {
            return Ok(None);
        };
        let data = config_map.data.unwrap_or_default();
        self.saw(&data);
        match owner(data.get("store-id"), data.get("epoch")) {
            Some(founding) => Ok(Some(founding)),
            None => Err(VaultError::unfit(
                self.place(),
                "does not say which store was founded: data must have store-id and epoch, restore it from the backup",
            )),
        }
    }

    async fn write(&self, founding: Founding) -> Result<Creation<Founding>, VaultError> {
        let config_map = ConfigMap {
            metadata: metadata(&self.name),
            data: Some(data_of(founding)),
            ..ConfigMap::default()
        };
        match self.config_maps.create(&by_us(), &config_map).await {
            Ok(_) => Ok(Creation::Created),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let there = self.read().await?;
                there.map(Creation::Exists).ok_or_else(|| {
                    VaultError::new(self.place(), "was there a moment ago and is gone")
                })
            }
            Err(error) => Err(VaultError::new(self.place(), error)),
        }
    }
}

impl FoundingConfigMap {
    /// Compares and swaps: what is written carries the version that was compared.
    async fn swap(
        &self,
        there: Founding,
        next: Founding,
    ) -> Result<Creation<Founding>, VaultError> {
        let failed = |error| VaultError::new(self.place(), error);
        let mut found = self.config_maps.get(&self.name).await.map_err(failed)?;
        let data = found.data.get_or_insert_default();
        match owner(data.get("store-id"), data.get("epoch")) {
            Some(says) if says == there => {}
            Some(says) => return Ok(Creation::Exists(says)),
            None => {
                let what = "does not say which store was founded";
                return Err(VaultError::unfit(self.place(), what));
            }
        }
        data.extend(data_of(next));
        name_former(data, &[there.store_id]);
        // Somebody else's change meanwhile is a conflict: the next try looks at it.
        let replaced = self.config_maps.replace(&self.name, &by_us(), &found).await;
        replaced.map(|_| Creation::Created).map_err(failed)
    }
}

impl FoundingConfigMap {
    async fn add(&self, former: &[StoreId]) -> Result<(), VaultError> {
        let failed = |error| VaultError::new(self.place(), error);
        loop {
            let mut found = self.config_maps.get(&self.name).await.map_err(failed)?;
            let data = found.data.get_or_insert_default();
            let is_news = name_former(data, former);
            self.saw(data);
            if !is_news {
                return Ok(());
            }
            match self.config_maps.replace(&self.name, &by_us(), &found).await {
                Ok(_) => return Ok(()),
                // Somebody else wrote meanwhile: each look is at what is there then.
                Err(kube::Error::Api(status)) if status.is_conflict() => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

/// What cannot be read names no store.
fn former_of(data: &BTreeMap<String, String>) -> FormerStores {
    let named = data.get(FORMER).map(String::as_str).unwrap_or_default();
    let ids = named.split_ascii_whitespace();
    Arc::new(ids.filter_map(|id| id.parse().ok()).collect())
}

/// Adds those that are not named yet; whether there were any.
fn name_former(data: &mut BTreeMap<String, String>, more: &[StoreId]) -> bool {
    let ours: Option<StoreId> = data.get("store-id").and_then(|id| id.parse().ok());
    let before = former_of(data);
    let mut former = (*before).clone();
    former.extend(more);
    former.retain(|id| Some(*id) != ours);
    if former == *before {
        return false;
    }
    let ids: Vec<String> = former.iter().map(StoreId::to_string).collect();
    data.insert(FORMER.to_owned(), ids.join(" "));
    true
}

impl ExchangeObject for FoundingConfigMap {
    fn exchange(
        &self,
        there: Founding,
        next: Founding,
    ) -> BoxFuture<'_, Result<Creation<Founding>, VaultError>> {
        self.swap(there, next).boxed()
    }

    fn add_former<'a>(&'a self, former: &'a [StoreId]) -> BoxFuture<'a, Result<(), VaultError>> {
        self.add(former).boxed()
    }
}

fn data_of(founding: Founding) -> BTreeMap<String, String> {
    [
        ("store-id".to_owned(), founding.store_id.to_string()),
        ("epoch".to_owned(), founding.epoch.to_string()),
    ]
    .into()
}

impl FoundingObject for FoundingConfigMap {
    fn load(&self) -> BoxFuture<'_, Result<Option<Founding>, VaultError>> {
        self.read().boxed()
    }

    fn create(&self, founding: Founding) -> BoxFuture<'_, Result<Creation<Founding>, VaultError>> {
        self.write(founding).boxed()
    }

    fn place(&self) -> String {
        format!("ConfigMap {}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn former_stores_are_named_once_and_never_the_store_itself() {
        let [ours, lost, older] = [1, 2, 3].map(|byte| StoreId([byte; 16]));
        let mut data = data_of(Founding {
            store_id: ours,
            epoch: 3,
        });
        assert!(!name_former(&mut data, &[]));
        assert_eq!(data.get(FORMER), None);
        assert!(name_former(&mut data, &[lost, ours]));
        assert!(name_former(&mut data, &[older, lost]));
        assert!(!name_former(&mut data, &[older, lost, ours]));
        assert_eq!(data[FORMER], format!("{lost} {older}"));
        assert_eq!(*former_of(&data), [lost, older].into());
        data.insert(FORMER.to_owned(), format!("nonsense {lost}"));
        assert_eq!(*former_of(&data), [lost].into());
    }
}
