//! A claim on a token, given back by whoever holds it when its request ends badly.

use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::lifecycle::command::{Begin, Failure, Revert};
use crate::lifecycle::outcome::BeginOutcome;
use crate::store::{StoreError, submit};

use super::{DoorError, OpenDoor};

/// Asks the store for the token. The claim that comes with a grant is given back when it is
/// dropped: when the caller goes away, time runs out, or something panics.
///
/// The store is asked in a task of its own: a caller who goes away while the store decides
/// leaves a grant that nobody takes, and it is given back as well.
pub(super) async fn begin(
    open: &Arc<OpenDoor>,
    begin: Begin,
) -> Result<(BeginOutcome, Claim), DoorError> {
    let (sender, receiver) = oneshot::channel();
    let task_open = Arc::clone(open);
    open.tasks.spawn(async move {
        let open = task_open;
        let (token_id, holder) = (begin.token_id, begin.holder);
        let begun = submit(&*open.door.store, begin).await.map(|outcome| {
            let revert = match &outcome {
                BeginOutcome::Granted { attempt, .. } => Some(Revert {
                    token_id,
                    attempt: *attempt,
                    holder,
                    failure: Failure::Interrupted,
                }),
                _ => None,
            };
            (outcome, Claim { open, revert })
        });
        // Not taken, it is dropped here.
        let _untaken = sender.send(begun);
    });
    Ok(receiver.await.map_err(|_| DoorError::Internal)??)
}

/// What [`begin`] granted, if it did.
pub(super) struct Claim {
    open: Arc<OpenDoor>,
    /// What gives it back, while it is held.
    revert: Option<Revert>,
}

impl Claim {
    /// The claim is used up, or it is not known whether it is: nothing is to be given back.
    pub(super) fn settle(mut self) {
        self.revert = None;
    }

    /// Gives the claim back because of `failure`, and waits until that is done.
    pub(super) async fn give_back(mut self, failure: Failure) {
        if let Some(revert) = self.revert.take() {
            // In a task, so that it is carried through even if the caller goes away now.
            let _ = self.spawn(Revert { failure, ..revert }).await;
        }
    }

    fn spawn(&self, revert: Revert) -> JoinHandle<()> {
        let open = Arc::clone(&self.open);
        self.open.tasks.spawn(async move {
            let attempt = || submit(&*open.door.store, revert.clone());
            let backoff = ExponentialBuilder::default()
                .with_min_delay(Duration::from_millis(100))
                .with_max_times(5);
            let reverted = attempt
                .retry(backoff)
                .when(|error| *error != StoreError::Stopped)
                .await;
            if let Err(error) = reverted {
                let token_id = revert.token_id;
                tracing::warn!(%token_id, %error, "a claim could not be given back; it lapses by itself");
            }
        })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(revert) = self.revert.take() {
            self.spawn(revert);
        }
    }
}
