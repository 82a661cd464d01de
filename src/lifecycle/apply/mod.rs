//! `apply`: one command in, one outcome out. A file for each row of the lifecycle's table.
//!
//! Total and deterministic: it reads nothing but the state and the command, and whatever a
//! command says, it comes to an outcome.

mod abort;
mod begin;
mod consume;
mod house;
mod normalise;
mod register;
mod restore;
mod revert;
mod sweep;

use crate::faults::{self, Fault};

use super::command::{Command, Operation};
use super::outcome::{Applied, Cause, Outcome, Transition};
use super::record::{Issuance, Phase, Reason, Record};
use super::state::{RulesVersion, Side, Slot, State};

impl State {
    /// Applies the command at this place of the log.
    pub fn apply(&mut self, index: u64, command: &Command) -> Applied {
        match self.rules {
            RulesVersion::V1 | RulesVersion::V2 | RulesVersion::V3 => {
                Apply::new(self, index, command.at_ms).run(&command.operation)
            }
        }
    }
}

/// One command being applied.
struct Apply<'a> {
    state: &'a mut State,
    index: u64,
    now_ms: u64,
    transitions: Vec<Transition>,
}

impl<'a> Apply<'a> {
    fn new(state: &'a mut State, index: u64, at_ms: u64) -> Self {
        if faults::is_on(Fault::TimeRunsBackwards) {
            state.now_ms = at_ms;
        }
        state.now_ms = state.now_ms.max(at_ms);
        Self {
            index,
            now_ms: state.now_ms,
            transitions: Vec::new(),
            state,
        }
    }

    fn run(mut self, operation: &Operation) -> Applied {
        let outcome = match operation {
            Operation::Register(command) => Outcome::Register(self.register(command)),
            Operation::Begin(command) => Outcome::Begin(self.begin(command)),
            Operation::Consume(command) => Outcome::Consume(self.consume(command)),
            Operation::Acknowledge(command) => Outcome::Acknowledge(self.acknowledge(command)),
            Operation::Revert(command) => Outcome::Revert(self.revert(command)),
            Operation::Abort(command) => Outcome::Abort(self.abort(command)),
            Operation::Revoke(command) => Outcome::Revoke(self.revoke(command)),
            Operation::Sweep(command) => Outcome::Sweep(self.sweep(command)),
            Operation::Forget(command) => Outcome::Forget(self.forget(command)),
            Operation::Configure(settings) => Outcome::Configure(self.configure(settings)),
            Operation::AdoptKey(key) => {
                let keeps_bounds = self.state.rules.keeps_bounds();
                Outcome::AdoptKey(self.state.keys.adopt(key, keeps_bounds))
            }
            Operation::Founded(founded) => Outcome::Founded(self.found(founded)),
            Operation::RaiseRules(raise) => Outcome::RaiseRules(self.raise_rules(*raise)),
        };
        Applied {
            now_ms: self.now_ms,
            house: house::change(operation, &outcome),
            outcome,
            transitions: self.transitions,
        }
    }

    fn phase(&self, at: u32) -> Phase {
        self.state.records.slot(at).phase
    }

    /// Why it was aborted. A record that was not is never asked.
    fn reason(&self, at: u32) -> Reason {
        self.state
            .records
            .slot(at)
            .aborted
            .unwrap_or(Reason::Operator)
    }

    fn view(&self, at: u32) -> Box<Record> {
        Box::new(self.state.record_at(at))
    }

    /// Changes a record, and what is remembered of its issuance with it.
    fn change(&mut self, at: u32, cause: Cause, change: impl FnOnce(&mut Slot, &mut Side)) {
        let from = self.phase(at);
        self.state.records.edit(at, self.index, change);
        self.changed(at, Some(from), cause);
    }

    /// Adds a record, normalised like any that is touched.
    fn insert(&mut self, slot: Slot, side: Side, cause: Cause) -> u32 {
        let at = self.state.records.insert(slot, side);
        self.changed(at, None, cause);
        self.normalise(at);
        at
    }

    fn changed(&mut self, at: u32, from: Option<Phase>, cause: Cause) {
        let slot = *self.state.records.slot(at);
        let issuance = self.state.issuance_of(at);
        let entry = issuance
            .as_ref()
            .and_then(|name| self.entry_of(name, &slot));
        if let Some(entry) = entry {
            let (index, now_ms) = (self.index, self.now_ms);
            self.state.issuances.edit(entry, |entry| {
                if entry.phase != slot.phase {
                    entry.at_ms = now_ms;
                }
                entry.phase = slot.phase;
                entry.aborted = slot.aborted;
                entry.changed_at_index = index;
            });
        }
        let side = self.state.records.side(at);
        let claimed = side.and_then(Side::claimed).map(|c| (c.joiner, c.address));
        let admitted = side.and_then(Side::admitted).map(|a| (a.joiner, a.address));
        let (joiner, address) = claimed.or(admitted).unzip();
        self.transitions.push(Transition {
            token_id: slot.token_id,
            issuance,
            from,
            to: Some(slot.phase),
            cause,
            joiner,
            address: address.flatten(),
        });
    }

    /// What is remembered under the name, if this is the record that it is about.
    fn entry_of(&self, name: &Issuance, slot: &Slot) -> Option<u32> {
        let entry = self.state.issuances.find(name)?;
        (self.state.issuances.token_id(entry) == slot.token_id).then_some(entry)
    }

    /// Ends a live record that admitted nobody.
    fn end(&mut self, at: u32, phase: Phase, reason: Option<Reason>, cause: Cause) {
        let now_ms = self.now_ms;
        self.change(at, cause, |slot, side| {
            slot.phase = phase;
            slot.aborted = reason;
            slot.at_ms = now_ms;
            side.let_go();
            side.forget_claims();
        });
    }

    fn abort_live(&mut self, at: u32, reason: Reason) {
        self.end(at, Phase::Aborted, Some(reason), Cause::Aborted(reason));
    }
}
