//! Records and issuances as others see them.

use std::ops::Range;

use crate::lifecycle::command::Bindings;
use crate::lifecycle::record::{Admission, Claim, Issuance, IssuanceEntry, Origin, Record};
use crate::token::{KeyId, TokenId};

use super::State;
use super::slot::Side;

impl State {
    /// The record of a token.
    pub fn record(&self, token_id: &TokenId) -> Option<Record> {
        self.records.find(token_id).map(|at| self.record_at(at))
    }

    /// All records, in order of their ids.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        let sorted = self.records.sorted();
        sorted.into_iter().map(|at| self.record_at(at))
    }

    /// All records lie in places below this one.
    pub fn places(&self) -> u32 {
        self.records.slots.end()
    }

    /// The records that lie in some places, in no order, as far as their ids are wanted. Whoever looks at all of them
    /// does so a part at a time, so that nobody waits for the whole.
    pub fn records_in(
        &self,
        places: Range<u32>,
        mut wanted: impl FnMut(&TokenId) -> bool,
    ) -> impl Iterator<Item = Record> {
        places.filter_map(move |at| {
            let slot = self.records.slots.get(at)?;
            wanted(&slot.token_id).then(|| self.record_at(at))
        })
    }

    /// The resources whose tokens are live and lie in some places, in no order.
    pub fn live_in(&self, places: Range<u32>) -> impl Iterator<Item = Issuance> {
        places.filter_map(|at| {
            let slot = self.records.slots.get(at)?;
            let is_live = !slot.phase.is_terminal();
            is_live.then(|| self.issuance_of(at)).flatten()
        })
    }

    /// How many records there are.
    pub fn record_count(&self) -> usize {
        self.records.len()
    }

    /// What is known of a resource's name.
    pub fn issuance(&self, issuance: &Issuance) -> Option<IssuanceEntry> {
        self.issuances
            .find(issuance)
            .map(|at| self.issuances.view(at))
    }

    /// What is known of all resources' names, in order of namespace and name.
    pub fn issuances(&self) -> impl Iterator<Item = IssuanceEntry> {
        let sorted = self.issuances.sorted();
        sorted.into_iter().map(|at| self.issuances.view(at))
    }

    pub(in crate::lifecycle) fn record_at(&self, at: u32) -> Record {
        let (slot, side) = self.records.parts(at);
        let attempts = slot.attempts;
        let resource = side.and_then(Side::resource);
        Record {
            token_id: slot.token_id,
            phase: slot.phase,
            origin: self.origin(slot.key, side),
            issued_at_ms: slot.issued_at_ms,
            expires_at_ms: slot.expires_at_ms,
            attempts,
            bindings: resource.map_or_else(Bindings::default, |resource| resource.bindings.clone()),
            claim: side.and_then(Side::claimed).map(|claimed| Claim {
                joiner: claimed.joiner,
                attempt: attempts,
                holder: claimed.holder,
                address: claimed.address,
                deadline_ms: slot.at_ms,
            }),
            admission: side.and_then(Side::admitted).map(|admitted| Admission {
                joiner: admitted.joiner,
                attempt: attempts,
                address: admitted.address,
                at_ms: slot.at_ms,
                redeliver_until_ms: admitted.redeliver_until_ms,
                leaf: admitted.leaf.as_deref().map(Into::into),
                barred: admitted.barred,
            }),
            aborted: slot.aborted,
            terminal_at_ms: slot.phase.is_terminal().then_some(slot.at_ms),
            contested: side
                .and_then(Side::admitted)
                .is_some_and(|admitted| admitted.contested),
            last_failure: side.and_then(Side::last_failure),
            changed_at_index: slot.changed_at_index,
        }
    }

    fn origin(&self, key: u16, side: Option<&Side>) -> Origin {
        let Some(key) = self.keys.get(key) else {
            return Origin::Tombstone;
        };
        let key_id: KeyId = key.key_id;
        match side.and_then(Side::resource) {
            None => Origin::Offline {
                key_id,
                node_name: side.and_then(Side::offline_node).map(str::to_owned),
            },
            Some(resource) => Origin::Resource {
                issuance: resource.issuance.clone(),
                revision: resource.revision,
                reissue: resource.reissue,
                key_id,
                node_name: resource.node_name.clone(),
            },
        }
    }

    /// Whose record it is, if it is a resource's.
    pub(in crate::lifecycle) fn issuance_of(&self, at: u32) -> Option<Issuance> {
        let resource = self.records.side(at)?.resource()?;
        Some(resource.issuance.clone())
    }

    /// The record of the issuance in force, unless it was forgotten. What has its id now may be
    /// something else: a tombstone, or the token of somebody who mints offline and took the id.
    pub(in crate::lifecycle) fn record_of(&self, entry: &IssuanceEntry) -> Option<u32> {
        let at = self.records.find(&entry.token_id)?;
        let resource = self.records.side(at)?.resource()?;
        let same = resource.issuance == entry.issuance
            && resource.revision == entry.revision
            && resource.reissue == entry.reissue;
        same.then_some(at)
    }
}
