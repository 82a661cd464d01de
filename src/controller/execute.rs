//! Carries effects out: the API server's side through kube, the store's through its door.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::api::{JoinToken, JoinTokenStatus};
use crate::lifecycle::Reason;
use crate::lifecycle::command::{Abort, Register, Revoke};
use crate::lifecycle::outcome::{AbortOutcome, RegisterOutcome, RevokeOutcome};
use crate::store::{TokenStore, submit};

use super::effect::{Effect, Effected, Effects};
use super::error::Error;
use super::lean::MORE;
use super::ownership::{CLAIM, claim};
use super::publish::Publisher;
use super::secret::SecretContent;
use super::seen::Seen;
use super::vault::{MANAGER, by_us};
use super::view::FINALIZER;

/// Our fields are managed under our name.
pub(super) fn patch_by_us() -> PatchParams {
    PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

/// The effects on a real API server and a real store.
pub struct RealEffects {
    client: Client,
    store: Arc<dyn TokenStore>,
    publisher: Publisher,
}

impl RealEffects {
    /// `instance` signs the events.
    pub fn new(client: Client, store: Arc<dyn TokenStore>, instance: Option<String>) -> Self {
        Self {
            publisher: Publisher::new(client.clone(), instance),
            client,
            store,
        }
    }

    async fn patch_finalizers(
        &self,
        resource: &JoinToken,
        change: impl FnOnce(&mut Vec<String>),
        annotations: Value,
    ) -> Result<Effected, Error> {
        let all = self.all_finalizers(resource).await;
        let Some(mut finalizers) = all.map_err(Error::ReadResource)? else {
            return Ok(Effected::Outdated);
        };
        change(&mut finalizers);
        let patch = json!({ "metadata": {
            "resourceVersion": resource.metadata.resource_version,
            "finalizers": finalizers,
            "annotations": annotations,
        }});
        let api = resources(&self.client, resource);
        let patched = api
            .patch(&resource.name_any(), &patch_by_us(), &Patch::Merge(&patch))
            .await;
        resource_or_outdated(patched).map_err(Error::WriteFinalizer)
    }

    /// A patch replaces the list, so none of it may be missing. `None`: the resource has changed meanwhile.
    async fn all_finalizers(&self, resource: &JoinToken) -> kube::Result<Option<Vec<String>>> {
        if !resource.finalizers().iter().any(|name| name == MORE) {
            return Ok(Some(resource.finalizers().to_vec()));
        }
        let namespace = resource.namespace().unwrap_or_default();
        let api: Api<JoinToken> = Api::namespaced(self.client.clone(), &namespace);
        let now = api.get_metadata_opt(&resource.name_any()).await?;
        let same = now.filter(|now| now.resource_version() == resource.resource_version());
        Ok(same.map(|now| now.finalizers().to_vec()))
    }

    async fn write_status(
        &self,
        resource: &JoinToken,
        status: &JoinTokenStatus,
    ) -> Result<Effected, Error> {
        let old = resource.status.clone().unwrap_or_default();
        let patch = status_patch(resource, &old, status);
        let api = resources(&self.client, resource);
        let patched = api
            .patch_status(&resource.name_any(), &patch_by_us(), &Patch::Merge(&patch))
            .await;
        resource_or_outdated(patched).map_err(Error::WriteStatus)
    }

    /// Creates the Secret, and takes it away again if its token has ended meanwhile: whoever stood still between looking and
    /// acting may lead no more, and nobody looks again for the Secret of a token that is over.
    async fn hand_over(
        &self,
        resource: &JoinToken,
        name: &str,
        content: &SecretContent,
    ) -> Result<Effected, Error> {
        let Some(secret) = content.secret(resource, name) else {
            return Ok(Effected::Outdated);
        };
        let created = self.create_secret(resource, &secret).await;
        let created = created.map_err(|source| Error::CreateSecret {
            name: name.to_owned(),
            source,
        })?;
        let Some(uid) = created.and_then(|secret| secret.uid()) else {
            return Ok(Effected::Outdated);
        };
        self.store.barrier().await?;
        let record = self.store.record(&content.token_id());
        if record.is_some_and(|record| !record.phase.is_terminal()) {
            return Ok(Effected::Done);
        }
        let deleted = self.delete_secret(resource, name, &uid).await;
        deleted.map_err(|source| Error::DeleteSecret {
            name: name.to_owned(),
            source,
        })?;
        Ok(Effected::Outdated)
    }

    /// The Secret as it is there now; `None`: there was one of its name.
    async fn create_secret(
        &self,
        resource: &JoinToken,
        secret: &Secret,
    ) -> Result<Option<Secret>, kube::Error> {
        let secrets = secrets(&self.client, resource);
        match secrets.create(&by_us(), secret).await {
            Ok(created) => Ok(Some(created)),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn delete_secret(
        &self,
        resource: &JoinToken,
        name: &str,
        uid: &str,
    ) -> Result<Effected, kube::Error> {
        let params = DeleteParams::background().preconditions(Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: None,
        });
        match secrets(&self.client, resource).delete(name, &params).await {
            Ok(_) => Ok(Effected::Done),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Effected::Done),
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(Effected::Outdated),
            Err(error) => Err(error),
        }
    }

    /// Two commands: one that does both would be a new one in the log, which an earlier release cannot read. Stopped in
    /// between, the next look ends what was registered.
    async fn import(&self, register: &Register) -> Result<Effected, Error> {
        let token_id = register.token_id;
        match submit(&*self.store, register.clone()).await? {
            RegisterOutcome::Created(_) => {
                let abort = Abort {
                    token_id,
                    reason: Reason::Restored,
                    // A resource's: nobody registers it again.
                    keep_until_ms: Some(0),
                };
                submit(&*self.store, abort).await?;
                Ok(Effected::Outdated)
            }
            outcome @ RegisterOutcome::Refused(_) => Ok(Effected::Registered(outcome)),
            // It is known by now.
            _ => Ok(Effected::Outdated),
        }
    }

    async fn perform_effect(
        &self,
        resource: &JoinToken,
        effect: &Effect,
    ) -> Result<Effected, Error> {
        match effect {
            Effect::AddFinalizer => {
                let founded = self.store.founded().ok_or(Error::NotFounded)?;
                let add = |finalizers: &mut Vec<String>| {
                    if !finalizers.iter().any(|name| name == FINALIZER) {
                        finalizers.push(FINALIZER.to_owned());
                    }
                };
                let claim = json!({ CLAIM: claim(resource, founded.store_id) });
                self.patch_finalizers(resource, add, claim).await
            }
            Effect::RemoveFinalizer => {
                let remove =
                    |finalizers: &mut Vec<String>| finalizers.retain(|name| name != FINALIZER);
                self.patch_finalizers(resource, remove, json!({})).await
            }
            Effect::Register(register) => {
                let outcome = submit(&*self.store, (**register).clone()).await?;
                Ok(Effected::Registered(outcome))
            }
            Effect::Import(register) => self.import(register).await,
            Effect::Abort(token_id, reason) => {
                let abort = Abort {
                    token_id: *token_id,
                    reason: *reason,
                    // A resource's: nobody registers it again.
                    keep_until_ms: Some(0),
                };
                Ok(Effected::Ended(match submit(&*self.store, abort).await? {
                    AbortOutcome::Done(record) | AbortOutcome::AlreadyConsumed(record) => {
                        Some(record)
                    }
                    AbortOutcome::Tombstone => None,
                }))
            }
            Effect::Revoke(token_id, reason) => {
                let revoke = Revoke {
                    token_id: *token_id,
                    reason: *reason,
                    // A resource's: nobody registers it again.
                    keep_until_ms: Some(0),
                };
                Ok(Effected::Ended(
                    match submit(&*self.store, revoke).await? {
                        RevokeOutcome::Done(record) | RevokeOutcome::Barred(record) => Some(record),
                        RevokeOutcome::Tombstone => None,
                    },
                ))
            }
            Effect::CreateSecret { name, content } => self.hand_over(resource, name, content).await,
            Effect::DeleteSecret { name, uid } => self
                .delete_secret(resource, name, uid)
                .await
                .map_err(|source| Error::DeleteSecret {
                    name: name.clone(),
                    source,
                }),
            Effect::WriteStatus(status) => self.write_status(resource, status).await,
            Effect::Publish(notice) => {
                self.publisher.publish(resource, notice).await;
                Ok(Effected::Done)
            }
        }
    }
}

impl Effects for RealEffects {
    fn perform<'a>(
        &'a self,
        resource: &'a JoinToken,
        effect: &'a Effect,
    ) -> BoxFuture<'a, Result<Effected, Error>> {
        self.perform_effect(resource, effect).boxed()
    }
}

