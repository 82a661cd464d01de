//! What a replica does by itself: snapshots; and while it leads, putting its limits in force and
//! sweeping what time has made due.

use std::sync::Arc;
use std::time::Duration;

use openraft::AsyncRuntime;

use crate::lifecycle::command::Sweep;
use crate::lifecycle::outcome::{ConfigureOutcome, SweepOutcome};
use crate::lifecycle::{Operation, Settings, Typed};

use super::inner::Inner;
use super::token_store::StoreError;

/// How often it looks for something to do. A clock can be set, so it is never waited for long.
const LOOK: Duration = Duration::from_millis(200);

/// After so many looks the mark of the audit is kept: every three seconds.
const KEEP_MARK: u32 = 15;

/// So many records in one sweep: more would hold up the log.
const SWEEP: u32 = 256;

/// The duties of one replica.
pub(crate) struct Duties {
    /// Of the log, at the last snapshot.
    bytes_at_snapshot: u64,
    /// The mark of the audit as it is in the folder.
    kept_mark: u64,
    /// How often it was looked for something to do.
    looks: u32,
    /// In which minute since the machine was started it was last said that the store's clock is ahead.
    said_ahead: Option<u64>,
    /// What the state refused to be configured with: not to be proposed again and again.
    refused: Option<Settings>,
}

impl Duties {
    pub(crate) const fn new() -> Self {
        Self {
            bytes_at_snapshot: 0,
            kept_mark: 0,
            looks: 0,
            said_ahead: None,
            refused: None,
        }
    }

    /// Does what there is to do, over and over, until told to stop.
    pub(crate) async fn run<Rt: AsyncRuntime>(mut self, store: &Arc<Inner<Rt>>) {
        while !store.is_stopping() {
            self.snapshot(store).await;
            self.looks = self.looks.wrapping_add(1);
            if self.looks.is_multiple_of(KEEP_MARK) {
                if store.leads() {
                    store.finalize_if_settled().await;
                }
                self.keep_mark(store).await;
                self.say_ahead(store);
            }
            let leads = store.leads();
            if leads && let Err(error) = self.lead(store).await {
                tracing::debug!(%error, "a leader's duty has to wait");
            }
            Rt::sleep(LOOK).await;
        }
        self.keep_mark(store).await;
    }

    /// So that the next process need not tell again what is written down. Never more than that:
    /// if it fails, more is told.
    async fn keep_mark<Rt: AsyncRuntime>(&mut self, store: &Arc<Inner<Rt>>) {
        let Some(mark) = store.audited().filter(|mark| *mark > self.kept_mark) else {
            return;
        };
        match store.keep_audit_mark(mark).await {
            Ok(()) => self.kept_mark = mark,
            Err(error) => tracing::warn!(%error, "how far the audit has come is not kept"),
        }
    }

    fn say_ahead<Rt: AsyncRuntime>(&mut self, store: &Inner<Rt>) {
        let Some(ahead_ms) = store.ahead_ms() else {
            self.said_ahead = None;
            return;
        };
        let minute = Some(store.clocks().readings().boot_ms / 60_000);
        if std::mem::replace(&mut self.said_ahead, minute) != minute {
            tracing::warn!(
                ahead_seconds = ahead_ms / 1000,
                "the store's clock is ahead, as the machine's was that led: nothing is registered or claimed until time has caught up. \
                 If that takes too long: stop all replicas, `jointoken store recover --reset-clock`"
            );
        }
    }

    async fn snapshot<Rt: AsyncRuntime>(&mut self, store: &Inner<Rt>) {
        let written = store.log_gauge().bytes_written();
        let grown = written.saturating_sub(self.bytes_at_snapshot);
        let limit = store.config().snapshot_after_bytes;
        if grown > limit.max(store.last_image_bytes()) && store.request_snapshot().await {
            self.bytes_at_snapshot = written;
        }
    }

    async fn lead<Rt: AsyncRuntime>(&mut self, store: &Inner<Rt>) -> Result<(), StoreError> {
        let (founded, differ, wanted) = {
            let state = store.live().read();
            let wanted = store.config().settings.clone();
            let wanted = wanted.by_rules(state.rules_version());
            (
                state.founded().is_some(),
                *state.settings() != wanted,
                wanted,
            )
        };
        if founded
            && differ
            && self.refused.as_ref() != Some(&wanted)
            && let ConfigureOutcome::Refused(_) = submit(store, wanted.clone()).await?
        {
            tracing::error!("the configured limits make no sense together; those before stay");
            self.refused = Some(wanted);
        }
        while store.is_sweep_due() {
            let SweepOutcome { more, .. } = submit(store, Sweep { limit: SWEEP }).await?;
            if !more {
                break;
            }
        }
        Ok(())
    }
}

pub(super) async fn submit<Rt: AsyncRuntime, O: Typed>(
    store: &Inner<Rt>,
    operation: O,
) -> Result<O::Outcome, StoreError>
where
    Operation: From<O>,
{
    let committed = store.propose(operation.into()).await?;
    O::outcome(committed.outcome).ok_or(StoreError::Stopped)
}
