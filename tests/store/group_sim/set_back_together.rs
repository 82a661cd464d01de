//! Disks of a majority, or of all, that are set back together, while something outside of them remembers how far the log was.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jointoken::store::{DurableLog, RaftStore, Reached, Ruler, Told, Witness};
use openraft::AsyncRuntime as _;
use rand::RngExt as _;
use rand::rngs::SmallRng;

use crate::sim_disk::DiskCopy;
use crate::sim_net::now;
use crate::sim_runtime::Sim;

use super::machine::{Excuse, Machine};
use super::oracle;
use super::outside::Memory;
use super::reshaping::{SETTLED, WELL};
use super::world::{World, health};

/// Nobody comes to lead within this time, or nobody does.
const NOBODY: Duration = Duration::from_secs(8);
/// A leader of before is told of a later one by the first whom it sends anything.
const DEPOSED: Duration = Duration::from_secs(2);
/// By then the API server was not away for once, and something has changed.
const TOLD: Duration = Duration::from_secs(80);
/// Whom a status alone tells that it lacks something ends after thirty seconds without a leader.
const ENDED: Duration = Duration::from_secs(40);
/// And does not believe it any more once it has had a leader for ten seconds on end.
const DISBELIEVED: Duration = Duration::from_secs(60);

/// What all disks held, and up to where each may hold the log if it is set back to that.
struct Copies {
    disks: Vec<DiskCopy>,
    ends: Vec<Option<Reached>>,
}

impl Copies {
    fn ends_of(&self, which: &[usize]) -> Vec<Option<Reached>> {
        which.iter().map(|n| self.ends[*n]).collect()
    }
}

impl World {
    pub async fn set_disks_back_together(self: &Arc<Self>, rng: &mut SmallRng) {
        self.until_well().await;
        let old = self.copy_disks();
        let events = rng.random_range(0..4);
        self.suffer(rng, events).await;
        self.until_well().await;
        self.must_serve(rng, &[]).await;
        let memory = self.outside.memory();
        match rng.random_range(0..4) {
            _ if self.size() == 1 => self.set_back_all_stopped(rng, &old).await,
            0 if memory.has_statuses() => self.believe_nobody(rng).await,
            1 => self.set_back_under_a_leader(rng, &old).await,
            // Those that run are told nothing, and who is told by a status only does not keep them from being elected.
            2 if memory.has_mark() => self.set_back_beside_laggards(rng, &old).await,
            _ => self.set_back_all_stopped(rng, &old).await,
        }
        self.until_well().await;
    }

    fn copy_disks(&self) -> Copies {
        let machines = self.machines();
        Copies {
            disks: machines.iter().map(|machine| machine.disk.copy()).collect(),
            ends: machines.iter().map(end_of).collect(),
        }
    }

    /// So many from this one on, and the others.
    fn choose(&self, first: usize, many: usize) -> (Vec<usize>, Vec<usize>) {
        let size = self.size();
        let mut all: Vec<_> = (first..first + size).map(|n| n % size).collect();
        let others = all.split_off(many);
        (all, others)
    }

    /// All of it in one moment: what clients were told by then is remembered. What the disks held until then.
    fn set_back_at_once(&self, which: &[usize], to: &Copies) -> Vec<DiskCopy> {
        self.remember();
        which.iter().for_each(|n| self.kill(*n, true));
        let currents = self.copy_disks().disks;
        for n in which {
            self.machines()[*n].disk.set_back(&to.disks[*n]);
        }
        let many = which.len() as u64;
        self.set_back.fetch_add(many, Ordering::Relaxed);
        currents
    }

    /// If one is left that was not set back, it leads. Of those that were, nobody does.
    async fn set_back_all_stopped(self: &Arc<Self>, rng: &mut SmallRng, old: &Copies) {
        let size = self.size();
        let many = rng.random_range(size / 2 + 1..=size);
        let (set_back, rest) = self.choose(rng.random_range(0..size), many);
        self.until_told(&old.ends_of(&set_back), false).await;
        self.until_of_one_mind(&self.all()).await;
        self.remember();
        rest.iter().for_each(|n| self.kill(*n, true));
        let currents = self.set_back_at_once(&set_back, old);
        if many < size {
            self.start_all().await;
        } else {
            self.start_in_vain().await;
            // One is found that was in use last.
            let found = set_back[rng.random_range(0..many)];
            self.kill(found, true);
            self.machines()[found].disk.set_back(&currents[found]);
        }
    }

