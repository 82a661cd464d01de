//! Places for connections: so many for those who have proven who they are, so many for those who are about to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::net::{Progress, Worker, site};

use super::limits::PeerLimits;

/// So many sources are remembered of which a peer came: more than any group has.
const REMEMBERED: usize = 64;

/// Places for connections. Each source has a part of those for handshakes, and makes room in it for itself. When all are taken, the
/// source that has most makes room: a crowd of few sources never costs another its handshake. Sources of which a peer has come
/// before have places of their own.
pub(super) struct Places {
    taken: Arc<Mutex<Taken>>,
    handshakes: usize,
    per_source: usize,
    connections: usize,
}

#[derive(Default)]
struct Taken {
    came: u64,
    strangers: Pool,
    known: Pool,
    /// Of which a peer has come, the latest last.
    proven: VecDeque<IpAddr>,
    connected: BTreeSet<u64>,
}

/// Handshakes under way, in the order in which they came.
type Pool = BTreeMap<u64, Handshake>;

struct Handshake {
    source: IpAddr,
    stage: Stage,
    /// When it came, and when to its stage.
    came: Instant,
    since: Instant,
    crowded_out: CancellationToken,
}

/// How far a handshake has come: who has come less far makes room first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Its first message has not come, or not wholly.
    Silent,
    /// It has said something, and waits until that is looked at.
    Heard,
    /// Its first message is answered.
    Answered,
}

impl Stage {
    /// How long nobody makes room after he has come so far, unless others of his source have come less far. A peer's first
    /// message comes together with the connection, the rest a round trip or two later.
    const fn patience(self) -> Duration {
        match self {
            Self::Silent => Duration::from_millis(50),
            Self::Heard | Self::Answered => Duration::from_secs(2),
        }
    }
}

/// A place that is taken, until it is dropped.
pub(super) struct Place {
    number: u64,
    source: IpAddr,
    crowded_out: CancellationToken,
    connections: usize,
    taken: Arc<Mutex<Taken>>,
}

impl Places {
    pub(super) fn new(limits: &PeerLimits) -> Self {
        Self {
            taken: Arc::default(),
            handshakes: limits.handshakes.max(1),
            per_source: limits.handshakes_per_source.max(1),
            connections: limits.connections,
        }
    }

    /// A place for a handshake. `None`: there is none, and nobody makes room yet.
    pub(super) fn take(&self, address: IpAddr) -> Option<Place> {
        let source = site(address.to_canonical());
        let now = Instant::now();
        let mut taken = lock(&self.taken);
        let out = self.who_makes_room(taken.pool(source), source, now)?;
        if let Some(out) = out.and_then(|number| taken.pool(source).remove(&number)) {
            out.crowded_out.cancel();
        }
        taken.came += 1;
        let number = taken.came;
        let crowded_out = CancellationToken::new();
        let handshake = Handshake {
            source,
            stage: Stage::Silent,
            came: now,
            since: now,
            crowded_out: crowded_out.clone(),
        };
        taken.pool(source).insert(number, handshake);
        Some(Place {
            number,
            source,
            crowded_out,
            connections: self.connections,
            taken: Arc::clone(&self.taken),
        })
    }

    /// Who makes room for one more of this source. `Some(None)`: nobody has to; `None`: nobody does yet.
    fn who_makes_room(&self, pool: &Pool, source: IpAddr, now: Instant) -> Option<Option<u64>> {
        let mut parts: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for handshake in pool.values() {
            *parts.entry(handshake.source).or_default() += 1;
        }
        let own = parts.get(&source).copied().unwrap_or(0);
        let is_due = |it: &Handshake| now >= it.since + it.stage.patience();
        if own >= self.per_source {
            return least_far(pool, |it| it.source == source && is_due(it)).map(Some);
        }
        if pool.len() < self.handshakes {
            return Some(None);
        }
        let most = parts.values().copied().max().unwrap_or(0);
        let has_most = |it: &Handshake| parts.get(&it.source) == Some(&most);
        // Who would have less than those even then does not wait for them.
        let is_due = |it: &Handshake| most > own + 1 || is_due(it);
        least_far(pool, |it| has_most(it) && is_due(it)).map(Some)
    }
}

/// Of these who has come the least far, and of those the first.
fn least_far(pool: &Pool, of: impl Fn(&Handshake) -> bool) -> Option<u64> {
    let these = pool.iter().filter(|(_, handshake)| of(handshake));
    let first = these.min_by_key(|(number, handshake)| (handshake.stage, **number));
    first.map(|(number, _)| *number)
}

impl Taken {
    /// Where handshakes of this source have their places.
    fn pool(&mut self, source: IpAddr) -> &mut Pool {
        match self.proven.contains(&source) {
            true => &mut self.known,
            false => &mut self.strangers,
        }
    }

    fn handshake(&mut self, number: u64) -> Option<&mut Handshake> {
        let strangers = self.strangers.get_mut(&number);
        strangers.or_else(|| self.known.get_mut(&number))
    }

    fn forget(&mut self, number: u64) {
        self.strangers.remove(&number);
        self.known.remove(&number);
    }

    /// A peer has come from there.
    fn remember(&mut self, source: IpAddr) {
        self.proven.retain(|proven| *proven != source);
        self.proven.push_back(source);
        if self.proven.len() > REMEMBERED {
            self.proven.pop_front();
        }
    }
}

