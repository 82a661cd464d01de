//! `Sweep`: does what time has made due, in order of time. Its work grows with what is due.

use super::Apply;
use crate::lifecycle::command::Sweep;
use crate::lifecycle::outcome::{Cause, SweepOutcome, Transition};

impl Apply<'_> {
    pub(super) fn sweep(&mut self, command: &Sweep) -> SweepOutcome {
        let mut outcome = SweepOutcome {
            changed: 0,
            forgotten: 0,
            more: false,
        };
        for _ in 0..command.limit {
            if !self.sweep_one(&mut outcome) {
                return outcome;
            }
        }
        let next = self.state.next_due_ms();
        outcome.more = next.is_some_and(|due_ms| due_ms <= self.now_ms);
        outcome
    }

    /// Does what is due first; records before issuances. `false`: nothing is due.
    fn sweep_one(&mut self, outcome: &mut SweepOutcome) -> bool {
        let record = self.state.records.next_due();
        let entry = self.state.issuances.next_due();
        let entry_first = match (record, entry) {
            (Some((record_ms, _)), Some((entry_ms, _))) => entry_ms < record_ms,
            (record, _) => record.is_none(),
        };
        let next = if entry_first { entry } else { record };
        let Some((_, at)) = next.filter(|(due_ms, _)| *due_ms <= self.now_ms) else {
            return false;
        };
        if entry_first {
            self.state.issuances.remove(at);
            outcome.forgotten += 1;
        } else if self.normalise(at) {
            outcome.changed += 1;
        } else {
            self.forget_record(at);
            outcome.forgotten += 1;
        }
        true
    }

    /// A record that time changes no more is due only when it may be forgotten.
    pub(super) fn forget_record(&mut self, at: u32) {
        let slot = *self.state.records.slot(at);
        let issuance = self.state.issuance_of(at);
        self.state.records.remove(at);
        let entry = issuance
            .as_ref()
            .and_then(|name| self.entry_of(name, &slot));
        if let Some(entry) = entry {
            self.state.issuances.record_forgotten(entry);
        }
        self.transitions.push(Transition {
            token_id: slot.token_id,
            issuance,
            from: Some(slot.phase),
            to: None,
            cause: Cause::Forgotten,
            joiner: None,
            address: None,
        });
    }
}
