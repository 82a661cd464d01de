//! What became of what this replica had the leader propose.
//!
//! The leader answers with the entry that was committed; what it came to is taken from this replica's own applying of
//! that entry. So no outcome goes over the wire, and who was answered sees its own change here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::store::token_store::Committed;
use crate::store::types::LogId;

/// So many outcomes are kept for those who have not been answered by the leader yet. Whoever comes later is told that it
/// is not known, and asks again.
const KEPT: usize = 16_384;

/// So many proposals are with the leader at once; further ones wait here. What a peer answers late must not keep it
/// from reading what else it is sent, votes among it.
const AT_ONCE: usize = 512;

/// Forwarded proposals and the outcomes that wait for them.
pub(crate) struct Forwards {
    state: Mutex<State>,
    places: Arc<Semaphore>,
}

impl Default for Forwards {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

#[derive(Default)]
struct State {
    /// Proposals that are forwarded at the moment. While there are none nothing is kept.
    under_way: usize,
    applied: u64,
    kept: BTreeMap<u64, (LogId, Committed)>,
    waiting: BTreeMap<u64, Vec<(LogId, oneshot::Sender<Committed>)>>,
}

/// A proposal is being forwarded, until this is dropped.
pub(crate) struct UnderWay {
    forwards: Arc<Forwards>,
    /// `None`, if there are no places any more: nobody closes them.
    _place: Option<OwnedSemaphorePermit>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.forwards.lock();
        state.under_way -= 1;
        if state.under_way == 0 {
            state.kept.clear();
            state.waiting.clear();
        }
    }
}

impl Forwards {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called before the proposal is sent: from here on what is applied is kept.
    pub(crate) async fn begin(self: Arc<Self>) -> UnderWay {
        let place = self.places.clone().acquire_owned().await.ok();
        self.lock().under_way += 1;
        UnderWay {
            forwards: self,
            _place: place,
        }
    }

    /// An entry was applied here, and nobody here has proposed it to openraft.
    pub(crate) fn applied(&self, id: LogId, committed: Option<&Committed>) {
        let mut state = self.lock();
        state.applied = id.index;
        if state.under_way == 0 {
            return;
        }
        let waiting = state.waiting.remove(&id.index).unwrap_or_default();
        let Some(committed) = committed else {
            return;
        };
        for (of, sender) in waiting {
            if of == id {
                let _ = sender.send(committed.clone());
            }
        }
        state.kept.insert(id.index, (id, committed.clone()));
        if state.kept.len() > KEPT {
            state.kept.pop_first();
        }
    }

    /// The state was replaced by one as of this index: what entries up to there came to is not known here.
    pub(crate) fn replaced(&self, index: u64) {
        let mut state = self.lock();
        state.applied = state.applied.max(index);
        state.waiting.retain(|at, _| *at > index);
    }

    /// What the entry came to, once it is applied here; `None`: that will not be known.
    pub(crate) async fn outcome(&self, _under_way: &UnderWay, id: LogId) -> Option<Committed> {
        let applied = {
            let mut state = self.lock();
            if let Some((kept, committed)) = state.kept.get(&id.index) {
                return (*kept == id).then(|| committed.clone());
            }
            if state.applied >= id.index {
                return None;
            }
            let (sender, receiver) = oneshot::channel();
            let waiting = state.waiting.entry(id.index).or_default();
            waiting.push((id, sender));
            receiver
        };
        applied.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::lifecycle::Outcome;
    use crate::lifecycle::outcome::FoundedOutcome;
    use crate::store::types::LeaderId;

    fn id(term: u64, index: u64) -> LogId {
        let leader_id = LeaderId { term, node_id: 1 };
        LogId::new(leader_id, index)
    }

    fn committed(index: u64) -> Committed {
        Committed {
            index,
            now_ms: index,
            outcome: Outcome::Founded(FoundedOutcome::Known),
        }
    }

    #[test]
    fn an_outcome_is_found_whether_it_comes_before_or_after_the_answer() {
        let forwards = Arc::new(Forwards::default());
        let under_way = forwards.clone().begin().now_or_never().unwrap();
        forwards.applied(id(1, 5), Some(&committed(5)));
        let early = forwards.outcome(&under_way, id(1, 5)).now_or_never();
        assert_eq!(early, Some(Some(committed(5))));
        let mut late = Box::pin(forwards.outcome(&under_way, id(1, 6)));
        assert_eq!((&mut late).now_or_never(), None);
        forwards.applied(id(1, 6), Some(&committed(6)));
        assert_eq!(late.now_or_never(), Some(Some(committed(6))));
    }

    #[test]
    fn what_is_not_known_is_said_to_be_so() {
        let forwards = Arc::new(Forwards::default());
        let under_way = forwards.clone().begin().now_or_never().unwrap();
        // Another leader's entry is at that place.
        forwards.applied(id(2, 5), Some(&committed(5)));
        assert_eq!(
            forwards.outcome(&under_way, id(1, 5)).now_or_never(),
            Some(None)
        );
        let mut other = Box::pin(forwards.outcome(&under_way, id(1, 6)));
        assert_eq!((&mut other).now_or_never(), None);
        forwards.applied(id(2, 6), Some(&committed(6)));
        assert_eq!(other.now_or_never(), Some(None));
        // A snapshot came in between.
        let mut skipped = Box::pin(forwards.outcome(&under_way, id(2, 8)));
        assert_eq!((&mut skipped).now_or_never(), None);
        forwards.replaced(9);
        assert_eq!(skipped.now_or_never(), Some(None));
        assert_eq!(
            forwards.outcome(&under_way, id(2, 9)).now_or_never(),
            Some(None)
        );
    }

    #[test]
    fn nothing_is_kept_for_nobody() {
        let forwards = Arc::new(Forwards::default());
        forwards.applied(id(1, 1), Some(&committed(1)));
        assert!(forwards.lock().kept.is_empty());
        drop(forwards.clone().begin().now_or_never());
        let under_way = forwards.clone().begin().now_or_never().unwrap();
        for index in 2..KEPT as u64 + 10 {
            forwards.applied(id(1, index), Some(&committed(index)));
        }
        assert_eq!(forwards.lock().kept.len(), KEPT);
        drop(under_way);
        assert!(forwards.lock().kept.is_empty());
    }
}
