//! Changes of who is in the group: replicas that lost their disk, that were removed and come back, and groups that grow
//! and shrink; and replicas whose disk was set back. Each must come to its end by itself, within a time that is stated here.

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

use super::clients;
use super::history::Call;
use super::machine::{Excuse, Machine};
use super::oracle;
use super::world::{World, health};

/// A group in which everybody runs has a leader whom all know. (A piece of a snapshot that was lost on the way is sent again
/// only after ten seconds.)
pub const WELL: Duration = Duration::from_secs(40);
/// It is thirty seconds until the place of a member that vanished may be taken.
const REPLACED: Duration = Duration::from_secs(110);
const GROWN: Duration = Duration::from_secs(80);
const REMOVED: Duration = Duration::from_secs(80);
const CUT_OFF: Duration = Duration::from_secs(8);
/// No message is on its way for longer.
pub(super) const SETTLED: Duration = Duration::from_millis(100);
/// A group in which little is asked for has it all on its disks.
const HELD: Duration = Duration::from_secs(20);
/// It serves, after an election at most, or when it is sent a snapshot again.
const SERVES: Duration = WELL;
/// The others say for ten seconds that its node id is in use before it believes them.
const COPY_ENDS: Duration = Duration::from_secs(30);

impl World {
    pub async fn until_well(self: &Arc<Self>) {
        self.mend().await;
        self.until("all are well", WELL, Self::is_well).await;
    }

    /// A disk is exchanged for an empty one: what comes back is new, and takes the place of what was there.
    pub async fn lose_a_disk(self: &Arc<Self>, n: usize, is_cut_off: bool) {
        self.until_well().await;
        self.exchange_disk(n, self.node(n), is_cut_off).await;
    }

