//! The row `Revert`: the very request that holds the claim gives it back.

use super::Apply;
use crate::faults::{self, Fault};
use crate::lifecycle::command::Revert;
use crate::lifecycle::outcome::{Cause, RevertOutcome};
use crate::lifecycle::record::{LastFailure, Phase};
use crate::lifecycle::state::Side;

impl Apply<'_> {
    pub(super) fn revert(&mut self, command: &Revert) -> RevertOutcome {
        let Some(at) = self.state.records.find(&command.token_id) else {
            return RevertOutcome::NotFound;
        };
        self.normalise(at);
        match self.phase(at) {
            Phase::Issued | Phase::Expired | Phase::Aborted => RevertOutcome::Done,
            Phase::Consumed => RevertOutcome::AlreadyConsumed,
            Phase::InFlight if !self.is_held_by(at, command) => RevertOutcome::StaleClaim,
            Phase::InFlight => {
                let last = LastFailure {
                    failure: command.failure,
                    at_ms: self.now_ms,
                };
                self.unclaim(at, Cause::Reverted, Some(last));
                RevertOutcome::Done
            }
        }
    }

    fn is_held_by(&self, at: u32, command: &Revert) -> bool {
        let (slot, side) = self.state.records.parts(at);
        let claimed = side.and_then(Side::claimed);
        slot.attempts == command.attempt
            && claimed.is_some_and(|claimed| {
                claimed.holder == command.holder || faults::is_on(Fault::RevertWithoutHolder)
            })
    }
}