impl Place {
    /// Is cancelled when somebody else needs the place.
    pub(super) fn crowded_out(&self) -> CancellationToken {
        self.crowded_out.clone()
    }

    pub(super) const fn source(&self) -> IpAddr {
        self.source
    }

    /// Its handshake has come so far.
    pub(super) fn reached(&self, stage: Stage) {
        let mut taken = lock(&self.taken);
        if let Some(handshake) = taken.handshake(self.number)
            && handshake.stage < stage
        {
            handshake.stage = stage;
            handshake.since = Instant::now();
        }
    }

    /// Who has proven itself makes room for nobody. `false`: as many are connected as may be.
    pub(super) fn keep(&self) -> bool {
        let mut taken = lock(&self.taken);
        taken.forget(self.number);
        taken.remember(self.source);
        if taken.connected.len() < self.connections {
            taken.connected.insert(self.number);
        }
        taken.connected.contains(&self.number)
    }
}

impl Worker for Place {
    fn waits(&self) {
        self.reached(Stage::Heard);
    }

    fn has_had_its_turn(&self) {
        // What it said was not the whole of a first message, which would have been answered.
        if let Some(handshake) = lock(&self.taken).handshake(self.number)
            && handshake.stage == Stage::Heard
        {
            handshake.stage = Stage::Silent;
            handshake.since = handshake.came;
        }
    }
}

impl Progress for Place {
    fn answered(&self) {
        self.reached(Stage::Answered);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        taken.forget(self.number);
        taken.connected.remove(&self.number);
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn places(handshakes: usize, per_source: usize, connections: usize) -> Places {
        Places::new(&PeerLimits {
            handshakes,
            handshakes_per_source: per_source,
            connections,
            ..PeerLimits::default()
        })
    }

    fn take(places: &Places, last: u8) -> Option<Place> {
        places.take([192, 0, 2, last].into())
    }

    fn is_out(place: &Place) -> bool {
        place.crowded_out().is_cancelled()
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_has_its_part_makes_room_among_its_own() {
        let places = places(100, 2, 1);
        let other = take(&places, 2).unwrap();
        let silent = take(&places, 1).unwrap();
        let answered = take(&places, 1).unwrap();
        answered.reached(Stage::Answered);
        assert!(take(&places, 1).is_none(), "both have just come");
        advance(Stage::Silent.patience()).await;
        let third = take(&places, 1).unwrap();
        assert!(is_out(&silent) && !is_out(&answered) && !is_out(&other));
        third.reached(Stage::Answered);
        assert!(take(&places, 1).is_none());
        advance(Stage::Answered.patience()).await;
        let _fourth = take(&places, 1).unwrap();
        assert!(is_out(&answered) && !is_out(&third) && !is_out(&other));
        // The same address in other clothes.
        assert!(places.take("::ffff:192.0.2.1".parse().unwrap()).is_some());
        assert!(is_out(&third));
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_of_few_sources_makes_room_for_every_other_source() {
        let places = places(6, 3, 1);
        let mut crowd: Vec<_> = [1, 1, 1, 2, 2, 2]
            .map(|last| take(&places, last).unwrap())
            .into();
        for place in &crowd {
            place.reached(Stage::Answered);
        }
        let honest = [3, 4].map(|last| take(&places, last).unwrap());
        for _ in 0..100 {
            advance(Stage::Silent.patience()).await;
            crowd.extend([1, 2].map(|last| take(&places, last)).into_iter().flatten());
            assert!(!honest.iter().any(is_out));
        }
        assert!(crowd.len() > 6);
    }

    #[tokio::test(start_paused = true)]
    async fn among_many_sources_nobody_makes_room_before_its_time() {
        let places = places(3, 2, 1);
        let many = [1, 2, 3].map(|last| take(&places, last).unwrap());
        many[0].reached(Stage::Answered);
        assert!(take(&places, 4).is_none());
        advance(Stage::Silent.patience()).await;
        let _fourth = take(&places, 4).unwrap();
        assert_eq!(many.each_ref().map(is_out), [false, true, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn sources_of_peers_have_places_of_their_own() {
        let places = places(2, 2, 1);
        let proven = take(&places, 9).unwrap();
        assert!(proven.keep() && proven.keep());
        let _crowd = [1, 2].map(|last| take(&places, last).unwrap());
        assert!(take(&places, 3).is_none());
        let again = take(&places, 9).unwrap();
        assert!(!again.keep(), "one connection is all");
        drop(proven);
        assert!(again.keep());
    }

    /// A first message that comes byte by byte is none.
    #[tokio::test(start_paused = true)]
    async fn who_has_said_nothing_whole_has_come_no_further() {
        let places = places(1, 1, 1);
        let dribbling = take(&places, 1).unwrap();
        advance(Stage::Silent.patience()).await;
        dribbling.waits();
        assert!(take(&places, 1).is_none(), "what it said may be whole");
        dribbling.has_had_its_turn();
        assert!(take(&places, 1).is_some() && is_out(&dribbling));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_left_of_who_has_gone() {
        let places = places(4, 2, 4);
        for last in 0..200 {
            let place = take(&places, last).unwrap();
            drop(take(&places, last));
            assert!(place.keep());
        }
        let taken = lock(&places.taken);
        assert!(taken.strangers.is_empty() && taken.known.is_empty());
        assert_eq!((taken.connected.len(), taken.proven.len()), (0, REMEMBERED));
    }
}