    /// The leader runs on, and sends the others again what they had acknowledged.
    async fn set_back_under_a_leader(self: &Arc<Self>, rng: &mut SmallRng, old: &Copies) {
        let size = self.size();
        self.until_told(&old.ends, false).await;
        self.until_of_one_mind(&self.all()).await;
        let Some(leader) = self.leader() else {
            return;
        };
        let many = rng.random_range(size / 2 + 1..size);
        let (set_back, _) = self.choose(leader + 1, many);
        self.set_back_at_once(&set_back, old);
        let told = self.witnesses();
        for n in &set_back {
            self.start(*n).await;
        }
        // Without the leader who has all that a late mark tells of is elected, and may lack what came after.
        if self.outside.memory() == Memory::PromptMark && rng.random_bool(0.3) {
            Sim::sleep(Duration::from_millis(rng.random_range(0..2_000))).await;
            self.kill(leader, true);
            self.start(leader).await;
        }
        self.must_serve(rng, &[]).await;
        self.until_complete(&set_back, &told).await;
        self.until_of_one_mind(&self.all()).await;
    }

    /// Those that are not set back were cut off, perhaps with the leader of before, and lack what was committed, too: nobody
    /// leads until one is found that has it.
    async fn set_back_beside_laggards(self: &Arc<Self>, rng: &mut SmallRng, old: &Copies) {
        let size = self.size();
        let many = rng.random_range(size / 2 + 1..size);
        let (set_back, lagging) = self.choose(rng.random_range(0..size), many);
        let addresses = self.addresses();
        for n in &lagging {
            self.net.isolate(&addresses[*n], &addresses);
        }
        Sim::sleep(SETTLED).await;
        // What is set back may have as much as those.
        let recent = self.copy_disks();
        let old = match rng.random_bool(0.5) {
            true => &recent,
            false => old,
        };
        self.must_serve(rng, &lagging).await;
        self.until_told(&recent.ends, true).await;
        self.until_of_one_mind(&set_back).await;
        let currents = self.set_back_at_once(&set_back, old);
        self.net.heal();
        for n in &set_back {
            self.start(*n).await;
        }
        self.nobody_leads(DEPOSED).await;
        let found = set_back[rng.random_range(0..many)];
        self.kill(found, true);
        self.machines()[found].disk.set_back(&currents[found]);
    }

    /// A status was edited and tells of more than was ever committed: who has a leader goes on all the same; if nobody has one,
    /// all end, until the JoinToken is deleted.
    async fn believe_nobody(self: &Arc<Self>, rng: &mut SmallRng) {
        let size = self.size();
        self.outside.edit_a_status(true);
        let many = rng.random_range(1..=(size - 1) / 2);
        let (misled, _) = self.choose(rng.random_range(0..size), many);
        for n in &misled {
            self.kill(*n, rng.random_bool(0.5));
            self.start(*n).await;
        }
        self.must_serve(rng, &[]).await;
        let goes_on = |store: RaftStore<Sim>| !health(&store).incomplete;
        self.until(
            "who is misled goes on under a leader",
            DISBELIEVED,
            |world| misled.iter().all(|n| world.store(*n).is_some_and(goes_on)),
        )
        .await;
        if rng.random_bool(0.3) {
            self.all().iter().for_each(|n| self.kill(*n, true));
            self.start_in_vain().await;
        }
        self.outside.edit_a_status(false);
    }

    /// Waits until something tells of more than is in logs that end there; where only the mark helps, until that does.
    async fn until_told(self: &Arc<Self>, ends: &[Option<Reached>], by_mark: bool) {
        let counts: fn(&Told) -> bool = match by_mark {
            true => |told| matches!(told, Told::Entry(_)),
            false => |_| true,
        };
        self.until("what is set back is known to be old", TOLD, |world| {
            let told = world.witnesses();
            ends.iter().all(|end| is_old(*end, &told, counts))
        })
        .await;
    }

