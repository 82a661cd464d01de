//! The audit: one line for each change of a record or of the store as a whole, written from the log as it is applied.
//!
//! Every replica writes what it applies, and after a crash what it may not have come to write: so a
//! line may come more than once, and none is missing. (`index`, `position`) is the same each time and
//! names the change for ever. Refusals at the door change no record: they have no index, are handed to the log before the
//! reply and may be lost, as any other line.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::{Either, select};
use tokio::sync::mpsc;
use tracing::dispatcher;

use crate::bootstrap::Refused;
use crate::lifecycle::outcome::Cause;
use crate::lifecycle::{HouseChange, Phase, Reason, Transition};
use crate::store::{AuditTrail, Change};

use super::standard_error::insist;

/// The target of audit lines in the log.
pub const TARGET: &str = "audit";

/// How many changes may wait between whoever collects them and the thread that writes. When it is
/// full the store waits: a change that nobody was told of is worse than a slow one.
const WAITING: usize = 1_024;

/// Writes what the trail tells until `shutdown` is over or the store has gone.
///
/// What cannot be written is waited for; what still cannot be written at the end is told by the next process. To be
/// started before the store is opened: what an earlier process did not come to write is told while it opens.
pub async fn follow(mut trail: AuditTrail, shutdown: impl Future<Output = ()> + Send) {
    let (waiting, mut told) = mpsc::channel::<Arc<Change>>(WAITING);
    let mark = trail.mark();
    let end = End::default();
    let is_ending = Arc::clone(&end.0);
    // On a thread of its own: it waits until each line is written, and the runtime's threads must not.
    let log = dispatcher::get_default(Clone::clone);
    let writer = tokio::task::spawn_blocking(move || {
        let give_up = || is_ending.load(Ordering::SeqCst);
        dispatcher::with_default(&log, || {
            while let Some(change) = told.blocking_recv() {
                if !write(&change, &give_up) {
                    return;
                }
                mark.written(change.index);
            }
        });
    });
    collect(&mut trail, waiting, shutdown, &end).await;
    // Panics of the writer have been reported, and there is nobody to go on for.
    let _ = writer.await;
}

/// Has the writer give up what cannot be written, once it is over or dropped.
#[derive(Default)]
struct End(Arc<AtomicBool>);

impl End {
    fn has_come(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.has_come();
    }
}

async fn collect(
    trail: &mut AuditTrail,
    waiting: mpsc::Sender<Arc<Change>>,
    shutdown: impl Future<Output = ()> + Send,
    end: &End,
) {
    let mut shutdown = pin!(shutdown);
    while let Either::Left((Some(change), _)) = select(pin!(trail.next()), &mut shutdown).await {
        let handed_over = match select(pin!(waiting.send(change)), &mut shutdown).await {
            Either::Left((handed_over, _)) => handed_over,
            // The writer may be waiting for a disk with room: it gives up now, or goes on.
            Either::Right(((), sending)) => {
                end.has_come();
                sending.await
            }
        };
        if handed_over.is_err() {
            return;
        }
        if end.0.load(Ordering::SeqCst) {
            break;
        }
    }
    end.has_come();
    // What was applied before the end is told: receiving does not wait here.
    while let Some(change) = trail.try_next() {
        if waiting.send(change).await.is_err() {
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

/// Whether all of it was written before there was reason to give up.
fn write(change: &Change, give_up: &impl Fn() -> bool) -> bool {
    let are_written = lines(change).all(|line| insist(|| line.write(), give_up));
    let mut house = change.house.iter();
    are_written && house.all(|house| insist(|| write_house(change, house), give_up))
}

/// What concerns the store as a whole: the last line of its entry.
fn write_house(change: &Change, house: &HouseChange) {
    let (action, key, issuance) = match house {
        HouseChange::Restored {
            store_id,
            epoch,
            from,
        } => {
            tracing::warn!(
                target: TARGET,
                index = change.index,
                position = change.transitions.len(),
                at = %time(change.now_ms),
                action = "restored",
                store_id = %store_id,
                epoch,
                former_store_id = %from.former_store_id,
                former_epoch = from.former_epoch,
                ended_tokens = from.ended,
                "store"
            );
            return;
        }
        HouseChange::Founded => ("founded", None, None),
        HouseChange::KeyAdopted { key_id, purpose } => {
            ("key_adopted", Some((key_id, purpose)), None)
        }
        HouseChange::RulesRaised { .. } => ("rules_raised", None, None),
        HouseChange::Configured => ("configured", None, None),
        HouseChange::NameForgotten(issuance) => ("name_forgotten", None, Some(issuance)),
    };
    tracing::info!(
        target: TARGET,
        index = change.index,
        position = change.transitions.len(),
        at = %time(change.now_ms),
        action,
        key_id = key.map(|(key_id, _)| tracing::field::display(key_id)),
        purpose = key.map(|(_, purpose)| purpose.as_str()),
        namespace = issuance.map(|issuance| issuance.namespace.as_str()),
        name = issuance.map(|issuance| issuance.name.as_str()),
        "store"
    );
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
