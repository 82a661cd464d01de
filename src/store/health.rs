//! What a replica knows of itself, told to everybody who watches.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use openraft::alias::WatchReceiverOf;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::Fatal;
use openraft::{AsyncRuntime, RaftMetrics, ServerState};
use tokio::sync::watch;

use super::token_store::Health;
use super::types::{LogId, TypeConfig};

/// Why a store has stopped whose openraft has ended without saying why. It ends so where what it knows and what it is told cannot
/// both be true.
const BROKEN: &str = "openraft has ended by itself: perhaps what this replica knows to be committed and what its group says cannot both be true, \
    as when the data folder of one of them was set back to an older copy. Keep this folder, and find out which replica it is before any is started again";

type Metrics<Rt> = RaftMetrics<TypeConfig<Rt>>;

/// Turns openraft's metrics into health, until openraft has stopped.
pub(crate) async fn follow<Rt: AsyncRuntime>(
    mut metrics: WatchReceiverOf<TypeConfig<Rt>, Metrics<Rt>>,
    health: watch::Sender<Health>,
    stopping: Arc<AtomicBool>,
) {
    loop {
        let now = of(&metrics.borrow_and_update());
        publish(&health, now);
        if metrics.changed().await.is_err() {
            break;
        }
    }
    let mut last = of(&metrics.borrow_watched());
    last.is_leader = false;
    last.leader_known = false;
    if !stopping.load(Ordering::SeqCst) {
        // A panic in openraft ends its task and says nothing.
        let unasked = || BROKEN.to_owned();
        last.fatal.get_or_insert_with(unasked);
    }
    publish(&health, last);
}

fn publish(health: &watch::Sender<Health>, now: Health) {
    health.send_if_modified(|health| {
        let changed = *health != now;
        if let Some(fatal) = now.fatal.as_ref().filter(|_| health.fatal.is_none()) {
            tracing::error!(fatal, "the store has stopped");
        }
        // Whoever has stopped has stopped for good, and leads nobody, whatever openraft still believes; what the group said of us
        // stands until it says otherwise.
        let fatal = health.fatal.take().or(now.fatal);
        *health = Health {
            is_leader: now.is_leader && fatal.is_none(),
            fatal,
            suspended: health.suspended,
            cut_off: health.cut_off,
            stalled: health.stalled,
            incomplete: health.incomplete,
            newcomer: health.newcomer,
            ..now
        };
        changed
    });
}

fn of<Rt: AsyncRuntime>(metrics: &Metrics<Rt>) -> Health {
    let index = |id: &Option<LogId>| id.map_or(0, |id| id.index);
    let fatal = match &metrics.running_state {
        Ok(()) | Err(Fatal::Stopped) => None,
        Err(fatal) => Some(root_cause(fatal)),
    };
    let running = metrics.running_state.is_ok();
    // The first entry of a leader's term is a blank one of its own.
    let caught_up = metrics
        .last_applied
        .is_some_and(|applied| applied.leader_id == metrics.vote.leader_id);
    Health {
        is_leader: running && metrics.state == ServerState::Leader && caught_up,
        leader_known: running && metrics.current_leader.is_some(),
        applied_index: index(&metrics.last_applied),
        committed_index: index(&metrics.cluster_committed).max(index(&metrics.last_applied)),
        suspended: false,
        cut_off: false,
        stalled: false,
        incomplete: false,
        newcomer: false,
        fatal,
    }
}

/// What went wrong in the end, without openraft's words for where.
pub(super) fn root_cause(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => root_cause(source),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that was removed may hear of no other leader any more.
    #[test]
    fn whoever_has_stopped_does_not_come_to_lead_again() {
        let leads = || Health {
            is_leader: true,
            leader_known: true,
            ..Health::default()
        };
        let health = watch::Sender::new(leads());
        publish(&health, leads());
        assert!(health.borrow().is_leader);
        health.send_modify(|health| health.fatal = Some("removed".into()));
        publish(&health, leads());
        let health = health.borrow();
        assert_eq!(health.fatal.as_deref(), Some("removed"));
        assert!(!health.is_leader);
    }
}
