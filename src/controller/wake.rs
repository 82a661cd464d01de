//! Who wakes the controller: the store's feed of changes, taking leadership, and keys that vanish or come back.
//!
//! The feed is a hint. When it overflows, and whenever this replica starts to lead, every resource
//! is looked at again.

use std::future;
use std::sync::Arc;

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use kube::runtime::reflector::ObjectRef;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};

use crate::lifecycle::{HouseChange, Issuance};
use crate::store::{Change, Health};

use super::seen::Seen;

/// What one watch is woken by.
pub(super) struct Wakes {
    pub one: UnboundedReceiver<ObjectRef<Seen>>,
    pub all: UnboundedReceiver<()>,
}

/// One watch: the namespace it is limited to, if any.
struct Sleeper {
    namespace: Option<String>,
    one: UnboundedSender<ObjectRef<Seen>>,
    all: UnboundedSender<()>,
}

/// Hands wakes on to the watches.
#[derive(Default)]
pub(super) struct Waker(Vec<Sleeper>);

impl Waker {
    /// Adds a watch of one namespace, or of all.
    pub fn add(&mut self, namespace: Option<String>) -> Wakes {
        let (one, one_receiver) = unbounded();
        let (all, all_receiver) = unbounded();
        self.0.push(Sleeper {
            namespace,
            one,
            all,
        });
        Wakes {
            one: one_receiver,
            all: all_receiver,
        }
    }

    /// Wakes until the store has gone.
    pub async fn run(
        self,
        mut changes: broadcast::Receiver<Arc<Change>>,
        mut health: watch::Receiver<Health>,
        mut keys_in_order: watch::Receiver<bool>,
    ) {
        let mut led = health.borrow_and_update().is_leader;
        let mut were_in_order = *keys_in_order.borrow_and_update();
        loop {
            tokio::select! {
                change = changes.recv() => match change {
                    Ok(change) if change.is_everything() => {
                        tracing::debug!("the state was replaced: looking at every resource");
                        self.wake_all();
                    }
                    Ok(change) => {
                        for issuance in change.transitions.iter().filter_map(|t| t.issuance.as_ref()) {
                            self.wake(issuance);
                        }
                        if let Some(HouseChange::NameForgotten(issuance)) = &change.house {
                            self.wake(issuance);
                        }
                    }
                    Err(RecvError::Lagged(missed)) => {
                        tracing::debug!(missed, "the feed of changes overflowed: looking at every resource");
                        self.wake_all();
                    }
                    Err(RecvError::Closed) => return,
                },
                changed = health.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let leads = health.borrow_and_update().is_leader;
                    if leads && !led {
                        tracing::info!("this replica leads: looking at every resource");
                        self.wake_all();
                    }
                    led = leads;
                }
                in_order = next(&mut keys_in_order) => {
                    // A watch tells of every send, of an equal value as well.
                    if std::mem::replace(&mut were_in_order, in_order) != in_order {
                        self.wake_all();
                    }
                }
            }
        }
    }

    fn wake(&self, issuance: &Issuance) {
        let sleepers = self.0.iter().filter(|sleeper| {
            sleeper
                .namespace
                .as_ref()
                .is_none_or(|namespace| *namespace == issuance.namespace)
        });
        for sleeper in sleepers {
            let resource = ObjectRef::new(&issuance.name).within(&issuance.namespace);
            // A watch that has ended needs no waking.
            let _ = sleeper.one.unbounded_send(resource);
        }
    }

    fn wake_all(&self) {
        for sleeper in &self.0 {
            let _ = sleeper.all.unbounded_send(());
        }
    }
}

