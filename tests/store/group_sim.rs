//! Whole groups of replicas in one thread, each from a seed: while clients join with tokens the replicas are killed,
//! lose power, are cut off and have wrong clocks. Afterwards nothing that was acknowledged may be missing, nobody may
//! be in twice, and all replicas must have the same state.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{Either, select};
use jointoken::clock::Clock;
use jointoken::lifecycle::command::{Abort, Consume, Failure, Revert};
use jointoken::lifecycle::outcome::{AbortOutcome, BeginOutcome, ConsumeOutcome};
use jointoken::lifecycle::{Phase, Reason, State};
use jointoken::store::{
    GroupConfig, Identity, PeerAddress, RaftStore, StoreConfig, StoreError, TokenStore as _,
    identity, submit,
};
use openraft::AsyncRuntime as _;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::watch;

use crate::sim_disk::SimDisk;
use crate::sim_net::{SimNet, now};
use crate::sim_runtime::Sim;
use crate::support::{HOUR_MS, IDENTITY, T, begin, complete_founding, config, joiner, leaf, token};

/// How many groups. One alone: `JOINTOKEN_SEED=17 cargo test --test store group_sim`.
const SEEDS: u64 = 100;
/// No group lives longer, in its own time; one that does waits for what never comes.
const LONGEST: Duration = Duration::from_secs(600);
/// So few tokens and joiners that they get into each other's way.
const TOKENS: u64 = 16;
const JOINERS: u64 = 3;

/// A machine's clock: the simulation's time, and how wrong it is.
#[derive(Default)]
struct SimClock {
    ahead_ms: AtomicI64,
}

impl Clock for SimClock {
    fn now_ms(&self) -> u64 {
        let right = T + now().as_millis() as u64;
        right.saturating_add_signed(self.ahead_ms.load(Ordering::Relaxed))
    }

    fn boot_ms(&self) -> u64 {
        1_000_000 + now().as_millis() as u64
    }

    fn is_synchronised(&self) -> bool {
        true
    }
}

/// What the world outside has been told.
#[derive(Default)]
struct Told {
    admitted: BTreeMap<u64, u64>,
    dead: BTreeSet<u64>,
}

impl Told {
    fn admit(&mut self, n: u64, by: u64) {
        let first = *self.admitted.entry(n).or_insert(by);
        assert_eq!(first, by, "token {n} admitted two");
        assert!(!self.dead.contains(&n), "token {n} admitted after its end");
    }

    fn kill(&mut self, n: u64) {
        assert!(
            !self.admitted.contains_key(&n),
            "token {n} ended after an admission"
        );
        self.dead.insert(n);
    }
}

/// One machine with its disk and clock, and the process on it, if it runs.
struct Machine {
    address: PeerAddress,
    disk: SimDisk,
    clock: Arc<SimClock>,
    processes: u64,
    store: Option<RaftStore<Sim>>,
}

/// A group and all that happens to it.
struct World {
    net: SimNet,
    config: StoreConfig,
    list: BTreeSet<PeerAddress>,
    machines: Mutex<Vec<Machine>>,
    told: Mutex<Told>,
    over: AtomicBool,
    faults: AtomicU64,
}

#[derive(Default)]
struct Tally {
    admissions: AtomicU64,
    faults: AtomicU64,
    virtual_ms: AtomicU64,
}

