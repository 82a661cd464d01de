//! A network in one thread: what is sent may be late, lost, doubled and overtaken; links are cut one way or both.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, future};
use jointoken::store::{CallError, PeerAddress, PeerService, Transport};
use openraft::AsyncRuntime as _;
use openraft_rt_sim::SimInstant;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::oneshot;

use crate::sim_runtime::Sim;

/// All clones are the same network.
#[derive(Clone)]
pub struct SimNet(Arc<Mutex<State>>);

/// Sees every request and its answer as they arrive.
pub trait Wire: Send {
    fn answered(&mut self, by: &PeerAddress, request: &[u8], answer: &[u8]);
}

struct State {
    rng: SmallRng,
    /// Who is there, and the how manieth process at that address it is.
    there: BTreeMap<PeerAddress, (u64, Arc<dyn PeerService>)>,
    /// From whom to whom nothing goes.
    cut: BTreeSet<(PeerAddress, PeerAddress)>,
    longest_delay: Duration,
    /// Of a thousand messages so many are lost, and so many come twice.
    lost: u32,
    doubled: u32,
    doubled_ever: bool,
    /// Messages keep their order, as on a connection; else each is late by itself.
    in_order: bool,
    last_arrival: BTreeMap<(PeerAddress, PeerAddress), Duration>,
    wire: Option<Box<dyn Wire>>,
}

/// One process' way into the network.
#[derive(Clone)]
pub struct Port {
    net: SimNet,
    address: PeerAddress,
    process: u64,
}

impl SimNet {
    pub fn new(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let state = State {
            there: BTreeMap::new(),
            cut: BTreeSet::new(),
            longest_delay: Duration::from_micros([300, 2_000, 20_000][rng.random_range(0..3)]),
            lost: [0, 0, 10][rng.random_range(0..3)],
            doubled: [0, 20][rng.random_range(0..2)],
            doubled_ever: false,
            in_order: rng.random_bool(0.5),
            last_arrival: BTreeMap::new(),
            wire: None,
            rng,
        };
        let doubled_ever = state.doubled > 0;
        let state = State {
            doubled_ever,
            ..state
        };
        Self(Arc::new(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Shows everything to somebody who judges it.
    pub fn watch(&self, wire: Box<dyn Wire>) {
        self.state().wire = Some(wire);
    }

    /// A new process at this address; what was there is gone.
    pub fn port(&self, address: &PeerAddress, process: u64) -> Port {
        self.state().there.remove(address);
        Port {
            net: self.clone(),
            address: address.clone(),
            process,
        }
    }

    /// From now on nobody is there.
    pub fn remove(&self, address: &PeerAddress) {
        self.state().there.remove(address);
    }

    pub fn cut(&self, from: &PeerAddress, to: &PeerAddress) {
        self.state().cut.insert((from.clone(), to.clone()));
    }

    /// Nothing goes from or to this address any more.
    pub fn isolate(&self, address: &PeerAddress, others: &[PeerAddress]) {
        for other in others.iter().filter(|other| *other != address) {
            self.cut(address, other);
            self.cut(other, address);
        }
    }

    /// A request may have arrived twice.
    pub fn doubled_ever(&self) -> bool {
        self.state().doubled_ever
    }

    pub fn heal(&self) {
        self.state().cut.clear();
    }

    /// Nothing is lost or doubled any more, and little is late.
    pub fn calm(&self) {
        let mut state = self.state();
        state.cut.clear();
        (state.lost, state.doubled) = (0, 0);
        state.longest_delay = Duration::from_micros(300);
    }
}

impl State {
    /// How long the next message takes; `None`: for ever.
    fn delay(&mut self, from: &PeerAddress, to: &PeerAddress) -> Option<Duration> {
        let link = (from.clone(), to.clone());
        if self.cut.contains(&link) || self.rng.random_range(0..1_000) < self.lost {
            return None;
        }
        let longest = self.longest_delay.as_micros() as u64;
        let mut delay = Duration::from_micros(self.rng.random_range(20..=longest));
        if self.in_order {
            let now = now();
            let last = self.last_arrival.get(&link).copied().unwrap_or_default();
            let arrival = (now + delay).max(last + Duration::from_nanos(1));
            delay = arrival - now;
            self.last_arrival.insert(link, arrival);
        }
        Some(delay)
    }
}

/// Since the beginning of the simulation.
pub fn now() -> Duration {
    SimInstant::try_now().map_or(Duration::ZERO, SimInstant::elapsed_since_start)
}

impl Port {
    /// Whoever asks at this address is answered by this.
    pub fn serve(&self, service: Arc<dyn PeerService>) {
        let mut state = self.net.state();
        state
            .there
            .insert(self.address.clone(), (self.process, service));
    }

    /// The process is still the one at its address.
    fn is_alive(&self, state: &State) -> bool {
        let there = state.there.get(&self.address);
        there.is_some_and(|(process, _)| *process == self.process)
    }
}

impl Transport for Port {
    fn call(
        &self,
        to: &PeerAddress,
        request: Vec<u8>,
    ) -> BoxFuture<'static, Result<Vec<u8>, CallError>> {
        let (copies, refused) = {
            let mut state = self.net.state();
            let refused = !state.there.contains_key(to);
            let doubled = state.rng.random_range(0..1_000) < state.doubled;
            (1 + u32::from(doubled), refused)
        };
        if refused {
            let nobody = CallError::NotSent("nobody listens there".into());
            return async { Err(nobody) }.boxed();
        }
        let (sender, receiver) = oneshot::channel();
        let mut sender = Some(sender);
        for _ in 0..copies {
            let (port, to, request) = (self.clone(), to.clone(), request.clone());
            let sender = sender.take();
            let Some(delay) = self.net.state().delay(&self.address, &to) else {
                // Lost: whoever waits gives up by himself.
                std::mem::forget(sender);
                continue;
            };
            let delivery = async move {
                Sim::sleep(delay).await;
                let there = {
                    let state = port.net.state();
                    let there = state.there.get(&to).cloned();
                    there.filter(|_| port.is_alive(&state))
                };
                let Some((process, service)) = there else {
                    return;
                };
                let answer = service.answer(&port.address, request.clone()).await;
                let delay = {
                    let mut state = port.net.state();
                    if state.there.get(&to).is_none_or(|(now, _)| *now != process) {
                        // Who would answer is dead, and the connection with it.
                        return;
                    }
                    if let Some(wire) = &mut state.wire {
                        wire.answered(&to, &request, &answer);
                    }
                    state.delay(&to, &port.address)
                };
                match delay {
                    Some(delay) => Sim::sleep(delay).await,
                    None => future::pending().await,
                }
                if let Some(sender) = sender {
                    let _ = sender.send(answer);
                }
            };
            drop(Sim::spawn(delivery));
        }
        async move {
            let lost = |_| CallError::NoAnswer("the connection broke".into());
            receiver.await.map_err(lost)
        }
        .boxed()
    }
}
