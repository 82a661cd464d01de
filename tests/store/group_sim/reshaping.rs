//! Changes of who is in the group: replicas that lost their disk, that were removed and come back, and groups that grow
//! and shrink. Each must come to its end by itself, within a time that is stated here.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jointoken::faults::{self, Fault};
use jointoken::store::RemoveError;
use openraft::AsyncRuntime as _;
use rand::RngExt as _;
use rand::rngs::SmallRng;

use crate::sim_net::now;
use crate::sim_runtime::Sim;

use super::machine::Excuse;
use super::world::{World, health};

/// A group in which everybody runs has a leader whom all know. (A snapshot whose last piece was lost on the way is sent
/// again only after a minute.)
pub const WELL: Duration = Duration::from_secs(80);
/// It is thirty seconds until the place of a member that vanished may be taken.
const REPLACED: Duration = Duration::from_secs(110);
const GROWN: Duration = Duration::from_secs(80);
const REMOVED: Duration = Duration::from_secs(80);
const CUT_OFF: Duration = Duration::from_secs(8);

impl World {
    pub async fn until_well(self: &Arc<Self>) {
        self.mend().await;
        self.until("all are well", WELL, Self::is_well).await;
    }

    /// A disk is exchanged for an empty one: what comes back is new, and takes the place of what was there.
    pub async fn lose_a_disk(self: &Arc<Self>, n: usize, is_cut_off: bool) {
        self.until_well().await;
        self.quiet.store(true, Ordering::Relaxed);
        let former = self.node(n);
        self.kill(n, true);
        self.machines()[n].disk.wipe();
        let addresses = self.addresses();
        if is_cut_off {
            self.net.isolate(&addresses[n], &addresses);
        }
        self.start(n).await;
        if is_cut_off {
            Sim::sleep(CUT_OFF).await;
            self.must_be_of_no_group(n);
            self.net.heal();
        }
        self.until(
            "a new one takes the place of the lost one",
            REPLACED,
            |world| world.is_well() && !world.is_member(former),
        )
        .await;
        if self.node(n) == former && !faults::is_on(Fault::NodeIdUsedAgain) {
            self.verdict.wrong("a node id is used again");
        }
        self.quiet.store(false, Ordering::Relaxed);
    }

    /// An empty replica is nobody until a group takes it in.
    fn must_be_of_no_group(&self, n: usize) {
        let Some(store) = self.store(n) else {
            return;
        };
        let members = store.members();
        if !members.members.is_empty() || health(&store).leader_known {
            let what = format!("an empty replica founded a group of its own: {members:?}");
            self.verdict.wrong(what);
        }
    }

    /// Somebody counts it as a member.
    fn is_member(&self, node: Option<u64>) -> bool {
        let machines = self.machines();
        machines
            .iter()
            .filter_map(|machine| machine.store.as_ref())
            .any(|store| {
                let members = store.members().members;
                members.iter().any(|member| Some(member.node_id) == node)
            })
    }

    /// One is removed while it runs or is down. When it comes back it is told; what it has is set aside, and it joins anew.
    pub async fn remove_and_take_back(self: &Arc<Self>, n: usize, while_it_runs: bool) {
        self.until_well().await;
        let Some(node) = self.node(n) else {
            return;
        };
        if !while_it_runs {
            self.kill(n, true);
        }
        self.machines()[n].excuse = Some(Excuse::Removed);
        self.remove(&BTreeSet::from([node])).await;
        self.start(n).await;
        self.until("the removed one is told", REMOVED, |world| {
            world.store(n).is_none_or(|store| store.is_removed())
        })
        .await;
        self.kill(n, false);
        self.machines()[n].disk.wipe();
        self.start(n).await;
        self.until(
            "the removed one is back under another name",
            REMOVED,
            |world| world.is_well() && world.node(n) != Some(node),
        )
        .await;
    }

    /// Asks one after the other until it is done.
    async fn remove(self: &Arc<Self>, nodes: &BTreeSet<u64>) {
        let end = now() + REMOVED;
        while now() < end && self.verdict.found().is_none() {
            for n in self.running() {
                let Some(process) = self.process(n) else {
                    continue;
                };
                match process.store.remove_members(nodes.clone(), false).await {
                    // Whoever answers so has seen the removal, or is not that far yet.
                    Ok(()) | Err(RemoveError::NotAMember) if !self.are_members(nodes) => return,
                    _ => {}
                }
            }
            Sim::sleep(Duration::from_millis(300)).await;
        }
        self.verdict
            .wrong(format!("{nodes:?} cannot be removed\n{}", self.describe()));
    }

    /// As the leader sees it.
    fn are_members(&self, nodes: &BTreeSet<u64>) -> bool {
        let Some(store) = self.leader().and_then(|n| self.store(n)) else {
            return true;
        };
        store
            .members()
            .members
            .iter()
            .any(|member| nodes.contains(&member.node_id))
    }

    /// The list grows: all start again with the new one, one after the other, and those who are new join.
    pub async fn grow(self: &Arc<Self>, rng: &mut SmallRng, size: usize) {
        self.until_well().await;
        self.add_machines(rng, size);
        self.restart_all(rng).await;
        self.until("the group has grown", GROWN, Self::is_well)
            .await;
    }

    /// The last ones of the list are removed, and then there are fewer.
    pub async fn shrink(self: &Arc<Self>, rng: &mut SmallRng, size: usize) {
        self.until_well().await;
        let leaving = size..self.size();
        let nodes: BTreeSet<_> = leaving.clone().filter_map(|n| self.node(n)).collect();
        for n in leaving.clone() {
            self.machines()[n].excuse = Some(Excuse::Removed);
        }
        self.remove(&nodes).await;
        for n in leaving {
            self.kill(n, rng.random_bool(0.5));
        }
        self.machines().truncate(size);
        self.restart_all(rng).await;
        self.until("the group has shrunk", GROWN, Self::is_well)
            .await;
    }

    async fn restart_all(self: &Arc<Self>, rng: &mut SmallRng) {
        for n in 0..self.size() {
            if self.store(n).is_some() {
                match rng.random_bool(0.5) {
                    true => self.stop(n).await,
                    false => self.kill(n, true),
                }
            }
            self.start(n).await;
            Sim::sleep(Duration::from_millis(rng.random_range(50..2_000))).await;
        }
    }
}
