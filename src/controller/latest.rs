//! The copies of resources that this controller has written itself, until its watch has caught up with them.
//!
//! The store tells of a claim and of the admission that follows within milliseconds: the watch's copy is then the one from before
//! the first status was written, and a write that rests on it is refused.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::ResourceExt;
use tokio::time::Instant;

use crate::api::JoinToken;

use super::view::version_of;

/// A watch that is later than this is broken, and then everything is read anew.
const LIFE: Duration = Duration::from_secs(30);
/// From so many on, those whose time is over are looked for.
const MANY: usize = 256;

/// Remembers what the API server answered to the last write of each resource.
#[derive(Debug, Default)]
pub(super) struct Latest(Mutex<HashMap<String, (JoinToken, Instant)>>);

impl Latest {
    /// The API server's answer to a write.
    pub fn note(&self, resource: &JoinToken) {
        let Some(uid) = resource.uid() else {
            return;
        };
        let mut copies = self.copies();
        if copies.len() >= MANY {
            copies.retain(|_, (_, at)| at.elapsed() < LIFE);
        }
        copies.insert(uid, (resource.clone(), Instant::now()));
    }

    /// The watch's copy, or a later one.
    pub fn or(&self, watched: &JoinToken) -> JoinToken {
        let uid = watched.uid().unwrap_or_default();
        let mut copies = self.copies();
        if let Some((latest, at)) = copies.get(&uid) {
            if at.elapsed() < LIFE && is_later(latest, watched) {
                return latest.clone();
            }
            copies.remove(&uid);
        }
        watched.clone()
    }

    fn copies(&self) -> MutexGuard<'_, HashMap<String, (JoinToken, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_later(one: &JoinToken, than: &JoinToken) -> bool {
    let versions = version_of(one).zip(version_of(than));
    versions.is_some_and(|(one, than)| one > than)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::JoinTokenSpec;

    fn copy(uid: &str, version: &str) -> JoinToken {
        let mut copy = JoinToken::new("n1", JoinTokenSpec::default());
        copy.metadata.uid = Some(uid.to_owned());
        copy.metadata.resource_version = Some(version.to_owned());
        copy
    }

    #[tokio::test(start_paused = true)]
    async fn the_later_copy_of_the_same_resource_counts_and_for_a_while() {
        let latest = Latest::default();
        let or = |watched: &JoinToken| latest.or(watched).resource_version().unwrap();
        latest.note(&copy("a", "12"));
        // As numbers, and of this resource alone.
        assert_eq!(or(&copy("a", "9")), "12");
        assert_eq!(or(&copy("b", "9")), "9");
        assert_eq!(or(&copy("a", "13")), "13");
        assert_eq!(or(&copy("a", "9")), "9", "the watch had caught up");
        latest.note(&copy("a", "12"));
        assert_eq!(or(&copy("a", "x")), "x");
        latest.note(&copy("a", "x"));
        assert_eq!(or(&copy("a", "9")), "9");
        latest.note(&copy("a", "12"));
        tokio::time::advance(LIFE).await;
        assert_eq!(or(&copy("a", "9")), "9");
        for uid in 0..MANY {
            latest.note(&copy(&uid.to_string(), "1"));
        }
        tokio::time::advance(LIFE).await;
        latest.note(&copy("a", "1"));
        assert_eq!(latest.copies().len(), 1);
    }
}
