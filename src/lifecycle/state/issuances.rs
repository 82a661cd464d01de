//! What is remembered of each resource's name, long after its records are gone.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::lifecycle::hash::{Kind, Sum};
use crate::lifecycle::image::put_entry;
use crate::lifecycle::record::{Issuance, IssuanceEntry, Phase, Reason};
use crate::token::TokenId;

use super::due::{DueHeap, Timed};
use super::names::Namespaces;
use super::slab::{NONE, Slab};

#[derive(Debug, Clone)]
pub(in crate::lifecycle) struct Issuances {
    pub(super) entries: Slab<Entry>,
    pub(super) namespaces: Namespaces,
    pub(super) table: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Entries whose record is gone, while there is an age at which they go as well.
    pub(super) due: DueHeap,
    remember_ms: Option<u64>,
    sum: Sum,
}

/// [`IssuanceEntry`] in little room: these stay for ever unless told otherwise.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub namespace: u32,
    pub position: u32,
    name: Box<str>,
    revision: u64,
    reissue: u32,
    spec_hash: [u8; 32],
    token_id: TokenId,
    last_admission: Option<TokenId>,
    phase: Phase,
    aborted: Option<Reason>,
    at_ms: u64,
    changed_at_index: u64,
}

impl Issuances {
    pub fn new(remember_ms: Option<u64>) -> Self {
        Self {
            entries: Slab::new(),
            namespaces: Namespaces::new(),
            table: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            due: DueHeap::default(),
            remember_ms,
            sum: Sum::default(),
        }
    }

    pub fn sum(&self) -> Sum {
        self.sum
    }

    pub fn find(&self, issuance: &Issuance) -> Option<u32> {
        let hash = self
            .hasher
            .hash_one((&*issuance.namespace, &*issuance.name));
        self.table
            .find(hash, |at| {
                let entry = &self.entries[*at];
                *entry.name == *issuance.name
                    && *self.namespaces.get(entry.namespace).name == *issuance.namespace
            })
            .copied()
    }

    /// How many names are remembered of this namespace, and how many of them have a live token.
    pub fn usage(&self, namespace: &str, uid: &str) -> (u32, u32) {
        let known = self.namespaces.named(namespace, uid);
        known.map_or((0, 0), |known| (known.uses, known.live))
    }

    pub fn token_id(&self, at: u32) -> TokenId {
        self.entries[at].token_id
    }

    pub fn view(&self, at: u32) -> IssuanceEntry {
        let entry = &self.entries[at];
        let namespace = self.namespaces.get(entry.namespace);
        IssuanceEntry {
            issuance: Issuance {
                namespace: namespace.name.to_string(),
                name: entry.name.to_string(),
            },
            namespace_uid: namespace.uid.to_string(),
            revision: entry.revision,
            reissue: entry.reissue,
            spec_hash: entry.spec_hash,
            token_id: entry.token_id,
            phase: entry.phase,
            aborted: entry.aborted,
            at_ms: entry.at_ms,
            last_admission: entry.last_admission,
            changed_at_index: entry.changed_at_index,
        }
    }

    /// All of them in order of namespace and name.
    pub fn sorted(&self) -> Vec<u32> {
        let mut all: Vec<u32> = self.entries.iter().map(|(at, _)| at).collect();
        all.sort_unstable_by(|left, right| self.name(*left).cmp(&self.name(*right)));
        all
    }

    /// Puts an entry in the place of what was there under its name.
    pub fn set(&mut self, entry: &IssuanceEntry) -> u32 {
        if let Some(at) = self.find(&entry.issuance) {
            self.remove(at);
        }
        self.insert(entry)
    }

    /// Adds the next entry of an image; [`Issuances::rebuild`] must follow. `None`: out of order.
    pub fn restore(&mut self, entry: &IssuanceEntry) -> Option<u32> {
        let last = u32::try_from(self.entries.len()).ok()?.checked_sub(1);
        let this = (&*entry.issuance.namespace, &*entry.issuance.name);
        if last.is_some_and(|last| self.name(last) >= this) {
            return None;
        }
        Some(self.insert(entry))
    }

