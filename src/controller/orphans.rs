//! Ends tokens whose resource is gone though nobody ended them: somebody took the finalizer off and deleted the resource, or its
//! whole namespace, while no operator led. Whoever has the name next must not find the former one's machine admitted.
//!
//! Nothing is asked of the API server but about tokens whose resource this replica does not watch. Namespaces that are not
//! watched are left alone: nothing is known of their resources.

use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc::UnboundedReceiver;
use futures::{FutureExt, StreamExt};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::api::{JoinToken, JoinTokenSpec};
use crate::lifecycle::{Issuance, Reason};
use crate::store::{Health, TokenStore};
use crate::telemetry::metrics::ControllerMetrics;

use super::effect::{Effect, Effects};
use super::error::Error;
use super::seen::Seen;

/// How often all live tokens are looked through.
const EVERY: Duration = Duration::from_secs(10 * 60);
/// How soon again if the API server did not say whether a resource is there.
const AGAIN: Duration = Duration::from_secs(60);

/// What a watch has seen.
#[derive(Debug)]
pub(super) enum Sight {
    /// This resource was deleted.
    Deleted(Issuance),
    /// All resources were listed: some may be missing.
    Listed,
}

/// Looks for tokens without a resource.
pub(super) struct Orphans {
    pub client: Client,
    pub store: Arc<dyn TokenStore>,
    pub effects: Arc<dyn Effects>,
    pub metrics: ControllerMetrics,
    /// What is watched: a namespace, or all, and its resources.
    pub watched: Vec<(Option<String>, Store<Seen>)>,
    pub sights: UnboundedReceiver<Sight>,
}

impl Orphans {
    /// Looks until the watches or the store have gone.
    pub async fn run(mut self, mut health: watch::Receiver<Health>) {
        let mut led = false;
        let mut next = Instant::now() + EVERY;
        loop {
            let sight = tokio::select! {
                () = tokio::time::sleep_until(next) => {
                    next = Instant::now() + EVERY;
                    Some(Sight::Listed)
                }
                sight = self.sights.next() => match sight {
                    Some(sight) => Some(sight),
                    None => return,
                },
                changed = health.changed() => match changed {
                    Ok(()) => None,
                    Err(_) => return,
                },
            };
            let leads = health.borrow_and_update().is_leader;
            let has_led = std::mem::replace(&mut led, leads);
            let looked = match sight {
                _ if !leads => continue,
                Some(Sight::Listed) => self.look_at_all().await,
                None if !has_led => self.look_at_all().await,
                None => continue,
                Some(Sight::Deleted(issuance)) => self.look_at(&issuance).await,
            };
            if let Err(error) = looked {
                next = Instant::now() + AGAIN;
                tracing::warn!(
                    %error,
                    "a live token, whose JoinToken is not seen any more, could not be looked at or ended; it is tried again in a minute"
                );
            }
        }
    }

    async fn look_at_all(&self) -> Result<(), Error> {
        let mut from = Some(0);
        while let Some(place) = from {
            let (live, next) = self.store.live_part(place);
            for issuance in live {
                self.look_at(&issuance).await?;
            }
            from = next;
        }
        Ok(())
    }

    /// Ends the token of this name, if it is live and its resource is gone.
    async fn look_at(&self, issuance: &Issuance) -> Result<(), Error> {
        if self.may_be_there(issuance) {
            return Ok(());
        }
        let entry = self.store.issuance(issuance);
        let Some(entry) = entry.filter(|entry| !entry.phase.is_terminal()) else {
            return Ok(());
        };
        if !self.is_gone(issuance).await.map_err(Error::ReadResource)? {
            return Ok(());
        }
        tracing::warn!(
            namespace = issuance.namespace,
            name = issuance.name,
            token_id = %entry.token_id,
            "a JoinToken is gone and its token was live: its finalizer was taken off before the operator had seen that it was deleted. The token ends"
        );
        let mut resource = JoinToken::new(&issuance.name, JoinTokenSpec::default());
        resource.metadata.namespace = Some(issuance.namespace.clone());
        let effect = Effect::Abort(entry.token_id, Reason::Deleted);
        self.metrics.effected(effect.name());
        self.effects.perform(&resource, &effect).await?;
        Ok(())
    }

    /// It is watched, or cannot be: the namespace is none of ours, or was not listed yet.
    fn may_be_there(&self, issuance: &Issuance) -> bool {
        let of_namespace = |of: &Option<String>| match of {
            Some(namespace) => *namespace == issuance.namespace,
            None => true,
        };
        let mut watched = self.watched.iter();
        let Some((_, watched)) = watched.find(|(namespace, _)| of_namespace(namespace)) else {
            return true;
        };
        let is_listed = watched.wait_until_ready().now_or_never().is_some();
        let resource = ObjectRef::new(&issuance.name).within(&issuance.namespace);
        !is_listed || watched.get(&resource).is_some()
    }

    /// The API server says so itself, and of this very resource: what does not serve the definition at the moment says 404, too.
    async fn is_gone(&self, issuance: &Issuance) -> kube::Result<bool> {
        let api: Api<Seen> = Api::namespaced(self.client.clone(), &issuance.namespace);
        match api.get(&issuance.name).await {
            Ok(_) => Ok(false),
            Err(kube::Error::Api(status)) if status.is_not_found() => {
                let named = status.details.as_ref().map(|details| &details.name);
                Ok(named == Some(&issuance.name))
            }
            Err(error) => Err(error),
        }
    }
}
