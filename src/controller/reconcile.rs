//! One reconciliation: look, plan, do, until there is nothing left to do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::runtime::controller::Action;
use kube::{Client, ResourceExt};
use tokio::sync::watch;

use crate::api::JoinToken;
use crate::clock::Clock;
use crate::lifecycle::IssuanceEntry;
use crate::lifecycle::outcome::RegisterOutcome;
use crate::store::{Health, TokenStore};
use crate::telemetry::metrics::{ControllerMetrics, Reconciled};
use crate::token::TokenId;

use super::config::{ControllerConfig, Minting};
use super::effect::{Effect, Effected, Effects};
use super::error::Error;
use super::execute::{resources, secrets};
use super::frozen;
use super::latest::Latest;
use super::namespaces::{NamespaceSeen, Namespaces};
use super::others::Others;
use super::ownership::{Owner, Scope};
use super::plan::{Then, in_ending_namespace, plan, secrets_to_look_at};
use super::refusal::{is_refused_with_namespace, told_of};
use super::rewrites::{Pause, Rewrites};
use super::same_node::SameNode;
use super::secret::SecretSeen;
use super::seen::Seen;
use super::set_back;
use super::standing::{InForce, Standing};
use super::view::{StoreFacts, View, issuance_of};

/// How many looks one reconciliation takes before it lets others go first.
const MAX_LOOKS: usize = 5;
/// How many plans may follow one look: a revocation, a registration, and what follows from them.
const MAX_PLANS: usize = 4;

/// What reconciliations need.
pub(super) struct Reconciler {
    pub client: Client,
    pub store: Arc<dyn TokenStore>,
    pub health: watch::Receiver<Health>,
    pub effects: Arc<dyn Effects>,
    pub clock: Arc<dyn Clock>,
    pub config: ControllerConfig,
    pub minting: Minting,
    pub metrics: ControllerMetrics,
    pub keys_in_order: watch::Receiver<bool>,
    pub scope: Scope,
    pub rewrites: Rewrites,
    pub others: Others,
    pub namespaces: Namespaces,
    pub latest: Latest,
    pub same_node: SameNode,
}

/// What became of one look.
enum Looked {
    /// All is as it should be; look again after so many milliseconds.
    Settled(Option<u64>),
    Outdated,
    /// The resource is not there any more.
    Gone,
}

/// How much a copy of a resource is to be trusted.
///
/// The watch's may be older than what this very controller has written, and a proposal, unlike a write
/// to the API server, carries no version by which it would be refused: acting on the `revoked` of an
/// old revision would end the token of the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Watched,
    /// Read from the API server, or its answer to a write that carried the copy's version.
    Read,
}

impl Reconciler {
    /// Brings the resource in line with the store.
    pub async fn reconcile(&self, resource: &JoinToken) -> Result<Action, Error> {
        if !self.health.borrow().is_leader {
            return Ok(Action::await_change());
        }
        let start = Instant::now();
        let settled = self.settle(resource).await;
        let took = start.elapsed();
        match settled {
            Ok(look_again) => {
                self.metrics.reconciled(Reconciled::Done, took);
                Ok(look_again.map_or_else(Action::await_change, Action::requeue))
            }
            Err(Error::Unsettled) => {
                self.metrics.reconciled(Reconciled::Again, took);
                Err(Error::Unsettled)
            }
            Err(error) => {
                self.metrics.reconciled(Reconciled::Failed, took);
                self.metrics.failed(error.category());
                Err(error)
            }
        }
    }

    async fn settle(&self, resource: &JoinToken) -> Result<Option<Duration>, Error> {
        // The first look is at the watch's copy, or a later one of our own; the others are at the API server's own.
        let first = self.latest.or(resource);
        let mut looked = self.look_and_act(first, Source::Watched).await?;
        for _ in 1..MAX_LOOKS {
            match looked {
                Looked::Settled(look_again_ms) => {
                    return Ok(look_again_ms.map(Duration::from_millis));
                }
                Looked::Gone => return Ok(None),
                Looked::Outdated => {
                    let api = resources(&self.client, resource);
                    let name = resource.name_any();
                    looked = match api.get_opt(&name).await.map_err(Error::ReadResource)? {
                        Some(Seen::Read(resource)) => {
                            self.look_and_act(*resource, Source::Read).await?
                        }
                        Some(Seen::Unreadable { error, .. }) => {
                            return Err(Error::Unreadable(error));
                        }
                        None => Looked::Gone,
                    };
                }
            }
        }
        Err(Error::Unsettled)
    }

