//! Who has which place, and who of them makes room first.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How far a connection has come. Who has come less far makes room first: a crowd that only holds
/// places does not come far, and a machine that means to join does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Its first message has not come, or not wholly.
    Silent,
    /// It has said something, and waits until that is looked at.
    Heard,
    /// Its first message is answered: the rest of the handshake is up to it.
    Handshaking,
    /// The handshake is done.
    Connected,
    /// It has asked for something.
    Asking,
    /// It has shown a valid token, or was admitted before.
    Proven,
}

impl Stage {
    /// How long nobody makes room after he has come so far. The next stage takes a machine one
    /// round trip; its first message comes together with the connection. Without this, many honest
    /// machines at once would only drive each other out.
    const fn patience(self) -> Duration {
        match self {
            Self::Silent => Duration::from_millis(100),
            _ => Duration::from_secs(1),
        }
    }

    #[cfg(test)]
    pub(super) const fn patience_of_silent() -> Duration {
        Self::Silent.patience()
    }
}

/// Its place among those who make room: by stage, then in the order in which they came to it.
type Rank = (Stage, u64, Number);
/// What a place is known by.
pub(super) type Number = u64;

/// The site has all that it may have, and nobody of it makes room yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SiteIsFull;

/// Of one site.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Room {
    ThereIs,
    /// One of it has just been told to go.
    IsMade,
}

/// All places that are taken. Who has made room is no longer in it.
pub(super) struct Ledger {
    per_site: usize,
    /// So many of all are kept at most, and of one site's.
    kept_in_all: usize,
    kept_per_site: usize,
    places: HashMap<Number, Held>,
    sites: HashMap<IpAddr, Site>,
    /// Those who may have to make room.
    waiting: BTreeSet<Rank>,
    kept: usize,
    came: u64,
}

#[derive(Default)]
struct Site {
    taken: usize,
    kept: usize,
    waiting: BTreeSet<Rank>,
}

struct Held {
    /// `None`: not known yet.
    site: Option<IpAddr>,
    rank: Rank,
    /// When it came to its stage, and when to its place.
    since: Instant,
    came: Instant,
    kept: bool,
    crowded_out: CancellationToken,
}

impl Ledger {
    /// One site may have `per_site`; of all, and of one site's, so many are kept at most.
    pub(super) fn new(per_site: usize, kept_in_all: usize, kept_per_site: usize) -> Self {
        Self {
            per_site,
            kept_in_all,
            kept_per_site,
            places: HashMap::new(),
            sites: HashMap::new(),
            waiting: BTreeSet::new(),
            kept: 0,
            came: 0,
        }
    }

    /// Takes a place for somebody who is not known to be of any site.
    pub(super) fn enter(&mut self, stage: Stage, now: Instant) -> (Number, CancellationToken) {
        let number = self.next();
        let crowded_out = CancellationToken::new();
        let held = Held {
            site: None,
            rank: (stage, number, number),
            since: now,
            came: now,
            kept: false,
            crowded_out: crowded_out.clone(),
        };
        self.waiting.insert(held.rank);
        self.places.insert(number, held);
        (number, crowded_out)
    }

    /// From now on it counts as this site's.
    pub(super) fn belongs(
        &mut self,
        number: Number,
        site: IpAddr,
        now: Instant,
    ) -> Result<Room, SiteIsFull> {
        let room = self.make_room_at(site, now)?;
        // Who has made room meanwhile has nothing that could be counted.
        if let Some(held) = self.places.get_mut(&number) {
            held.site = Some(site);
            let site = self.sites.entry(site).or_default();
            site.taken += 1;
            site.waiting.insert(held.rank);
        }
        Ok(room)
    }

    /// Has somebody of this site make room if it has all that it may have.
    pub(super) fn make_room_at(&mut self, site: IpAddr, now: Instant) -> Result<Room, SiteIsFull> {
        let crowd = self.sites.get(&site);
        let Some(crowd) = crowd.filter(|crowd| crowd.taken >= self.per_site) else {
            return Ok(Room::ThereIs);
        };
        let out = self.first_of(&crowd.waiting, now);
        self.crowd_out(out.map_err(|_| SiteIsFull)?);
        Ok(Room::IsMade)
    }

