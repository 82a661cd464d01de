//! Follows the StatefulSet's number of replicas: whom to let in on every replica, and on the leader whom to remove.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;

use super::leaving::Leaving;
use super::places::{Next, Places};
use super::stateful_set::StatefulSetOfOurs;
use crate::controller::api_error::told;
use crate::store::{Members, PeerAddress, RaftStore, Role};
use crate::telemetry::metrics::ControllerMetrics;

/// How often the leader looks whether somebody is to be removed.
const LOOK: Duration = Duration::from_secs(1);

/// The group's size, as Kubernetes is told it.
///
/// Every replica watches, so that a new leader knows at once whom to let in, and the founder whom to wait for.
pub struct Scaling {
    stateful_set: StatefulSetOfOurs,
    places: Places,
    /// As last seen; `None`: not yet, or it is gone.
    wanted: watch::Sender<Option<usize>>,
    list: watch::Sender<BTreeSet<PeerAddress>>,
}

impl Scaling {
    /// Looks at the StatefulSet of this name for the first time.
    ///
    /// # Errors
    /// When the API server does not say whether there is one.
    pub async fn begin(
        client: Client,
        namespace: &str,
        name: &str,
        places: Places,
    ) -> kube::Result<Self> {
        let scaling = Self {
            stateful_set: StatefulSetOfOurs::new(client, namespace, name),
            wanted: watch::Sender::new(None),
            list: watch::Sender::new(places.own()),
            places,
        };
        let wanted = scaling.stateful_set.wanted().await?;
        if wanted.is_none() {
            tracing::warn!(
                stateful_set = name,
                namespace,
                "there is no such StatefulSet, or it is being deleted: nobody is let into the group until there is"
            );
        }
        scaling.take(wanted);
        Ok(scaling)
    }

    /// Where replicas should be, as of now.
    pub fn list(&self) -> watch::Receiver<BTreeSet<PeerAddress>> {
        self.list.subscribe()
    }

    /// For a replica that is told to stop.
    pub fn leaving(&self) -> Leaving {
        Leaving {
            stateful_set: self.stateful_set.clone(),
            places: self.places.clone(),
            wanted: self.wanted.subscribe(),
        }
    }

    /// Keeps the list up to date, for ever.
    pub async fn follow(&self) -> Infallible {
        self.stateful_set.follow(|wanted| self.take(wanted)).await
    }

    /// Keeps the list up to date, and removes members while this replica leads. Has no end of its own.
    pub async fn run(self, store: RaftStore, metrics: ControllerMetrics) {
        tokio::join!(self.follow(), self.remove(&store), self.show(&metrics));
    }

    fn take(&self, wanted: Option<usize>) {
        let is_new = self
            .wanted
            .send_if_modified(|now| std::mem::replace(now, wanted) != wanted);
        // Where the number is not known, or all are stopped, whoever was to be let in still is.
        let Some(wanted) = wanted.filter(|_| is_new) else {
            return;
        };
        let size = self.places.group_size(wanted);
        if let Some(list) = self.places.list(wanted) {
            self.list.send_if_modified(|now| {
                let is_new = *now != list;
                *now = list;
                is_new
            });
        }
        match size == wanted {
            true => tracing::info!(
                replicas = wanted,
                "the StatefulSet has another number of replicas"
            ),
            false => tracing::warn!(
                replicas = wanted,
                group = size,
                "of the StatefulSet's replicas only so many are let into the group: its number has to be odd, an even one loses its majority sooner than one less, and --peers has to name them. The others wait and are not ready"
            ),
        }
    }

    async fn show(&self, metrics: &ControllerMetrics) {
        let mut wanted = self.wanted.subscribe();
        loop {
            let now = wanted.borrow_and_update().unwrap_or(0);
            metrics.scaled(now, self.places.group_size(now));
            if wanted.changed().await.is_err() {
                return;
            }
        }
    }

    /// While this replica leads: removes who has no pod any more, one after the other.
    async fn remove(&self, store: &RaftStore) {
        let mut has_said = false;
        loop {
            tokio::time::sleep(LOOK).await;
            let members = store.members();
            let wanted = *self.wanted.borrow();
            let next = wanted.filter(|_| leads(&members));
            let next = next.map_or(Next::Nobody, |of| self.places.next(of, &members));
            match next {
                Next::Nobody => has_said = false,
                Next::Remove(node) => self.remove_one(store, node).await,
                Next::Wait if !std::mem::replace(&mut has_said, true) => tracing::warn!(
                    replicas = wanted,
                    "members that have no pod any more are not removed: of those that would be left no majority is there"
                ),
                Next::Wait => {}
            }
        }
    }

    /// There is no way back, so it is asked once more how many are wanted.
    async fn remove_one(&self, store: &RaftStore, node: u64) {
        match self.stateful_set.wanted().await {
            Ok(Some(wanted)) => {
                if self.places.next(wanted, &store.members()) != Next::Remove(node) {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(
                    error = told(&error),
                    stateful_set = self.stateful_set.name(),
                    "the StatefulSet cannot be read: nobody is removed from the group"
                );
                return;
            }
        }
        tracing::info!(
            node = format!("{node:016x}"),
            "its ordinal is beyond the StatefulSet's replicas: it is removed from the group"
        );
        if let Err(error) = store.remove_members(BTreeSet::from([node]), false).await {
            tracing::warn!(%error, "a member could not be removed from the group; it is tried again");
        }
    }
}

fn leads(members: &Members) -> bool {
    let mut own = members.members.iter().filter(|member| member.is_asked);
    own.any(|member| member.role == Role::Leader)
}
