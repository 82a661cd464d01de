//! The store's own keys, kept in the operator's namespace.

use std::collections::BTreeMap;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client};
use zeroize::{Zeroize, Zeroizing};

use super::api_error::told;
use crate::founding::{Creation, ExchangeVault, Founding, Item, ItemName, Vault, VaultError};

/// Says which store an object belongs to.
const STORE_ID: &str = "jointoken.io/store-id";
/// Says in which epoch of the store it was made.
const STORE_EPOCH: &str = "jointoken.io/store-epoch";
/// The name under which our fields are managed.
pub(super) const MANAGER: &str = "jointoken";
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "jointoken");

/// Keeps each item in a Secret `<prefix>-<item>`, annotated with the store's id and epoch.
///
/// The Secrets are immutable: they are created once, and whatever stands in one's place later is
/// another object. A CA's is of type `kubernetes.io/tls`, so that other tools know what it is.
pub struct SecretVault {
    secrets: Api<Secret>,
    namespace: String,
    prefix: String,
}

impl SecretVault {
    /// A vault in this namespace.
    pub fn new(client: Client, namespace: &str, prefix: &str) -> Self {
        Self {
            secrets: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            prefix: prefix.to_owned(),
        }
    }

    fn name(&self, item: ItemName) -> String {
        format!("{}-{item}", self.prefix)
    }

    async fn read(&self, name: ItemName) -> Result<Option<Item>, VaultError> {
        let place = || self.place(name);
        let found = self.secrets.get_opt(&self.name(name)).await;
        match found.map_err(|error| failed(place(), error))? {
            Some(secret) => item_of(secret)
                .map(Some)
                .map_err(|error| VaultError::unfit(place(), error)),
            None => Ok(None),
        }
    }

    async fn write(&self, name: ItemName, item: &Item) -> Result<Creation<Item>, VaultError> {
        let secret = secret_of(&self.name(name), name, item);
        let created = self.secrets.create(&by_us(), &secret).await;
        wipe(secret);
        match created {
            Ok(created) => {
                wipe(created);
                Ok(Creation::Created)
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let there = self.read(name).await?;
                there.map(Creation::Exists).ok_or_else(|| {
                    VaultError::new(self.place(name), "was there a moment ago and is gone")
                })
            }
            Err(error) => Err(failed(self.place(name), error)),
        }
    }
}

impl Vault for SecretVault {
    fn load(&self, name: ItemName) -> BoxFuture<'_, Result<Option<Item>, VaultError>> {
        self.read(name).boxed()
    }

    fn create<'a>(
        &'a self,
        name: ItemName,
        item: &'a Item,
    ) -> BoxFuture<'a, Result<Creation<Item>, VaultError>> {
        self.write(name, item).boxed()
    }

    fn place(&self, name: ItemName) -> String {
        format!("Secret {}/{}", self.namespace, self.name(name))
    }
}

impl SecretVault {
    async fn take_away(&self, name: ItemName, there: &Item) -> Result<(), VaultError> {
        let place = || self.place(name);
        let found = self.secrets.get_opt(&self.name(name)).await;
        let Some(secret) = found.map_err(|error| failed(place(), error))? else {
            return Ok(());
        };
        let uid = secret.metadata.uid.clone();
        match item_of(secret) {
            Ok(item) if item == *there => {}
            Ok(_) => {
                return Err(VaultError::new(place(), "is another one than a moment ago"));
            }
            Err(error) => return Err(VaultError::unfit(place(), error)),
        }
        let params = DeleteParams::default().preconditions(Preconditions {
            uid,
            resource_version: None,
        });
        match self.secrets.delete(&self.name(name), &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(failed(place(), error)),
        }
    }
}

impl ExchangeVault for SecretVault {
    fn remove<'a>(
        &'a self,
        name: ItemName,
        there: &'a Item,
    ) -> BoxFuture<'a, Result<(), VaultError>> {
        self.take_away(name, there).boxed()
    }
}

/// An answer that does not parse is not quoted: it may be a key.
fn failed(place: String, error: kube::Error) -> VaultError {
    VaultError::new(place, told(&error))
}

pub(super) fn by_us() -> PostParams {
    PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PostParams::default()
    }
}

