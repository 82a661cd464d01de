//! What remembers, outside of the disks, how far the log was: the mark, as the leader writes it, and the statuses of JoinTokens,
//! as a controller writes them.
//!
//! Each is late, and not written while the API server is away. Nobody can know that a copy of the disks is an old one if it was
//! made after all of them were written; that is no part of this, and no judge excuses anything for it: disks are set back only
//! once something tells of more than they will hold, see [`World::until_told`].

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use jointoken::store::{Reached, Told, Witness};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::sim_net::now;

use super::clients::resource;
use super::world::{World, health};

/// The mark is written at most so often while nobody else comes to lead.
const EVERY: Duration = Duration::from_secs(10);
/// A status is written within so many milliseconds after its record was seen to have changed.
const STATUS_MS: u64 = 1_000;
/// What somebody writes into a status: more than any log holds here.
const EDITED: u64 = 1_000_000_000;

/// What there is in one life that remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    Nothing,
    /// A mark that is never late.
    PromptMark,
    Mark,
    Statuses,
    MarkAndStatuses,
}

impl Memory {
    pub fn draw(rng: &mut SmallRng) -> Self {
        match rng.random_range(0..8) {
            0..=2 => Self::PromptMark,
            3 => Self::Mark,
            4 => Self::MarkAndStatuses,
            _ => Self::Statuses,
        }
    }

    pub const fn has_statuses(self) -> bool {
        matches!(self, Self::Statuses | Self::MarkAndStatuses)
    }

    pub const fn has_mark(self) -> bool {
        matches!(self, Self::PromptMark | Self::Mark | Self::MarkAndStatuses)
    }
}

pub struct Outside(Mutex<Kept>);

struct Kept {
    rng: SmallRng,
    memory: Memory,
    mark: Option<Reached>,
    /// Which process wrote the mark last, as the leader, and when.
    written: Option<((u64, u64), Duration)>,
    /// The highest index at which a record was seen to have changed.
    changed_at: u64,
    /// The `storeIndex` in the status of each token.
    statuses: BTreeMap<u64, u64>,
    /// When the status of which token will tell of which index.
    under_way: Vec<(Duration, u64, u64)>,
    /// The API server is away, or is there, until then.
    is_away: bool,
    until: Duration,
}

impl Outside {
    pub fn new(rng: &mut SmallRng) -> Self {
        let kept = Kept {
            rng: SmallRng::seed_from_u64(rng.random_range(0..u64::MAX)),
            memory: Memory::draw(rng),
            mark: None,
            written: None,
            changed_at: 0,
            statuses: BTreeMap::new(),
            under_way: Vec::new(),
            is_away: false,
            until: Duration::ZERO,
        };
        Self(Mutex::new(kept))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap()
    }

    pub fn memory(&self) -> Memory {
        self.kept().memory
    }

    pub fn forget(&self) {
        self.kept().memory = Memory::Nothing;
    }

    /// A replica that runs showed the record of a token.
    pub fn saw(&self, token: u64, changed_at: u64) {
        let mut kept = self.kept();
        kept.changed_at = kept.changed_at.max(changed_at);
        // Those that were minted without a server have no JoinToken.
        if resource(token).is_some() && kept.memory.has_statuses() && !kept.is_away() {
            let due = now() + Duration::from_millis(kept.rng.random_range(0..STATUS_MS));
            kept.under_way.push((due, token, changed_at));
        }
    }

    /// Somebody edits the status of a token that nobody uses; or it is deleted.
    pub fn edit_a_status(&self, is_there: bool) {
        let mut kept = self.kept();
        match is_there {
            true => kept.statuses.insert(u64::MAX, EDITED),
            false => kept.statuses.remove(&u64::MAX),
        };
    }
}

impl Kept {
    fn is_away(&mut self) -> bool {
        if now() >= self.until {
            self.is_away = self.rng.random_bool(0.2);
            self.until = now() + Duration::from_millis(self.rng.random_range(500..8_000));
        }
        self.is_away
    }

    fn told(&mut self) -> Vec<Witness> {
        let now = now();
        for (_, token, index) in self.under_way.extract_if(.., |(due, ..)| *due <= now) {
            let status = self.statuses.entry(token).or_default();
            *status = index.max(*status);
        }
        let mark = self.mark.filter(|_| self.memory.has_mark());
        let mark = mark.map(|reached| Witness {
            told: Told::Entry(reached),
            place: "the mark".to_owned(),
        });
        let furthest = self.statuses.iter().max_by_key(|(_, index)| **index);
        let status = furthest.map(|(token, index)| Witness {
            told: Told::Index(*index),
            place: format!("the status of token {token}"),
        });
        mark.into_iter().chain(status).collect()
    }
}

impl World {
    /// What a replica is told that starts now.
    pub fn witnesses(&self) -> Vec<Witness> {
        self.remember();
        self.outside.kept().told()
    }

    /// The prompt mark is as far as any that runs.
    pub fn remember(&self) {
        let machines = self.machines();
        let mut kept = self.outside.kept();
        if kept.memory == Memory::PromptMark {
            let stores = machines.iter().filter_map(|it| it.store.as_ref());
            kept.mark = stores.filter_map(|it| it.reached()).max().max(kept.mark);
        }
    }

    /// Whoever leads writes the mark, if that is due: when it comes to lead, and then if a record has changed.
    pub fn keep_mark(&self) {
        let machines = self.machines();
        let mut kept = self.outside.kept();
        if !kept.memory.has_mark() || kept.is_away() {
            return;
        }
        for machine in machines.iter() {
            let Some(store) = machine.store.as_ref().filter(|it| health(it).is_leader) else {
                continue;
            };
            let process = (store.identity().node_id, machine.processes);
            let has_changed = kept.changed_at > kept.mark.map_or(0, |mark| mark.index);
            let is_due = kept
                .written
                .is_none_or(|(last, at)| last != process || has_changed && now() >= at + EVERY);
            if is_due {
                kept.mark = store.reached().max(kept.mark);
                kept.written = Some((process, now()));
            }
        }
    }
}
