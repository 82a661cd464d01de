//! The StatefulSet of this replica's pod, of which only the number of replicas is of interest.

use std::convert::Infallible;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};

use crate::controller::api_error::told_of_watch;

/// One StatefulSet, by its name: no other is ever asked for.
#[derive(Debug, Clone)]
pub(super) struct StatefulSetOfOurs {
    api: Api<StatefulSet>,
    name: String,
}

impl StatefulSetOfOurs {
    pub(super) fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// How many replicas are wanted now; `None`: there is no such StatefulSet, or it is being deleted.
    pub(super) async fn wanted(&self) -> kube::Result<Option<usize>> {
        let found = self.api.get_opt(&self.name).await?;
        Ok(found.as_ref().and_then(wanted))
    }

    /// Tells each number that is seen, for ever.
    pub(super) async fn follow(&self, tell: impl Fn(Option<usize>)) -> Infallible {
        loop {
            let seen = watcher::watch_object(self.api.clone(), &self.name).default_backoff();
            let mut seen = std::pin::pin!(seen);
            while let Some(seen) = seen.next().await {
                match seen {
                    Ok(seen) => tell(seen.as_ref().and_then(wanted)),
                    Err(error) => {
                        tracing::warn!(
                            error = told_of_watch(&error),
                            stateful_set = self.name,
                            "the watch on the StatefulSet failed; it is tried again"
                        );
                    }
                }
            }
        }
    }
}

fn wanted(stateful_set: &StatefulSet) -> Option<usize> {
    let is_deleted = stateful_set.metadata.deletion_timestamp.is_some();
    let replicas = stateful_set.spec.replicas.unwrap_or(1);
    usize::try_from(replicas).ok().filter(|_| !is_deleted)
}
