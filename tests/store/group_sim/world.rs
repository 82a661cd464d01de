//! A group and all that belongs to it: its machines, the network between them, and those who judge.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jointoken::faults::{self, Fault};
use jointoken::store::{
    GroupConfig, Health, Identity, OpenError, PeerAddress, RaftStore, StoreConfig, TokenStore as _,
    identity,
};
use openraft::AsyncRuntime as _;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::sim_net::{SimNet, now};
use crate::sim_runtime::Sim;
use crate::support::{IDENTITY, config};

use super::history::History;
use super::machine::{Excuse, Machine};
use super::oracle::Oracle;
use super::outside::Outside;
use super::token_model::Ages;
use super::verdict::{Trace, Verdict};

/// How long a claim holds: short, so that many lapse.
pub const CLAIM_MS: u64 = 2_000;

/// One process on one machine.
#[derive(Clone)]
pub struct Process {
    pub n: usize,
    number: u64,
    pub store: RaftStore<Sim>,
}

pub struct World {
    pub net: SimNet,
    config: StoreConfig,
    machines: Mutex<Vec<Machine>>,
    pub history: Mutex<History>,
    pub verdict: Verdict,
    pub oracle: Oracle,
    pub trace: Trace,
    /// The clients are to stop.
    pub over: AtomicBool,
    /// Little is asked for.
    pub quiet: AtomicBool,
    pub faults: AtomicU64,
    /// The disks that were set back.
    pub set_back: AtomicU64,
    pub outside: Outside,
    /// The states that were compared.
    pub compared: AtomicU64,
    pub(super) states: Mutex<BTreeMap<u64, u32>>,
    /// The one machine whose clock may be wrong: of two the group could not tell which.
    pub(super) wrong_clock: Mutex<Option<usize>>,
}

pub fn address_of(n: usize) -> PeerAddress {
    PeerAddress::new(&format!("replica-{n}:9443"))
}

impl World {
    pub fn new(rng: &mut SmallRng, size: usize) -> Arc<Self> {
        let mut config = config(Path::new("/data"));
        config.segment_bytes = rng.random_range(500..8_000);
        config.snapshot_after_bytes = rng.random_range(2_000..40_000);
        config.keep_entries = rng.random_range(0..50);
        config.answer_timeout = Duration::from_secs(3);
        config.settings.in_flight_timeout_ms = CLAIM_MS;
        if rng.random_bool(0.5) {
            // What has ended is soon forgotten.
            config.settings.redelivery_window_ms = 2_500;
            config.settings.retention_ms = 1_000;
            config.settings.longest_certificate_lifetime_ms = 2_000;
        }
        let (verdict, trace) = (Verdict::default(), Trace::default());
        let world = Self {
            net: SimNet::new(rng.random_range(0..u64::MAX)),
            config,
            machines: Mutex::default(),
            history: Mutex::default(),
            oracle: Oracle::new(verdict.clone(), trace.clone()),
            verdict,
            trace,
            over: AtomicBool::new(false),
            quiet: AtomicBool::new(false),
            faults: AtomicU64::new(0),
            set_back: AtomicU64::new(0),
            outside: Outside::new(rng),
            compared: AtomicU64::new(0),
            states: Mutex::default(),
            wrong_clock: Mutex::default(),
        };
        world.net.watch(Box::new(world.oracle.clone()));
        let world = Arc::new(world);
        world.add_machines(rng, size);
        world
    }

