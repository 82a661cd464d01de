//! What is true of every state, recomputed from nothing.

use std::collections::HashSet;

use crate::lifecycle::limits;
use crate::lifecycle::record::{IssuanceEntry, Phase};
use crate::token::{Purpose, TokenId};

use super::State;
use super::due::DueHeap;
use super::slab::NONE;
use super::slot::{Hold, NO_KEY, Side, Slot};

/// A rule that a state breaks, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rule} ({subject})")]
pub struct InvariantViolation {
    pub rule: &'static str,
    /// A token id, a resource's name, or nothing.
    pub subject: String,
}

type Check = Result<(), InvariantViolation>;

fn must(holds: bool, rule: &'static str, subject: impl ToString) -> Check {
    if holds {
        Ok(())
    } else {
        Err(InvariantViolation {
            rule,
            subject: subject.to_string(),
        })
    }
}

impl State {
    /// Checks everything that must hold between two commands.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check_invariants(&self) -> Result<(), InvariantViolation> {
        for (at, slot) in self.records.slots.iter() {
            let side = self.records.side(at);
            self.check_record(slot, side)?;
            let found = self.records.find(&slot.token_id);
            must(found == Some(at), "a record is found by its id", id(slot))?;
            self.check_entry_of(slot, side)?;
        }
        for entry in self.issuances() {
            self.check_entry(&entry)?;
        }
        self.check_restored()?;
        must(
            self.settings.namespaces.is_some() == self.rules.keeps_bounds(),
            "a namespace has bounds by later rules, and always by them",
            "",
        )?;
        self.check_indices()?;
        let from_scratch = self.hash_of(
            self.records.sum_from_scratch(),
            self.issuances.sum_from_scratch(),
        );
        must(
            self.hash() == from_scratch,
            "the sum of hashes is that of all parts",
            "",
        )
    }

    fn check_record(&self, slot: &Slot, side: Option<&Side>) -> Check {
        let (id, phase, at_ms, expires_at_ms) =
            (id(slot), slot.phase, slot.at_ms, slot.expires_at_ms);
        let attempts = slot.attempts;
        let nobody = side.is_none_or(|side| matches!(side.hold, Hold::Nobody));
        must(
            side.is_none_or(|side| !side.is_blank()),
            "nothing is kept beside a slot that needs nothing",
            id,
        )?;
        must(
            slot.aborted.is_some() == (phase == Phase::Aborted),
            "what is aborted has a reason, and nothing else has",
            id,
        )?;
        must(
            phase.is_terminal() || slot.issued_at_ms < expires_at_ms,
            "a token expires after it is issued",
            id,
        )?;
        must(
            !phase.is_terminal() || at_ms <= self.now_ms,
            "nothing ended in the future",
            id,
        )?;
        match phase {
            Phase::Issued => must(nobody && at_ms == 0, "nobody holds an issued token", id)?,
            Phase::InFlight => must(
                side.is_some_and(|side| side.claimed().is_some())
                    && attempts > 0
                    && at_ms <= expires_at_ms,
                "a token in flight has a claim that ends with the token at the latest",
                id,
            )?,
            Phase::Consumed => {
                let admitted = side.and_then(Side::admitted);
                must(
                    admitted.is_some() && attempts > 0,
                    "a consumed token has admitted the joiner of a claim",
                    id,
                )?;
                must(
                    admitted.is_some_and(|admitted| {
                        admitted.barred.is_none() || admitted.leaf.is_none()
                    }),
                    "a barred machine gets no answer again",
                    id,
                )?;
            }
            Phase::Expired | Phase::Aborted => {
                must(nobody, "a dead token is held by nobody", id)?;
            }
        }
        self.check_past(slot, side)?;
        self.check_origin(slot, side)
    }

    /// What is known of who claimed it, and of the token before it.
    fn check_past(&self, slot: &Slot, side: Option<&Side>) -> Check {
        let resource = side.and_then(Side::resource);
        let predecessor = resource.and_then(|resource| resource.predecessor);
        must(
            predecessor.is_none()
                || self.rules.keeps_bounds() && predecessor != Some(slot.token_id),
            "a predecessor is another token, and known by later rules",
            id(slot),
        )?;
        let claims = resource.and_then(|resource| resource.claims.as_deref());
        let Some(claims) = claims.filter(|claims| claims.counted > 0) else {
            return must(
                claims.is_none_or(|claims| claims.joiners.is_empty()),
                "each joiner that is remembered counts",
                id(slot),
            );
        };
        must(
            self.rules.keeps_bounds() && !slot.phase.is_terminal(),
            "claims are counted by later rules, while the token is live",
            id(slot),
        )?;
        must(
            claims.counted <= claims.max.min(slot.attempts),
            "no more claims count than there were and than there may be",
            id(slot),
        )?;
        let distinct: HashSet<_> = claims.joiners.iter().collect();
        let remembered = limits::COUNTED_JOINERS.min(claims.counted as usize);
        must(
            distinct.len() == claims.joiners.len() && claims.joiners.len() == remembered,
            "each joiner that is remembered counts",
            id(slot),
        )
    }

    fn check_origin(&self, slot: &Slot, side: Option<&Side>) -> Check {
        let is_resource = side.is_some_and(|side| side.resource().is_some());
        if slot.key == NO_KEY {
            return must(
                slot.phase == Phase::Aborted && side.is_none() && slot.attempts == 0,
                "a tombstone is aborted and nothing else",
                id(slot),
            );
        }
        must(
            slot.phase.is_terminal() || usize::from(slot.key) >= self.retired_keys().len(),
            "no token of a retired key is live",
            id(slot),
        )?;
        let purpose = self.keys.get(slot.key).map(|key| key.purpose);
        must(
            purpose.is_some_and(|purpose| (purpose == Purpose::Resource) == is_resource),
            "a token was minted by a known key of the right purpose",
            id(slot),
        )?;
        let Some((side, node)) = side.and_then(|side| Some((side, side.offline_node()?))) else {
            return Ok(());
        };
        must(
            self.rules.keeps_nodes() && limits::fits_node(node),
            "the node of a token minted offline is kept by later rules, and is no longer than a name",
            id(slot),
        )?;
        must(
            !matches!(side.hold, Hold::Nobody),
            "the node of a token minted offline is kept while somebody holds it",
            id(slot),
        )
    }

    /// A live token of a resource is the one in force: so there is at most one under a name.
    fn check_entry_of(&self, slot: &Slot, side: Option<&Side>) -> Check {
        let Some(resource) = side.and_then(Side::resource) else {
            return Ok(());
        };
        let in_force = self
            .issuance(&resource.issuance)
            .is_some_and(|entry| entry.token_id == slot.token_id);
        must(
            in_force || slot.phase.is_terminal(),
            "a live token of a resource is the one in force",
            id(slot),
        )
    }

    fn check_entry(&self, entry: &IssuanceEntry) -> Check {
        must(
            entry.aborted.is_some() == (entry.phase == Phase::Aborted),
            "an aborted issuance has a reason, and no other has",
            &entry.issuance,
        )?;
        must(
            entry.phase != Phase::Consumed || entry.last_admission == Some(entry.token_id),
            "the last admission is known",
            &entry.issuance,
        )?;
        let Some(at) = self.record_of(entry) else {
            return must(
                entry.phase.is_terminal(),
                "only a dead token is forgotten",
                &entry.issuance,
            );
        };
        let slot = self.records.slot(at);
        must(
            slot.phase == entry.phase && slot.aborted == entry.aborted,
            "an issuance says what its record says",
            &entry.issuance,
        )
    }

    fn check_restored(&self) -> Check {
        let Some(restored) = self.restored() else {
            return must(
                self.retired_keys().is_empty(),
                "only a restore retires keys",
                "",
            );
        };
        must(
            self.founded().is_some_and(|founded| {
                founded.store_id != restored.former_store_id
                    && founded.epoch > restored.former_epoch
            }),
            "a restored store has another id than the former, and a higher epoch",
            restored.former_store_id,
        )
    }

    fn check_indices(&self) -> Check {
        let records = &self.records;
        must(
            records.table.len() == records.len() && records.due.items().len() == records.len(),
            "every record is in the table and in the due heap once",
            "",
        )?;
        let mut sides = HashSet::new();
        for (at, slot) in records.slots.iter() {
            let side = slot.side;
            must(
                side == NONE || sides.insert(side),
                "no two records share what lies beside them",
                id(slot),
            )?;
            let position = slot.position as usize;
            must(
                records.due.items().get(position) == Some(&at),
                "a record knows its place in the due heap",
                id(slot),
            )?;
        }
        must(
            sides.len() == records.sides.len(),
            "nothing lies beside a record that is gone",
            "",
        )?;
        check_heap(&records.due, |left, right| {
            records.comes_before(left, right)
        })?;
        self.check_issuance_indices()
    }

    fn check_issuance_indices(&self) -> Check {
        let issuances = &self.issuances;
        must(
            issuances.table.len() == issuances.entries.len(),
            "every issuance is in the table once",
            "",
        )?;
        let ages = self.settings.remember_issuances_ms.is_some();
        let mut uses = std::collections::HashMap::<u32, (u32, u32)>::new();
        for (at, entry) in issuances.entries.iter() {
            let view = issuances.view(at);
            let (names, live) = uses.entry(entry.namespace).or_default();
            *names += 1;
            *live += u32::from(!view.phase.is_terminal());
            must(
                issuances.find(&view.issuance) == Some(at),
                "an issuance is found by its name",
                &view.issuance,
            )?;
            let is_due = issuances.due.items().get(entry.position as usize) == Some(&at);
            must(
                is_due == (ages && self.record_of(&view).is_none()),
                "an issuance is due to be forgotten once its record is",
                &view.issuance,
            )?;
        }
        for (at, namespace) in issuances.namespaces.iter() {
            must(
                uses.remove(&at) == Some((namespace.uses, namespace.live)),
                "a namespace is kept while it is used, and what is in it is counted",
                &namespace.name,
            )?;
        }
        must(uses.is_empty(), "every issuance has a namespace", "")
    }
}

fn check_heap(heap: &DueHeap, before: impl Fn(u32, u32) -> bool) -> Check {
    let items = heap.items();
    let ordered = (1..items.len()).all(|at| !before(items[at], items[(at - 1) / 4]));
    must(ordered, "what is due first is found first", "")
}

fn id(slot: &Slot) -> TokenId {
    slot.token_id
}
