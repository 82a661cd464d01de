//! Places for connections: so many for those who have proven who they are, so many for those who are about to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::limits::PeerLimits;

/// Places for connections. Who comes always finds one: if need be, who came first of those that have proven nothing makes room.
/// So strangers who only hold connections open do not keep a peer out, whose handshake takes milliseconds.
pub(super) struct Places {
    taken: Arc<Mutex<Taken>>,
    handshakes: usize,
    connections: usize,
}

#[derive(Default)]
struct Taken {
    came: u64,
    shaking_hands: BTreeMap<u64, CancellationToken>,
    connected: usize,
}

/// A place that is taken, until it is dropped.
pub(super) struct Place {
    number: u64,
    crowded_out: CancellationToken,
    is_kept: bool,
    connections: usize,
    taken: Arc<Mutex<Taken>>,
}

impl Places {
    pub(super) fn new(limits: &PeerLimits) -> Self {
        Self {
            taken: Arc::default(),
            handshakes: limits.handshakes.max(1),
            connections: limits.connections,
        }
    }

    /// A place for a handshake.
    pub(super) fn take(&self) -> Place {
        let crowded_out = CancellationToken::new();
        let mut taken = lock(&self.taken);
        while taken.shaking_hands.len() >= self.handshakes
            && let Some((_, first)) = taken.shaking_hands.pop_first()
        {
            first.cancel();
        }
        taken.came += 1;
        let number = taken.came;
        taken.shaking_hands.insert(number, crowded_out.clone());
        Place {
            number,
            crowded_out,
            is_kept: false,
            connections: self.connections,
            taken: Arc::clone(&self.taken),
        }
    }
}

impl Place {
    /// Is cancelled when somebody else needs the place.
    pub(super) fn crowded_out(&self) -> CancellationToken {
        self.crowded_out.clone()
    }

    /// Who has proven itself makes room for nobody. `false`: as many are connected as may be.
    pub(super) fn keep(&mut self) -> bool {
        let mut taken = lock(&self.taken);
        taken.shaking_hands.remove(&self.number);
        if !self.is_kept && taken.connected < self.connections {
            taken.connected += 1;
            self.is_kept = true;
        }
        self.is_kept
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        taken.shaking_hands.remove(&self.number);
        taken.connected -= usize::from(self.is_kept);
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_stranger_makes_room_and_the_proven_do_not() {
        let places = Places::new(&PeerLimits {
            handshakes: 2,
            connections: 1,
            ..PeerLimits::default()
        });
        let out = |place: &Place| place.crowded_out().is_cancelled();
        let mut proven = places.take();
        assert!(proven.keep() && proven.keep());
        let first = places.take();
        let mut second = places.take();
        assert!(!out(&first));
        let third = places.take();
        assert!(out(&first) && !out(&second) && !out(&third) && !out(&proven));
        assert!(!second.keep(), "one connection is all");
        drop(proven);
        assert!(second.keep());
        drop((first, second, third));
        let taken = lock(&places.taken);
        assert!(taken.shaking_hands.is_empty() && taken.connected == 0);
    }
}
