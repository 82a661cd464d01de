//! Values under small numbers that stay theirs until they are removed.

use std::ops::{Index, IndexMut};

/// Grows by chunks, so that nothing is ever moved: no spike of memory, and no room for twice as
/// many values as there are.
#[derive(Debug, Clone)]
pub(super) struct Slab<T> {
    chunks: Vec<Box<[Option<T>]>>,
    /// Numbers below this one were given out at least once.
    used: usize,
    free: Vec<u32>,
}

const CHUNK: usize = 1024;

/// No value has this number.
pub(super) const NONE: u32 = u32::MAX;

impl<T> Slab<T> {
    pub fn new() -> Self {
        Self {
            chunks: Vec::new(),
            used: 0,
            free: Vec::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.used - self.free.len()
    }

    /// All numbers in use are below this.
    pub fn end(&self) -> u32 {
        u32::try_from(self.used).unwrap_or(NONE)
    }

    pub fn insert(&mut self, value: T) -> u32 {
        let at = self.free.pop().unwrap_or_else(|| {
            if self.used == self.chunks.len() * CHUNK {
                self.chunks.push((0..CHUNK).map(|_| None).collect());
            }
            #[expect(clippy::expect_used, reason = "memory ends before numbers do")]
            let next = u32::try_from(self.used).expect("fewer values than numbers");
            self.used += 1;
            next
        });
        self.chunks[at as usize / CHUNK][at as usize % CHUNK] = Some(value);
        at
    }

    pub fn remove(&mut self, at: u32) -> Option<T> {
        let value = self.place_mut(at)?.take();
        if value.is_some() {
            self.free.push(at);
        }
        value
    }

    pub fn get(&self, at: u32) -> Option<&T> {
        self.chunks.get(at as usize / CHUNK)?[at as usize % CHUNK].as_ref()
    }

    pub fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        self.place_mut(at)?.as_mut()
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..self.used as u32).filter_map(|at| self.get(at).map(|value| (at, value)))
    }

    fn place_mut(&mut self, at: u32) -> Option<&mut Option<T>> {
        Some(&mut self.chunks.get_mut(at as usize / CHUNK)?[at as usize % CHUNK])
    }
}

/// Only for numbers that the state itself keeps.
impl<T> Index<u32> for Slab<T> {
    type Output = T;

    #[expect(
        clippy::expect_used,
        reason = "a wrong index of the state's own, as in a Vec"
    )]
    fn index(&self, at: u32) -> &T {
        self.get(at).expect("a number in use")
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    #[expect(
        clippy::expect_used,
        reason = "a wrong index of the state's own, as in a Vec"
    )]
    fn index_mut(&mut self, at: u32) -> &mut T {
        self.get_mut(at).expect("a number in use")
    }
}

#[cfg(test)]
mod tests {
    use super::Slab;

    #[test]
    fn numbers_stay_and_are_used_again() {
        let mut slab = Slab::new();
        let numbers: Vec<u32> = (0..3000).map(|value| slab.insert(value)).collect();
        assert_eq!(slab.remove(numbers[1500]), Some(1500));
        assert_eq!(slab.remove(numbers[1500]), None);
        assert_eq!(slab.len(), 2999);
        assert_eq!(slab.insert(7), numbers[1500]);
        assert_eq!(slab[numbers[2999]], 2999);
        assert_eq!(slab.iter().count(), 3000);
        assert_eq!(slab.get(u32::MAX), None);
    }
}
