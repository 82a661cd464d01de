//! Every status that is written during a test, whoever writes it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use jointoken::api::JoinToken;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use tokio::task::JoinHandle;

use crate::place::Place;

/// Looks at every status that is written, from when it is made until it is asked.
pub struct Statuses {
    seen: Arc<Mutex<SeenStatuses>>,
    watching: JoinHandle<()>,
}

#[derive(Default)]
struct SeenStatuses {
    /// Of each resource, by its uid, the last place in the store that its status told of: epoch and index.
    last: BTreeMap<String, (u64, u64)>,
    /// Whatever told of an earlier one than before.
    back: Vec<String>,
}

impl Statuses {
    pub fn watch(place: &Place) -> Self {
        let seen: Arc<Mutex<SeenStatuses>> = Arc::default();
        let resources: Api<JoinToken> = place.resources();
        let writing = Arc::clone(&seen);
        let watching = tokio::spawn(async move {
            let changes = watcher(resources, watcher::Config::default()).applied_objects();
            let mut changes = std::pin::pin!(changes);
            while let Some(Ok(resource)) = changes.next().await {
                let status = resource.status.clone().unwrap_or_default();
                let now = (
                    status.store_epoch.unwrap_or(0),
                    status.store_index.unwrap_or(0),
                );
                let mut seen = writing.lock().unwrap();
                let before = seen
                    .last
                    .insert(resource.uid().unwrap_or_default(), now)
                    .unwrap_or_default();
                if now < before {
                    let name = resource.name_any();
                    seen.back.push(format!("{name}: {before:?}, then {now:?}"));
                }
            }
        });
        Self { seen, watching }
    }

    /// No status ever went back, of at least so many resources.
    #[track_caller]
    pub fn never_went_back(self, least: usize) {
        self.watching.abort();
        let seen = self.seen.lock().unwrap();
        assert!(seen.last.len() >= least, "{:?}", seen.last);
        assert_eq!(seen.back, Vec::<String>::new());
    }
}
