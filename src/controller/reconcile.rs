//! One reconciliation: look, plan, do, until there is nothing left to do.

mod look;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::core::DynamicObject;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Client, ResourceExt};
use tokio::sync::watch;

use crate::api::JoinToken;
use crate::clock::Clock;
use crate::lifecycle::outcome::RegisterOutcome;
use crate::store::{Health, TokenStore};
use crate::telemetry::metrics::{ControllerMetrics, Reconciled};

use super::config::{ControllerConfig, Minting};
use super::effect::{Effect, Effected, Effects};
use super::error::Error;
use super::execute::resources;
use super::latest::Latest;
use super::namespaces::Namespaces;
use super::others::Others;
use super::ownership::Scope;
use super::plan::{Then, in_ending_namespace, of_another_store, plan};
use super::refusal::{is_refused_with_namespace, told_of};
use super::rewrites::{Pause, Rewrites};
use super::same_node::SameNode;
use super::seen::Seen;
use super::set_back::Asked;
use super::view::{View, issuance_of};

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
    pub asked: Asked,
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
        if !self.scope.serves(&resource) {
            return Ok(Looked::Settled(None));
        }
        if self.is_left_alone(&resource).await? {
            return self.end_own(&resource, source).await;
        }
        let pause = self.rewrites.pause(&resource, self.changed_at(&resource));
        if let Some(pause) = pause.filter(|pause| !pause.is_asked_anew) {
            return Ok(wait_for(pause));
        }
        if let Some(pause) = self.pause_if_ahead(&resource) {
            return Ok(Looked::Settled(Some(in_ms(pause))));
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
                // Before it is done: a change of the token meanwhile is not what was written about.
                let changed_at = self.changed_at(&view.resource);
                if is_write && let Some(pause) = self.rewrites.pause(&view.resource, changed_at) {
                    return Ok(wait_for(pause));
                }
                let effected = self.perform(&view, effect).await?;
                if matches!(effected, Effected::Outdated) {
                    return Ok(Looked::Outdated);
                }
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
            if let Then::Rest(look_again_ms) = plan.then {
                if view.status_ahead {
                    self.asked.note(&view.resource);
                }
                self.say_same_node(&view.resource).await?;
                return Ok(Looked::Settled(look_again_ms));
            }
        }
        Err(Error::Unsettled)
    }

    /// Does it. What fails is told of in the resource, as far as it is the resource's.
    async fn perform(&self, view: &View<'_>, effect: &Effect) -> Result<Effected, Error> {
        self.metrics.effected(effect.name());
        tracing::debug!(effect = effect.name(), "doing");
        let error = match self.effects.perform(&view.resource, effect).await {
            Err(error) => error,
            effected => return effected,
        };
        if is_refused_with_namespace(&error) && !view.namespace_ends {
            self.namespaces.ends(&view.resource);
            return Ok(Effected::Outdated);
        }
        for effect in told_of(view, &error) {
            self.effects.perform(&view.resource, &effect).await?;
        }
        Err(error)
    }

    /// The resource has been deleted: what was said of it is said anew of one that comes in its place.
    pub fn forget(&self, resource: &ObjectRef<DynamicObject>) {
        let namespace = resource.namespace.as_deref().unwrap_or_default();
        self.same_node.forget(namespace, &resource.name);
        if let Some(uid) = &resource.extra.uid {
            self.others.forget(uid);
        }
    }

    /// Whether the resource is another store's, which is said.
    async fn is_left_alone(&self, resource: &JoinToken) -> Result<bool, Error> {
        let founded = self.store.founded().ok_or(Error::NotFounded)?;
        let Some(other) = self.scope.other(resource) else {
            self.others.forget(&resource.uid().unwrap_or_default());
            return Ok(false);
        };
        if let Some(notice) = self.others.say(resource, &other, founded.store_id) {
            self.effects
                .perform(resource, &Effect::Publish(notice))
                .await?;
        }
        Ok(true)
    }

    /// Ends the token that this store issued for a resource of another store, if it is deleted or revoked. Nothing is written
    /// to the resource.
    async fn end_own(&self, resource: &JoinToken, source: Source) -> Result<Looked, Error> {
        let Some(effect) = of_another_store(resource, self.in_force(resource).as_ref()) else {
            return Ok(Looked::Settled(None));
        };
        if source == Source::Watched {
            return Ok(Looked::Outdated);
        }
        tracing::warn!(
            namespace = resource.namespace(),
            name = resource.name_any(),
            "a JoinToken that is another store's was deleted or revoked: the token that this store had issued for it ends"
        );
        self.metrics.effected(effect.name());
        self.effects.perform(resource, &effect).await?;
        Ok(Looked::Settled(None))
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

    /// Takes what an effect came to into the view.
    fn take(&self, view: &mut View<'_>, effected: Effected) {
        match effected {
            Effected::Done | Effected::Outdated => {}
            Effected::Resource(resource) => {
                self.latest.note(&resource);
                view.resource = *resource;
            }
            Effected::Registered(outcome) => {
                if let RegisterOutcome::Refused(refusal) = &outcome {
                    self.metrics.refused(refusal.as_str());
                }
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
    Looked::Settled(Some(in_ms(pause.remaining)))
}

/// Once so long has passed.
fn in_ms(pause: Duration) -> u64 {
    let ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    ms.saturating_add(1)
}

#[cfg(test)]
mod tests;