    /// None of these calls itself complete before it has all that it was told of. (What is in its log is on the disk soon after.)
    async fn until_complete(self: &Arc<Self>, which: &[usize], told: &[Witness]) {
        let doubts = Cell::new(0);
        self.until("those that were set back are complete", WELL, |world| {
            let machines = world.machines();
            let calls_itself_so = |machine: &&Machine| {
                let store = machine.store.as_ref();
                store.is_some_and(|store| !health(store).incomplete)
            };
            let of = which.iter().map(|n| &machines[*n]);
            let complete: Vec<_> = of.filter(calls_itself_so).collect();
            let lacks = |of: &&Machine| is_old(end_of(of), told, |_| true);
            let lacking = complete.iter().find(|machine| lacks(machine));
            doubts.set(lacking.map_or(0, |_| doubts.get() + 1));
            if let Some(machine) = lacking.filter(|_| doubts.get() > 2) {
                let what = format!(
                    "{} calls itself complete and lacks {told:?}",
                    machine.address
                );
                world.verdict.wrong(what);
            }
            complete.len() == which.len() && lacking.is_none()
        })
        .await;
    }

    /// All are started, and each is told that it lacks something: nobody leads. Who is alone, or has it from a status only, ends.
    async fn start_in_vain(self: &Arc<Self>) {
        let memory = self.outside.memory();
        if self.size() == 1 || memory.has_statuses() {
            for machine in self.machines().iter_mut() {
                machine.excuse = Some(Excuse::SetBack);
            }
        }
        self.start_all().await;
        self.nobody_leads(Duration::ZERO).await;
        if self.size() == 1 || memory == Memory::Statuses {
            let has_ended = |machine: &Machine| {
                let store = machine.store.as_ref();
                store.is_none_or(|store| health(store).fatal.is_some())
            };
            // Once one has ended, the others may not know any more whether nobody leads: they wait, and say so.
            self.until("one that was set back ends", ENDED, |world| {
                world.machines().iter().any(has_ended)
            })
            .await;
        }
    }

    /// Nobody comes to lead; who led before is deposed within this time.
    async fn nobody_leads(&self, within: Duration) {
        Sim::sleep(within).await;
        let end = now() + NOBODY;
        while now() < end && self.verdict.found().is_none() {
            if let Some(n) = self.leader() {
                let what = format!("machine {n} leads and lacks what was committed");
                self.verdict.wrong(what);
            }
            Sim::sleep(Duration::from_millis(50)).await;
        }
    }

    fn all(&self) -> Vec<usize> {
        (0..self.size()).collect()
    }

    async fn until_of_one_mind(self: &Arc<Self>, which: &[usize]) {
        self.quiet.store(true, Ordering::Relaxed);
        self.until("all have all, and obey one leader", WELL, |world| {
            world.are_of_one_mind(which)
        })
        .await;
        self.quiet.store(false, Ordering::Relaxed);
    }

    /// Every disk of these holds what their leader's does, which has applied it all, and nobody has given a later vote.
    fn are_of_one_mind(&self, which: &[usize]) -> bool {
        let machines = self.machines();
        let of: Vec<_> = which.iter().map(|n| &machines[*n]).collect();
        let stores = || of.iter().filter_map(|machine| machine.store.as_ref());
        let leads = |store: &&RaftStore<Sim>| health(store).is_leader;
        let Some(reached) = stores().find(leads).and_then(RaftStore::reached) else {
            return false;
        };
        let ruler = Ruler {
            term: reached.term,
            node: reached.node,
        };
        let is_known = |machine: &&Machine| {
            let mut log = oracle::durable_log(&machine.disk);
            let last = log.read().is_ok().then(|| log.last()).flatten();
            log.vote() == Some(ruler)
                && last.is_some_and(|last| last.by == ruler && last.index == reached.index)
        };
        stores().count() == of.len() && of.iter().all(is_known)
    }
}

/// Something that counts tells of more than is in a log that ends there.
fn is_old(end: Option<Reached>, witnesses: &[Witness], counts: fn(&Told) -> bool) -> bool {
    let mut told = witnesses.iter().map(|of| of.told).filter(counts);
    told.any(|told| match told {
        Told::Entry(mark) => end < Some(mark),
        Told::Index(index) => end.is_none_or(|end| end.index < index),
    })
}

/// Up to where the disk may hold the log if it is set back to what it holds now: what was not synced may be there, or not.
fn end_of(machine: &Machine) -> Option<Reached> {
    let last = |mut log: DurableLog| {
        log.read().ok()?;
        log.last().map(|last| Reached {
            term: last.by.term,
            node: last.by.node,
            index: last.index,
        })
    };
    let synced = last(oracle::durable_log(&machine.disk));
    synced.max(last(oracle::written_log(&machine.disk)))
}
