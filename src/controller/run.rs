//! Watches the resources and reconciles whatever is woken.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::channel::mpsc::{UnboundedSender, unbounded};
use futures::future::{self, Either};
use futures::{FutureExt, StreamExt, TryStreamExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::controller::{self, Action, Controller};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store, reflector};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::watch;
use tracing::Instrument;

use crate::api::Phase;
use crate::clock::Clock;
use crate::lifecycle::Issuance;
use crate::store::TokenStore;
use crate::telemetry::metrics::{ControllerMetrics, Counted};

use super::api_error::told_of_watch;
use super::config::{ControllerConfig, Minting};
use super::deadline::WATCH_SECS;
use super::effect::Effects;
use super::error::Error;
use super::execute::RealEffects;
use super::latest::Latest;
use super::namespaces::Namespaces;
use super::orphans::{Orphans, Sight};
use super::others::Others;
use super::ownership::{FormerStores, Scope};
use super::reconcile::Reconciler;
use super::rewrites::Rewrites;
use super::same_node::SameNode;
use super::seen::{PAGE, Seen};
use super::set_back::Asked;
use super::view::issuance_of;
use super::wake::Waker;

/// How many resources are reconciled at the same time.
const CONCURRENCY: u16 = 16;
/// The first and the longest wait after a failure; it doubles with each.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// How long what is being done may take to be finished, once the controller is told to stop.
const GRACE: Duration = Duration::from_secs(15);

/// The controller, ready to run.
pub struct Operator {
    client: Client,
    store: Arc<dyn TokenStore>,
    config: ControllerConfig,
    minting: Minting,
    clock: Arc<dyn Clock>,
    metrics: ControllerMetrics,
    effects: Arc<dyn Effects>,
    keys_in_order: watch::Receiver<bool>,
    former_stores: watch::Receiver<FormerStores>,
}

impl Operator {
    /// A controller that works on this API server and this store.
    pub fn new(
        client: Client,
        store: Arc<dyn TokenStore>,
        config: ControllerConfig,
        minting: Minting,
        clock: Arc<dyn Clock>,
        metrics: ControllerMetrics,
    ) -> Self {
        let real = RealEffects::new(client.clone(), store.clone(), config.instance.clone());
        Self {
            client,
            store,
            config,
            minting,
            clock,
            metrics,
            effects: Arc::new(real),
            keys_in_order: watch::Sender::new(true).subscribe(),
            former_stores: watch::Sender::new(FormerStores::default()).subscribe(),
        }
    }

    /// Puts something between the plans and their effects, which sees each before it is done.
    #[must_use]
    pub fn with_effects(self, around: impl FnOnce(Arc<dyn Effects>) -> Arc<dyn Effects>) -> Self {
        let effects = around(self.effects);
        Self { effects, ..self }
    }

    /// Renders no token while this says that the store's keys are not in order.
    #[must_use]
    pub fn with_keys_in_order(self, keys_in_order: watch::Receiver<bool>) -> Self {
        Self {
            keys_in_order,
            ..self
        }
    }

    /// Looks after the resources of these stores as of a former store's.
    #[must_use]
    pub fn with_former_stores(self, former_stores: watch::Receiver<FormerStores>) -> Self {
        Self {
            former_stores,
            ..self
        }
    }

