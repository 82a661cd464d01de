//! What becomes due when: a heap of four children each, over numbers of a [`super::slab::Slab`].
//!
//! An item knows its place in the heap, so a changed time moves it instead of leaving a stale
//! entry behind: four bytes here and four in the item, whatever happens to it.

use super::slab::NONE;

const CHILDREN: usize = 4;

/// The items' side of the heap.
pub(super) trait Timed {
    /// Which of two items comes first. Must be a total order over what the state says, never over
    /// the items' numbers: those differ between replicas.
    fn before(&self, left: u32, right: u32) -> bool;
    fn position(&self, item: u32) -> u32;
    fn set_position(&mut self, item: u32, position: u32);
}

#[derive(Debug, Clone, Default)]
pub(super) struct DueHeap {
    items: Vec<u32>,
}

impl DueHeap {
    pub fn first(&self) -> Option<u32> {
        self.items.first().copied()
    }

    pub fn items(&self) -> &[u32] {
        &self.items
    }

    /// Puts an item where its time says, whether it is in the heap already or not.
    pub fn put(&mut self, of: &mut impl Timed, item: u32) {
        let mut at = of.position(item) as usize;
        if at == NONE as usize {
            at = self.items.len();
            // By an eighth at a time, not to twice the room.
            if at == self.items.capacity() {
                self.items.reserve_exact(at / 8 + 64);
            }
            self.items.push(item);
        }
        let at = self.rise(of, item, at);
        self.sink(of, item, at);
    }

    pub fn remove(&mut self, of: &mut impl Timed, item: u32) {
        let at = of.position(item);
        if at == NONE {
            return;
        }
        of.set_position(item, NONE);
        let Some(last) = self.items.pop() else { return };
        if last != item {
            let at = self.rise(of, last, at as usize);
            self.sink(of, last, at);
        }
    }

    /// Makes the heap anew: once many times have changed.
    pub fn rebuild(&mut self, of: &mut impl Timed, items: impl Iterator<Item = u32>) {
        for item in std::mem::take(&mut self.items) {
            of.set_position(item, NONE);
        }
        self.items.extend(items);
        self.items.shrink_to_fit();
        for at in (0..self.items.len()).rev() {
            self.sink(of, self.items[at], at);
        }
    }

    /// Moves the item up from `at` as far as it belongs; returns where it came to lie.
    fn rise(&mut self, of: &mut impl Timed, item: u32, mut at: usize) -> usize {
        while at > 0 {
            let parent = (at - 1) / CHILDREN;
            let above = self.items[parent];
            if !of.before(item, above) {
                break;
            }
            self.items[at] = above;
            of.set_position(above, at as u32);
            at = parent;
        }
        self.items[at] = item;
        of.set_position(item, at as u32);
        at
    }

    fn sink(&mut self, of: &mut impl Timed, item: u32, mut at: usize) {
        loop {
            let first_child = at * CHILDREN + 1;
            let children = first_child..(first_child + CHILDREN).min(self.items.len());
            let Some(earliest) = children.reduce(|best, child| {
                if of.before(self.items[child], self.items[best]) {
                    child
                } else {
                    best
                }
            }) else {
                break;
            };
            let below = self.items[earliest];
            if !of.before(below, item) {
                break;
            }
            self.items[at] = below;
            of.set_position(below, at as u32);
            at = earliest;
        }
        self.items[at] = item;
        of.set_position(item, at as u32);
    }
}
