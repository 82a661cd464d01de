//! Somebody else who keeps changing what the operator writes would have it write for ever: what is written again and
//! again without any change in the store is written ever more seldom.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::ResourceExt;
use tokio::time::Instant;

use crate::api::JoinToken;
use crate::lifecycle::Issuance;

use super::view::issuance_of;

/// So many looks may write something without any change in the store before the first pause.
const FREE: u32 = 5;
/// The first and the longest pause; it doubles with each look that writes.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Nothing was written for so long after a pause: it is forgotten.
const QUIET: Duration = Duration::from_secs(600);
/// How many resources are remembered before those are forgotten that nothing is remembered of.
const REMEMBERED: usize = 1_024;

/// What was written about each resource since the store last changed its token.
#[derive(Default)]
pub(super) struct Rewrites(Mutex<HashMap<Issuance, Written>>);

struct Written {
    uid: Option<String>,
    /// The log index that last changed the token.
    index: u64,
    generation: Option<i64>,
    looks: u32,
    last: Instant,
}

/// Nothing is written about a resource for this long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pause {
    pub remaining: Duration,
    /// What is asked for has changed since: the store may have to act on it.
    pub is_asked_anew: bool,
}

impl Written {
    fn pause(&self) -> Duration {
        match self.looks.checked_sub(FREE) {
            None => Duration::ZERO,
            Some(more) => (FIRST_PAUSE * (1 << more.min(8))).min(LONGEST_PAUSE),
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        now > self.last + self.pause() + QUIET
    }
}

impl Rewrites {
    fn rows(&self) -> MutexGuard<'_, HashMap<Issuance, Written>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pause that there is for a resource whose token the store changed last at `index`.
    pub fn pause(&self, resource: &JoinToken, index: u64) -> Option<Pause> {
        // Nobody keeps deleting the same resource.
        if resource.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let rows = self.rows();
        let written = rows.get(&issuance_of(resource))?;
        if written.index != index || written.uid != resource.uid() {
            return None;
        }
        let until = written.last + written.pause();
        let remaining = until.checked_duration_since(Instant::now())?;
        (!remaining.is_zero()).then_some(Pause {
            remaining,
            is_asked_anew: written.generation != resource.metadata.generation,
        })
    }

    /// A look at the resource writes something.
    pub fn note(&self, resource: &JoinToken, index: u64) {
        let now = Instant::now();
        let mut rows = self.rows();
        if rows.len() >= REMEMBERED && rows.len().is_power_of_two() {
            rows.retain(|_, written| !written.is_over(now));
        }
        let written = rows.entry(issuance_of(resource)).or_insert(Written {
            uid: resource.uid(),
            index,
            generation: None,
            looks: 0,
            last: now,
        });
        if written.index != index || written.uid != resource.uid() || written.is_over(now) {
            (written.index, written.uid, written.looks) = (index, resource.uid(), 0);
        }
        written.looks = written.looks.saturating_add(1);
        written.last = now;
        written.generation = resource.metadata.generation;
        if written.looks == FREE {
            tracing::warn!(
                namespace = resource.namespace(),
                name = resource.name_any(),
                times = written.looks,
                "what the operator writes about a JoinToken does not last, though nothing changes in the store: somebody else \
                 writes it too. From now on it is written ever more seldom, in the end every five minutes: find out who that is"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::JoinTokenSpec;

    fn resource() -> JoinToken {
        let mut resource = JoinToken::new("n1", JoinTokenSpec::default());
        resource.metadata.generation = Some(1);
        resource
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_written_again_and_again_is_written_ever_more_seldom() {
        let (rewrites, resource) = (Rewrites::default(), resource());
        let mut writes = 0;
        let hour = Instant::now() + Duration::from_secs(3_600);
        while Instant::now() < hour {
            match rewrites.pause(&resource, 7) {
                Some(pause) => tokio::time::advance(pause.remaining).await,
                None => {
                    rewrites.note(&resource, 7);
                    writes += 1;
                }
            }
        }
        // Five at once, five to get to the longest pause, then twelve an hour.
        assert!((15..=23).contains(&writes), "{writes}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_in_the_store_or_a_quiet_time_ends_the_pause() {
        let (rewrites, mut resource) = (Rewrites::default(), resource());
        for _ in 0..FREE {
            assert_eq!(rewrites.pause(&resource, 7), None);
            rewrites.note(&resource, 7);
        }
        let pause = rewrites.pause(&resource, 7).unwrap();
        assert_eq!((pause.remaining, pause.is_asked_anew), (FIRST_PAUSE, false));
        assert_eq!(rewrites.pause(&resource, 8), None);
        resource.metadata.generation = Some(2);
        assert!(rewrites.pause(&resource, 7).unwrap().is_asked_anew);
        tokio::time::advance(FIRST_PAUSE + QUIET + FIRST_PAUSE).await;
        rewrites.note(&resource, 7);
        assert_eq!(rewrites.pause(&resource, 7), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_gone_is_forgotten() {
        let (rewrites, mut resource) = (Rewrites::default(), resource());
        for number in 0..REMEMBERED {
            resource.metadata.name = Some(format!("n{number}"));
            rewrites.note(&resource, 7);
        }
        tokio::time::advance(QUIET + FIRST_PAUSE).await;
        resource.metadata.name = Some("one-more".to_owned());
        rewrites.note(&resource, 7);
        assert_eq!(rewrites.rows().len(), 1);
    }
}
