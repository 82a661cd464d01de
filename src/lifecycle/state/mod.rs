//! What the replicas agree on, and how it is kept in memory.

mod due;
mod invariants;
mod issuances;
mod keys;
mod names;
mod records;
mod slab;
mod slot;
#[cfg(test)]
mod tests;
mod view;

use super::command::{AdoptKey, Founded, KEEPS_BOUNDS, KEEPS_NODES, Settings};
use super::hash::{Kind, StateHash, Sum};
use super::image::put_globals;
use super::restored::Restored;
use crate::token::KeyId;

pub use invariants::InvariantViolation;
pub(super) use issuances::Issuances;
pub(super) use keys::Keys;
pub(super) use records::Records;
pub(super) use slot::{Admitted, Claimed, Claims, Hold, NO_KEY, Resource, Side, Slot, Source};

/// The state: changed by [`State::apply`] alone, the same for all who applied the same commands.
#[derive(Clone)]
pub struct State {
    pub(super) rules: RulesVersion,
    /// The greatest time of any command.
    pub(super) now_ms: u64,
    pub(super) settings: Settings,
    pub(super) founded: Option<Founded>,
    pub(super) restored: Option<Restored>,
    pub(super) keys: Keys,
    pub(super) records: Records,
    pub(super) issuances: Issuances,
}

/// By which rules `apply` goes. Two releases on one log go by the same ones: those in the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub(super) enum RulesVersion {
    V1 = 1,
    /// The node of a token minted offline is kept while somebody holds it.
    #[cfg_attr(feature = "first-rules", expect(dead_code))]
    V2 = KEEPS_NODES,
    /// A joiner counts once, what was aborted by its id stays so, and what a namespace or a key may take has bounds.
    #[cfg_attr(feature = "first-rules", expect(dead_code))]
    V3 = KEEPS_BOUNDS,
}

impl RulesVersion {
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::V1),
            #[cfg(not(feature = "first-rules"))]
            2 => Some(Self::V2),
            #[cfg(not(feature = "first-rules"))]
            3 => Some(Self::V3),
            _ => None,
        }
    }

    /// The latest that this release knows.
    #[cfg(not(feature = "first-rules"))]
    pub const NEWEST: Self = Self::V3;
    #[cfg(feature = "first-rules")]
    pub const NEWEST: Self = Self::V1;

    /// The node of a token minted offline is kept.
    pub const fn keeps_nodes(self) -> bool {
        match self {
            Self::V1 => false,
            Self::V2 | Self::V3 => true,
        }
    }

    /// What the third rules say is in force.
    pub const fn keeps_bounds(self) -> bool {
        match self {
            Self::V1 | Self::V2 => false,
            Self::V3 => true,
        }
    }
}

impl State {
    /// The state of an empty log.
    pub fn new() -> Self {
        let settings = Settings::default().by_rules(RulesVersion::V1 as u32);
        Self::with(RulesVersion::V1, 0, settings, None)
    }

    pub(super) fn with(
        rules: RulesVersion,
        now_ms: u64,
        settings: Settings,
        founded: Option<Founded>,
    ) -> Self {
        Self {
            rules,
            now_ms,
            keys: Keys::default(),
            records: Records::new(&settings),
            issuances: Issuances::new(settings.remember_issuances_ms),
            settings,
            founded,
            restored: None,
        }
    }

    /// The state's clock, milliseconds since the epoch.
    pub const fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// The adopted keys that mint, in order of their ids.
    pub fn keys(&self) -> Vec<AdoptKey> {
        let mut keys = self.keys.in_force().to_vec();
        keys.sort_unstable_by_key(|key| key.key_id);
        keys
    }

    /// The adopted key of this id, if it mints.
    pub fn key(&self, key_id: &KeyId) -> Option<&AdoptKey> {
        self.keys.find(key_id).map(|(_, key)| key)
    }

    /// How many adopted keys mint. None goes while the store lives.
    pub fn key_count(&self) -> usize {
        self.keys.in_force().len()
    }

    /// The keys that a restore retired, in the order of their adoption. None of them is adopted again.
    pub fn retired_keys(&self) -> &[AdoptKey] {
        self.keys.retired()
    }

    /// That the state was restored, the last time that it was; `None` if never.
    pub const fn restored(&self) -> Option<&Restored> {
        self.restored.as_ref()
    }

    /// The last place of the log that changed a record or a name, or at which the state was restored; 0: none did.
    pub fn last_change(&self) -> u64 {
        let records = self
            .records
            .slots
            .iter()
            .map(|(_, slot)| slot.changed_at_index);
        let issuances = self.issuances().map(|entry| entry.changed_at_index);
        let restored = self.restored.iter().map(|restored| restored.index);
        records.chain(issuances).chain(restored).max().unwrap_or(0)
    }

    /// How the store was founded; `None` before it is.
    pub const fn founded(&self) -> Option<&Founded> {
        self.founded.as_ref()
    }

    /// The limits in force.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The number of the rules that `apply` goes by.
    pub const fn rules_version(&self) -> u32 {
        self.rules as u32
    }

    /// The highest number of rules that this release knows.
    pub const fn newest_rules() -> u32 {
        RulesVersion::NEWEST as u32
    }

    /// From when on a `Sweep` has work; `None`: never, as things are.
    pub fn next_due_ms(&self) -> Option<u64> {
        let record = self.records.next_due().map(|(due_ms, _)| due_ms);
        let entry = self.issuances.next_due().map(|(due_ms, _)| due_ms);
        let next = record.into_iter().chain(entry).min();
        next.filter(|due_ms| *due_ms < u64::MAX)
    }

    /// The hash of all of it. Cheap: records and issuances were summed up as they changed.
    pub fn hash(&self) -> StateHash {
        self.hash_of(self.records.sum(), self.issuances.sum())
    }

    fn hash_of(&self, records: Sum, issuances: Sum) -> StateHash {
        let mut globals = Vec::new();
        put_globals(&mut globals, self);
        let mut sum = Sum::of(Kind::Globals, &globals);
        sum.add(records);
        sum.add(issuances);
        sum.finish()
    }

    /// Makes the due times anew: after the settings changed or an image was read.
    pub(super) fn rebuild_schedules(&mut self) {
        self.records.rebuild(&self.settings);
        let forgotten: Vec<u32> = match self.settings.remember_issuances_ms {
            None => Vec::new(),
            Some(_) => (self.issuances.sorted().into_iter())
                .filter(|at| self.record_of(&self.issuances.view(*at)).is_none())
                .collect(),
        };
        self.issuances
            .rebuild(self.settings.remember_issuances_ms, forgotten);
    }
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

/// How much there is; never what.
impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("rules", &self.rules)
            .field("now_ms", &self.now_ms)
            .field("records", &self.records.len())
            .field("hash", &self.hash())
            .finish_non_exhaustive()
    }
}