    pub fn machines(&self) -> MutexGuard<'_, Vec<Machine>> {
        self.machines.lock().unwrap()
    }

    pub fn size(&self) -> usize {
        self.machines().len()
    }

    pub fn addresses(&self) -> Vec<PeerAddress> {
        let machines = self.machines();
        machines
            .iter()
            .map(|machine| machine.address.clone())
            .collect()
    }

    pub fn add_machines(&self, rng: &mut SmallRng, size: usize) {
        let mut machines = self.machines();
        for n in machines.len()..size {
            machines.push(Machine::new(address_of(n), rng.random_range(0..u64::MAX)));
        }
    }

    pub fn settings_are_in_force(&self, store: &RaftStore<Sim>) -> bool {
        store.settings() == self.config.settings
    }

    pub fn ages(&self) -> Ages {
        let settings = &self.config.settings;
        Ages {
            window_ms: settings.redelivery_window_ms,
            retention_ms: settings.retention_ms,
            certificate_ms: settings.longest_certificate_lifetime_ms,
        }
    }

    pub fn store(&self, n: usize) -> Option<RaftStore<Sim>> {
        self.machines().get(n)?.store.clone()
    }

    pub fn node(&self, n: usize) -> Option<u64> {
        self.store(n).map(|store| store.identity().node_id)
    }

    pub fn running(&self) -> Vec<usize> {
        let machines = self.machines();
        let running = machines.iter().enumerate();
        running
            .filter(|(_, it)| it.store.is_some())
            .map(|(n, _)| n)
            .collect()
    }

    pub fn leader(&self) -> Option<usize> {
        let machines = self.machines();
        machines.iter().position(|machine| {
            (machine.store.as_ref()).is_some_and(|store| health(store).is_leader)
        })
    }

    /// Starts a process on the machine, as the program does: with an empty disk as a newcomer that founds nothing. It is
    /// left down if its disk fails.
    pub async fn start(self: &Arc<Self>, n: usize) {
        if self.store(n).is_some() {
            return;
        }
        let addresses: BTreeSet<_> = self.addresses().into_iter().collect();
        let (disk, clock, port, address, list, process, excuse) = {
            let mut machines = self.machines();
            let machine = &mut machines[n];
            machine.processes += 1;
            let process = machine.processes;
            machine.list.send_replace(addresses);
            let list = machine.list.subscribe();
            // Another machine may have been at this address.
            let port = (self.net).port(&machine.address, (n as u64) << 32 | process);
            self.oracle.watch(&machine.address, &machine.disk);
            let disk = Arc::new(machine.disk.session());
            let (clock, address) = (machine.clock.clone(), machine.address.clone());
            (disk, clock, port, address, list, process, machine.excuse)
        };
        let mut config = self.config.clone();
        config.witnesses = self.witnesses();
        config.group = Some(GroupConfig {
            address,
            list,
            transport: Arc::new(port.clone()),
        });
        let known = identity::read(&*disk, &config.data_dir);
        let is_empty = matches!(known, Ok(None));
        if is_empty {
            let name = match faults::is_on(Fault::NodeIdUsedAgain) {
                true => 1,
                false => process,
            };
            let node_id = 1_000 * (n as u64 + 1) + name;
            let new = Identity {
                node_id,
                ..IDENTITY
            };
            let _ = identity::create(&*disk, &config.data_dir, &new);
        }
        let opened = RaftStore::<Sim>::open_on(config, disk, clock).await;
        let store = match opened {
            Ok(store) => store,
            Err(_) if matches!(excuse, Some(Excuse::Disk | Excuse::Power)) => {
                self.stop_dead(n);
                return;
            }
            Err(OpenError::SetBack { .. }) if excuse == Some(Excuse::SetBack) => return,
            Err(error) => {
                self.verdict
                    .wrong(format!("machine {n} did not start: {error}"));
                return;
            }
        };
        port.serve(store.peer_service());
        self.machines()[n].store = Some(store.clone());
        // The first of the list founds the group when it starts for the first time, and never again.
        if is_empty && process > 1 && n == 0 && faults::is_on(Fault::EmptyReplicaFounds) {
            let _ = store.initialize().await;
        }
    }

    /// The process on the machine is gone from one moment to the next.
    pub fn kill(&self, n: usize, with_power: bool) {
        let mut machines = self.machines();
        let machine = &mut machines[n];
        let with_power = with_power || machine.excuse == Some(Excuse::Power);
        machine.excuse = None;
        machine.disk.set_space(None);
        self.net.remove(&machine.address);
        match with_power {
            true => machine.disk.lose_power(),
            false => machine.disk.kill(),
        }
        if let Some(store) = machine.store.take() {
            // What is left of it can neither write nor speak.
            drop(Sim::spawn(async move { store.shutdown().await }));
        }
    }

    /// What is left of a process that ended by itself.
    pub fn stop_dead(&self, n: usize) {
        self.kill(n, false);
    }

    /// The process is told to stop, and does so in good order.
    pub async fn stop(&self, n: usize) {
        let Some(process) = self.process(n) else {
            return;
        };
        process.store.hand_over().await;
        if !self.is_alive(&process) {
            return;
        }
        let address = {
            let mut machines = self.machines();
            machines[n].store = None;
            machines[n].address.clone()
        };
        self.net.remove(&address);
        let _ = Sim::timeout(Duration::from_secs(5), process.store.shutdown()).await;
        self.kill(n, false);
    }

    pub fn process(&self, n: usize) -> Option<Process> {
        let machines = self.machines();
        let machine = machines.get(n)?;
        Some(Process {
            n,
            number: machine.processes,
            store: machine.store.clone()?,
        })
    }

    /// It still runs.
    pub fn is_alive(&self, process: &Process) -> bool {
        self.machines()
            .get(process.n)
            .is_some_and(|machine| machine.store.is_some() && machine.processes == process.number)
    }

    pub async fn start_all(self: &Arc<Self>) {
        for n in 0..self.size() {
            self.start(n).await;
        }
    }

    /// Everything is put right, and everybody runs.
    pub async fn mend(self: &Arc<Self>) {
        self.net.heal();
        for machine in self.machines().iter() {
            machine.disk.set_space(None);
        }
        for n in 0..self.size() {
            // What was to fail and has not yet.
            if self.machines()[n].excuse.is_some() {
                self.kill(n, false);
            }
        }
        self.start_all().await;
    }

    /// Waits for what must come within this time.
    pub async fn until(
        self: &Arc<Self>,
        what: &str,
        within: Duration,
        is_so: impl Fn(&Self) -> bool,
    ) {
        let end = now() + within;
        while !is_so(self) {
            if self.verdict.found().is_some() {
                return;
            }
            if now() > end {
                let what = format!(
                    "waited in vain: {what}; at {:?}\n{}",
                    now(),
                    self.describe()
                );
                self.verdict.wrong(what);
                return;
            }
            Sim::sleep(Duration::from_millis(50)).await;
        }
    }

    /// All run, are fit to serve, and vote, and each calls all well.
    pub fn is_well(&self) -> bool {
        let addresses: BTreeSet<_> = self
            .addresses()
            .iter()
            .map(|it| it.as_str().to_owned())
            .collect();
        let machines = self.machines();
        machines.iter().all(|machine| {
            let Some(store) = &machine.store else {
                return false;
            };
            let health = health(store);
            let group = store.members();
            let members = group.members;
            let voters = members
                .iter()
                .filter(|member| member.role.as_str() != "learner");
            health.is_ready()
                && members.iter().all(|member| member.counts())
                && !group.is_changing
                && health.committed_index < health.applied_index + 20
                && members.len() == addresses.len()
                && voters
                    .map(|member| member.address.clone())
                    .collect::<BTreeSet<_>>()
                    == addresses
                && members
                    .iter()
                    .any(|member| member.node_id == store.identity().node_id)
        })
    }

    /// Nothing goes on, and all have applied the same.
    pub fn are_alike(&self) -> bool {
        let machines = self.machines();
        let each: Option<Vec<_>> = machines
            .iter()
            .map(|it| Some(health(it.store.as_ref()?)))
            .collect();
        each.is_some_and(|each| {
            each.iter().all(|of| {
                of.leader_known
                    && of.applied_index == each[0].applied_index
                    && of.committed_index == of.applied_index
            })
        })
    }

    pub fn describe(&self) -> String {
        let machines = self.machines();
        let each = machines.iter().map(|machine| match &machine.store {
            None => format!("{} is down", machine.address),
            Some(store) => {
                let (health, group) = (health(store), store.members());
                let members = (group.members.iter()).map(|it| {
                    format!(
                        "{}={} {:?} heard {:?}",
                        it.node_id,
                        it.role.as_str(),
                        it.matched,
                        it.heard_ms_ago
                    )
                });
                format!(
                    "{} is {} {:?} term {} {:?} {health:?}",
                    machine.address,
                    store.identity().node_id,
                    group.leader,
                    group.term,
                    members.collect::<Vec<_>>(),
                )
            }
        });
        each.collect::<Vec<_>>().join("\n")
    }
}

pub fn health(store: &RaftStore<Sim>) -> Health {
    store.health().borrow().clone()
}

/// One that goes its own way from here.
pub fn fork(rng: &mut SmallRng) -> SmallRng {
    SmallRng::seed_from_u64(rng.random_range(0..u64::MAX))
}
