//! The mark of the store's founding, kept in the operator's namespace.

use std::collections::BTreeMap;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};

use super::api_error::told;
use super::vault::{by_us, metadata, owner};
use crate::founding::{Creation, ExchangeObject, Founding, FoundingObject, VaultError};

/// The founding object: a ConfigMap `<prefix>-founding` with the store's id and epoch.
pub struct FoundingConfigMap {
    config_maps: Api<ConfigMap>,
    namespace: String,
    name: String,
}

impl FoundingConfigMap {
    /// The object in this namespace.
    pub fn new(client: Client, namespace: &str, prefix: &str) -> Self {
        Self {
            config_maps: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            name: format!("{prefix}-founding"),
        }
    }

    async fn read(&self) -> Result<Option<Founding>, VaultError> {
        let found = self.config_maps.get_opt(&self.name).await;
        let found = found.map_err(|error| VaultError::new(self.place(), told(&error)))?;
        let Some(config_map) = found else {
            return Ok(None);
        };
        let data = config_map.data.unwrap_or_default();
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
            Err(error) => Err(VaultError::new(self.place(), told(&error))),
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
        let failed = |error| VaultError::new(self.place(), told(&error));
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
        // Somebody else's change meanwhile is a conflict: the next try looks at it.
        let replaced = self.config_maps.replace(&self.name, &by_us(), &found).await;
        replaced.map(|_| Creation::Created).map_err(failed)
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