#[test]
fn whatever_happens_to_a_group_nothing_told_is_lost_and_nobody_is_in_twice() {
    let tally = Tally::default();
    if let Ok(seed) = std::env::var("JOINTOKEN_SEED") {
        // With RUST_LOG=debug it tells all.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(false)
            .init();
        live(seed.parse().unwrap(), &tally);
        return;
    }
    let seeds = std::env::var("JOINTOKEN_SEEDS").map_or(SEEDS, |n| n.parse().unwrap());
    let next = AtomicU64::new(0);
    let failed = AtomicBool::new(false);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds || failed.load(Ordering::Relaxed) {
                        return;
                    }
                    if catch_unwind(AssertUnwindSafe(|| live(seed, &tally))).is_err() {
                        eprintln!("seed {seed} failed; JOINTOKEN_SEED={seed} runs it alone");
                        failed.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert!(!failed.load(Ordering::Relaxed));
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    eprintln!(
        "{seeds} groups: {} admissions told, {} faults, {} s of their time",
        of(&tally.admissions),
        of(&tally.faults),
        of(&tally.virtual_ms) / 1_000,
    );
    assert!(of(&tally.admissions) > 2 * seeds);
    assert!(of(&tally.faults) > seeds);
}

fn live(seed: u64, tally: &Tally) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut runtime = Sim::with_seed(seed);
    let size = [3, 3, 5][rng.random_range(0..3)];
    let mut config = config(Path::new("/data"));
    config.segment_bytes = rng.random_range(500..8_000);
    config.snapshot_after_bytes = rng.random_range(2_000..40_000);
    config.keep_entries = rng.random_range(0..50);
    config.answer_timeout = Duration::from_secs(3);
    let address = |n| PeerAddress::new(&format!("replica-{n}:9443"));
    let list: BTreeSet<_> = (0..size).map(address).collect();
    let machines = list.iter().map(|address| Machine {
        address: address.clone(),
        disk: SimDisk::new(rng.random_range(0..u64::MAX)),
        clock: Arc::default(),
        processes: 0,
        store: None,
    });
    let world = Arc::new(World {
        machines: Mutex::new(machines.collect()),
        net: SimNet::new(rng.random_range(0..u64::MAX)),
        config,
        list,
        told: Mutex::default(),
        over: AtomicBool::new(false),
        faults: AtomicU64::new(0),
    });
    runtime.block_on(async {
        let lived = pin!(world.clone().live(rng));
        match select(lived, pin!(Sim::sleep(LONGEST))).await {
            Either::Left(_) => {}
            Either::Right(_) => panic!("it hangs: {}", world.describe()),
        }
        let ms = now().as_millis() as u64;
        tally.virtual_ms.fetch_add(ms, Ordering::Relaxed);
    });
    let told = world.told.lock().unwrap();
    tally
        .admissions
        .fetch_add(told.admitted.len() as u64, Ordering::Relaxed);
    tally
        .faults
        .fetch_add(world.faults.load(Ordering::Relaxed), Ordering::Relaxed);
}

impl World {
    async fn live(self: Arc<Self>, mut rng: SmallRng) {
        for n in 0..self.list.len() {
            self.start(n).await;
        }
        let founder = self.store(0).unwrap();
        complete_founding(&founder).await.unwrap();
        self.until("all vote", |world| world.voters() == world.list.len())
            .await;
        let clients: Vec<_> = (0..rng.random_range(2..6))
            .map(|_| {
                let rng = SmallRng::seed_from_u64(rng.random_range(0..u64::MAX));
                Sim::spawn(self.clone().client(rng))
            })
            .collect();
        for _ in 0..rng.random_range(3..12) {
            self.fault(&mut rng).await;
            let ms = rng.random_range(50..3_000);
            Sim::sleep(Duration::from_millis(ms)).await;
        }
        // Everything is put right; then all must come to the same.
        self.over.store(true, Ordering::Relaxed);
        self.net.calm();
        for machine in self.machines.lock().unwrap().iter() {
            machine.clock.ahead_ms.store(0, Ordering::Relaxed);
        }
        for n in 0..self.list.len() {
            if self.store(n).is_none() {
                self.start(n).await;
            }
        }
        for client in clients {
            client.await.unwrap();
        }
        self.until("all are alike", Self::are_alike).await;
        self.check();
    }

    fn store(&self, n: usize) -> Option<RaftStore<Sim>> {
        self.machines.lock().unwrap()[n].store.clone()
    }

    /// Starts a process on the machine; if its disk is empty, as a newcomer, or, the first of all, as the founder.
    async fn start(&self, n: usize) {
        let (disk, clock, port, address, process) = {
            let mut machines = self.machines.lock().unwrap();
            let machine = &mut machines[n];
            machine.processes += 1;
            let process = machine.processes;
            let port = self.net.port(&machine.address, process);
            (
                Arc::new(machine.disk.session()),
                machine.clock.clone(),
                port,
                machine.address.clone(),
                process,
            )
        };
        let mut config = self.config.clone();
        config.group = Some(GroupConfig {
            address,
            list: watch::Sender::new(self.list.clone()).subscribe(),
            transport: Arc::new(port.clone()),
        });
        if identity::read(&*disk, &config.data_dir).unwrap().is_none() {
            let new = Identity {
                node_id: 1_000 * (n as u64 + 1) + process,
                ..IDENTITY
            };
            identity::create(&*disk, &config.data_dir, &new).unwrap();
        }
        let store = RaftStore::<Sim>::open_on(config, disk, clock).await;
        let store = store.unwrap_or_else(|error| panic!("machine {n} did not start: {error}"));
        port.serve(store.peer_service());
        self.machines.lock().unwrap()[n].store = Some(store);
    }

