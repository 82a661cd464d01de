//! The row `Register`: at most one token for each (namespace, name, revision, reissue).

use std::cmp::Ordering;

use super::Apply;
use crate::faults::{self, Fault};
use crate::lifecycle::command::{OfflineRegistration, Register};
use crate::lifecycle::outcome::{BeginOutcome, Cause, NamespaceBound, Refusal, RegisterOutcome};
use crate::lifecycle::record::{IssuanceEntry, Phase, Reason};
use crate::lifecycle::state::{Claims, Resource, Side, Slot, Source};
use crate::token::{Purpose, TokenId};

impl Apply<'_> {
    pub(super) fn register(&mut self, command: &Register) -> RegisterOutcome {
        let Some(entry) = self.entry_in_force(command) else {
            return self.create(command, 0, None);
        };
        match command.revision.cmp(&entry.revision) {
            Ordering::Less => RegisterOutcome::Superseded(Box::new(entry)),
            Ordering::Greater => self.create(command, 0, Some(&entry)),
            Ordering::Equal if command.spec_hash != entry.spec_hash => {
                RegisterOutcome::SpecDiffers(Box::new(entry))
            }
            Ordering::Equal if faults::is_on(Fault::RevisionMintedTwice) => {
                self.create(command, 0, Some(&entry))
            }
            Ordering::Equal => self.register_again(command, entry),
        }
    }

    /// What is recorded under the name, after its record was normalised.
    fn entry_in_force(&mut self, command: &Register) -> Option<IssuanceEntry> {
        let entry = self.state.issuance(&command.issuance)?;
        if let Some(at) = self.state.record_of(&entry) {
            self.normalise(at);
        }
        self.state.issuance(&command.issuance)
    }

    /// The revision in force is registered again: a reissue, or nothing new.
    fn register_again(&mut self, command: &Register, entry: IssuanceEntry) -> RegisterOutcome {
        let record = self.state.record_of(&entry);
        let unused = match entry.phase {
            Phase::Expired => true,
            Phase::Aborted => entry.aborted == Some(Reason::Deleted),
            Phase::Issued | Phase::InFlight | Phase::Consumed => false,
        };
        let wanted = command.reissue_if_unused && !command.revoked && unused;
        // Once the record is forgotten, when it ended is the latest that it can have been issued.
        let issued_at_ms =
            record.map_or(entry.at_ms, |at| self.state.records.slot(at).issued_at_ms);
        let not_before_ms = issued_at_ms.saturating_add(self.state.settings.reissue_interval_ms);
        if let Some(reissue) = entry.reissue.checked_add(1)
            && wanted
            && self.now_ms >= not_before_ms
        {
            return self.create(command, reissue, Some(&entry));
        }
        match record {
            None => RegisterOutcome::Remembered(Box::new(entry)),
            Some(at) => RegisterOutcome::Existing {
                record: self.view(at),
                reissue_not_before_ms: wanted.then_some(not_before_ms),
                namespace_differs: entry.namespace_uid != command.namespace_uid,
            },
        }
    }

    /// Makes the token of a new revision or reissue. Refused before anything is changed.
    fn create(
        &mut self,
        command: &Register,
        reissue: u32,
        former: Option<&IssuanceEntry>,
    ) -> RegisterOutcome {
        let key = match self.check_registration(command, former) {
            Ok(key) => key,
            Err(refusal) => return RegisterOutcome::Refused(refusal),
        };
        let former_at = former.and_then(|entry| self.state.record_of(entry));
        if let Some(at) = former_at {
            if !self.phase(at).is_terminal() {
                self.abort_live(at, Reason::Superseded);
            }
            self.drop_predecessor(at);
        }
        let predecessor = former_at.map(|at| self.state.records.slot(at).token_id);
        let aborted = command.revoked.then_some(Reason::Revoked);
        let phase = aborted.map_or(Phase::Issued, |_| Phase::Aborted);
        self.state.issuances.set(&IssuanceEntry {
            issuance: command.issuance.clone(),
            namespace_uid: command.namespace_uid.clone(),
            revision: command.revision,
            reissue,
            spec_hash: command.spec_hash,
            token_id: command.token_id,
            phase,
            aborted,
            at_ms: self.now_ms,
            last_admission: former.and_then(|entry| entry.last_admission),
            changed_at_index: self.index,
        });
        let slot = Slot {
            expires_at_ms: self.now_ms.saturating_add(command.ttl_ms),
            at_ms: aborted.map_or(0, |_| self.now_ms),
            phase,
            aborted,
            ..self.issued(command.token_id, key, self.now_ms)
        };
        let side = Side {
            source: Source::Resource {
                resource: Box::new(Resource {
                    issuance: command.issuance.clone(),
                    revision: command.revision,
                    reissue,
                    node_name: command.node_name.clone(),
                    predecessor: predecessor.filter(|_| self.state.rules.keeps_bounds()),
                    in_flight_timeout_ms: command.in_flight_timeout_ms,
                    claims: command.max_claims.map(|max| Box::new(Claims::up_to(max))),
                    bindings: command.bindings.clone(),
                }),
                last_failure: None,
            },
            ..Side::default()
        };
        let cause = aborted.map_or(Cause::Registered, Cause::Aborted);
        let at = self.insert(slot, side, cause);
        RegisterOutcome::Created(self.view(at))
    }

    /// Drops what came before the former token of a name, unless a machine was admitted by it: so that somebody who raises the
    /// revision over and over makes nothing grow. The former one itself stays, for the status and the Secret that tell of it.
    /// A token of a resource without a record is refused, and no other is registered by its name.
    fn drop_predecessor(&mut self, of: u32) {
        let (slot, side) = self.state.records.parts(of);
        let of_id = slot.token_id;
        let Some(resource) = side.and_then(Side::resource) else {
            return;
        };
        let found = resource
            .predecessor
            .and_then(|token_id| self.state.records.find(&token_id));
        let Some(at) = found else { return };
        // Whoever mints offline may have taken the id meanwhile.
        let its = self.state.records.side(at).and_then(Side::resource);
        let is_its = its.is_some_and(|its| its.issuance == resource.issuance);
        let is_unused = matches!(self.phase(at), Phase::Expired | Phase::Aborted);
        if is_its && is_unused && self.state.records.slot(at).token_id != of_id {
            self.forget_record(at);
        }
    }

    fn check_registration(
        &self,
        command: &Register,
        former: Option<&IssuanceEntry>,
    ) -> Result<u16, Refusal> {
        if self.state.founded.is_none() {
            return Err(Refusal::NotFounded);
        }
        if !command.fits() {
            return Err(Refusal::FieldTooLong);
        }
        let key = self.state.keys.find(&command.key_id);
        let (key, adopted) = key.ok_or(Refusal::UnknownKey(command.key_id))?;
        if adopted.purpose != Purpose::Resource {
            return Err(Refusal::KeyPurpose(command.key_id));
        }
        if self.now_ms.saturating_add(command.ttl_ms) == self.now_ms {
            return Err(Refusal::Empty);
        }
        let limit_ms = self.state.settings.max_token_ttl_ms;
        if command.ttl_ms > limit_ms {
            return Err(Refusal::TtlTooLong { limit_ms });
        }
        let used_before = former.is_some_and(|entry| {
            entry.token_id == command.token_id || entry.last_admission == Some(command.token_id)
        });
        if used_before || self.state.records.find(&command.token_id).is_some() {
            return Err(Refusal::IdInUse);
        }
        self.check_namespace(command, former)?;
        Ok(key)
    }

    /// Whether the namespace may have this as well. By earlier rules it may.
    fn check_namespace(
        &self,
        command: &Register,
        former: Option<&IssuanceEntry>,
    ) -> Result<(), Refusal> {
        let Some(limits) = self.state.settings.namespaces else {
            return Ok(());
        };
        let (namespace, uid) = (&command.issuance.namespace, &command.namespace_uid);
        let (names, live) = self.state.issuances.usage(namespace, uid);
        // What it takes the place of is its own, unless it was another namespace's of this name.
        let former = former.filter(|entry| entry.namespace_uid == *uid);
        let is_new = former.is_none();
        let was_live = former.is_some_and(|entry| !entry.phase.is_terminal());
        let full = |of, limit| Err(Refusal::NamespaceFull { of, limit });
        if is_new && names >= limits.names {
            return full(NamespaceBound::Names, limits.names);
        }
        if !command.revoked && !was_live && live >= limits.live_tokens {
            return full(NamespaceBound::LiveTokens, limits.live_tokens);
        }
        Ok(())
    }

    /// Records a token minted without a server, on first sight.
    pub(super) fn register_offline(
        &mut self,
        token_id: TokenId,
        registration: &OfflineRegistration,
    ) -> Result<u32, BeginOutcome> {
        let refused = |refusal| Err(BeginOutcome::Refused(refusal));
        if self.state.founded.is_none() {
            return refused(Refusal::NotFounded);
        }
        let key_id = registration.key_id;
        let Some((key, adopted)) = self.state.keys.find(&key_id) else {
            return refused(Refusal::UnknownKey(key_id));
        };
        if adopted.purpose == Purpose::Resource {
            return refused(Refusal::KeyPurpose(key_id));
        }
        let settings = &self.state.settings;
        let now_ms = self.now_ms;
        let issued_at_ms = registration.issued_at_ms.unwrap_or(now_ms);
        let expires_at_ms = registration.expires_at_ms;
        if issued_at_ms > now_ms.saturating_add(settings.max_clock_skew_ms) {
            return refused(Refusal::IssuedInFuture);
        }
        // Its record may have been forgotten: a token past its time never makes one (again).
        if now_ms >= expires_at_ms {
            return Err(BeginOutcome::Expired);
        }
        if expires_at_ms <= issued_at_ms {
            return refused(Refusal::Empty);
        }
        let limit_ms = adopted.max_ttl_ms.map_or(settings.max_token_ttl_ms, |max| {
            max.min(settings.max_token_ttl_ms)
        });
        if expires_at_ms - issued_at_ms > limit_ms {
            return refused(Refusal::TtlTooLong { limit_ms });
        }
        let slot = Slot {
            expires_at_ms,
            ..self.issued(token_id, key, issued_at_ms)
        };
        Ok(self.insert(slot, Side::default(), Cause::Registered))
    }

    fn issued(&self, token_id: TokenId, key: u16, issued_at_ms: u64) -> Slot {
        Slot {
            token_id,
            issued_at_ms,
            expires_at_ms: 0,
            at_ms: 0,
            changed_at_index: self.index,
            side: 0,
            attempts: 0,
            position: 0,
            key,
            phase: Phase::Issued,
            aborted: None,
        }
    }
}
