//! Whether a replica that is told to stop is to leave the group for good.

use std::time::Duration;

use tokio::sync::watch;

use super::places::Places;
use super::stateful_set::StatefulSetOfOurs;

/// How long the API server is waited for; then what was last seen counts.
const PATIENCE: Duration = Duration::from_secs(3);

/// Knows whether this replica is still wanted.
pub struct Leaving {
    pub(super) stateful_set: StatefulSetOfOurs,
    pub(super) places: Places,
    pub(super) wanted: watch::Receiver<Option<usize>>,
}

impl Leaving {
    /// Whether the StatefulSet has no place for this replica any more. Asked anew: the order to stop may come before the watch
    /// tells of the reason.
    pub async fn is_leaving(&self) -> bool {
        let wanted = match tokio::time::timeout(PATIENCE, self.stateful_set.wanted()).await {
            Ok(Ok(wanted)) => wanted,
            Ok(Err(_)) | Err(_) => *self.wanted.borrow(),
        };
        wanted.is_some_and(|wanted| self.places.is_leaving(wanted))
    }

    /// Returns when the replica is wanted again, or its StatefulSet is gone.
    pub async fn is_over(&mut self) {
        let places = &self.places;
        let stays = |wanted: &Option<usize>| !wanted.is_some_and(|of| places.is_leaving(of));
        // Until the watch has told of the number that made it leave, it says that it stays.
        let told = self.wanted.wait_for(|wanted| !stays(wanted)).await.is_ok();
        if !told || self.wanted.wait_for(stays).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