    /// `former`: the member that is at the machine's address.
    async fn exchange_disk(self: &Arc<Self>, n: usize, former: Option<u64>, is_cut_off: bool) {
        self.quiet.store(true, Ordering::Relaxed);
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

    /// The disks of a minority are set back to what they held a while ago, as whoever restores a volume's snapshot of a
    /// replica does. The others go on, and those come back: by themselves, under the next leader, or emptied.
    ///
    /// Nobody can promise that in general. What was acknowledged by just a majority, with such a disk in it, is gone from
    /// that majority, and so is a vote: the replica may give a second one in the same term. So here a disk is set back only
    /// once nothing rests on it alone, see [`World::can_spare`]: then it is as if the replica had been cut off since.
    pub async fn set_disks_back(self: &Arc<Self>, rng: &mut SmallRng) {
        self.until_well().await;
        let size = self.size();
        let first = rng.random_range(0..size);
        let many = rng.random_range(1..=(size - 1) / 2);
        let set_back: Vec<_> = (first..first + many).map(|n| n % size).collect();
        let copies: Vec<_> = {
            let machines = self.machines();
            (set_back.iter().map(|n| machines[*n].disk.copy())).collect()
        };
        let events = rng.random_range(0..4);
        self.suffer(rng, events).await;
        Sim::sleep(Duration::from_millis(rng.random_range(100..4_000))).await;
        self.until_well().await;

        // Some of what is acknowledged meanwhile rests on those that are set back, and on the leader.
        let left_out = (first + many) % size;
        if rng.random_bool(0.7) {
            let addresses = self.addresses();
            self.net.isolate(&addresses[left_out], &addresses);
            Sim::sleep(Duration::from_millis(rng.random_range(100..2_000))).await;
        }
        if rng.random_bool(0.5)
            && let Some(leader) = self.leader()
        {
            self.kill(leader, true);
        }
        for n in &set_back {
            self.kill(*n, rng.random_bool(0.5));
        }
        self.net.heal();
        let too_soon = faults::is_on(Fault::SetBackTooSoon);
        if !too_soon {
            self.until_nothing_rests_on(&set_back).await;
        }
        if too_soon || self.can_spare(&set_back) {
            for (n, copy) in set_back.iter().zip(&copies) {
                self.machines()[*n].disk.set_back(copy);
            }
            self.set_back.fetch_add(many as u64, Ordering::Relaxed);
        }
        if too_soon {
            for n in &set_back {
                self.start(*n).await;
            }
            Sim::sleep(Duration::from_secs(5)).await;
        }
        self.start_all().await;
        self.must_serve(rng, &set_back).await;
        Sim::sleep(Duration::from_millis(rng.random_range(0..4_000))).await;
        match rng.random_range(0..3) {
            0 => {
                // All at once: one that stays behind is not well.
                let formers: Vec<_> = set_back.iter().map(|n| self.node(*n)).collect();
                for n in set_back {
                    self.kill(n, true);
                    self.machines()[n].disk.wipe();
                    self.start(n).await;
                }
                self.until("new ones take the place of those", REPLACED, |world| {
                    world.is_well() && !formers.iter().any(|former| world.is_member(*former))
                })
                .await;
            }
            1 => self.depose_the_leader(rng).await,
            _ => {}
        }
        let upto = self.applied().into_iter().max();
        self.until("those that were set back have caught up", WELL, |world| {
            world.is_well() && world.applied().into_iter().min() >= upto
        })
        .await;
    }

    /// Somebody copies a replica's disk over that of another: a second one with its node id, at another address of the list.
    /// The copy is not listened to and ends; the others go on, the original among them, and emptied it comes back.
    ///
    /// Only while the original runs and is heard of: else the copy is the replica, which has moved and was set back, see
    /// [`World::set_disks_back`].
    pub async fn run_a_copy(self: &Arc<Self>, rng: &mut SmallRng) {
        self.until_well().await;
        let size = self.size();
        let original = rng.random_range(0..size);
        let copied_to = (original + rng.random_range(1..size)) % size;
        let copy = self.machines()[original].disk.copy();
        Sim::sleep(Duration::from_millis(rng.random_range(0..4_000))).await;
        self.until_well().await;
        let former = self.node(copied_to);
        self.kill(copied_to, true);
        {
            let mut machines = self.machines();
            machines[copied_to].disk.set_back(&copy);
            machines[copied_to].excuse = Some(Excuse::Copy);
        }
        self.start(copied_to).await;
        self.must_serve(rng, &[copied_to]).await;
        self.until("the copy ends", COPY_ENDS, |world| {
            (world.store(copied_to)).is_none_or(|store| health(&store).fatal.is_some())
        })
        .await;
        self.must_serve(rng, &[copied_to]).await;
        self.exchange_disk(copied_to, former, false).await;
    }

    /// The others go on without these, until they have it all; or it is given up.
    async fn until_nothing_rests_on(self: &Arc<Self>, down: &[usize]) {
        self.quiet.store(true, Ordering::Relaxed);
        for n in (0..self.size()).filter(|n| !down.contains(n)) {
            self.start(n).await;
        }
        // Nothing that those have said is on its way any more.
        Sim::sleep(SETTLED).await;
        let end = now() + HELD;
        while !self.can_spare(down) && now() < end {
            Sim::sleep(Duration::from_millis(50)).await;
        }
        self.quiet.store(false, Ordering::Relaxed);
    }

    /// Whatever these (which are down) have promised, all others have promised as well, and it is on their disks: they obey
    /// the same leader or a later one, and have all that it has.
    pub(super) fn can_spare(&self, set_back: &[usize]) -> bool {
        let Some(leader) = self.leader() else {
            return false;
        };
        let machines = self.machines();
        let read = |machine: &Machine| {
            let mut log = oracle::durable_log(&machine.disk);
            log.read().is_ok().then_some(log)
        };
        let Some((last, vote)) = read(&machines[leader]).and_then(|log| log.last().zip(log.vote()))
        else {
            return false;
        };
        let store = machines[leader].store.as_ref();
        let committed = store.map_or(u64::MAX, |store| health(store).committed_index);
        let promises = machines.iter().enumerate().map(|(n, machine)| {
            let Some(log) = read(machine) else {
                return false;
            };
            match set_back.contains(&n) {
                true => log.vote() <= Some(vote),
                false => log.vote() >= Some(vote) && log.holds(last),
            }
        });
        let are_covered: Vec<_> = promises.collect();
        last.index >= committed && are_covered.into_iter().all(|is_so| is_so)
    }

    /// All but these take what is asked of them.
    pub(super) async fn must_serve(self: &Arc<Self>, rng: &mut SmallRng, except: &[usize]) {
        for n in (0..self.size()).filter(|n| !except.contains(n)) {
            let end = now() + SERVES;
            loop {
                let Some(process) = self.process(n) else {
                    break;
                };
                let (joiner, holder) = (rng.random_range(0..3), rng.random_range(1..u64::MAX));
                let token = clients::present_token(rng);
                let begin = Call::Begin { joiner, holder };
                if self.ask(&process, token, begin).await.is_some()
                    || self.verdict.found().is_some()
                {
                    break;
                }
                if now() > end {
                    let what = format!("machine {n} does not serve\n{}", self.describe());
                    self.verdict.wrong(what);
                    return;
                }
                Sim::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// Another leads: the one before hands over, or is gone; at last it is.
    async fn depose_the_leader(self: &Arc<Self>, rng: &mut SmallRng) {
        let Some(process) = self.leader().and_then(|n| self.process(n)) else {
            return;
        };
        if rng.random_bool(0.5) {
            process.store.hand_over().await;
            Sim::sleep(Duration::from_millis(rng.random_range(0..3_000))).await;
        }
        if let Some(n) = self.leader() {
            self.kill(n, true);
            self.start(n).await;
        }
    }

    fn applied(&self) -> Vec<u64> {
        let machines = self.machines();
        let running = machines.iter().filter_map(|machine| machine.store.as_ref());
        running.map(|store| health(store).applied_index).collect()
    }
}