    /// Watches and reconciles until `shutdown` is over; then what is being done is finished.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) {
        let shutdown = shutdown.boxed().shared();
        let changes = self.store.changes();
        let health = self.store.health();
        let metrics = self.metrics.clone();
        let scope = Scope {
            store: Arc::clone(&self.store),
            class: self.config.class.clone(),
            former: self.former_stores,
        };
        let reconciler = Arc::new(Reconciler {
            scope: scope.clone(),
            rewrites: Rewrites::default(),
            others: Others::default(),
            client: self.client.clone(),
            store: self.store,
            health: health.clone(),
            effects: self.effects,
            clock: self.clock,
            minting: self.minting,
            metrics: self.metrics,
            config: self.config.clone(),
            keys_in_order: self.keys_in_order.clone(),
            namespaces: Namespaces::default(),
            latest: Latest::default(),
            same_node: SameNode::default(),
            asked: Asked::default(),
        });
        let mut waker = Waker::default();
        let mut watches = Vec::new();
        let (seen, sights) = unbounded();
        let mut resources = Vec::new();
        for (api, namespace) in scopes(&self.client, &self.config.namespaces) {
            let wakes = waker.add(namespace.clone());
            let shutdown = shutdown.clone();
            let context = Arc::new(Context {
                reconciler: reconciler.clone(),
                failures: Mutex::default(),
            });
            let ended = context.clone();
            let (controller, listed) = watched(api, seen.clone());
            resources.push((namespace, listed.clone()));
            let (watched, scope) = (listed.clone(), scope.clone());
            metrics.count_resources_by(move || counted(&watched, &scope));
            let stream = controller
                .with_config(controller::Config::default().concurrency(CONCURRENCY))
                .reconcile_on(wakes.one)
                .reconcile_all_on(wakes.all)
                .graceful_shutdown_on(shutdown.clone())
                .run(reconcile, retry, context);
            let work = stream.for_each(move |result| {
                report(&ended, result);
                future::ready(())
            });
            watches.push(async move {
                let end = pin!(end_of_patience(shutdown, listed));
                future::select(pin!(work), end).await;
            });
        }
        let watches = pin!(future::join_all(watches));
        let orphans = Orphans {
            client: self.client,
            store: reconciler.store.clone(),
            effects: reconciler.effects.clone(),
            metrics,
            watched: resources,
            sights,
        };
        let beside = future::join(
            orphans.run(health.clone()),
            waker.run(changes, health, self.keys_in_order),
        );
        if let Either::Right((_, watches)) = future::select(watches, pin!(beside)).await {
            // The store has gone first: nothing wakes any more, what runs is finished.
            watches.await;
        }
    }
}

/// A controller of what is watched, which tells what it has seen, and all that it watches.
fn watched(api: Api<Seen>, seen: UnboundedSender<Sight>) -> (Controller<Seen>, Store<Seen>) {
    let config = watcher::Config::default()
        .page_size(PAGE)
        .timeout(WATCH_SECS);
    let writer = Writer::default();
    let listed = writer.as_reader();
    let events = reflector(writer, watcher(api, config)).inspect_ok(move |event| {
        let sight = match event {
            Event::Delete(resource) => Sight::Deleted(issuance_of(resource)),
            Event::InitDone => Sight::Listed,
            Event::Init | Event::InitApply(_) | Event::Apply(_) => return,
        };
        // Nobody looks any more once the store has gone.
        let _ = seen.unbounded_send(sight);
    });
    let controller = Controller::for_stream(events.applied_objects(), listed.clone());
    (controller, listed)
}

/// When a watch is given up that should have ended by itself.
///
/// Before the first list is there nothing is being reconciled, and kube's graceful stop would wait for
/// that list, which never comes while the API server cannot be reached.
async fn end_of_patience(shutdown: impl Future<Output = ()>, listed: Store<Seen>) {
    shutdown.await;
    if listed.wait_until_ready().now_or_never().is_some() {
        tokio::time::sleep(GRACE).await;
        tracing::warn!(
            "reconciliations that do not end are given up; the next start goes on from there"
        );
    }
}

/// How many resources are in each phase, and how many are another store's.
fn counted(watched: &Store<Seen>, scope: &Scope) -> Counted {
    let mut counted = Counted::default();
    for seen in watched.state() {
        let resource = seen.read();
        if resource.is_some_and(|resource| !scope.serves(resource)) {
            continue;
        }
        if resource.is_some_and(|resource| scope.other(resource).is_some()) {
            counted.foreign += 1;
            continue;
        }
        let status = resource.and_then(|resource| resource.status.as_ref());
        let phase = status.and_then(|status| status.phase);
        *counted
            .phases
            .entry(phase.unwrap_or(Phase::Pending).as_str())
            .or_insert(0) += 1;
    }
    counted
}

