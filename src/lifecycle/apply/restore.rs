//! Restoring: the state of a former store becomes that of a new one, in which nothing is live.
//!
//! No command does this, for a store that runs is never restored: it is done to the state of a
//! snapshot before a new store begins with it.

use std::collections::HashSet;

use super::Apply;
use super::abort::FOR_EVER_MS;
use crate::lifecycle::command::RaiseRules;
use crate::lifecycle::outcome::Cause;
use crate::lifecycle::record::Reason;
use crate::lifecycle::restored::{Restore, RestoreRefusal, Restored};
use crate::lifecycle::state::{NO_KEY, Side, Source, State};

impl State {
    /// This state as that of a new store. Time stands still, unless it is set back: what ends, ends at the state's own time.
    ///
    /// - **Nothing is live any more:** a token that was unused in the snapshot may have been used after it was made.
    /// - What was used stays used. The certificates kept for machines whose answer was lost are dropped: the new
    ///   store accepts none of the tokens by which they could be asked for.
    /// - All keys are retired: none of them mints, and none is adopted again.
    ///
    /// # Errors
    /// When the new store is not another one than the former, or the state is of none.
    pub fn restore(mut self, restore: &Restore) -> Result<Self, RestoreRefusal> {
        let former = self.founded.clone().ok_or(RestoreRefusal::NotFounded)?;
        let founded = &restore.founded;
        if founded.store_id == former.store_id {
            return Err(RestoreRefusal::SameStore(former.store_id));
        }
        if founded.epoch <= former.epoch {
            return Err(RestoreRefusal::Epoch(former.epoch));
        }
        if founded.trust_domain != former.trust_domain {
            return Err(RestoreRefusal::TrustDomain(former.trust_domain));
        }
        if !founded.is_acceptable() {
            return Err(RestoreRefusal::Unacceptable);
        }
        let last = self.last_change();
        if restore.index <= last {
            return Err(RestoreRefusal::Index(last));
        }
        let now_ms = self.now_ms;
        let ended = Apply::new(&mut self, restore.index, now_ms).end_all();
        self.keys.retire_all();
        self.make_room_for_keys(restore.index);
        if let Some(to_ms) = restore.clock_ms.filter(|to_ms| *to_ms < now_ms) {
            self.set_clock_back(restore.index, to_ms);
        }
        self.restored = Some(Restored {
            former_store_id: former.store_id,
            former_epoch: former.epoch,
            index: restore.index,
            ended,
        });
        self.founded = Some(founded.clone());
        Ok(self)
    }
}

impl State {
    /// The new store needs keys of its own. Exported ones that no record names go, if there would be too little room.
    fn make_room_for_keys(&mut self, index: u64) {
        if !self.keys.is_crowded() {
            return;
        }
        let all = self.records.sorted();
        let named: HashSet<u16> = (all.iter().map(|at| self.records.slot(*at).key)).collect();
        let places = self.keys.drop_exported(|at| named.contains(&at));
        for at in all {
            let slot = self.records.slot(at);
            // A tombstone has none.
            if let Some(place) = places.get(&slot.key).copied() {
                let changed_at_index = slot.changed_at_index;
                self.records
                    .edit(at, changed_at_index, |slot, _| slot.key = place);
            }
        }
        if self.keys.is_crowded() {
            // By later rules retired keys take no room: no earlier release could go on with this store.
            let now_ms = self.now_ms;
            let to = Self::newest_rules();
            Apply::new(self, index, now_ms).raise_rules(RaiseRules { to });
        }
    }

    /// Nothing has happened later than `to_ms` from here on. Nothing is live, and no key of before mints any more: to forget a
    /// record sooner than its own dates say lets nobody in.
    fn set_clock_back(&mut self, index: u64, to_ms: u64) {
        self.now_ms = to_ms;
        let longest_ms = to_ms.saturating_add(self.settings.max_token_ttl_ms);
        for at in self.records.sorted() {
            self.records.edit(at, index, |slot, side| {
                slot.issued_at_ms = slot.issued_at_ms.min(to_ms);
                slot.expires_at_ms = slot.expires_at_ms.min(longest_ms);
                slot.at_ms = slot.at_ms.min(to_ms);
                if let Source::Resource {
                    last_failure: Some(failure),
                    ..
                } = &mut side.source
                {
                    failure.at_ms = failure.at_ms.min(to_ms);
                }
                if let Some(admitted) = side.admitted_mut() {
                    admitted.redeliver_until_ms = admitted.redeliver_until_ms.min(to_ms);
                    if let Some(bar) = &mut admitted.barred {
                        bar.at_ms = bar.at_ms.min(to_ms);
                    }
                }
            });
        }
        for at in self.issuances.sorted() {
            self.issuances
                .edit(at, |entry| entry.at_ms = entry.at_ms.min(to_ms));
        }
        self.rebuild_schedules();
    }
}

impl Apply<'_> {
    /// Ends every live record and every redelivery. Tells how many were live.
    fn end_all(mut self) -> u64 {
        let mut ended = 0;
        for at in self.state.records.sorted() {
            // What had expired by the state's own time was not used after it.
            self.normalise(at);
            if !self.phase(at).is_terminal() {
                self.abort_live(at, Reason::Restored);
                ended += 1;
            }
            self.end_redelivery(at);
            self.shorten_mark(at);
        }
        ended
    }

    /// No token of a former key is good any more: a mark need not stay for ever, but as long as certificates may.
    fn shorten_mark(&mut self, at: u32) {
        let settings = &self.state.settings;
        let longest_ms = (settings.max_token_ttl_ms).max(settings.longest_certificate_lifetime_ms);
        let until_ms = self.now_ms.saturating_add(longest_ms);
        let slot = *self.state.records.slot(at);
        if slot.key == NO_KEY && slot.expires_at_ms == FOR_EVER_MS {
            self.state
                .records
                .edit(at, slot.changed_at_index, |slot, _| {
                    slot.expires_at_ms = until_ms;
                });
        }
    }

    fn end_redelivery(&mut self, at: u32) {
        let admitted = self.state.records.side(at).and_then(Side::admitted);
        if admitted.is_none_or(|admitted| admitted.leaf.is_none()) {
            return;
        }
        self.change(at, Cause::RedeliveryEnded, |_, side| {
            if let Some(admitted) = side.admitted_mut() {
                admitted.leaf = None;
            }
        });
    }
}
