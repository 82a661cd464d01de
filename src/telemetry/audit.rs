//! The audit: one line for each change of a record, written from the log as it is applied.
//!
//! Every replica writes what it applies, so a line may come more than once: (`index`, `position`) is
//! the same each time and names the change for ever. Refusals at the door change no record; they
//! are written before the reply, without an index.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use futures::future::{Either, select};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, mpsc};
use tracing::dispatcher;

use crate::bootstrap::Refused;
use crate::lifecycle::outcome::Cause;
use crate::lifecycle::{Phase, Reason, Transition};
use crate::store::Change;

/// The target of audit lines in the log.
pub const TARGET: &str = "audit";

/// How many changes may wait to be written, beyond what the feed itself holds: a burst of joins is
/// applied faster than a log is written.
const WAITING: usize = 65_536;

/// Writes what `changes` tells until `shutdown` is over or the store has gone.
///
/// Subscribe before the store starts to apply: what was applied before is not told again.
pub async fn follow(
    changes: broadcast::Receiver<Arc<Change>>,
    shutdown: impl Future<Output = ()> + Send,
) {
    let (waiting, mut told) = mpsc::channel(WAITING);
    // On a thread of its own: standard error may block, and whoever reads the feed must not.
    let log = dispatcher::get_default(Clone::clone);
    let writer = tokio::task::spawn_blocking(move || {
        dispatcher::with_default(&log, || {
            while let Some(entry) = told.blocking_recv() {
                match entry {
                    Told::Change(change) => write(&change),
                    Told::Gap(missed) => gap(missed),
                }
            }
        });
    });
    collect(changes, waiting, shutdown).await;
    // Panics of the writer have been reported, and there is nobody to go on for.
    let _ = writer.await;
}

/// What the feed told.
enum Told {
    Change(Arc<Change>),
    /// So many changes were lost.
    Gap(u64),
}

async fn collect(
    mut changes: broadcast::Receiver<Arc<Change>>,
    waiting: mpsc::Sender<Told>,
    shutdown: impl Future<Output = ()> + Send,
) {
    let mut shutdown = pin!(shutdown);
    loop {
        let told = match select(pin!(changes.recv()), &mut shutdown).await {
            Either::Left((Ok(change), _)) => Told::Change(change),
            Either::Left((Err(RecvError::Lagged(missed)), _)) => Told::Gap(missed),
            Either::Left((Err(RecvError::Closed), _)) => return,
            Either::Right(_) => break,
        };
        if waiting.send(told).await.is_err() {
            return;
        }
    }
    // What was applied before the end is told: receiving does not wait here.
    loop {
        let told = match changes.try_recv() {
            Ok(change) => Told::Change(change),
            Err(TryRecvError::Lagged(missed)) => Told::Gap(missed),
            Err(TryRecvError::Empty | TryRecvError::Closed) => return,
        };
        if waiting.send(told).await.is_err() {
            return;
        }
    }
}

/// Writes down that the door refused somebody. It changed no record, so it has no index.
pub(super) fn refused(refusal: &Refused) {
    tracing::warn!(
        target: TARGET,
        route = refusal.route.as_str(),
        code = %refusal.code,
        class = refusal.class.as_str(),
        address = %refusal.address,
        joiner = refusal.joiner.map(tracing::field::display),
        token_id = refusal.token_id.map(tracing::field::display),
        "refused"
    );
}

fn gap(missed: u64) {
    tracing::warn!(
        target: TARGET,
        missed,
        "changes came faster than they could be written down; another replica has them, or the log"
    );
}

fn write(change: &Change) {
    for line in lines(change) {
        line.write();
    }
}

/// What one entry of the log did, a line for each record it changed.
fn lines(change: &Change) -> impl Iterator<Item = Line<'_>> {
    change
        .transitions
        .iter()
        .enumerate()
        .map(|(position, transition)| Line {
            index: change.index,
            position,
            now_ms: change.now_ms,
            transition,
        })
}

struct Line<'a> {
    index: u64,
    /// Which of the entry's changes it is.
    position: usize,
    now_ms: u64,
    transition: &'a Transition,
}

impl Line<'_> {
    fn write(&self) {
        let issuance = self.transition.issuance.as_ref();
        let (action, reason) = describe(self.transition.cause);
        tracing::info!(
            target: TARGET,
            index = self.index,
            position = self.position,
            at = %time(self.now_ms),
            token_id = %self.transition.token_id,
            namespace = issuance.map(|issuance| issuance.namespace.as_str()),
            name = issuance.map(|issuance| issuance.name.as_str()),
            from = self.transition.from.map(phase),
            to = self.transition.to.map(phase),
            action,
            reason = reason.map(Reason::as_str),
            joiner = self.transition.joiner.map(tracing::field::display),
            address = self.transition.address.map(tracing::field::display),
            "token"
        );
    }
}

/// RFC 3339, or the plain number if it is beyond what a calendar holds.
fn time(ms: u64) -> String {
    i64::try_from(ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| ms.to_string(), |time| time.to_string())
}

const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Issued => "issued",
        Phase::InFlight => "in_flight",
        Phase::Consumed => "consumed",
        Phase::Expired => "expired",
        Phase::Aborted => "aborted",
    }
}

const fn describe(cause: Cause) -> (&'static str, Option<Reason>) {
    match cause {
        Cause::Registered => ("registered", None),
        Cause::Claimed => ("claimed", None),
        Cause::ClaimRenewed => ("claim_renewed", None),
        Cause::Admitted => ("admitted", None),
        Cause::Acknowledged => ("acknowledged", None),
        Cause::Reverted => ("reverted", None),
        Cause::ClaimLapsed => ("claim_lapsed", None),
        Cause::Expired => ("expired", None),
        Cause::Aborted(reason) => ("aborted", Some(reason)),
        Cause::Barred(reason) => ("barred", Some(reason)),
        Cause::Contested => ("contested", None),
        Cause::RedeliveryEnded => ("redelivery_ended", None),
        Cause::Forgotten => ("forgotten", None),
    }
}

#[cfg(test)]
mod tests;