    /// The process on the machine is gone from one moment to the next.
    fn kill(&self, n: usize, with_power: bool) {
        let mut machines = self.machines.lock().unwrap();
        let machine = &mut machines[n];
        let Some(store) = machine.store.take() else {
            return;
        };
        self.net.remove(&machine.address);
        match with_power {
            true => machine.disk.lose_power(),
            false => machine.disk.kill(),
        }
        // What is left of it can neither write nor speak.
        drop(Sim::spawn(async move { store.shutdown().await }));
    }

    fn running(&self) -> Vec<usize> {
        let machines = self.machines.lock().unwrap();
        let running = machines.iter().enumerate();
        running
            .filter(|(_, m)| m.store.is_some())
            .map(|(n, _)| n)
            .collect()
    }

    async fn fault(&self, rng: &mut SmallRng) {
        self.faults.fetch_add(1, Ordering::Relaxed);
        let size = self.list.len();
        let n = rng.random_range(0..size);
        let address = |n: usize| self.machines.lock().unwrap()[n].address.clone();
        match rng.random_range(0..10) {
            0 | 1 => self.kill(n, false),
            2 | 3 => self.kill(n, true),
            // The power of the whole room.
            4 => (0..size).for_each(|n| self.kill(n, true)),
            5 => {
                // One is cut off.
                for other in (0..size).filter(|other| *other != n) {
                    self.net.cut(&address(n), &address(other));
                    self.net.cut(&address(other), &address(n));
                }
            }
            6 => {
                // One way only.
                for other in (0..size).filter(|other| *other != n) {
                    match rng.random_bool(0.5) {
                        true => self.net.cut(&address(n), &address(other)),
                        false => self.net.cut(&address(other), &address(n)),
                    }
                }
            }
            7 => self.net.heal(),
            8 => {
                let ahead = rng.random_range(-7_200_000..7_200_000);
                let machines = self.machines.lock().unwrap();
                machines
                    .iter()
                    .for_each(|m| m.clock.ahead_ms.store(0, Ordering::Relaxed));
                machines[n].clock.ahead_ms.store(ahead, Ordering::Relaxed);
            }
            _ => {}
        }
        if rng.random_bool(0.7) {
            for n in 0..size {
                if self.store(n).is_none() {
                    self.start(n).await;
                }
            }
        }
    }

    fn voters(&self) -> usize {
        let store = self.store(0).unwrap();
        let members = store.members().members;
        members
            .iter()
            .filter(|m| m.role.as_str() != "learner")
            .count()
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..2_000 {
            if is_so(self) {
                return;
            }
            Sim::sleep(Duration::from_millis(50)).await;
        }
        panic!("waited in vain: {what}; {}", self.describe());
    }

    fn are_alike(&self) -> bool {
        let machines = self.machines.lock().unwrap();
        let stores: Vec<_> = machines.iter().map(|m| m.store.as_ref().unwrap()).collect();
        let health = stores[0].health().borrow().clone();
        health.leader_known
            && stores.iter().all(|store| {
                let of = store.health().borrow().clone();
                of.leader_known
                    && of.applied_index == health.applied_index
                    && of.committed_index == of.applied_index
            })
    }

    fn describe(&self) -> String {
        let machines = self.machines.lock().unwrap();
        let each = machines.iter().map(|machine| match &machine.store {
            None => format!("{} is down", machine.address),
            Some(store) => {
                let (health, group) = (store.health().borrow().clone(), store.members());
                let members = group
                    .members
                    .iter()
                    .map(|member| format!("{}={}", member.node_id, member.role.as_str()));
                format!(
                    "{} {:?} term {} {:?} {health:?}",
                    machine.address,
                    group.leader,
                    group.term,
                    members.collect::<Vec<_>>(),
                )
            }
        });
        each.collect::<Vec<_>>().join("\n")
    }