    async fn look_and_act(&self, resource: JoinToken, mut source: Source) -> Result<Looked, Error> {
        if !self.scope.serves(&resource) || self.is_left_alone(&resource).await? {
            return Ok(Looked::Settled(None));
        }
        let pause = self.rewrites.pause(&resource, self.changed_at(&resource));
        if let Some(pause) = pause.filter(|pause| !pause.is_asked_anew) {
            return Ok(wait_for(pause));
        }
        let Some(mut view) = self.look(resource).await? else {
            return Ok(Looked::Gone);
        };
        let mut is_noted = false;
        for _ in 0..MAX_PLANS {
            // Whoever leads by now looks for itself. What was begun is finished: an event tells of what has been done.
            if !self.health.borrow().is_leader {
                return Ok(Looked::Settled(None));
            }
            let plan = match view.namespace_ends {
                false => plan(&view),
                true => in_ending_namespace(plan(&view)),
            };
            for effect in &plan.effects {
                if source == Source::Watched && effect.is_proposal() {
                    return Ok(Looked::Outdated);
                }
                let is_write = !effect.is_proposal() && !is_noted;
                let changed_at = self.changed_at(&view.resource);
                if let Some(pause) = self.rewrites.pause(&view.resource, changed_at)
                    && is_write
                {
                    return Ok(wait_for(pause));
                }
                self.metrics.effected(effect.name());
                tracing::debug!(effect = effect.name(), "doing");
                match self.effects.perform(&view.resource, effect).await {
                    Ok(Effected::Outdated) => return Ok(Looked::Outdated),
                    Ok(effected) => {
                        // What the API server refuses is tried again in its own time.
                        if is_write {
                            self.rewrites.note(&view.resource, changed_at);
                            is_noted = true;
                        }
                        if matches!(effected, Effected::Resource(_)) {
                            source = Source::Read;
                        }
                        self.take(&mut view, effected);
                    }
                    Err(error) => {
                        if is_refused_with_namespace(&error) && !view.namespace_ends {
                            self.namespaces.ends(&view.resource);
                            return Ok(Looked::Outdated);
                        }
                        for effect in told_of(&view, &error) {
                            self.effects.perform(&view.resource, &effect).await?;
                        }
                        return Err(error);
                    }
                }
            }
            if let Then::Rest(look_again_ms) = plan.then {
                self.say_same_node(&view.resource).await?;
                return Ok(Looked::Settled(look_again_ms));
            }
        }
        Err(Error::Unsettled)
    }

    /// Looks at everything around a resource; `None` if its namespace has gone.
    async fn look(&self, resource: JoinToken) -> Result<Option<View<'_>>, Error> {
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

    /// Whether the resource is another store's, which is said.
    async fn is_left_alone(&self, resource: &JoinToken) -> Result<bool, Error> {
        let founded = self.store.founded().ok_or(Error::NotFounded)?;
        let Some(other) = self.scope.other(resource) else {
            self.others.forget(resource);
            return Ok(false);
        };
        if let Some(notice) = self.others.say(resource, &other, founded.store_id) {
            self.effects
                .perform(resource, &Effect::Publish(notice))
                .await?;
        }
        Ok(true)
    }

    /// Says of another resource that names the same machine.
    async fn say_same_node(&self, resource: &JoinToken) -> Result<(), Error> {
        if let Some(name) = self.same_node.note(resource) {
            let api = resources(&self.client, resource);
            let other = api.get_opt(&name).await.map_err(Error::ReadResource)?;
            let other = other.as_ref().and_then(Seen::read);
            if let Some(notice) = self.same_node.say(resource, other, &name) {
                tracing::warn!(
                    other = name,
                    "two JoinTokens of a namespace name the same machine"
                );
                self.effects
                    .perform(resource, &Effect::Publish(notice))
                    .await?;
            }
        }
        Ok(())
    }

    /// Where in the log the resource's token changed last, as applied here.
    fn changed_at(&self, resource: &JoinToken) -> u64 {
        let entry = self.store.issuance(&issuance_of(resource));
        entry.map_or(0, |entry| entry.changed_at_index)
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
    fn former(&self, resource: &JoinToken, standing: &Standing) -> Option<InForce> {
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

    /// Takes what an effect came to into the view.
    fn take(&self, view: &mut View<'_>, effected: Effected) {
        match effected {
            Effected::Done | Effected::Outdated => {}
            Effected::Resource(resource) => {
                self.latest.note(&resource);
                view.resource = *resource;
            }
            Effected::Registered(outcome) => {
                view.registered = true;
                view.created = matches!(outcome, RegisterOutcome::Created(_));
                view.standing = view.standing.clone().of_outcome(
                    outcome,
                    &view.namespace_uid,
                    view.resource.spec.revision,
                    |token_id| self.store.record(token_id),
                );
                view.former = self.former(&view.resource, &view.standing);
            }
            Effected::Ended(record) => {
                let in_force = view.standing.in_force.take();
                view.standing.in_force = match (in_force, record) {
                    (Some(in_force), Some(record)) => Some(in_force.with_record(*record)),
                    (in_force, _) => in_force,
                };
            }
        }
    }
}

/// Nothing is written until the pause is over.
fn wait_for(pause: Pause) -> Looked {
    let ms = u64::try_from(pause.remaining.as_millis()).unwrap_or(u64::MAX);
    Looked::Settled(Some(ms.saturating_add(1)))
}

#[cfg(test)]
mod tests;
