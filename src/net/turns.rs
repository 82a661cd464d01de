//! Turns at computing handshakes: few at a time, address by address. Who opens many connections
//! waits for himself, not others for him.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

/// Turns, so many at a time.
pub(crate) struct Turns(Mutex<Queue>);

struct Queue {
    free: usize,
    /// Of each site, those who wait. None is empty.
    waiting: HashMap<IpAddr, VecDeque<oneshot::Sender<Turn>>>,
    /// The sites that wait, the next one first.
    sites: VecDeque<IpAddr>,
}

/// Somebody's turn, until it is dropped.
struct Turn(Option<Arc<Turns>>);

enum Entering {
    Now(Option<Turn>),
    Waiting(oneshot::Receiver<Turn>),
}

/// What is told of the work of [`Turns::run`].
pub(crate) trait Worker {
    /// It has to wait for its turn.
    fn waits(&self);
    /// It has had its turn, and goes on when the other end has said more.
    fn has_had_its_turn(&self);
}

impl Turns {
    pub(crate) fn new(at_a_time: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Queue {
            free: at_a_time.max(1),
            waiting: HashMap::new(),
            sites: VecDeque::new(),
        })))
    }

    /// Does `work`, for which each poll is a turn: while it waits for the other end it takes none.
    pub(crate) async fn run<F: Future>(
        self: &Arc<Self>,
        site: IpAddr,
        worker: &impl Worker,
        work: F,
    ) -> F::Output {
        let mut work = pin!(work);
        let mut entering = None;
        poll_fn(|context| {
            let turn = {
                let entering = entering.get_or_insert_with(|| self.enter(site, worker));
                ready!(Pin::new(entering).poll(context))
            };
            entering = None;
            let done = work.as_mut().poll(context);
            drop(turn);
            if done.is_pending() {
                worker.has_had_its_turn();
            }
            done
        })
        .await
    }

    fn enter(self: &Arc<Self>, site: IpAddr, worker: &impl Worker) -> Entering {
        let mut queue = self.lock();
        if queue.free > 0 {
            queue.free -= 1;
            return Entering::Now(Some(Turn(Some(Arc::clone(self)))));
        }
        let (sender, receiver) = oneshot::channel();
        let queue = &mut *queue;
        match queue.waiting.entry(site) {
            Entry::Occupied(mut line) => line.get_mut().push_back(sender),
            Entry::Vacant(line) => {
                line.insert(VecDeque::from([sender]));
                queue.sites.push_back(site);
            }
        }
        worker.waits();
        Entering::Waiting(receiver)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Of the next site the next one. If there is nobody, the turn is free.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        while let Some(site) = self.sites.pop_front() {
            let Entry::Occupied(mut line) = self.waiting.entry(site) else {
                continue;
            };
            // Who has gone costs his site no turn.
            while line.get().front().is_some_and(oneshot::Sender::is_closed) {
                line.get_mut().pop_front();
            }
            let next = line.get_mut().pop_front();
            if line.get().is_empty() {
                line.remove();
            } else {
                self.sites.push_back(site);
            }
            if next.is_some() {
                return next;
            }
        }
        self.free += 1;
        None
    }
}

impl Future for Entering {
    type Output = Option<Turn>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Turn>> {
        match &mut *self {
            Self::Now(turn) => Poll::Ready(turn.take()),
            // It ends without a turn only if there are no turns any more.
            Self::Waiting(receiver) => Pin::new(receiver).poll(context).map(Result::ok),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(turns) = self.0.take() else {
            return;
        };
        loop {
            let Some(next) = turns.lock().next() else {
                return;
            };
            match next.send(Turn(Some(Arc::clone(&turns)))) {
                Ok(()) => return,
                // He has gone: another's turn.
                Err(mut unwanted) => unwanted.0 = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Notify;
    use tokio::task::yield_now;

    use super::*;

    struct Nobody;

    impl Worker for Nobody {
        fn waits(&self) {}
        fn has_had_its_turn(&self) {}
    }

    fn site(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    /// Takes the only turn; the work of these sites waits for it. Their order is told.
    async fn order(sites: &[u8], gone: &[usize]) -> Vec<u8> {
        let turns = Turns::new(1);
        let first = turns.enter(site(0), &Nobody);
        let done = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for &last in sites {
            let (turns, done) = (Arc::clone(&turns), Arc::clone(&done));
            tasks.push(tokio::spawn(async move {
                let work = async { done.lock().unwrap().push(last) };
                turns.run(site(last), &Nobody, work).await;
            }));
            yield_now().await;
        }
        assert!(done.lock().unwrap().is_empty());
        for &gone in gone {
            tasks[gone].abort();
        }
        yield_now().await;
        drop(first);
        for task in tasks {
            let _ = task.await;
        }
        let queue = turns.lock();
        assert_eq!(queue.free, 1);
        assert!(queue.waiting.is_empty() && queue.sites.is_empty());
        drop(queue);
        Arc::into_inner(done).unwrap().into_inner().unwrap()
    }

    #[tokio::test]
    async fn a_crowd_of_one_address_waits_for_itself() {
        assert_eq!(order(&[1, 1, 1, 1, 2, 3], &[]).await, [1, 2, 3, 1, 1, 1]);
    }

    #[tokio::test]
    async fn who_has_gone_takes_no_turn() {
        assert_eq!(order(&[1, 1, 2, 3], &[0, 2]).await, [1, 3]);
        assert_eq!(order(&[1, 2], &[0, 1]).await, [] as [u8; 0]);
    }

    #[tokio::test]
    async fn who_waits_for_the_other_end_takes_no_turn() {
        let turns = Turns::new(1);
        let said = Arc::new(Notify::new());
        let waiting = {
            let (turns, said) = (Arc::clone(&turns), Arc::clone(&said));
            tokio::spawn(async move { turns.run(site(1), &Nobody, said.notified()).await })
        };
        yield_now().await;
        turns.run(site(2), &Nobody, async {}).await;
        said.notify_one();
        waiting.await.unwrap();
        assert_eq!(turns.lock().free, 1);
    }
}