pub(super) fn metadata(name: &str) -> ObjectMeta {
    let label = (MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned());
    ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some([label].into()),
        ..ObjectMeta::default()
    }
}

fn secret_of(name: &str, item_name: ItemName, item: &Item) -> Secret {
    let annotations = [
        (STORE_ID.to_owned(), item.store_id.to_string()),
        (STORE_EPOCH.to_owned(), item.epoch.to_string()),
    ];
    let data = item
        .parts
        .iter()
        .map(|(part, content)| (part.clone(), ByteString(content.to_vec())));
    let is_ca = item_name.role().is_some();
    Secret {
        metadata: ObjectMeta {
            annotations: Some(annotations.into()),
            ..metadata(name)
        },
        type_: Some(if is_ca { "kubernetes.io/tls" } else { "Opaque" }.to_owned()),
        immutable: Some(true),
        data: Some(data.collect()),
        ..Secret::default()
    }
}

fn item_of(secret: Secret) -> Result<Item, String> {
    let annotations = secret.metadata.annotations.unwrap_or_default();
    let data = secret.data.unwrap_or_default();
    let parts: BTreeMap<_, _> = data
        .into_iter()
        .map(|(part, content)| (part, Zeroizing::new(content.0)))
        .collect();
    match owner(annotations.get(STORE_ID), annotations.get(STORE_EPOCH)) {
        Some(Founding { store_id, epoch }) => Ok(Item {
            store_id,
            epoch,
            parts,
        }),
        None => Err(format!(
            "is not one of a store's keys: the annotations {STORE_ID} and {STORE_EPOCH} are missing or malformed"
        )),
    }
}

pub(super) fn owner(store_id: Option<&String>, epoch: Option<&String>) -> Option<Founding> {
    Some(Founding {
        store_id: store_id?.parse().ok()?,
        epoch: epoch?.parse().ok()?,
    })
}

/// Overwrites the copies of the keys that went to the API server or came from it.
fn wipe(secret: Secret) {
    for (_, mut content) in secret.data.unwrap_or_default() {
        content.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::StoreId;

    fn item() -> Item {
        let part = |text: &str| Zeroizing::new(text.as_bytes().to_vec());
        Item {
            store_id: StoreId([0xab; 16]),
            epoch: 2,
            parts: [("id".to_owned(), part("00")), ("key".to_owned(), part("k"))].into(),
        }
    }

    #[test]
    fn a_secret_carries_the_item_and_whose_it_is() {
        let secret = secret_of("jointoken-resource-key", ItemName::ResourceKey, &item());
        assert_eq!(secret.immutable, Some(true));
        assert_eq!(secret.type_.as_deref(), Some("Opaque"));
        let annotations = secret.metadata.annotations.clone().unwrap();
        assert_eq!(annotations[STORE_ID], "ab".repeat(16));
        assert_eq!(annotations[STORE_EPOCH], "2");
        assert_eq!(item_of(secret), Ok(item()));
        let ca = secret_of("jointoken-door-ca", ItemName::DoorCa, &item());
        assert_eq!(ca.type_.as_deref(), Some("kubernetes.io/tls"));
    }

    #[test]
    fn an_answer_that_does_not_parse_is_not_quoted() {
        let answer = serde_json::json!({"data": {"key": "not!base64"}});
        let error = serde_json::from_value::<Secret>(answer).unwrap_err();
        let error = failed("Secret a/b".to_owned(), kube::Error::SerdeError(error));
        assert_eq!(
            error.to_string(),
            "Secret a/b: the API server's answer makes no sense"
        );
    }

    #[test]
    fn a_secret_of_nobodys_is_refused() {
        let mut secret = secret_of("x", ItemName::ResourceKey, &item());
        secret.metadata.annotations = None;
        let error = item_of(secret).unwrap_err();
        assert!(error.contains("jointoken.io/store-id"), "{error}");
        let mut secret = secret_of("x", ItemName::ResourceKey, &item());
        let annotations = secret.metadata.annotations.as_mut().unwrap();
        annotations.insert(STORE_ID.to_owned(), "mine".to_owned());
        assert!(item_of(secret).is_err());
    }
}