/// The next value that is sent; never, once nobody is left to send one.
async fn next(of: &mut watch::Receiver<bool>) -> bool {
    if of.changed().await.is_err() {
        future::pending().await
    }
    *of.borrow_and_update()
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;
    use crate::lifecycle::outcome::Cause;
    use crate::lifecycle::{Phase, Transition};
    use crate::token::TokenId;

    fn change(namespace: &str) -> Arc<Change> {
        Arc::new(Change {
            index: 1,
            now_ms: 1,
            transitions: vec![Transition {
                token_id: TokenId([1; 16]),
                issuance: Some(Issuance {
                    namespace: namespace.to_owned(),
                    name: "n1".to_owned(),
                }),
                from: Some(Phase::Issued),
                to: Some(Phase::InFlight),
                cause: Cause::Claimed,
                joiner: None,
                address: None,
            }],
            house: None,
        })
    }

    /// Of which nobody ever says that they changed.
    fn unwatched_keys() -> watch::Receiver<bool> {
        watch::Sender::new(true).subscribe()
    }

    /// What a watch of this namespace was woken by, once everybody has gone.
    fn woken(mut wakes: Wakes) -> (Vec<String>, usize) {
        let mut one = Vec::new();
        while let Ok(resource) = wakes.one.try_recv() {
            one.push(format!("{}/{}", resource.namespace.unwrap(), resource.name));
        }
        let mut all = 0;
        while wakes.all.try_recv().is_ok() {
            all += 1;
        }
        (one, all)
    }

    #[tokio::test]
    async fn a_change_wakes_the_watches_of_its_namespace() {
        let mut waker = Waker::default();
        let (edge, db, all) = (
            waker.add(Some("edge".to_owned())),
            waker.add(Some("db".to_owned())),
            waker.add(None),
        );
        let (feed, changes) = broadcast::channel(8);
        let (_health, health) = watch::channel(Health::default());
        feed.send(change("edge")).unwrap();
        drop(feed);
        waker.run(changes, health, unwatched_keys()).await;
        assert_eq!(woken(edge), (vec!["edge/n1".to_owned()], 0));
        assert_eq!(woken(db), (vec![], 0));
        assert_eq!(woken(all), (vec!["edge/n1".to_owned()], 0));
    }

    #[tokio::test]
    async fn a_name_that_was_forgotten_is_looked_at_again() {
        let mut waker = Waker::default();
        let all = waker.add(None);
        let (feed, changes) = broadcast::channel(8);
        let (_health, health) = watch::channel(Health::default());
        let forgotten = HouseChange::NameForgotten(Issuance {
            namespace: "edge".to_owned(),
            name: "n1".to_owned(),
        });
        feed.send(Arc::new(Change {
            index: 7,
            now_ms: 1,
            transitions: Vec::new(),
            house: Some(forgotten),
        }))
        .unwrap();
        drop(feed);
        waker.run(changes, health, unwatched_keys()).await;
        assert_eq!(woken(all), (vec!["edge/n1".to_owned()], 0));
    }

    #[tokio::test]
    async fn a_state_that_was_replaced_wakes_everybody() {
        let mut waker = Waker::default();
        let edge = waker.add(Some("edge".to_owned()));
        let (feed, changes) = broadcast::channel(8);
        let (_health, health) = watch::channel(Health::default());
        feed.send(Arc::new(Change {
            index: 7,
            now_ms: 1,
            transitions: Vec::new(),
            house: None,
        }))
        .unwrap();
        drop(feed);
        waker.run(changes, health, unwatched_keys()).await;
        assert_eq!(woken(edge), (vec![], 1));
    }

    #[tokio::test]
    async fn an_overflow_wakes_everybody() {
        let mut waker = Waker::default();
        let edge = waker.add(Some("edge".to_owned()));
        let (feed, changes) = broadcast::channel(1);
        let (_health, health) = watch::channel(Health::default());
        for _ in 0..3 {
            feed.send(change("other")).unwrap();
        }
        drop(feed);
        waker.run(changes, health, unwatched_keys()).await;
        assert_eq!(woken(edge), (vec![], 1));
    }

    #[tokio::test]
    async fn keys_that_vanish_or_come_back_wake_everybody() {
        let mut waker = Waker::default();
        let mut edge = waker.add(Some("edge".to_owned()));
        let (_feed, changes) = broadcast::channel(1);
        let (_health, health) = watch::channel(Health::default());
        let (keys, keys_in_order) = watch::channel(true);
        let running = tokio::spawn(waker.run(changes, health, keys_in_order));
        // It goes by what there is when it begins.
        tokio::task::yield_now().await;
        for in_order in [false, true] {
            keys.send(in_order).unwrap();
            assert!(edge.all.next().await.is_some());
        }
        running.abort();
    }

    #[tokio::test]
    async fn keys_that_are_as_they_were_wake_nobody_however_often_that_is_said() {
        let mut waker = Waker::default();
        let edge = waker.add(Some("edge".to_owned()));
        let (feed, changes) = broadcast::channel(8);
        let (_health, health) = watch::channel(Health::default());
        let (keys, keys_in_order) = watch::channel(true);
        let mut heard = edge.one;
        let running = tokio::spawn(waker.run(changes, health, keys_in_order));
        for _ in 0..50 {
            keys.send_replace(true);
            // The waker has seen what was sent before once it has handed this on.
            feed.send(change("edge")).unwrap();
            assert!(heard.next().await.is_some());
            tokio::task::yield_now().await;
        }
        drop(feed);
        running.await.unwrap();
        let (one, all) = woken(Wakes {
            one: heard,
            all: edge.all,
        });
        assert_eq!((one.len(), all), (0, 0));
    }
}
