//! Keeps outside of the data folder how far the log has been.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast::error::RecvError, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::failed;
use crate::cli::exit::Failure;
use crate::founding::{Identity, ReachedMark, Remembered, SeenObject, VaultError};
use crate::store::{Change, RaftStore, Reached, TokenStore as _};
use crate::telemetry::metrics::Metrics;

/// It is written at most so often while the replica runs, and only if something has changed.
const EVERY: Duration = Duration::from_secs(10);
/// How long a write may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Writes the mark: before anything is served, and as long as the replica runs.
pub(super) struct MarkKeeper {
    pub store: RaftStore,
    pub mark: Arc<dyn ReachedMark>,
    pub identity: Identity,
    pub data_dir: PathBuf,
    /// Show whether the mark is as far as it should be.
    pub metrics: Arc<Metrics>,
    /// What was written last.
    pub written: Option<Reached>,
    /// The last write failed.
    pub is_stale: bool,
    /// What another process wrote that this one cannot have reached.
    pub outrun_by: Option<Remembered>,
}

impl MarkKeeper {
    /// Writes it once, if it is this replica that has to. What is copied before this is behind it.
    pub async fn first(&mut self) {
        if self.is_ours() {
            self.write().await;
        }
        let seen = self.mark.seen().and_then(|seen| seen.borrow().clone());
        if let Some(seen) = seen {
            self.adopt(&seen);
        }
    }

    /// A shared one is the leader's to write.
    fn is_ours(&self) -> bool {
        !self.mark.is_shared() || self.is_leader()
    }

    /// Somebody else has gone on further with this very store, though this replica leads it.
    async fn is_outrun(&self, by: &Remembered) -> bool {
        let is_beyond = || by.reached > self.store.reached();
        // A deposed leader sees what the next one wrote: it cannot pass the barrier.
        is_beyond()
            && self.is_leader()
            && self.store.barrier().await.is_ok()
            && self.is_leader()
            && is_beyond()
    }

    fn is_leader(&self) -> bool {
        self.store.health().borrow().is_leader
    }

    /// `false`: it could not be written.
    async fn write(&mut self) -> bool {
        let Some(reached) = self.store.reached() else {
            return true;
        };
        let written = self.mark.remember(self.identity.store_id, reached);
        let written = match tokio::time::timeout(PATIENCE, written).await {
            Ok(written) => written,
            Err(_) => Err(VaultError::new(
                self.mark.place(),
                "was not written in time",
            )),
        };
        self.metrics.mark_in_order.set(i64::from(written.is_ok()));
        let was_stale = std::mem::replace(&mut self.is_stale, written.is_err());
        match written {
            Ok(remembered) => {
                self.written = Some(reached);
                if was_stale {
                    tracing::info!(
                        "how far the log has been is remembered outside of the data folder again"
                    );
                }
                self.adopt(&remembered);
                if self.is_outrun(&remembered).await {
                    self.outrun_by = Some(remembered);
                }
                true
            }
            Err(error) => {
                let advice = advice(self.mark.is_shared(), error.is_unfit);
                if !was_stale {
                    tracing::warn!(
                        %error,
                        "how far the log has been is not remembered outside of the data folder: a copy of that which is made from now on is not known for an older one. {advice}"
                    );
                }
                false
            }
        }
    }

    /// This replica has run all the time: an object that was made anew meanwhile is known to it.
    fn adopt(&self, remembered: &Remembered) {
        let Some(object) = &remembered.object else {
            return;
        };
        let file = SeenObject::of(&self.identity, &self.data_dir);
        let kept = file.load().and_then(|seen| {
            let is_new = seen.as_ref() != Some(object);
            if is_new {
                if let Some(before) = seen {
                    tracing::warn!(object, before, "the founding object was made anew: it is gone on with, since this replica ran meanwhile, or it was said that the volumes are those in use last");
                }
                file.save(object)?;
            }
            Ok(())
        });
        if let Err(error) = kept {
            tracing::warn!(%error, "which founding object is there is not kept in the data folder: the next start will refuse it");
        }
    }

    /// Keeps it until told to stop, when nothing is served any more, and then writes how far the log has come.
    ///
    /// # Errors
    /// Another process goes on with a copy of the data folder.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Failure> {
        let mut changes = self.store.changes();
        let mut health = self.store.health();
        let mut seen = self.mark.seen();
        let mut led = self.is_ours();
        // The first one may be there since before this replica led.
        let mut is_due = led && self.written.is_none();
        let mut next = Instant::now();
        loop {
            if let Some(by) = &self.outrun_by {
                return Err(outrun(&self.mark.place(), by));
            }
            tokio::select! {
                () = stop.cancelled() => break,
                change = changes.recv() => match change {
                    Ok(change) => is_due |= counts(&change),
                    Err(RecvError::Lagged(_)) => is_due = true,
                    Err(RecvError::Closed) => break,
                },
                changed = health.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let leads = self.is_ours();
                    if leads && !std::mem::replace(&mut led, leads) {
                        (is_due, next) = (true, Instant::now());
                    }
                    led = leads;
                },
                now = look(&mut seen) => {
                    let Some(now) = now else {
                        // The write says what is there instead, until this store's is there again.
                        is_due |= led;
                        continue;
                    };
                    self.adopt(&now);
                    if self.is_outrun(&now).await {
                        self.outrun_by = Some(now);
                        continue;
                    }
                    if led && now.reached < self.written {
                        is_due = true;
                    }
                },
                () = tokio::time::sleep_until(next), if is_due && led => {
                    is_due = !self.write().await;
                    next = Instant::now() + EVERY;
                },
            }
        }
        if self.is_ours() && self.store.reached() > self.written {
            self.write().await;
        }
        Ok(())
    }
}

fn outrun(place: &str, by: &Remembered) -> Failure {
    let reached = by.reached.map(|reached| reached.to_string());
    failed(format_args!(
        "another process goes on with a copy of this data folder: {place} says that the store has reached {} (term.node id.index), which this replica, its leader, has not. \
         Each takes for unused what the other has admitted by: stop both. Of the folder that has the admissions that count, make a new store, in which every unused token has ended (`jointoken store recover`), and delete the other",
        reached.unwrap_or_default()
    ))
}

/// A record or a key has changed.
fn counts(change: &Change) -> bool {
    change.is_everything() || !change.transitions.is_empty() || change.house.is_some()
}

/// What to do about a mark that cannot be written; its error says what is wrong there.
const fn advice(is_shared: bool, is_unfit: bool) -> &'static str {
    match (is_shared, is_unfit) {
        (true, true) => {
            "Put this store's founding ConfigMap back: the error that minting has stopped says how"
        }
        (true, false) => {
            "The operator has to have the right to update the founding ConfigMap: see deploy/rbac.yaml"
        }
        (false, _) => {
            "It is the file `reached` in keysDir, which this process has to be able to write"
        }
    }
}

/// What is seen of it next; `None`: it is gone. Never, if nobody else writes it.
async fn look(seen: &mut Option<watch::Receiver<Option<Remembered>>>) -> Option<Remembered> {
    if let Some(seen) = seen
        && seen.changed().await.is_ok()
    {
        return seen.borrow_and_update().clone();
    }
    std::future::pending().await
}
