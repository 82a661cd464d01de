//! One replica with its door.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::failed;
use super::ground::Ground;
use super::parts::Parts;
use super::starting::Starting;
use crate::cli::config::ServerConfig;
use crate::cli::exit::Failure;
use crate::cli::group::GroupWay;
use crate::clock::Clock;
use crate::controller::{Leaving, Scaling};
use crate::founding::{self, Material};
use crate::store::{RaftStore, TokenStore};
use crate::telemetry::metrics::Metrics;
use crate::token::Delivery;

/// How long a replica that is to leave its group waits until it is removed. Kubernetes is told to wait for that and for the
/// orderly stop (`terminationGracePeriodSeconds`).
const LEAVING: Duration = Duration::from_secs(60);

/// A replica that is serving.
pub struct Replica {
    pub store: Arc<dyn TokenStore>,
    pub material: Material,
    pub metrics: Arc<Metrics>,
    pub delivery: Delivery,
    pub clock: Arc<dyn Clock>,
    /// Every key is as the store was founded with it.
    pub keys_in_order: watch::Receiver<bool>,
    pub(super) raft: RaftStore,
    pub(super) data_dir: PathBuf,
    /// The way to the other replicas; `None`: this one is alone.
    pub(super) way: Option<Arc<GroupWay>>,
    /// Whether it leaves its group for good when it stops; `None`: it does not.
    pub(super) leaving: Option<Leaving>,
    pub(super) parts: Parts,
    /// Keeps the mark: as long as anything may be committed, and then once more.
    pub(super) mark: Parts,
    /// Writes down what is applied: longer than all other parts, whose last doings it tells too.
    pub(super) audit: Parts,
}

impl Replica {
    /// Opens or founds the store, then opens the door and everything beside it.
    ///
    /// # Errors
    /// One line that says what is wrong and what to do; nothing is left running.
    pub async fn start(config: &ServerConfig, ground: Ground) -> Result<Self, Failure> {
        Starting::new(config, ground)?.start().await
    }

    /// Shows in the metrics whether the keys are in order, and for how long they were not seen.
    pub(super) fn show_keys(&mut self, mut unseen: watch::Receiver<Duration>) {
        let gauge = self.metrics.keys_unseen.clone();
        self.parts.spawn_until_stop("unseen key gauge", async move {
            while unseen.changed().await.is_ok() {
                let secs = unseen.borrow_and_update().as_secs();
                gauge.set(i64::try_from(secs).unwrap_or(i64::MAX));
            }
        });
        let mut keys_in_order = self.keys_in_order.clone();
        let gauge = self.metrics.keys_in_order.clone();
        self.parts.spawn_until_stop("key gauge", async move {
            while keys_in_order.changed().await.is_ok() {
                gauge.set(i64::from(*keys_in_order.borrow_and_update()));
            }
        });
    }

    /// Runs a part until the replica stops. A part that ends before that stops the replica.
    pub fn spawn(
        &mut self,
        name: &'static str,
        part: impl Future<Output = Result<(), Failure>> + Send + 'static,
    ) {
        self.parts.spawn(name, part);
    }

    /// Is cancelled when the replica is to stop.
    pub fn stop_token(&self) -> CancellationToken {
        self.parts.stop_token()
    }

    /// Has the group be as large as this says, as long as the replica runs.
    pub fn follow(&mut self, scaling: Scaling) {
        self.leaving = Some(scaling.leaving());
        let metrics = self.metrics.controller.clone();
        self.parts
            .spawn_until_stop("scaling", scaling.run(self.raft.clone(), metrics));
    }

    /// If it is to leave the group for good, it votes on until it has been removed, for the others may need its vote for
    /// that; but not for ever.
    pub async fn leave(&mut self) {
        let Some(mut leaving) = self.leaving.take() else {
            return;
        };
        if self.raft.is_new() || !leaving.is_leaving().await {
            return;
        }
        tracing::info!("this replica has no place any more: it votes on until it is removed");
        self.raft.hand_over().await;
        tokio::select! {
            failure = self.until_failed() => match self.raft.is_removed() {
                true => tracing::info!("this replica was removed from the group, as it should be"),
                false => tracing::warn!(error = %failure.message, "it does not wait until it is removed"),
            },
            () = leaving.is_over() => tracing::info!("this replica has a place again and stays a member"),
            () = tokio::time::sleep(LEAVING) => tracing::warn!(
                "this replica was not removed in time and stops as a member: bring it back, or see `jointoken store members`"
            ),
        }
    }

    /// Why it cannot go on, when that comes: a part failed, or the store has stopped for good.
    pub async fn until_failed(&mut self) -> Failure {
        let mut health = self.store.health();
        let fatal = async {
            match health.wait_for(|health| health.fatal.is_some()).await {
                Ok(health) => health.fatal.clone().unwrap_or_default(),
                Err(_) => "its task has ended".to_owned(),
            }
        };
        tokio::select! {
            reason = fatal => stopped(&self.raft, &reason),
            failure = self.audit.until_one_ends() => failure,
            failure = self.mark.until_one_ends() => failure,
            failure = self.parts.until_one_ends() => failure,
        }
    }

    /// Another replica leads before the door closes. Then the door first, the store last: what is in flight may still commit.
    pub async fn shut_down(mut self) {
        self.raft.hand_over().await;
        self.parts.stop().await;
        self.mark.stop().await;
        self.audit.stop().await;
        // Whoever of the group asks from now on would be told of a store that has stopped.
        if let Some(way) = &self.way {
            way.close();
        }
        self.raft.shutdown().await;
        set_aside_if_removed(&self.raft, &self.data_dir);
    }
}

/// Why a replica whose store has stopped for good cannot go on.
pub(super) fn stopped(raft: &RaftStore, reason: &str) -> Failure {
    match raft.is_removed() {
        true => failed(reason),
        false => failed(format_args!(
            "the store has stopped: {reason}; when the cause is mended, start again"
        )),
    }
}

/// The store must be shut down.
pub(super) fn set_aside_if_removed(raft: &RaftStore, data_dir: &Path) {
    if !raft.is_removed() {
        return;
    }
    match founding::set_aside(data_dir) {
        Ok(aside) => tracing::warn!(
            aside = aside
                .as_ref()
                .map(|path| tracing::field::display(path.display())),
            "the data of the removed replica are set aside; started again it joins as a new one, if it is still in the list of members"
        ),
        Err(error) => {
            tracing::error!(%error, "the data of the removed replica could not be set aside");
        }
    }
}
