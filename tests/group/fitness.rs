//! Who is heard of is not well for that: while pulses arrive and the log does not, nobody calls that well.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, pending};
use jointoken::lifecycle::command::Sweep;
use jointoken::store::{
    CallError, PeerAddress, RaftStore, TokenStore as _, Transport, entries_sent, submit,
};

use crate::group::{Group, runtime};
use crate::in_process;

const PATIENCE: Duration = Duration::from_secs(60);

/// What is lost on the way to which addresses.
#[derive(Default)]
struct Lost {
    /// All of the log, with its heartbeats.
    log: BTreeSet<PeerAddress>,
    /// Only what has entries in it.
    entries: BTreeSet<PeerAddress>,
}

struct Lossy {
    inner: Arc<dyn Transport>,
    lost: Arc<Mutex<Lost>>,
}

impl Transport for Lossy {
    fn call(
        &self,
        to: &PeerAddress,
        request: Vec<u8>,
    ) -> BoxFuture<'static, Result<Vec<u8>, CallError>> {
        let lost = self.lost.lock().unwrap();
        let is_lost = entries_sent(&request).is_some_and(|entries| {
            lost.log.contains(to) || (entries > 0 && lost.entries.contains(to))
        });
        match is_lost {
            true => pending().boxed(),
            false => self.inner.call(to, request),
        }
    }
}

struct Replicas {
    stores: Vec<RaftStore>,
    addresses: Vec<PeerAddress>,
    lost: Arc<Mutex<Lost>>,
}

impl Replicas {
    async fn open(group: &Group) -> Self {
        let lost = Arc::<Mutex<Lost>>::default();
        let stores = in_process::open(group, &[0, 1, 2], |config| {
            let place = config.group.as_mut().expect("a group");
            place.transport = Arc::new(Lossy {
                inner: place.transport.clone(),
                lost: lost.clone(),
            });
        });
        Self {
            stores: stores.await,
            addresses: (0..3)
                .map(|of| PeerAddress::new(&group.peer_address(of)))
                .collect(),
            lost,
        }
    }

    fn is_ready(&self, of: usize) -> bool {
        self.stores[of].health().borrow().is_ready()
    }

    fn leader(&self) -> Option<usize> {
        (0..3).find(|of| self.stores[*of].health().borrow().is_leader)
    }

    /// The asked one counts the other among those that are well.
    fn counts(&self, asked: usize, other: usize) -> bool {
        let members = self.stores[asked].members().members;
        let node = self.stores[other].identity().node_id;
        let mut it = members.iter().filter(|member| member.node_id == node);
        it.any(|member| member.counts())
    }

    fn are_well(&self) -> bool {
        let pairs = (0..9).map(|pair| (pair / 3, pair % 3));
        self.leader().is_some()
            && (0..3).all(|of| self.is_ready(of))
            && pairs.into_iter().all(|(asked, of)| self.counts(asked, of))
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let waits = async {
            while !is_so(self) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let came = tokio::time::timeout(PATIENCE, waits).await;
        let seen = || {
            self.stores
                .iter()
                .map(|it| (it.members(), it.health().borrow().clone()))
        };
        assert!(came.is_ok(), "{what}: {:#?}", seen().collect::<Vec<_>>());
    }
}

#[test]
fn who_is_heard_of_and_gets_no_log_is_not_well() {
    let mut group = Group::of_three();
    group.terminate_all();
    runtime().block_on(async {
        let replicas = Replicas::open(&group).await;
        replicas.until("all are well", Replicas::are_well).await;

        // One is sent no log, in a group that has nothing to say: only heartbeats are missing.
        let leader = replicas.leader().expect("a leader");
        let (cut, other) = ((leader + 1) % 3, (leader + 2) % 3);
        let all = replicas.addresses.clone();
        replicas.lost.lock().unwrap().log.insert(all[cut].clone());
        replicas
            .until("nobody calls it well", |all| {
                !all.is_ready(cut)
                    && !all.counts(cut, cut)
                    && !all.counts(leader, cut)
                    && !all.counts(other, cut)
            })
            .await;
        assert!(replicas.is_ready(leader) && replicas.is_ready(other));
        assert!(replicas.counts(leader, other) && replicas.counts(other, leader));
        submit(&replicas.stores[other], Sweep { limit: 1 })
            .await
            .expect("a majority");

        // Nobody is sent any.
        replicas.lost.lock().unwrap().log.extend(all);
        replicas
            .until("nobody is ready", |all| {
                (0..3).all(|of| !all.is_ready(of) && !all.counts(of, of))
            })
            .await;
        replicas.lost.lock().unwrap().log.clear();
        replicas.until("all are well", Replicas::are_well).await;

        // Heartbeats come, and entries do not: what is proposed stays where it is.
        let leader = replicas.leader().expect("a leader");
        let all = replicas.addresses.clone();
        replicas.lost.lock().unwrap().entries.extend(all);
        let store = replicas.stores[leader].clone();
        let proposed = tokio::spawn(async move { submit(&store, Sweep { limit: 1 }).await });
        replicas
            .until("the leader is neither ready nor well", |all| {
                !all.is_ready(leader) && !all.counts(leader, leader)
            })
            .await;
        replicas.lost.lock().unwrap().entries.clear();
        replicas.until("all are well", Replicas::are_well).await;
        let _ = proposed.await;
        for store in &replicas.stores {
            store.shutdown().await;
        }
    });
}
