//! The row `Begin`: a joiner claims the token, or learns what became of it.

use std::net::IpAddr;

use super::Apply;
use crate::faults::{self, Fault};
use crate::lifecycle::command::{Begin, Bindings};
use crate::lifecycle::outcome::{BeginOutcome, Binding, Cause, Refusal};
use crate::lifecycle::record::{Phase, Reason};
use crate::lifecycle::state::{Claimed, Hold, NO_KEY, Side};
use crate::token::{JoinerId, KeyId};

impl Apply<'_> {
    pub(super) fn begin(&mut self, command: &Begin) -> BeginOutcome {
        let registration = command.registration.as_ref();
        if self.state.rules.keeps_nodes() && registration.is_some_and(|said| !said.fits()) {
            return BeginOutcome::Refused(Refusal::FieldTooLong);
        }
        let at = match (
            self.state.records.find(&command.token_id),
            &command.registration,
        ) {
            (None, None) => return BeginOutcome::NotFound,
            (None, Some(registration)) => {
                match self.register_offline(command.token_id, registration) {
                    Ok(at) => at,
                    Err(outcome) => return outcome,
                }
            }
            (Some(at), registration) => {
                if let Some(registration) = registration
                    && !self.is_token_of(at, registration.key_id)
                {
                    return BeginOutcome::Refused(Refusal::IdInUse);
                }
                at
            }
        };
        let is_claimed = self.phase(at) == Phase::InFlight;
        let is_left = faults::is_on(Fault::ApplyNotNormalising)
            || is_claimed && faults::is_on(Fault::BeginIgnoresDeadline);
        if !is_left {
            self.normalise(at);
        }
        match self.phase(at) {
            Phase::Issued => self.claim(at, command),
            Phase::InFlight => self.claim_again(at, command),
            Phase::Consumed => self.begin_consumed(at, command),
            Phase::Expired => BeginOutcome::Expired,
            Phase::Aborted => BeginOutcome::Aborted(self.reason(at)),
        }
    }

    /// The node that a token minted offline is for. Earlier rules know nothing of it.
    fn node_of<'c>(&self, command: &'c Begin) -> Option<&'c str> {
        let registration = command.registration.as_ref();
        let registration = registration.filter(|_| self.state.rules.keeps_nodes())?;
        registration.node_name.as_deref()
    }

    /// Ids are public and whoever has an exported key chooses the ids of its tokens: with the id
    /// of another key's token they get nowhere. A tombstone is for the id, whoever minted it.
    fn is_token_of(&self, at: u32, key_id: KeyId) -> bool {
        let key = self.state.records.slot(at).key;
        let minted_by = self.state.keys.get(key);
        key == NO_KEY || minted_by.is_some_and(|key| key.key_id == key_id)
    }

    fn claim(&mut self, at: u32, command: &Begin) -> BeginOutcome {
        if let Some(binding) = self.broken_binding(at, command) {
            return BeginOutcome::NotAllowed(binding);
        }
        let attempts = self.state.records.slot(at).attempts;
        if self.is_used_up(at, &command.joiner) {
            self.abort_live(at, Reason::Attempts);
            return BeginOutcome::Aborted(Reason::Attempts);
        }
        self.grant(at, command, attempts.saturating_add(1), Cause::Claimed)
    }

    /// As many have claimed it as may, and this joiner is none of them: whoever claimed it before may always do so again, since it
    /// was the server, or what lies between, that lost the answer. By earlier rules each claim counts.
    fn is_used_up(&self, at: u32, joiner: &JoinerId) -> bool {
        let (slot, side) = self.state.records.parts(at);
        let claims = side.and_then(|side| side.resource()?.claims.as_deref());
        claims.is_some_and(|claims| match self.state.rules.keeps_bounds() {
            true => claims.counted >= claims.max && !claims.joiners.contains(joiner),
            false => slot.attempts >= claims.max,
        })
    }

    fn claim_again(&mut self, at: u32, command: &Begin) -> BeginOutcome {
        if let Some(binding) = self.broken_binding(at, command) {
            return BeginOutcome::NotAllowed(binding);
        }
        let (slot, side) = self.state.records.parts(at);
        let (until_ms, attempts) = (slot.at_ms, slot.attempts);
        match side.and_then(Side::claimed) {
            Some(claimed) if claimed.joiner == command.joiner => {
                self.grant(at, command, attempts, Cause::ClaimRenewed)
            }
            _ => BeginOutcome::ClaimConflict { until_ms },
        }
    }

    fn grant(&mut self, at: u32, command: &Begin, attempt: u32, cause: Cause) -> BeginOutcome {
        let timeout_ms = self
            .state
            .records
            .side(at)
            .and_then(|side| side.resource()?.in_flight_timeout_ms)
            .unwrap_or(self.state.settings.in_flight_timeout_ms);
        let expires_at_ms = self.state.records.slot(at).expires_at_ms;
        let deadline_ms = self.now_ms.saturating_add(timeout_ms).min(expires_at_ms);
        let node = self.node_of(command);
        // A claim that is renewed was counted when it was made.
        let counts = cause == Cause::Claimed && self.state.rules.keeps_bounds();
        self.change(at, cause, |slot, side| {
            slot.phase = Phase::InFlight;
            slot.at_ms = deadline_ms;
            slot.attempts = attempt;
            side.hold = Hold::Claimed(Claimed {
                joiner: command.joiner,
                holder: command.holder,
                address: command.address,
            });
            if let Some(node) = node {
                side.take_node(node);
            }
            if counts {
                side.count(command.joiner);
            }
        });
        BeginOutcome::Granted {
            attempt,
            deadline_ms,
            now_ms: self.now_ms,
            record: self.view(at),
        }
    }

    /// Where the admitted joiner asks from does not matter any more: the token has admitted its
    /// key, the certificate is worth nothing without it, and a machine whose address changed
    /// while its answer was lost must not have burnt its token.
    fn begin_consumed(&mut self, at: u32, command: &Begin) -> BeginOutcome {
        let Some(admitted) = self.state.records.side(at).and_then(Side::admitted) else {
            return BeginOutcome::AlreadyConsumed;
        };
        if admitted.joiner == command.joiner || faults::is_on(Fault::RedeliverToAnybody) {
            return match &admitted.leaf {
                _ if admitted.barred.is_some() => BeginOutcome::Revoked,
                Some(leaf) => BeginOutcome::Redeliver {
                    leaf: leaf.to_vec(),
                    record: self.view(at),
                },
                None => BeginOutcome::AlreadyConsumed,
            };
        }
        if !admitted.contested {
            self.change(at, Cause::Contested, |_, side| {
                if let Some(admitted) = side.admitted_mut() {
                    admitted.contested = true;
                }
            });
        }
        BeginOutcome::AlreadyConsumed
    }

    /// The door checks these as well; here nobody gets round them by way of a door that has not
    /// heard of the record yet.
    fn broken_binding(&self, at: u32, command: &Begin) -> Option<Binding> {
        let resource = self.state.records.side(at)?.resource()?;
        resource.bindings.broken(command.address, &command.joiner)
    }
}

impl Bindings {
    /// The binding that does not hold for this address and key, if any.
    pub fn broken(&self, address: Option<IpAddr>, joiner: &JoinerId) -> Option<Binding> {
        let allowed = |address: IpAddr| {
            // An IPv4 caller of a socket for both looks like ::ffff:192.0.2.1.
            let address = address.to_canonical();
            self.source_cidrs.iter().any(|cidr| cidr.contains(&address))
        };
        if !self.source_cidrs.is_empty() && !address.is_some_and(allowed) {
            return Some(Binding::SourceAddress);
        }
        match &self.joiner {
            Some(bound) if bound != joiner => Some(Binding::PublicKey),
            _ => None,
        }
    }
}
