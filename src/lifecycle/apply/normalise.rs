//! What time alone does to a record, done before anything else is.

use super::Apply;
use crate::lifecycle::outcome::Cause;
use crate::lifecycle::record::{LastFailure, Phase};
use crate::lifecycle::state::{Side, Source};

impl Apply<'_> {
    /// Brings a record to where `now` wants it. Every command does this to what it touches, so
    /// that nothing depends on how soon a sweep came by. Tells whether anything changed.
    pub(super) fn normalise(&mut self, at: u32) -> bool {
        let (slot, side) = self.state.records.parts(at);
        let now_ms = self.now_ms;
        let live = !slot.phase.is_terminal();
        if live && now_ms >= slot.expires_at_ms {
            self.end(at, Phase::Expired, None, Cause::Expired);
            return true;
        }
        if slot.phase == Phase::InFlight && now_ms >= slot.at_ms {
            self.unclaim(at, Cause::ClaimLapsed, None);
            return true;
        }
        let redelivery_over = side.and_then(Side::admitted).is_some_and(|admitted| {
            admitted.leaf.is_some() && now_ms >= admitted.redeliver_until_ms
        });
        if redelivery_over {
            self.change(at, Cause::RedeliveryEnded, |_, side| {
                if let Some(admitted) = side.admitted_mut() {
                    admitted.leaf = None;
                }
            });
        }
        redelivery_over
    }

    /// From InFlight back to Issued.
    pub(super) fn unclaim(&mut self, at: u32, cause: Cause, failure: Option<LastFailure>) {
        self.change(at, cause, |slot, side| {
            slot.phase = Phase::Issued;
            slot.at_ms = 0;
            side.let_go();
            if let Source::Resource { last_failure, .. } = &mut side.source {
                *last_failure = failure.or(*last_failure);
            }
        });
    }
}