    fn insert(&mut self, entry: &IssuanceEntry) -> u32 {
        let namespace = self
            .namespaces
            .take(&entry.issuance.namespace, &entry.namespace_uid);
        let at = self.entries.insert(Entry {
            namespace,
            position: NONE,
            name: entry.issuance.name.as_str().into(),
            revision: entry.revision,
            reissue: entry.reissue,
            spec_hash: entry.spec_hash,
            token_id: entry.token_id,
            last_admission: entry.last_admission,
            phase: entry.phase,
            aborted: entry.aborted,
            at_ms: entry.at_ms,
            changed_at_index: entry.changed_at_index,
        });
        let (entries, namespaces, hasher) = (&self.entries, &self.namespaces, &self.hasher);
        let hash = |at: u32| {
            let entry = &entries[at];
            hasher.hash_one((&*namespaces.get(entry.namespace).name, &*entry.name))
        };
        self.table.insert_unique(hash(at), at, |other| hash(*other));
        let is_live = !entry.phase.is_terminal();
        self.namespaces.count_live(namespace, false, is_live);
        self.sum.add(self.hash(at));
        at
    }

    /// Mirrors what became of the entry's record.
    pub fn edit(&mut self, at: u32, change: impl FnOnce(&mut IssuanceEntry)) {
        let mut view = self.view(at);
        self.sum.subtract(self.hash(at));
        change(&mut view);
        let entry = &mut self.entries[at];
        let [was, is] = [entry.phase, view.phase].map(|phase| !phase.is_terminal());
        self.namespaces.count_live(entry.namespace, was, is);
        entry.last_admission = view.last_admission;
        entry.phase = view.phase;
        entry.aborted = view.aborted;
        entry.at_ms = view.at_ms;
        entry.changed_at_index = view.changed_at_index;
        self.sum.add(self.hash(at));
    }

    pub fn remove(&mut self, at: u32) {
        self.sum.subtract(self.hash(at));
        let (heap, mut timed) = self.timed();
        heap.remove(&mut timed, at);
        let hash = self.hasher.hash_one(self.name(at));
        if let Ok(found) = self.table.find_entry(hash, |other| *other == at) {
            found.remove();
        }
        let entry = &self.entries[at];
        let (namespace, was) = (entry.namespace, !entry.phase.is_terminal());
        self.namespaces.count_live(namespace, was, false);
        self.namespaces.release(namespace);
        self.entries.remove(at);
    }

    /// The entry's record is gone: from now on its own age counts.
    pub fn record_forgotten(&mut self, at: u32) {
        if self.remember_ms.is_some() {
            let (heap, mut timed) = self.timed();
            heap.put(&mut timed, at);
        }
    }

    /// The entry that is due to be forgotten first, and when.
    pub fn next_due(&self) -> Option<(u64, u32)> {
        self.due.first().map(|at| {
            let due_ms = due_ms(&self.entries[at], self.remember_ms);
            (due_ms, at)
        })
    }

    /// Makes all due times anew: of the entries whose records are gone.
    pub fn rebuild(&mut self, remember_ms: Option<u64>, forgotten: Vec<u32>) {
        self.remember_ms = remember_ms;
        let (heap, mut timed) = self.timed();
        heap.rebuild(&mut timed, forgotten.into_iter());
    }

    /// The sum of hashes, made anew.
    pub(super) fn sum_from_scratch(&self) -> Sum {
        let mut sum = Sum::default();
        for (at, _) in self.entries.iter() {
            sum.add(self.hash(at));
        }
        sum
    }

    fn hash(&self, at: u32) -> Sum {
        let mut bytes = Vec::new();
        put_entry(&mut bytes, &self.view(at));
        Sum::of(Kind::Issuance, &bytes)
    }

    fn name(&self, at: u32) -> (&str, &str) {
        let entry = &self.entries[at];
        (&self.namespaces.get(entry.namespace).name, &entry.name)
    }

    fn timed(&mut self) -> (&mut DueHeap, ByAge<'_>) {
        let timed = ByAge {
            entries: &mut self.entries,
            namespaces: &self.namespaces,
            remember_ms: self.remember_ms,
        };
        (&mut self.due, timed)
    }
}

struct ByAge<'a> {
    entries: &'a mut Slab<Entry>,
    namespaces: &'a Namespaces,
    remember_ms: Option<u64>,
}

impl Timed for ByAge<'_> {
    fn before(&self, left: u32, right: u32) -> bool {
        let key = |at: u32| {
            let entry = &self.entries[at];
            let namespace = &self.namespaces.get(entry.namespace).name;
            (due_ms(entry, self.remember_ms), namespace, &entry.name)
        };
        key(left) < key(right)
    }

    fn position(&self, item: u32) -> u32 {
        self.entries[item].position
    }

    fn set_position(&mut self, item: u32, position: u32) {
        self.entries[item].position = position;
    }
}

fn due_ms(entry: &Entry, remember_ms: Option<u64>) -> u64 {
    entry.at_ms.saturating_add(remember_ms.unwrap_or(u64::MAX))
}
