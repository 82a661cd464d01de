//! The due heap against a sorted list.

use proptest::prelude::*;

use crate::lifecycle::state::due::{DueHeap, Timed};
use crate::lifecycle::state::slab::NONE;

struct Items {
    times: Vec<u8>,
    positions: Vec<u32>,
}

impl Timed for Items {
    fn before(&self, left: u32, right: u32) -> bool {
        let key = |item: u32| (self.times[item as usize], item);
        key(left) < key(right)
    }

    fn position(&self, item: u32) -> u32 {
        self.positions[item as usize]
    }

    fn set_position(&mut self, item: u32, position: u32) {
        self.positions[item as usize] = position;
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put(u32, u8),
    Remove(u32),
    Rebuild,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u32..40, any::<u8>()).prop_map(|(item, time)| Step::Put(item, time)),
        2 => (0u32..40).prop_map(Step::Remove),
        1 => Just(Step::Rebuild),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_due_first_comes_first(steps in proptest::collection::vec(step(), 1..200)) {
        let mut items = Items { times: vec![0; 40], positions: vec![NONE; 40] };
        let mut heap = DueHeap::default();
        for step in steps {
            match step {
                Step::Put(item, time) => {
                    items.times[item as usize] = time;
                    heap.put(&mut items, item);
                }
                Step::Remove(item) => heap.remove(&mut items, item),
                Step::Rebuild => {
                    let present: Vec<u32> = heap.items().to_vec();
                    heap.rebuild(&mut items, present.into_iter().rev());
                }
            }
            let present = (0..40).filter(|item| items.position(*item) != NONE);
            let first = present.min_by_key(|item| (items.times[*item as usize], *item));
            prop_assert_eq!(heap.first(), first);
        }
        let mut sorted: Vec<u32> = heap.items().to_vec();
        sorted.sort_by_key(|item| (items.times[*item as usize], *item));
        for item in sorted {
            prop_assert_eq!(heap.first(), Some(item));
            heap.remove(&mut items, item);
        }
        prop_assert_eq!(heap.first(), None);
    }
}