/// One watch for all namespaces, or one for each of those named.
fn scopes(client: &Client, namespaces: &[String]) -> Vec<(Api<Seen>, Option<String>)> {
    if namespaces.is_empty() {
        return vec![(Api::all(client.clone()), None)];
    }
    namespaces
        .iter()
        .map(|namespace| {
            let api = Api::namespaced(client.clone(), namespace);
            (api, Some(namespace.clone()))
        })
        .collect()
}

struct Context {
    reconciler: Arc<Reconciler>,
    /// How often in a row each resource has failed.
    failures: Mutex<HashMap<Issuance, u32>>,
}

impl Context {
    fn failures(&self) -> std::sync::MutexGuard<'_, HashMap<Issuance, u32>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn reconcile(seen: Arc<Seen>, context: Arc<Context>) -> Result<Action, Error> {
    let resource = match &*seen {
        Seen::Read(resource) => resource,
        Seen::Unreadable { error, .. } => return Err(Error::Unreadable(error.clone())),
    };
    let status = resource.status.as_ref();
    let span = tracing::info_span!(
        "reconcile",
        namespace = resource.metadata.namespace,
        name = resource.metadata.name,
        token_id = status.and_then(|status| status.token_id.as_deref()),
    );
    let action = context
        .reconciler
        .reconcile(resource)
        .instrument(span)
        .await?;
    context.failures().remove(&issuance_of(&**resource));
    Ok(action)
}

/// Twice as long after each failure in a row, with a part that differs between resources, so that
/// those that failed together are not all tried again together.
fn retry(resource: Arc<Seen>, error: &Error, context: Arc<Context>) -> Action {
    if let Error::Unreadable(error) = error {
        // Nothing changes that before it changes.
        tracing::warn!(
            namespace = resource.meta().namespace,
            name = resource.meta().name,
            error,
            "a JoinToken makes no sense, nothing is done about it: mend it, or delete it"
        );
        return Action::await_change();
    }
    let mut failures = context.failures();
    let count = failures.entry(issuance_of(&*resource)).or_default();
    let wait = (FIRST_RETRY * (1 << (*count).min(8))).min(LONGEST_RETRY);
    *count += 1;
    let uid = resource.uid().unwrap_or_default();
    let spread = f64::from(crc32fast::hash(uid.as_bytes())) / f64::from(u32::MAX);
    tracing::warn!(
        namespace = resource.meta().namespace,
        name = resource.meta().name,
        category = error.category(),
        failures = *count,
        %error,
        "a resource could not be reconciled; it is tried again"
    );
    Action::requeue(wait.mul_f64(1.0 + spread / 4.0))
}

type Reconciled = Result<(ObjectRef<Seen>, Action), controller::Error<Error, watcher::Error>>;

/// Failures of reconciliations have been reported by [`retry`].
fn report(context: &Context, result: Reconciled) {
    match result {
        Ok(_) | Err(controller::Error::ReconcilerFailed(..)) => {}
        // A wake or a retry for a resource that has been deleted, or is not there yet.
        Err(controller::Error::ObjectNotFound(resource)) => {
            context.failures().remove(&Issuance {
                namespace: resource.namespace.clone().unwrap_or_default(),
                name: resource.name.clone(),
            });
            context.reconciler.forget(&resource);
            tracing::trace!(%resource, "woken for a resource that is not there");
        }
        Err(controller::Error::QueueError(error)) => {
            tracing::warn!(
                error = told_of_watch(&error),
                "the watch on JoinTokens failed; it is tried again"
            );
        }
        Err(controller::Error::RunnerError(error)) => {
            tracing::error!(%error, "the controller's queue failed");
        }
    }
}
