//! The rows `Abort` and `Revoke`: the end of a live token, tombstones, and bars.

use super::Apply;
use crate::faults::{self, Fault};
use crate::lifecycle::command::{Abort, Revoke};
use crate::lifecycle::outcome::{AbortOutcome, Cause, RevokeOutcome};
use crate::lifecycle::record::{Bar, Phase, Reason};
use crate::lifecycle::state::{NO_KEY, Side, Slot};
use crate::token::TokenId;

/// No time is later.
pub(super) const FOR_EVER_MS: u64 = u64::MAX;

impl Apply<'_> {
    pub(super) fn abort(&mut self, command: &Abort) -> AbortOutcome {
        let Some(at) = self.state.records.find(&command.token_id) else {
            self.bury(command.token_id, command.reason, command.keep_until_ms);
            return AbortOutcome::Tombstone;
        };
        self.normalise(at);
        match self.phase(at) {
            Phase::Issued | Phase::InFlight => self.abort_live(at, command.reason),
            Phase::Expired | Phase::Aborted => {}
            Phase::Consumed if faults::is_on(Fault::AbortOverwritesConsumed) => {
                self.abort_live(at, command.reason);
            }
            Phase::Consumed => return AbortOutcome::AlreadyConsumed(self.view(at)),
        }
        AbortOutcome::Done(self.view(at))
    }

    pub(super) fn revoke(&mut self, command: &Revoke) -> RevokeOutcome {
        let Some(at) = self.state.records.find(&command.token_id) else {
            self.bury(command.token_id, command.reason, command.keep_until_ms);
            return RevokeOutcome::Tombstone;
        };
        self.normalise(at);
        match self.phase(at) {
            Phase::Issued | Phase::InFlight => self.abort_live(at, command.reason),
            Phase::Expired | Phase::Aborted => {}
            Phase::Consumed => {
                self.bar(at, command.reason);
                return RevokeOutcome::Barred(self.view(at));
            }
        }
        RevokeOutcome::Done(self.view(at))
    }

    /// Bars whoever was admitted with this token, also when its record is forgotten. Whoever mints
    /// offline may have taken the id since: what it has then ends, too, as the id is what is barred.
    pub(super) fn bar_by_id(&mut self, token_id: TokenId, reason: Reason) {
        let Some(at) = self.state.records.find(&token_id) else {
            self.bury(token_id, reason, Some(0));
            return;
        };
        self.normalise(at);
        if self.phase(at).is_terminal() {
            self.bar(at, reason);
        } else {
            self.abort_live(at, reason);
        }
    }

    fn bar(&mut self, at: u32, reason: Reason) {
        let admitted = self.state.records.side(at).and_then(Side::admitted);
        let is_barred = admitted.is_none_or(|admitted| admitted.barred.is_some());
        if is_barred || faults::is_on(Fault::RevokedServedAgain) {
            return;
        }
        let at_ms = self.now_ms;
        self.change(at, Cause::Barred(reason), |_, side| {
            if let Some(admitted) = side.admitted_mut() {
                admitted.leaf = None;
                admitted.barred = Some(Bar { reason, at_ms });
            }
        });
    }

    /// Marks an id that no record has as dead.
    ///
    /// The mark stays until no token of this id can be good: till the token's own expiry if that is known, else for ever.
    /// And until no certificate can be good that was given for it, as its record may have been forgotten.
    ///
    /// So no change of a setting brings back what was marked. While the mark is there, `Begin` finds it and answers
    /// `Aborted`, whatever it registers. It goes in two cases alone:
    /// - At the token's own expiry, which is part of what its key signed. From then on `register_offline` says `Expired`,
    ///   whatever the limits are, whether the key has one of its own, and whether the token says when it was issued.
    /// - After a restore, which retires all keys: `register_offline` knows the token's key no more.
    ///
    /// By earlier rules a mark without an expiry stayed as long as a token could be good by the limits of that moment:
    /// too short once they were raised, for NodeDB's tokens, which do not say when they were issued, and for those that
    /// were issued further in the future.
    fn bury(&mut self, token_id: TokenId, reason: Reason, keep_until_ms: Option<u64>) {
        let settings = &self.state.settings;
        let now_ms = self.now_ms;
        let no_token_ms = keep_until_ms.unwrap_or_else(|| {
            if self.state.rules.keeps_bounds() {
                return FOR_EVER_MS;
            }
            now_ms
                .saturating_add(settings.max_clock_skew_ms)
                .saturating_add(settings.max_token_ttl_ms)
        });
        let no_certificate_ms = now_ms.saturating_add(settings.longest_certificate_lifetime_ms);
        let slot = Slot {
            token_id,
            issued_at_ms: now_ms,
            expires_at_ms: no_token_ms.max(no_certificate_ms),
            at_ms: now_ms,
            changed_at_index: self.index,
            side: 0,
            attempts: 0,
            position: 0,
            key: NO_KEY,
            phase: Phase::Aborted,
            aborted: Some(reason),
        };
        self.insert(slot, Side::default(), Cause::Aborted(reason));
    }

    /// From here on marks stay for ever that earlier rules set for a while. One that stands for a machine which another took
    /// the place of is about certificates alone.
    pub(super) fn keep_marks(&mut self) {
        for at in self.state.records.sorted() {
            let slot = self.state.records.slot(at);
            let reason = slot.aborted.unwrap_or(Reason::Operator);
            if slot.key == NO_KEY && reason != Reason::Superseded {
                self.change(at, Cause::Aborted(reason), |slot, _| {
                    slot.expires_at_ms = FOR_EVER_MS;
                });
            }
        }
    }
}
