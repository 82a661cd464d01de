//! Disks of a majority, or of all, that are set back together, while something outside of them remembers how far the log was.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jointoken::store::{Reached, Witness};
use openraft::AsyncRuntime as _;
use rand::RngExt as _;
use rand::rngs::SmallRng;

use crate::sim_net::now;
use crate::sim_runtime::Sim;

use super::oracle;
use super::reshaping::WELL;
use super::world::World;

/// Nobody comes to lead within this time, or nobody does.
const NOBODY: Duration = Duration::from_secs(8);

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
            term: Some(reached.term),
            index: reached.index,
            place: "the mark".to_owned(),
        };
        mark.map(witness).into_iter().collect()
    }

    /// If one is left that was not set back, it leads. Of those that were, nobody does.
    pub async fn set_disks_back_together(self: &Arc<Self>, rng: &mut SmallRng) {
        self.until_well().await;
        let size = self.size();
        let many = rng.random_range(size / 2 + 1..=size);
        let first = rng.random_range(0..size);
        let set_back: Vec<_> = (first..first + many).map(|n| n % size).collect();
        let copies: Vec<_> = {
            let machines = self.machines();
            (set_back.iter().map(|n| machines[*n].disk.copy())).collect()
        };
        let events = rng.random_range(0..4);
        self.suffer(rng, events).await;
        self.until_well().await;
        self.must_serve(rng, &[]).await;
        self.quiet.store(true, Ordering::Relaxed);
        self.until(
            "all have all, and obey one leader",
            WELL,
            Self::are_of_one_mind,
        )
        .await;
        self.quiet.store(false, Ordering::Relaxed);
        // All of it in one moment: what clients were told by then is remembered.
        self.remember();
        (0..size).for_each(|n| self.kill(n, true));
        let currents: Vec<_> = {
            let machines = self.machines();
            (set_back.iter().map(|n| machines[*n].disk.copy())).collect()
        };
        for (n, copy) in set_back.iter().zip(&copies) {
            self.machines()[*n].disk.set_back(copy);
        }
        self.set_back.fetch_add(many as u64, Ordering::Relaxed);
        self.start_all().await;
        if many == size {
            let end = now() + NOBODY;
            while now() < end && self.verdict.found().is_none() {
                if let Some(n) = self.leader() {
                    let what = format!("machine {n} leads, and all were set back");
                    self.verdict.wrong(what);
                }
                Sim::sleep(Duration::from_millis(50)).await;
            }
            // One is found that was in use last.
            let nth = rng.random_range(0..many);
            self.kill(set_back[nth], true);
            self.machines()[set_back[nth]].disk.set_back(&currents[nth]);
        }
        self.until_well().await;
    }

    /// Every disk holds what the leader's does, and nobody has given a later vote.
    fn are_of_one_mind(&self) -> bool {
        let machines = self.machines();
        let logs = machines.iter().map(|machine| {
            let mut log = oracle::durable_log(&machine.disk);
            log.read().is_ok().then(|| (log.vote(), log.last()))
        });
        let logs: Vec<_> = logs.collect();
        drop(machines);
        let is_known = |log: &Option<_>| log.is_some() && *log == logs[0];
        self.is_well() && self.can_spare(&[]) && logs.iter().all(is_known)
    }
}