    /// Has somebody make room, whoever has come the least far. `Err`: nobody does before this time,
    /// or at all.
    pub(super) fn make_room(&mut self, now: Instant) -> Result<(), Option<Instant>> {
        let out = self.first_of(&self.waiting, now)?;
        self.crowd_out(out);
        Ok(())
    }

    /// It has come so far.
    pub(super) fn reached(&mut self, number: Number, stage: Stage, now: Instant) {
        let comes_further = |held: &Held| held.rank.0 < stage && !held.kept;
        if self.places.get(&number).is_some_and(comes_further) {
            self.rank_anew(number, stage, now);
        }
    }

    /// What it said was not the whole of a first message: it counts as if it had said nothing.
    pub(super) fn has_said_nothing_whole(&mut self, number: Number) {
        let Some(held) = self.places.get(&number) else {
            return;
        };
        if held.rank.0 == Stage::Heard {
            self.rank(number, (Stage::Silent, number, number), held.came);
        }
    }

    /// From now on it makes room for nobody. `false`: as many do so already as may.
    pub(super) fn keep(&mut self, number: Number) -> bool {
        let Some(held) = self.places.get_mut(&number) else {
            return true;
        };
        let site = held.site.and_then(|site| self.sites.get_mut(&site));
        let of_site = site.as_ref().map_or(0, |site| site.kept);
        if held.kept || self.kept >= self.kept_in_all || of_site >= self.kept_per_site {
            return held.kept;
        }
        held.kept = true;
        self.kept += 1;
        self.waiting.remove(&held.rank);
        if let Some(site) = site {
            site.kept += 1;
            site.waiting.remove(&held.rank);
        }
        true
    }

    /// From now on it makes room again, last of all.
    pub(super) fn release(&mut self, number: Number, now: Instant) {
        if self.places.contains_key(&number) {
            self.rank_anew(number, Stage::Proven, now);
        }
    }

    /// Its place is free.
    pub(super) fn leave(&mut self, number: Number) {
        self.unkeep(number);
        let Some(held) = self.places.remove(&number) else {
            return;
        };
        self.waiting.remove(&held.rank);
        if let Some(address) = held.site
            && let Some(site) = self.sites.get_mut(&address)
        {
            site.waiting.remove(&held.rank);
            site.taken -= 1;
            if site.taken == 0 {
                // Sites that have no connection are not remembered.
                self.sites.remove(&address);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty() && self.sites.is_empty() && self.waiting.is_empty() && self.kept == 0
    }

    fn rank_anew(&mut self, number: Number, stage: Stage, now: Instant) {
        self.unkeep(number);
        let order = self.next();
        self.rank(number, (stage, order, number), now);
    }

    fn rank(&mut self, number: Number, rank: Rank, since: Instant) {
        let Some(held) = self.places.get_mut(&number) else {
            return;
        };
        let before = std::mem::replace(&mut held.rank, rank);
        held.since = since;
        self.waiting.remove(&before);
        self.waiting.insert(rank);
        if let Some(site) = held.site.and_then(|site| self.sites.get_mut(&site)) {
            site.waiting.remove(&before);
            site.waiting.insert(rank);
        }
    }

    fn unkeep(&mut self, number: Number) {
        let Some(held) = self.places.get_mut(&number).filter(|held| held.kept) else {
            return;
        };
        held.kept = false;
        self.kept -= 1;
        if let Some(site) = held.site.and_then(|site| self.sites.get_mut(&site)) {
            site.kept -= 1;
        }
    }

    /// Of each stage the first to come to it is looked at: nobody after him has waited longer.
    fn first_of(&self, waiting: &BTreeSet<Rank>, now: Instant) -> Result<Number, Option<Instant>> {
        let mut due = None;
        let mut from = waiting.first();
        while let Some(&(stage, _, number)) = from {
            if let Some(held) = self.places.get(&number) {
                let then = held.since + stage.patience();
                if then <= now {
                    return Ok(number);
                }
                due = Some(due.map_or(then, |due: Instant| due.min(then)));
            }
            from = waiting.range((stage, u64::MAX, Number::MAX)..).next();
        }
        Err(due)
    }

    fn crowd_out(&mut self, number: Number) {
        if let Some(held) = self.places.get(&number) {
            held.crowded_out.cancel();
        }
        self.leave(number);
    }

    const fn next(&mut self) -> u64 {
        self.came += 1;
        self.came
    }
}
