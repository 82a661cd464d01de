//! One machine: its disk, its clock, and the process on it, if one runs.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jointoken::clock::Clock;
use jointoken::store::{PeerAddress, RaftStore};
use tokio::sync::watch;

use crate::sim_disk::SimDisk;
use crate::sim_net::now;
use crate::sim_runtime::Sim;
use crate::support::T;

/// A machine's clock: the simulation's time, and how wrong it is.
#[derive(Default)]
pub struct SimClock {
    ahead_ms: AtomicI64,
}

impl SimClock {
    pub fn set_wrong(&self, ahead_ms: i64) {
        self.ahead_ms.store(ahead_ms, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now_ms(&self) -> u64 {
        let ahead_ms = self.ahead_ms.load(Ordering::Relaxed);
        right_ms().saturating_add_signed(ahead_ms)
    }

    fn boot_ms(&self) -> u64 {
        1_000_000 + now().as_millis() as u64
    }

    fn is_synchronised(&self) -> bool {
        true
    }
}

/// What a clock shows that goes right.
pub fn right_ms() -> u64 {
    T + now().as_millis() as u64
}

/// Why a process may end by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excuse {
    /// Its disk is full, or has failed.
    Disk,
    /// The power goes in the midst of a write.
    Power,
    /// It was removed from the group.
    Removed,
    /// Its disk is a copy of another's that runs.
    Copy,
    /// Its disk was set back, and nobody has what it lacks.
    SetBack,
}

pub struct Machine {
    pub address: PeerAddress,
    /// What its process is told of the group's addresses.
    pub list: watch::Sender<BTreeSet<PeerAddress>>,
    pub disk: SimDisk,
    pub clock: Arc<SimClock>,
    /// How many processes there were.
    pub processes: u64,
    pub store: Option<RaftStore<Sim>>,
    pub excuse: Option<Excuse>,
    /// The process and index of the state that was last looked at.
    pub looked_at: Cell<(u64, u64)>,
}

impl Machine {
    pub fn new(address: PeerAddress, seed: u64) -> Self {
        Self {
            address,
            list: watch::Sender::default(),
            disk: SimDisk::new(seed),
            clock: Arc::default(),
            processes: 0,
            store: None,
            excuse: None,
            looked_at: Cell::default(),
        }
    }
}
