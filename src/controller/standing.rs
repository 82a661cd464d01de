//! How a resource stands to what the store has recorded under its name.

use crate::lifecycle::outcome::{Refusal, RegisterOutcome};
use crate::lifecycle::record::Origin;
use crate::lifecycle::{Issuance, IssuanceEntry, Phase, Reason, Record};
use crate::token::TokenId;

/// What is in force under a resource's name, and what its spec is to that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub in_force: Option<InForce>,
    pub relation: Relation,
}

/// What the resource's revision is to the one in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// Higher, or nothing is in force: to be registered.
    New,
    /// The very one. A re-issue may follow from then on, if one was asked for and refused so far.
    Current { reissue_not_before_ms: Option<u64> },
    /// The same revision with other frozen fields.
    SpecDiffers,
    /// Lower.
    TooLow,
    /// The store refused to register it.
    Refused(Refusal),
}

/// The issuance in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    pub token_id: TokenId,
    pub revision: u64,
    pub reissue: u32,
    pub phase: Phase,
    pub aborted: Option<Reason>,
    /// When it got into its phase, if it is terminal.
    pub ended_at_ms: Option<u64>,
    /// The log index that last changed it.
    pub changed_at_index: u64,
    /// It was recorded for a namespace of the same name but another uid: who joined then is nobody's
    /// business here.
    pub namespace_differs: bool,
    /// All that is known of the token; forgotten some time after its end.
    pub record: Option<Record>,
}

impl InForce {
    /// From what is kept of the name, and the token's record if there is one.
    pub fn of_entry(entry: &IssuanceEntry, record: Option<Record>, namespace_uid: &str) -> Self {
        // A tombstone under a known id stands for a bar set after the record was forgotten: what
        // became of the token is in the entry.
        let record = record.filter(|record| matches!(record.origin, Origin::Resource { .. }));
        let namespace_differs = entry.namespace_uid != namespace_uid;
        match record {
            Some(record) => Self {
                namespace_differs,
                ..Self::of_record(record, entry.revision, entry.reissue)
            },
            None => Self {
                token_id: entry.token_id,
                revision: entry.revision,
                reissue: entry.reissue,
                phase: entry.phase,
                aborted: entry.aborted,
                ended_at_ms: entry.phase.is_terminal().then_some(entry.at_ms),
                changed_at_index: entry.changed_at_index,
                namespace_differs,
                record: None,
            },
        }
    }

    /// From the record of a token that a status names; `None` if it was issued for another resource.
    pub fn of_former(record: Record, issuance: &Issuance) -> Option<Self> {
        match &record.origin {
            Origin::Resource { issuance: its, .. } if its == issuance => {
                Some(Self::of_record(record, 0, 0))
            }
            _ => None,
        }
    }

    fn of_record(record: Record, revision: u64, reissue: u32) -> Self {
        let (revision, reissue) = match record.origin {
            Origin::Resource {
                revision, reissue, ..
            } => (revision, reissue),
            Origin::Offline { .. } | Origin::Tombstone => (revision, reissue),
        };
        Self {
            token_id: record.token_id,
            revision,
            reissue,
            phase: record.phase,
            aborted: record.aborted,
            ended_at_ms: record.terminal_at_ms,
            changed_at_index: record.changed_at_index,
            namespace_differs: false,
            record: Some(record),
        }
    }

    /// The same issuance after its record has changed.
    pub fn with_record(self, record: Record) -> Self {
        let namespace_differs = self.namespace_differs;
        Self {
            namespace_differs,
            ..Self::of_record(record, self.revision, self.reissue)
        }
    }

    /// It can still admit somebody, or has and the machine is not barred.
    pub fn can_be_revoked(&self) -> bool {
        let record = self.record.as_ref();
        let admission = record.and_then(|record| record.admission.as_ref());
        let is_unbarred = admission.is_some_and(|admission| admission.barred.is_none());
        self.is_live() || (self.phase == Phase::Consumed && is_unbarred)
    }

    /// It can still admit somebody.
    pub const fn is_live(&self) -> bool {
        !self.phase.is_terminal()
    }
}

impl Standing {
    /// From what this replica has applied; good enough on the leader, which has applied everything.
    pub fn of_entry(
        in_force: Option<InForce>,
        entry_hash: Option<[u8; 32]>,
        revision: u64,
        spec_hash: [u8; 32],
    ) -> Self {
        let relation = match &in_force {
            None => Relation::New,
            Some(in_force) if in_force.revision < revision => Relation::New,
            Some(in_force) if in_force.revision > revision => Relation::TooLow,
            Some(_) if entry_hash != Some(spec_hash) => Relation::SpecDiffers,
            Some(_) => Relation::Current {
                reissue_not_before_ms: None,
            },
        };
        Self { in_force, relation }
    }

    /// From the answer to a registration. `record_of` finds the record of a token that the answer names only.
    pub fn of_outcome(
        self,
        outcome: RegisterOutcome,
        namespace_uid: &str,
        revision: u64,
        record_of: impl FnOnce(&TokenId) -> Option<Record>,
    ) -> Self {
        let named = |entry: Box<IssuanceEntry>| {
            let record = record_of(&entry.token_id);
            Some(InForce::of_entry(&entry, record, namespace_uid))
        };
        const CURRENT: Relation = Relation::Current {
            reissue_not_before_ms: None,
        };
        match outcome {
            RegisterOutcome::Created(record) => Self {
                in_force: Some(InForce::of_record(*record, revision, 0)),
                relation: CURRENT,
            },
            RegisterOutcome::Existing {
                record,
                reissue_not_before_ms,
                namespace_differs,
            } => Self {
                in_force: Some(InForce {
                    namespace_differs,
                    ..InForce::of_record(*record, revision, 0)
                }),
                relation: Relation::Current {
                    reissue_not_before_ms,
                },
            },
            RegisterOutcome::Remembered(entry) => Self {
                in_force: named(entry),
                relation: CURRENT,
            },
            RegisterOutcome::SpecDiffers(entry) => Self {
                in_force: named(entry),
                relation: Relation::SpecDiffers,
            },
            RegisterOutcome::Superseded(entry) => Self {
                in_force: named(entry),
                relation: Relation::TooLow,
            },
            RegisterOutcome::Refused(refusal) => Self {
                in_force: self.in_force,
                relation: Relation::Refused(refusal),
            },
        }
    }
}
