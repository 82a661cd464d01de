//! All records: slab, what lies beside it, the table by id, the due times and the sum of hashes,
//! kept in step with each other. Every change of a record goes through [`Records::edit`].

use crate::faults::{self, Fault};
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::lifecycle::command::Settings;
use crate::lifecycle::hash::{Kind, Sum};
use crate::lifecycle::image::put_record;
use crate::lifecycle::record::Phase;
use crate::token::TokenId;

use super::due::{DueHeap, Timed};
use super::slab::{NONE, Slab};
use super::slot::{Hold, Side, Slot, Source};

#[derive(Debug, Clone)]
pub(in crate::lifecycle) struct Records {
    pub(super) slots: Slab<Slot>,
    pub(super) sides: Slab<Box<Side>>,
    pub(super) table: HashTable<u32>,
    /// Seeded anew in each process: whoever mints offline chooses the ids, and could otherwise
    /// make them collide. The order in the table is never seen.
    hasher: DefaultHashBuilder,
    pub(super) due: DueHeap,
    ages: Ages,
    sum: Sum,
    /// For the bytes that are hashed.
    scratch: Vec<u8>,
}

/// The settings that due times depend on.
#[derive(Debug, Clone, Copy)]
struct Ages {
    retention_ms: u64,
    longest_certificate_lifetime_ms: u64,
}

impl From<&Settings> for Ages {
    fn from(settings: &Settings) -> Self {
        Self {
            retention_ms: settings.retention_ms,
            longest_certificate_lifetime_ms: settings.longest_certificate_lifetime_ms,
        }
    }
}

impl Records {
    pub fn new(settings: &Settings) -> Self {
        Self {
            slots: Slab::new(),
            sides: Slab::new(),
            table: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            due: DueHeap::default(),
            ages: settings.into(),
            sum: Sum::default(),
            scratch: Vec::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn sum(&self) -> Sum {
        self.sum
    }

    pub fn find(&self, token_id: &TokenId) -> Option<u32> {
        let slots = &self.slots;
        self.table
            .find(self.hasher.hash_one(token_id), |at| {
                slots[*at].token_id == *token_id
            })
            .copied()
    }

    pub fn slot(&self, at: u32) -> &Slot {
        &self.slots[at]
    }

    pub fn side(&self, at: u32) -> Option<&Side> {
        self.sides.get(self.slots[at].side).map(Box::as_ref)
    }

    pub fn parts(&self, at: u32) -> (&Slot, Option<&Side>) {
        (self.slot(at), self.side(at))
    }

    /// All of them in order of their ids.
    pub fn sorted(&self) -> Vec<u32> {
        let mut all: Vec<u32> = self.slots.iter().map(|(at, _)| at).collect();
        all.sort_unstable_by_key(|at| self.slots[*at].token_id);
        all
    }

    /// Adds a record whose id is in no other.
    pub fn insert(&mut self, slot: Slot, side: Side) -> u32 {
        let at = self.place(slot, side);
        self.add_hash(at);
        self.reschedule(at);
        at
    }

    /// Adds the next record of an image; [`Records::rebuild`] must follow. `None`: out of order.
    pub fn restore(&mut self, slot: Slot, side: Side) -> Option<u32> {
        // Of an image only: records follow each other in the slab as they do in it.
        let last = u32::try_from(self.slots.len()).ok()?.checked_sub(1);
        if last.is_some_and(|last| self.slots[last].token_id >= slot.token_id) {
            return None;
        }
        let at = self.place(slot, side);
        self.add_hash(at);
        Some(at)
    }

    fn place(&mut self, slot: Slot, side: Side) -> u32 {
        let side = if side.is_blank() {
            NONE
        } else {
            self.sides.insert(Box::new(side))
        };
        let at = self.slots.insert(Slot {
            side,
            position: NONE,
            ..slot
        });
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.table
            .insert_unique(hasher.hash_one(slot.token_id), at, |other| {
                hasher.hash_one(slots[*other].token_id)
            });
        at
    }

    /// Changes a record; nothing else does.
    pub fn edit(&mut self, at: u32, index: u64, change: impl FnOnce(&mut Slot, &mut Side)) {
        self.subtract_hash(at);
        let slot = &mut self.slots[at];
        slot.changed_at_index = index;
        if let Some(side) = self.sides.get_mut(slot.side) {
            change(slot, side);
            if side.is_blank() {
                self.sides.remove(slot.side);
                slot.side = NONE;
            }
        } else {
            let mut side = Side::default();
            change(slot, &mut side);
            if !side.is_blank() {
                slot.side = self.sides.insert(Box::new(side));
            }
        }
        self.add_hash(at);
        self.reschedule(at);
    }

    pub fn remove(&mut self, at: u32) {
        self.subtract_hash(at);
        let (heap, mut timed) = self.timed();
        heap.remove(&mut timed, at);
        let Slot { token_id, side, .. } = self.slots[at];
        if let Ok(found) = self
            .table
            .find_entry(self.hasher.hash_one(token_id), |other| *other == at)
        {
            found.remove();
        }
        self.sides.remove(side);
        self.slots.remove(at);
    }

    /// The record that is due first, and when.
    pub fn next_due(&self) -> Option<(u64, u32)> {
        self.due.first().map(|at| (self.due_ms(at), at))
    }

    fn due_ms(&self, at: u32) -> u64 {
        due_ms(self.slot(at), self.side(at), self.ages)
    }

    /// Makes all due times anew.
    pub fn rebuild(&mut self, settings: &Settings) {
        self.ages = settings.into();
        let all: Vec<u32> = self.slots.iter().map(|(at, _)| at).collect();
        let (heap, mut timed) = self.timed();
        heap.rebuild(&mut timed, all.into_iter());
    }

    fn reschedule(&mut self, at: u32) {
        let (heap, mut timed) = self.timed();
        heap.put(&mut timed, at);
    }

    fn timed(&mut self) -> (&mut DueHeap, ByDueTime<'_>) {
        let timed = ByDueTime {
            slots: &mut self.slots,
            sides: &self.sides,
            ages: self.ages,
        };
        (&mut self.due, timed)
    }

    fn add_hash(&mut self, at: u32) {
        let hash = self.hash(at);
        self.sum.add(hash);
    }

    fn subtract_hash(&mut self, at: u32) {
        let hash = self.hash(at);
        self.sum.subtract(hash);
    }

    fn hash(&mut self, at: u32) -> Sum {
        self.scratch.clear();
        let slot = &self.slots[at];
        let side = self.sides.get(slot.side).map(Box::as_ref);
        put_record(&mut self.scratch, slot, side);
        Sum::of(Kind::Record, &self.scratch)
    }

    /// The sum of hashes, made anew.
    pub(super) fn sum_from_scratch(&self) -> Sum {
        let mut sum = Sum::default();
        let mut bytes = Vec::new();
        for (_, slot) in self.slots.iter() {
            bytes.clear();
            let side = self.sides.get(slot.side).map(Box::as_ref);
            put_record(&mut bytes, slot, side);
            sum.add(Sum::of(Kind::Record, &bytes));
        }
        sum
    }

    pub(super) fn comes_before(&self, left: u32, right: u32) -> bool {
        let key = |at: u32| (self.due_ms(at), self.slots[at].token_id);
        key(left) < key(right)
    }
}

impl Side {
    /// Nothing in it: not worth keeping.
    pub(super) fn is_blank(&self) -> bool {
        matches!(self.source, Source::Nothing) && matches!(self.hold, Hold::Nobody)
    }
}

struct ByDueTime<'a> {
    slots: &'a mut Slab<Slot>,
    sides: &'a Slab<Box<Side>>,
    ages: Ages,
}

impl Timed for ByDueTime<'_> {
    fn before(&self, left: u32, right: u32) -> bool {
        let key = |at: u32| {
            let slot = &self.slots[at];
            let side = self.sides.get(slot.side).map(Box::as_ref);
            let due_ms = due_ms(slot, side, self.ages);
            (due_ms, slot.token_id)
        };
        key(left) < key(right)
    }