pub(super) fn resources(client: &Client, resource: &JoinToken) -> Api<Seen> {
    Api::namespaced(client.clone(), &resource.namespace().unwrap_or_default())
}

pub(super) fn secrets(client: &Client, resource: &JoinToken) -> Api<Secret> {
    Api::namespaced(client.clone(), &resource.namespace().unwrap_or_default())
}

/// Gone, or changed meanwhile: the look was too old. A write that the API server finds invalid is not: the version
/// that it carries is compared first, so the next look would come to the same.
fn resource_or_outdated(patched: Result<Seen, kube::Error>) -> Result<Effected, kube::Error> {
    match patched {
        Ok(Seen::Read(resource)) => Ok(Effected::Resource(resource)),
        Ok(Seen::Unreadable { .. }) => Ok(Effected::Outdated),
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
            tracing::debug!(reason = %status, "a write rested on an old look");
            Ok(Effected::Outdated)
        }
        Err(error) => Err(error),
    }
}

/// A merge patch (RFC 7386) from the old status to the new one. It carries the version that the old one
/// was read at, so that it changes that or nothing.
fn status_patch(resource: &JoinToken, old: &JoinTokenStatus, new: &JoinTokenStatus) -> Value {
    let mut old = json!(old);
    if let Some(old) = old.as_object_mut() {
        // What is not in the old status may have been left out because it made no sense: it goes, too.
        for field in STATUS_FIELDS {
            old.entry(field).or_insert_with(|| json!("unknown"));
        }
    }
    json!({
        "metadata": { "resourceVersion": resource.metadata.resource_version },
        "status": difference(&old, &json!(new)),
    })
}