    /// What the replicas say now is what the world was told, and the same of all.
    fn check(&self) {
        let machines = self.machines.lock().unwrap();
        let told = self.told.lock().unwrap();
        let first = machines[0].store.as_ref().unwrap().state_image();
        State::decode(&first).unwrap().check_invariants().unwrap();
        for machine in machines.iter() {
            let store = machine.store.as_ref().unwrap();
            assert!(
                store.state_image() == first,
                "{} has another state",
                machine.address
            );
            for (n, by) in &told.admitted {
                let record = store.record(&token(*n)).expect("an admission is lost");
                let admission = record.admission.expect("an admission is lost");
                assert_eq!(admission.joiner, joiner(*by), "token {n} admitted another");
            }
            for n in &told.dead {
                let record = store.record(&token(*n)).expect("an end is lost");
                assert_eq!(record.phase, Phase::Aborted, "token {n}");
            }
        }
    }

    /// Somebody who does random things at random replicas.
    async fn client(self: Arc<Self>, mut rng: SmallRng) {
        while !self.over.load(Ordering::Relaxed) {
            let running = self.running();
            if let Some(n) = running.get(rng.random_range(0..self.list.len())) {
                let store = self.store(*n);
                if let Some(store) = store {
                    let done = self.act(&store, &mut rng).await;
                    if done == Err(StoreError::Stopped) && self.store(*n).is_some() {
                        // Only a process that was killed may stop.
                        let health = store.health().borrow().clone();
                        let is_killed = self.store(*n).unwrap().identity() != store.identity();
                        assert!(is_killed || health.fatal.is_none(), "{health:?}");
                    }
                }
            }
            Sim::sleep(Duration::from_millis(rng.random_range(1..200))).await;
        }
    }

    async fn act(&self, store: &RaftStore<Sim>, rng: &mut SmallRng) -> Result<(), StoreError> {
        let n = rng.random_range(0..TOKENS);
        let by = rng.random_range(0..JOINERS);
        let token_id = token(n);
        match rng.random_range(0..20) {
            0 => {
                let abort = Abort {
                    token_id,
                    reason: Reason::Operator,
                    keep_until_ms: None,
                };
                match submit(store, abort).await? {
                    AbortOutcome::Done(record) if record.phase == Phase::Aborted => {
                        self.told.lock().unwrap().kill(n);
                    }
                    AbortOutcome::Tombstone => self.told.lock().unwrap().kill(n),
                    AbortOutcome::Done(_) | AbortOutcome::AlreadyConsumed(_) => {}
                }
            }
            1 | 2 => {
                // What was told before must be seen after a barrier.
                let admitted = self.told.lock().unwrap().admitted.clone();
                store.barrier().await?;
                for (n, by) in admitted {
                    let record = store.record(&token(n)).expect("a read is too old");
                    let admission = record.admission.expect("a read is too old");
                    assert_eq!(admission.joiner, joiner(by));
                }
            }
            _ => self.join(store, rng, n, by).await?,
        }
        Ok(())
    }

    /// One request of a joiner, as a door would carry it out; it may be given up half way.
    async fn join(
        &self,
        store: &RaftStore<Sim>,
        rng: &mut SmallRng,
        n: u64,
        by: u64,
    ) -> Result<(), StoreError> {
        let mut begin = begin(n, by, T);
        begin.holder = rng.random::<[u8; 16]>();
        begin.registration.as_mut().unwrap().expires_at_ms = T + 100 * HOUR_MS;
        let (token_id, holder) = (begin.token_id, begin.holder);
        match submit(store, begin).await? {
            BeginOutcome::Granted { .. } if rng.random_bool(0.1) => {}
            BeginOutcome::Granted { attempt, .. } if rng.random_bool(0.1) => {
                let failure = Failure::SigningFailed;
                let revert = Revert {
                    token_id,
                    attempt,
                    holder,
                    failure,
                };
                submit(store, revert).await?;
            }
            BeginOutcome::Granted { attempt, .. } => {
                let consume = Consume {
                    token_id,
                    joiner: joiner(by),
                    attempt,
                    leaf: leaf(by),
                };
                if let ConsumeOutcome::Admitted { leaf: kept, .. } = submit(store, consume).await? {
                    assert_eq!(kept, leaf(by));
                    self.told.lock().unwrap().admit(n, by);
                }
            }
            BeginOutcome::Redeliver { leaf: kept, .. } => {
                assert_eq!(kept, leaf(by));
                self.told.lock().unwrap().admit(n, by);
            }
            _ => {}
        }
        Ok(())
    }
}
