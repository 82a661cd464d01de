//! The requests on one connection, from the client's side.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::store::CallError;

use super::frame::Frame;
use super::limits::PeerLimits;
use super::outbox::{Outbox, Refused};

/// What a call ends with.
pub(super) type Answer = Result<Vec<u8>, CallError>;

/// The requests on one connection: what waits to be written, and who waits for an answer. There may be requests before the
/// connection is made.
pub(super) struct Calls {
    outbox: Outbox,
    waiting: Mutex<Waiting>,
    most: usize,
}

#[derive(Default)]
struct Waiting {
    answers: HashMap<u64, oneshot::Sender<Answer>>,
    last_id: u64,
}

impl Calls {
    pub(super) fn new(limits: &PeerLimits) -> Self {
        Self {
            outbox: Outbox::new(limits),
            waiting: Mutex::default(),
            most: limits.waiting,
        }
    }

    /// What the writer writes.
    pub(super) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Puts a request behind the others; the future waits for its answer.
    ///
    /// # Errors
    /// When too much waits already, or the connection has ended.
    pub(super) fn begin(
        self: &Arc<Self>,
        request: Vec<u8>,
    ) -> Result<impl Future<Output = Answer> + Send + use<>, CallError> {
        let not_sent = |why: &str| CallError::NotSent(why.to_owned());
        let (sender, answer) = oneshot::channel();
        let mut waiting = self.lock();
        if waiting.answers.len() >= self.most {
            return Err(not_sent("too many requests wait for its answers"));
        }
        waiting.last_id += 1;
        let id = waiting.last_id;
        // Under the lock: either the end of the connection finds both, or there is nothing to find.
        let frame = Frame {
            id,
            payload: request,
        };
        self.outbox
            .try_push(frame)
            .map_err(|refused| match refused {
                Refused::Full => not_sent("too much waits to be sent to it"),
                Refused::Closed => not_sent("the connection has just ended"),
            })?;
        waiting.answers.insert(id, sender);
        drop(waiting);
        let forget = Forget {
            calls: Arc::clone(self),
            id,
        };
        Ok(async move {
            let answer = answer.await;
            drop(forget);
            // Nobody drops a sender without a word.
            answer.unwrap_or_else(|_| Err(CallError::NoAnswer("it was forgotten".to_owned())))
        })
    }

    /// An answer has come. Perhaps nobody waits for it any more.
    pub(super) fn answered(&self, id: u64, answer: Vec<u8>) {
        let waiting = self.lock().answers.remove(&id);
        if let Some(waiting) = waiting {
            let _ = waiting.send(Ok(answer));
        }
    }

    /// The connection has ended, or was never made: no request is taken any more, and all are told what became of theirs.
    pub(super) fn end(&self, why: &str) {
        let unsent: HashSet<u64> = self.outbox.close_and_drain().into_iter().collect();
        let answers = std::mem::take(&mut self.lock().answers);
        for (id, waiting) in answers {
            let why = why.to_owned();
            let _ = waiting.send(Err(match unsent.contains(&id) {
                true => CallError::NotSent(why),
                false => CallError::NoAnswer(why),
            }));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets who waited, if he waits no longer.
struct Forget {
    calls: Arc<Calls>,
    id: u64,
}

impl Drop for Forget {
    fn drop(&mut self) {
        self.calls.lock().answers.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn calls(waiting: usize, waiting_bytes: usize) -> Arc<Calls> {
        Arc::new(Calls::new(&PeerLimits {
            waiting,
            waiting_bytes,
            ..PeerLimits::default()
        }))
    }

    fn error(began: Result<impl Future<Output = Answer>, CallError>) -> String {
        match began {
            Ok(_) => panic!("it was taken"),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn at_the_end_each_is_told_whether_his_was_sent() {
        let calls = calls(9, 900);
        let first = calls.begin(vec![1]).unwrap();
        let second = calls.begin(vec![2]).unwrap();
        let taken = calls.outbox().take().await.unwrap();
        assert_eq!(
            taken
                .iter()
                .map(|f| (f.id, f.payload[0]))
                .collect::<Vec<_>>(),
            [(1, 1), (2, 2)]
        );
        let third = calls.begin(vec![3]).unwrap();
        calls.answered(2, vec![22]);
        calls.end("cut");
        assert_eq!(first.await, Err(CallError::NoAnswer("cut".to_owned())));
        assert_eq!(second.await, Ok(vec![22]));
        assert_eq!(third.await, Err(CallError::NotSent("cut".to_owned())));
        assert!(error(calls.begin(vec![4])).contains("has just ended"));
        assert!(calls.outbox().take().await.is_none());
    }

    #[tokio::test]
    async fn who_waits_no_longer_is_forgotten_but_his_request_is_sent() {
        let calls = calls(1, 900);
        drop(calls.begin(vec![1]).unwrap());
        assert!(calls.lock().answers.is_empty());
        assert_eq!(calls.outbox().take().await.unwrap().len(), 1);
        let next = calls.begin(vec![2]).unwrap();
        assert!(error(calls.begin(vec![3])).contains("too many requests"));
        calls.answered(1, vec![]);
        calls.answered(2, vec![9]);
        assert_eq!(next.await, Ok(vec![9]));
        assert!(calls.lock().answers.is_empty());
    }

    #[tokio::test]
    async fn bytes_count_until_they_are_written() {
        let calls = calls(9, 100);
        // However long it is, one is taken.
        let _long = calls.begin(vec![0; 1_000]).unwrap();
        assert!(error(calls.begin(vec![0])).contains("too much waits"));
        let taken = calls.outbox().take().await.unwrap();
        assert!(error(calls.begin(vec![0])).contains("too much waits"));
        calls
            .outbox()
            .written(taken.iter().map(super::super::outbox::size).sum());
        let _fits = calls.begin(vec![0; 50]).unwrap();
        assert!(error(calls.begin(vec![0; 50])).contains("too much waits"));
        // What was refused left nothing behind.
        assert_eq!(calls.lock().answers.len(), 2);
        assert!(
            calls
                .outbox()
                .push(Frame {
                    id: 0,
                    payload: vec![]
                })
                .now_or_never()
                .is_some()
        );
        assert!(
            calls
                .outbox()
                .push(Frame {
                    id: 0,
                    payload: vec![0; 99]
                })
                .now_or_never()
                .is_none()
        );
    }
}