/// Every field of a status.
const STATUS_FIELDS: [&str; 16] = [
    "observedGeneration",
    "phase",
    "revision",
    "reissues",
    "tokenId",
    "issuedAt",
    "expiresAt",
    "consumedAt",
    "attempts",
    "joiner",
    "secretName",
    "lastFailure",
    "storeId",
    "storeEpoch",
    "storeIndex",
    "conditions",
];

/// What has to be merged into `old` to make it `new`.
fn difference(old: &Value, new: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return new.clone();
    };
    let gone = old
        .keys()
        .filter(|key| !new.contains_key(*key))
        .map(|key| (key.clone(), Value::Null));
    let changed = new
        .iter()
        .filter(|(key, value)| old.get(*key) != Some(value))
        .map(|(key, value)| {
            let from = old.get(key).unwrap_or(&Value::Null);
            (key.clone(), difference(from, value))
        });
    Value::Object(gone.chain(changed).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_says_what_changed_and_nothing_else() {
        let old = json!({ "a": 1, "b": { "x": 1, "y": 2 }, "c": [1, 2], "d": "gone" });
        let new = json!({ "a": 1, "b": { "x": 1, "z": 3 }, "c": [2], "e": { "new": true } });
        assert_eq!(
            difference(&old, &new),
            json!({ "b": { "y": null, "z": 3 }, "c": [2], "d": null, "e": { "new": true } })
        );
        assert_eq!(difference(&new, &new), json!({}));
    }

    #[test]
    fn a_patch_leaves_nothing_of_a_status_that_made_no_sense() {
        let crd = json!(crate::api::crd());
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let fields = schema["properties"]["status"]["properties"].as_object();
        let fields: Vec<&str> = fields.unwrap().keys().map(String::as_str).collect();
        let mut known = STATUS_FIELDS;
        known.sort_unstable();
        assert_eq!(fields, known);

        let resource = JoinToken::new("n1", crate::api::JoinTokenSpec::default());
        let new = JoinTokenStatus {
            attempts: Some(3),
            ..JoinTokenStatus::default()
        };
        let patch = status_patch(&resource, &JoinTokenStatus::default(), &new);
        assert_eq!(patch["status"]["attempts"], json!(3));
        assert_eq!(patch["status"].get("consumedAt"), Some(&Value::Null));
        assert_eq!(patch["status"].get("observedGeneration"), None);
    }
}
