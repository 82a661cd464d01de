//! Looking at all that a plan goes by: the namespace, the store, the Secrets.

use std::time::Duration;

use crate::api::JoinToken;
use crate::lifecycle::IssuanceEntry;
use crate::token::TokenId;

use super::super::error::Error;
use super::super::execute::secrets;
use super::super::frozen;
use super::super::namespaces::NamespaceSeen;
use super::super::ownership::Owner;
use super::super::plan::secrets_to_look_at;
use super::super::secret::SecretSeen;
use super::super::set_back;
use super::super::standing::{InForce, Standing};
use super::super::view::{StoreFacts, View, issuance_of};
use super::Reconciler;

impl Reconciler {
    /// Looks at everything around a resource; `None` if its namespace has gone.
    pub(super) async fn look(&self, resource: JoinToken) -> Result<Option<View<'_>>, Error> {
        let founded = self.store.founded().ok_or(Error::NotFounded)?;
        if resource.metadata.deletion_timestamp.is_some() {
            // What is read next decides that nothing is left to abort: it must not be old.
            self.store.barrier().await?;
        }
        let Some(namespace) = self.namespace(&resource).await? else {
            return Ok(None);
        };
        let former_stores = self.scope.former.borrow().clone();
        let is_ours = Owner::of(&resource, &founded, &former_stores) == Owner::Ours;
        let (namespace_uid, namespace_ends) = (namespace.uid, namespace.is_ending);
        let mut standing = self.standing(&resource, &namespace_uid);
        let mut status_ahead = is_ours && self.is_ahead(&resource, &standing, founded.epoch);
        if status_ahead {
            // Either this replica is behind, or the status is wrong. Local reads tell once everything is applied that was
            // committed, since nothing else was ever reported.
            self.store.barrier().await?;
            standing = self.standing(&resource, &namespace_uid);
            status_ahead = self.is_ahead(&resource, &standing, founded.epoch);
        }
        if status_ahead {
            set_back::warn(&resource);
        }
        let former_token = self.former(&resource, &standing);
        let settings = self.store.settings();
        let (by_spec, former) = secrets_to_look_at(&resource, &standing);
        let secret = match by_spec {
            true => self.secret(&resource, &resource.secret_name()).await?,
            false => SecretSeen::NotLookedAt,
        };
        let former_secret = match former {
            Some(name) => self.secret(&resource, &name).await?,
            None => SecretSeen::NotLookedAt,
        };
        Ok(Some(View {
            config: &self.config,
            minting: &self.minting,
            founded,
            former_stores,
            store: StoreFacts {
                reissue_interval_ms: settings.reissue_interval_ms,
                max_token_ttl_ms: settings.max_token_ttl_ms,
                restored_at: self.store.restored_at(),
            },
            now_ms: self.clock.now_ms(),
            fresh_token_id: TokenId::random()?,
            namespace_uid,
            namespace_ends,
            resource,
            standing,
            former: former_token,
            secret,
            former_secret,
            status_ahead,
            keys_in_order: *self.keys_in_order.borrow(),
            registered: false,
            created: false,
        }))
    }

    /// How long to wait before a status that was ahead of the store a moment ago, and still is, is looked at again. What ends a
    /// token never waits.
    pub(super) fn pause_if_ahead(&self, resource: &JoinToken) -> Option<Duration> {
        let pause = self.asked.pause(resource)?;
        let epoch = self.store.founded()?.epoch;
        // Of which namespace does not matter here.
        let standing = self.standing(resource, "");
        let is_live = standing.in_force.as_ref().is_some_and(InForce::is_live);
        let must_look = is_live || resource.metadata.deletion_timestamp.is_some();
        (!must_look && self.is_ahead(resource, &standing, epoch)).then_some(pause)
    }

    fn is_ahead(&self, resource: &JoinToken, standing: &Standing, epoch: u64) -> bool {
        let reached = self.health.borrow().applied_index;
        set_back::is_ahead(resource, standing, (epoch, reached), |token_id| {
            let record = self.store.record(token_id)?;
            InForce::of_former(record, &issuance_of(resource)).map(|former| former.changed_at_index)
        })
    }

    /// The resource's namespace, remembered or read. A live token is ended if it is another namespace's: never by what is
    /// only remembered.
    async fn namespace(&self, resource: &JoinToken) -> Result<Option<NamespaceSeen>, Error> {
        let remembered = self.namespaces.of(&self.client, resource).await;
        let remembered = remembered.map_err(Error::ReadNamespace)?;
        let entry = self.store.issuance(&issuance_of(resource));
        match (&remembered, entry) {
            (Some(seen), Some(entry)) if entry.namespace_uid != seen.uid => {
                let now = self.namespaces.now(&self.client, resource).await;
                now.map_err(Error::ReadNamespace)
            }
            _ => Ok(remembered),
        }
    }

    /// The issuance in force for a resource, whatever namespace of the name it was for.
    pub(super) fn in_force(&self, resource: &JoinToken) -> Option<InForce> {
        let entry = self.store.issuance(&issuance_of(resource))?;
        let record = self.store.record(&entry.token_id);
        Some(InForce::of_entry(&entry, record, &entry.namespace_uid))
    }

    fn standing(&self, resource: &JoinToken, namespace_uid: &str) -> Standing {
        let entry = self.store.issuance(&issuance_of(resource));
        let in_force = entry.as_ref().map(|entry| {
            let record = self.store.record(&entry.token_id);
            InForce::of_entry(entry, record, namespace_uid)
        });
        Standing::of_entry(
            in_force,
            entry.map(|entry| entry.spec_hash),
            resource.spec.revision,
            frozen::spec_hash(resource),
        )
    }

    /// What became of the token that the status tells of, if another one is in force.
    pub(super) fn former(&self, resource: &JoinToken, standing: &Standing) -> Option<InForce> {
        let status = resource.status.as_ref()?;
        let token_id: TokenId = status.token_id.as_deref()?.parse().ok()?;
        let in_force = standing.in_force.as_ref()?;
        let record = self.store.record(&token_id)?;
        InForce::of_former(record, &issuance_of(resource))
            .filter(|former| former.token_id != in_force.token_id)
    }

    async fn secret(&self, resource: &JoinToken, name: &str) -> Result<SecretSeen, Error> {
        let secret = secrets(&self.client, resource)
            .get_opt(name)
            .await
            .map_err(|source| Error::ReadSecret {
                name: name.to_owned(),
                source,
            })?;
        let left = secret.as_ref().and_then(SecretSeen::left_behind);
        Ok(match left {
            Some((uid, token_id)) if self.was_issued_to(resource, &token_id) => {
                SecretSeen::Former { uid }
            }
            _ => SecretSeen::of(secret.as_ref(), resource),
        })
    }

    /// The store knows the token as one of the resource's name.
    fn was_issued_to(&self, resource: &JoinToken, token_id: &TokenId) -> bool {
        let issuance = issuance_of(resource);
        let is_in_force = |entry: IssuanceEntry| entry.token_id == *token_id;
        let record = self.store.record(token_id);
        self.store.issuance(&issuance).is_some_and(is_in_force)
            || record
                .and_then(|record| InForce::of_former(record, &issuance))
                .is_some()
    }
}
