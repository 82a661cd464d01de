//! Replicas whose address changes: one, perhaps while another is down, or all at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use openraft::AsyncRuntime as _;
use rand::RngExt as _;
use rand::rngs::SmallRng;

use jointoken::store::PeerAddress;

use crate::sim_runtime::Sim;

use super::world::World;

/// It is listened to at its new address three seconds after it was last heard of at the old one; then it is sent its log.
const MOVED: Duration = Duration::from_secs(20);
/// An address is free once its owner has been silent for thirty seconds, or is heard of elsewhere.
const SWAPPED: Duration = Duration::from_secs(60);

impl World {
    pub async fn change_addresses(self: &Arc<Self>, rng: &mut SmallRng) {
        for round in 0..rng.random_range(1..4) {
            self.until_well().await;
            match rng.random_range(0..4) {
                0 | 1 => self.one_moves(rng, round).await,
                2 => self.all_move(rng, round).await,
                _ => self.addresses_are_given_out_anew(rng).await,
            }
        }
    }

    /// One is started elsewhere, while the leader stays.
    async fn one_moves(self: &Arc<Self>, rng: &mut SmallRng, round: u64) {
        let size = self.size();
        let moves = rng.random_range(0..size);
        let down: Vec<usize> = match rng.random_bool(0.5) {
            // So many that nothing is committed without the one that moves.
            true => (moves + 1..=moves + size / 2).map(|n| n % size).collect(),
            false => Vec::new(),
        };
        match rng.random_bool(0.5) {
            true => self.stop(moves).await,
            false => self.kill(moves, rng.random_bool(0.5)),
        }
        self.machines()[moves].address = new_address(moves, round);
        self.tell_addresses();
        Sim::sleep(Duration::from_millis(rng.random_range(0..4_000))).await;
        down.iter().for_each(|n| self.kill(*n, true));
        self.start(moves).await;
        self.until("who has moved has caught up", MOVED, |world| {
            world.serves(moves)
        })
        .await;
        self.must_serve(rng, &down).await;
        self.start_all().await;
        self.until("all are well where they are", MOVED, Self::is_well)
            .await;
    }

    async fn all_move(self: &Arc<Self>, rng: &mut SmallRng, round: u64) {
        let addresses = (0..self.size()).map(|n| new_address(n, round)).collect();
        self.restart_at(rng, addresses).await;
        self.until("all have met again", MOVED, Self::is_well).await;
    }

    /// Each is where another was.
    async fn addresses_are_given_out_anew(self: &Arc<Self>, rng: &mut SmallRng) {
        let mut addresses = self.addresses();
        match rng.random_bool(0.5) {
            true => addresses.rotate_left(1),
            false => addresses.swap(0, 1),
        }
        self.restart_at(rng, addresses).await;
        self.until("all have met again", SWAPPED, Self::is_well)
            .await;
    }

    async fn restart_at(self: &Arc<Self>, rng: &mut SmallRng, addresses: Vec<PeerAddress>) {
        (0..self.size()).for_each(|n| self.kill(n, true));
        for (machine, address) in self.machines().iter_mut().zip(addresses) {
            machine.address = address;
        }
        for n in 0..self.size() {
            self.start(n).await;
            Sim::sleep(Duration::from_millis(rng.random_range(0..1_000))).await;
        }
    }

    /// All that run are told where all are.
    fn tell_addresses(&self) {
        let addresses: BTreeSet<_> = self.addresses().into_iter().collect();
        for machine in self.machines().iter() {
            machine.list.send_replace(addresses.clone());
        }
    }

    /// It is ready, and the leader calls it well.
    fn serves(&self, n: usize) -> bool {
        let (Some(leader), Some(store)) =
            (self.leader().and_then(|n| self.store(n)), self.store(n))
        else {
            return false;
        };
        let node = store.identity().node_id;
        let mut members = leader.members().members.into_iter();
        let is_ready = super::world::health(&store).is_ready();
        is_ready && members.any(|member| member.node_id == node && member.counts())
    }
}

fn new_address(n: usize, round: u64) -> PeerAddress {
    PeerAddress::new(&format!("replica-{n}-moved-{round}:9443"))
}
