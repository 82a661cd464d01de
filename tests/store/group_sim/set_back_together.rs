//! Disks of a majority, or of all, that are set back together, while something outside of them remembers how far the log was.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jointoken::store::{RaftStore, Reached, Ruler, Told, Witness};
use openraft::AsyncRuntime as _;
use rand::RngExt as _;
use rand::rngs::SmallRng;

use crate::sim_disk::DiskCopy;
use crate::sim_net::now;
use crate::sim_runtime::Sim;

use super::machine::Machine;
use super::oracle;
use super::reshaping::{SETTLED, WELL};
use super::world::{World, health};

/// Nobody comes to lead within this time, or nobody does.
const NOBODY: Duration = Duration::from_secs(8);
/// A leader of before is told of a later one by the first whom it sends anything.
const DEPOSED: Duration = Duration::from_secs(2);

impl World {
    /// How far the log of a replica has been, as the controller remembers it of those that run.
    pub fn remember(&self) -> Vec<Witness> {
        if !self.remembers.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let mut mark = self.mark.lock().unwrap();
        let machines = self.machines();
        let stores = machines.iter().filter_map(|it| it.store.as_ref());
        *mark = stores.filter_map(|it| it.reached()).max().max(*mark);
        let witness = |reached: Reached| Witness {
            told: Told::Entry(reached),
            place: "the mark".to_owned(),
        };
        mark.map(witness).into_iter().collect()
    }

    pub async fn set_disks_back_together(self: &Arc<Self>, rng: &mut SmallRng) {
        self.until_well().await;
        let copies = self.copy_disks();
        let events = rng.random_range(0..4);
        self.suffer(rng, events).await;
        self.until_well().await;
        self.must_serve(rng, &[]).await;
        match rng.random_range(0..3) {
            0 => self.set_back_all_stopped(rng, &copies).await,
            1 => self.set_back_under_a_leader(rng, &copies).await,
            _ => self.set_back_beside_laggards(rng, &copies).await,
        }
        self.until_well().await;
    }

    fn copy_disks(&self) -> Vec<DiskCopy> {
        let machines = self.machines();
        machines.iter().map(|machine| machine.disk.copy()).collect()
    }

    /// So many from this one on, and the others.
    fn choose(&self, first: usize, many: usize) -> (Vec<usize>, Vec<usize>) {
        let size = self.size();
        let mut all: Vec<_> = (first..first + size).map(|n| n % size).collect();
        let others = all.split_off(many);
        (all, others)
    }

    /// All of it in one moment: what clients were told by then is remembered. What the disks held until then.
    fn set_back_at_once(&self, which: &[usize], to: &[DiskCopy]) -> Vec<DiskCopy> {
        self.remember();
        which.iter().for_each(|n| self.kill(*n, true));
        let currents = self.copy_disks();
        for n in which {
            self.machines()[*n].disk.set_back(&to[*n]);
        }
        let many = which.len() as u64;
        self.set_back.fetch_add(many, Ordering::Relaxed);
        currents
    }

    /// If one is left that was not set back, it leads. Of those that were, nobody does.
    async fn set_back_all_stopped(self: &Arc<Self>, rng: &mut SmallRng, copies: &[DiskCopy]) {
        let size = self.size();
        let many = rng.random_range(size / 2 + 1..=size);
        let (set_back, rest) = self.choose(rng.random_range(0..size), many);
        self.until_of_one_mind(&self.all()).await;
        self.remember();
        rest.iter().for_each(|n| self.kill(*n, true));
        let currents = self.set_back_at_once(&set_back, copies);
        self.start_all().await;
        if many == size {
            self.nobody_leads(Duration::ZERO).await;
            // One is found that was in use last.
            let found = set_back[rng.random_range(0..many)];
            self.kill(found, true);
            self.machines()[found].disk.set_back(&currents[found]);
        }
    }

    /// The leader runs on, and sends the others again what they had acknowledged.
    async fn set_back_under_a_leader(self: &Arc<Self>, rng: &mut SmallRng, copies: &[DiskCopy]) {
        let size = self.size();
        self.until_of_one_mind(&self.all()).await;
        let Some(leader) = self.leader() else {
            return;
        };
        let many = rng.random_range(size / 2 + 1..size);
        let (set_back, _) = self.choose(leader + 1, many);
        self.set_back_at_once(&set_back, copies);
        for n in set_back {
            self.start(n).await;
        }
        if rng.random_bool(0.3) {
            Sim::sleep(Duration::from_millis(rng.random_range(0..2_000))).await;
            self.kill(leader, true);
            self.start(leader).await;
        }
        self.must_serve(rng, &[]).await;
        self.until_of_one_mind(&self.all()).await;
    }

    /// Those that are not set back were cut off, perhaps with the leader of before, and lack what was committed, too: nobody
    /// leads until one is found that has it.
    async fn set_back_beside_laggards(self: &Arc<Self>, rng: &mut SmallRng, copies: &[DiskCopy]) {
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
        let copies = match rng.random_bool(0.5) {
            true => &recent,
            false => copies,
        };
        self.must_serve(rng, &lagging).await;
        self.until_of_one_mind(&set_back).await;
        let currents = self.set_back_at_once(&set_back, copies);
        self.net.heal();
        for n in &set_back {
            self.start(*n).await;
        }
        self.nobody_leads(DEPOSED).await;
        let found = set_back[rng.random_range(0..many)];
        self.kill(found, true);
        self.machines()[found].disk.set_back(&currents[found]);
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
