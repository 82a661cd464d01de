//! The rows `Consume` and `Acknowledge`: the admission, and the end of its redelivery.

use super::Apply;
use crate::faults::{self, Fault};
use crate::lifecycle::command::{Acknowledge, Consume};
use crate::lifecycle::outcome::{AcknowledgeOutcome, Cause, ConsumeOutcome};
use crate::lifecycle::record::{Phase, Reason};
use crate::lifecycle::state::{Admitted, Hold, Side};

impl Apply<'_> {
    pub(super) fn consume(&mut self, command: &Consume) -> ConsumeOutcome {
        let Some(at) = self.state.records.find(&command.token_id) else {
            return ConsumeOutcome::NotFound;
        };
        if !faults::is_on(Fault::ApplyNotNormalising) {
            self.normalise(at);
        }
        match self.phase(at) {
            Phase::Issued => ConsumeOutcome::StaleClaim,
            Phase::InFlight => self.admit(at, command),
            Phase::Consumed => self.consume_again(at, command),
            Phase::Expired => ConsumeOutcome::Expired,
            Phase::Aborted => ConsumeOutcome::Aborted(self.reason(at)),
        }
    }

    fn admit(&mut self, at: u32, command: &Consume) -> ConsumeOutcome {
        let (slot, side) = self.state.records.parts(at);
        let address = match side.and_then(Side::claimed) {
            Some(claimed)
                if claimed.joiner == command.joiner
                    && (slot.attempts == command.attempt
                        || faults::is_on(Fault::ConsumeWithoutAttempt)) =>
            {
                claimed.address
            }
            _ => return ConsumeOutcome::StaleClaim,
        };
        let now_ms = self.now_ms;
        let window_ms = self.state.settings.redelivery_window_ms;
        self.change(at, Cause::Admitted, |slot, side| {
            slot.phase = Phase::Consumed;
            slot.at_ms = now_ms;
            side.hold = Hold::Admitted(Admitted {
                joiner: command.joiner,
                address,
                redeliver_until_ms: now_ms.saturating_add(window_ms),
                leaf: Some(command.leaf.as_slice().into()),
                barred: None,
                contested: false,
            });
            side.forget_claims();
        });
        self.succeed(at);
        ConsumeOutcome::Admitted {
            leaf: command.leaf.clone(),
            record: self.view(at),
        }
    }

    /// The machine admitted here takes the place of the one admitted before under this name.
    fn succeed(&mut self, at: u32) {
        let slot = *self.state.records.slot(at);
        let (token_id, issuance) = (slot.token_id, self.state.issuance_of(at));
        let Some(entry) = issuance.and_then(|name| self.entry_of(&name, &slot)) else {
            return;
        };
        let former = self.state.issuances.view(entry).last_admission;
        self.state
            .issuances
            .edit(entry, |entry| entry.last_admission = Some(token_id));
        if let Some(former) = former
            && self.state.settings.supersede
            && !faults::is_on(Fault::PredecessorNotBarred)
        {
            self.bar_by_id(former, Reason::Superseded);
        }
    }

    fn consume_again(&mut self, at: u32, command: &Consume) -> ConsumeOutcome {
        let (slot, side) = self.state.records.parts(at);
        let Some(admitted) = side.and_then(Side::admitted) else {
            return ConsumeOutcome::AlreadyConsumed;
        };
        if admitted.joiner != command.joiner || slot.attempts != command.attempt {
            return ConsumeOutcome::AlreadyConsumed;
        }
        match &admitted.leaf {
            _ if admitted.barred.is_some() => ConsumeOutcome::Revoked,
            Some(leaf) => ConsumeOutcome::Admitted {
                leaf: leaf.to_vec(),
                record: self.view(at),
            },
            None => ConsumeOutcome::AlreadyConsumed,
        }
    }

    pub(super) fn acknowledge(&mut self, command: &Acknowledge) -> AcknowledgeOutcome {
        let Some(at) = self.state.records.find(&command.token_id) else {
            return AcknowledgeOutcome::NotFound;
        };
        self.normalise(at);
        match self.state.records.side(at).and_then(Side::admitted) {
            Some(admitted) if admitted.joiner == command.joiner => {
                if admitted.leaf.is_some() {
                    let now_ms = self.now_ms;
                    self.change(at, Cause::Acknowledged, |_, side| {
                        if let Some(admitted) = side.admitted_mut() {
                            admitted.leaf = None;
                            admitted.redeliver_until_ms = now_ms;
                        }
                    });
                }
                AcknowledgeOutcome::Done
            }
            _ => AcknowledgeOutcome::NotAdmitted,
        }
    }
}
