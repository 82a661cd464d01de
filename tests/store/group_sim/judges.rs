//! Looks at all replicas while they run: whether any stopped without a reason, and whether those that have applied as
//! much have come to the same, to the byte.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jointoken::lifecycle::Record;
use jointoken::lifecycle::record::Origin;
use openraft::AsyncRuntime as _;

use crate::sim_runtime::Sim;

use super::clients::node_name_of;
use super::machine::Excuse;
use super::world::{World, health};

const LOOK: Duration = Duration::from_millis(100);

impl World {
    /// Looks again and again.
    pub async fn judge(self: Arc<Self>) {
        loop {
            self.look_for_the_dead();
            self.compare_states();
            self.keep_mark();
            Sim::sleep(LOOK).await;
        }
    }

    /// A process that ends by itself needs an excuse; it is gone then.
    fn look_for_the_dead(&self) {
        let ended: Vec<_> = {
            let machines = self.machines();
            let each = machines.iter().enumerate();
            each.filter_map(|(n, it)| {
                let store = it.store.as_ref()?;
                let why = health(store).fatal?;
                Some((n, why, it.excuse))
            })
            .collect()
        };
        for (n, why, excuse) in ended {
            match excuse {
                None => self
                    .verdict
                    .wrong(format!("machine {n} stopped by itself: {why}")),
                // Whoever removed or copied it, or set it back, looks at it.
                Some(Excuse::Removed | Excuse::Copy | Excuse::SetBack) => {}
                Some(Excuse::Disk | Excuse::Power) => self.stop_dead(n),
            }
        }
    }

    /// At one index there is one state, whoever came there, and when.
    pub fn compare_states(&self) {
        let machines = self.machines();
        let mut states = self.states.lock().unwrap();
        for machine in machines.iter() {
            let Some(store) = &machine.store else {
                continue;
            };
            store.look_at_state(|index, state| {
                let is_known = machine.looked_at.replace((machine.processes, index));
                if is_known == (machine.processes, index) {
                    return;
                }
                let sum = crc32c::crc32c(&state.encode());
                if *states.entry(index).or_insert(sum) != sum {
                    let what = format!("at index {index} {} has another state", machine.address);
                    self.verdict.wrong(what);
                }
                let looked = self.compared.fetch_add(1, Ordering::Relaxed);
                // It is much work.
                if looked.is_multiple_of(8)
                    && let Err(broken) = state.check_invariants()
                {
                    self.verdict.wrong(format!("{}: {broken}", machine.address));
                }
                if looked.is_multiple_of(8)
                    && let Some(odd) = state.records().find(is_of_another_node)
                {
                    self.verdict.wrong(format!("{}: {odd:?}", machine.address));
                }
            });
        }
    }
}

/// A token minted offline whose record names another node than the token.
fn is_of_another_node(record: &Record) -> bool {
    let mut number = [0; 8];
    number.copy_from_slice(&record.token_id.0[..8]);
    match &record.origin {
        Origin::Offline { node_name, .. } => node_name
            .as_ref()
            .is_some_and(|node| *node != node_name_of(u64::from_be_bytes(number))),
        _ => false,
    }
}
