//! What happens to a group: everything that it has to bear without a word of warning.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::AsyncRuntime as _;
use rand::RngExt as _;
use rand::rngs::SmallRng;

use crate::sim_runtime::Sim;
use crate::support::HOUR_MS;

use super::clients;
use super::history::Call;
use super::machine::Excuse;
use super::world::World;

impl World {
    /// Some events, one after the other.
    pub async fn suffer(self: &Arc<Self>, rng: &mut SmallRng, events: usize) {
        for _ in 0..events {
            if self.verdict.found().is_some() {
                return;
            }
            self.faults.fetch_add(1, Ordering::Relaxed);
            self.event(rng).await;
            if rng.random_bool(0.7) {
                self.start_all().await;
            }
            // Long enough for an election, or not.
            let longest_ms = [500, 2_000][rng.random_range(0..2)];
            let ms = rng.random_range(20..longest_ms);
            Sim::sleep(Duration::from_millis(ms)).await;
        }
    }

    async fn event(self: &Arc<Self>, rng: &mut SmallRng) {
        let size = self.size();
        let n = rng.random_range(0..size);
        let addresses = self.addresses();
        match rng.random_range(0..21) {
            0 => self.kill(n, false),
            1 | 2 => self.kill(n, true),
            // The power of the whole room.
            3 | 4 => (0..size).for_each(|n| self.kill(n, true)),
            5 | 6 => self.net.isolate(&addresses[n], &addresses),
            // One way only.
            7 => {
                for other in addresses.iter().filter(|other| **other != addresses[n]) {
                    match rng.random_bool(0.5) {
                        true => self.net.cut(&addresses[n], other),
                        false => self.net.cut(other, &addresses[n]),
                    }
                }
            }
            8 => self.net.heal(),
            9 => self.set_clock_wrong(rng),
            10 => self.hurt(n, Excuse::Disk, |disk| {
                disk.set_space(Some(rng.random_range(0..4_000)))
            }),
            11 => self.hurt(n, Excuse::Disk, |disk| {
                disk.fail_sync_after(rng.random_range(0..30))
            }),
            // In the midst of a write.
            12 | 13 => self.hurt(n, Excuse::Power, |disk| {
                disk.lose_power_after(rng.random_range(1..60))
            }),
            14 => self.stop(n).await,
            // Another leads, and nothing else happens.
            15 => {
                if let Some(process) = self.leader().and_then(|n| self.process(n)) {
                    process.store.hand_over().await;
                }
            }
            // The leader loses its power and is back before anybody misses it.
            16 => self.strand_the_leader(rng).await,
            17..=19 => {
                if let Some(leader) = self.leader() {
                    self.kill(leader, true);
                    self.start(leader).await;
                }
            }
            _ => {}
        }
    }

    /// The leader is cut off and goes on being asked: what it takes then is void when the others have another.
    async fn strand_the_leader(self: &Arc<Self>, rng: &mut SmallRng) {
        let Some(process) = self.leader().and_then(|n| self.process(n)) else {
            return;
        };
        let addresses = self.addresses();
        self.net.isolate(&addresses[process.n], &addresses);
        for _ in 0..3 {
            let (world, process) = (self.clone(), process.clone());
            let token = clients::present_token(rng);
            let (joiner, holder) = (rng.random_range(0..3), rng.random_range(1..u64::MAX));
            drop(Sim::spawn(async move {
                let begin = Call::Begin { joiner, holder };
                world.ask(&process, token, begin).await;
            }));
        }
        Sim::sleep(Duration::from_millis(rng.random_range(1_000..4_000))).await;
        self.net.heal();
        Sim::sleep(Duration::from_millis(rng.random_range(10..500))).await;
        self.kill(process.n, true);
    }

    fn hurt(&self, n: usize, excuse: Excuse, how: impl FnOnce(&crate::sim_disk::SimDisk)) {
        let mut machines = self.machines();
        let machine = &mut machines[n];
        if machine.store.is_some() && machine.excuse.is_none() {
            machine.excuse = Some(excuse);
            how(&machine.disk);
        }
    }

    /// Only ever that of one machine: the one that leads when it comes to it.
    fn set_clock_wrong(&self, rng: &mut SmallRng) {
        if self.size() < 3 {
            return;
        }
        let leader = self.leader();
        let mut wrong = self.wrong_clock.lock().unwrap();
        let Some(n) = wrong.or(leader) else {
            return;
        };
        *wrong = Some(n);
        let hour_ms = HOUR_MS.cast_signed();
        let ahead_ms = match rng.random_range(0..4) {
            0 => -hour_ms,
            1 => hour_ms,
            2 => rng.random_range(-2 * hour_ms..2 * hour_ms),
            _ => 0,
        };
        self.machines()[n].clock.set_wrong(ahead_ms);
    }

    pub fn set_clocks_right(&self) {
        for machine in self.machines().iter() {
            machine.clock.set_wrong(0);
        }
    }
}
