//! What runs in a replica beside its store.

use std::sync::Arc;

use futures::FutureExt;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::failed;
use crate::cli::exit::Failure;
use crate::cli::ports::WatchedListeners;
use crate::store::Health;
use crate::telemetry::{self, metrics::Metrics};

/// Parts that run until they are told to stop. Dropping them cuts them off.
#[derive(Default)]
pub(super) struct Parts {
    running: JoinSet<Part>,
    stop: CancellationToken,
}

/// A part of the replica ended: its name, and why if it failed.
type Part = (&'static str, Result<(), Failure>);

impl Parts {
    /// Runs a part until the replica stops. A part that ends before that stops the replica.
    pub fn spawn(
        &mut self,
        name: &'static str,
        part: impl Future<Output = Result<(), Failure>> + Send + 'static,
    ) {
        self.running.spawn(part.map(move |ended| (name, ended)));
    }

    /// Runs a part that has no end of its own: it is cut off when the replica stops.
    pub fn spawn_until_stop(
        &mut self,
        name: &'static str,
        part: impl Future<Output = ()> + Send + 'static,
    ) {
        let stop = self.stop.clone();
        self.spawn(name, async move {
            tokio::select! {
                () = part => Ok(()),
                () = stop.cancelled() => Ok(()),
            }
        });
    }

    /// Serves metrics and answers probes.
    pub fn tell_how_it_is(
        &mut self,
        listeners: WatchedListeners,
        metrics: &Arc<Metrics>,
        health: watch::Receiver<Health>,
    ) {
        let stopped = || self.stop.clone().cancelled_owned();
        let served = telemetry::serve_metrics(listeners.metrics, Arc::clone(metrics), stopped());
        let probed = telemetry::serve_probes(listeners.probes, health, stopped());
        self.spawn("metrics", served.map(Ok));
        self.spawn("probes", probed.map(|ended| ended.map_err(failed)));
    }

    /// Is cancelled when they are to stop.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Why they cannot go on, when one of them has ended. Never, if there are none.
    pub async fn until_one_ends(&mut self) -> Failure {
        match self.running.join_next().await {
            Some(ended) => part_ended(ended),
            None => std::future::pending().await,
        }
    }

    /// Stops them and waits until all have ended.
    pub async fn stop(&mut self) {
        self.stop.cancel();
        while let Some(ended) = self.running.join_next().await {
            if let Ok((name, Err(failure))) = ended {
                tracing::warn!(part = name, error = %failure.message, "did not end well");
            }
        }
    }
}

/// Why a part that ended keeps the replica from going on.
fn part_ended(ended: Result<Part, JoinError>) -> Failure {
    match ended {
        Ok((name, Err(failure))) => {
            Failure::new(failure.exit, format_args!("{name}: {}", failure.message))
        }
        Ok((name, Ok(()))) => failed(format_args!("{name} has ended by itself")),
        // What it panicked with may hold anything; where it did is in the log.
        Err(_) => failed(
            "a part of the program failed: the line of the log that speaks of a fault says where, please report it",
        ),
    }
}