    fn position(&self, item: u32) -> u32 {
        self.slots[item].position
    }

    fn set_position(&mut self, item: u32, position: u32) {
        self.slots[item].position = position;
    }
}

/// When time changes the record next.
fn due_ms(slot: &Slot, side: Option<&Side>, ages: Ages) -> u64 {
    match slot.phase {
        Phase::Issued => slot.expires_at_ms,
        Phase::InFlight => slot.at_ms.min(slot.expires_at_ms),
        Phase::Consumed | Phase::Expired | Phase::Aborted => match side.and_then(Side::admitted) {
            Some(admitted) if admitted.leaf.is_some() => admitted.redeliver_until_ms,
            _ => forget_at_ms(slot, side, ages),
        },
    }
}

/// Only when the token has expired can it be forgotten without danger: whoever shows it again is
/// told so. An admission must be known until nobody may ask for it again, a bar until the last
/// certificate that the machine may have has ended.
fn forget_at_ms(slot: &Slot, side: Option<&Side>, ages: Ages) -> u64 {
    let mut at_ms = slot.at_ms.saturating_add(ages.retention_ms);
    if !faults::is_on(Fault::ForgottenTooSoon) {
        at_ms = at_ms.max(slot.expires_at_ms);
    }
    if let Some(admitted) = side.and_then(Side::admitted) {
        at_ms = at_ms.max(admitted.redeliver_until_ms);
        if let Some(bar) = admitted.barred {
            at_ms = at_ms.max(
                bar.at_ms
                    .saturating_add(ages.longest_certificate_lifetime_ms),
            );
        }
    }
    at_ms
}
