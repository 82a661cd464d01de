//! A founded state with its keys, commands in short, and outcomes and records in one line each.

use std::net::IpAddr;

use jointoken::lifecycle::command::{
    Abort, Acknowledge, AdoptKey, Begin, Bindings, Consume, Failure, Founded, OfflineRegistration,
    RaiseRules, Register, Revert, Revoke, Sweep,
};
use jointoken::lifecycle::outcome::{
    AbortOutcome, AcknowledgeOutcome, BeginOutcome, ConsumeOutcome, RegisterOutcome, RevertOutcome,
    RevokeOutcome,
};
use jointoken::lifecycle::record::Origin;
use jointoken::lifecycle::{
    Applied, Command, Issuance, IssuanceEntry, Operation, Outcome, Reason, Record, Restore,
    Settings, State, Typed,
};
use jointoken::token::{Fingerprint, JoinerId, KeyId, Purpose, StoreId, TokenId};

pub const SECOND: u64 = 1000;
pub const MINUTE: u64 = 60 * SECOND;
pub const HOUR: u64 = 60 * MINUTE;
pub const DAY: u64 = 24 * HOUR;
/// When the tests begin.
pub const START: u64 = 1_800_000_000_000;

pub const RESOURCE_KEY: KeyId = KeyId([1; 8]);
pub const OFFLINE_KEY: KeyId = KeyId([2; 8]);
pub const NODEDB_KEY: KeyId = KeyId([3; 8]);
/// A second offline key, whose tokens live an hour at most.
pub const SHORT_KEY: KeyId = KeyId([4; 8]);

pub const A: JoinerId = JoinerId([0xa; 32]);
pub const B: JoinerId = JoinerId([0xb; 32]);
pub const FIRST_HOLDER: [u8; 16] = [1; 16];
pub const SECOND_HOLDER: [u8; 16] = [2; 16];

pub fn token(number: u8) -> TokenId {
    TokenId([number; 16])
}

/// The issuance `default/n1`.
pub fn n1() -> Issuance {
    Issuance {
        namespace: "default".into(),
        name: "n1".into(),
    }
}

/// A state and the place in the log and the time at which it stands.
#[derive(Clone)]
pub struct Store {
    pub state: State,
    pub index: u64,
    pub at_ms: u64,
}

impl Store {
    /// Founded, with a key of each purpose, by the newest rules.
    pub fn founded() -> Self {
        Self::founded_by(State::newest_rules())
    }

    /// Restored as a new store, at this time if one is given.
    pub fn restored(&self, clock_ms: Option<u64>) -> Self {
        let mut founded = founding();
        founded.store_id = StoreId([0x77; 16]);
        founded.epoch = 2;
        let restore = Restore {
            index: self.index + 1,
            founded,
            clock_ms,
        };
        let state = self.state.clone().restore(&restore);
        let state = state.expect("a restored state");
        state.check_invariants().expect("a state that can be");
        let state = State::decode(&state.encode()).expect("its own image");
        Self {
            state,
            index: self.index + 1,
            at_ms: self.at_ms,
        }
    }

    /// By these rules.
    pub fn founded_by(rules: u32) -> Self {
        let mut store = Self {
            state: State::new(),
            index: 0,
            at_ms: START,
        };
        if rules > store.state.rules_version() {
            store.apply(RaiseRules { to: rules });
        }
        store.apply(founding());
        for (key_id, purpose, max_ttl_ms) in [
            (RESOURCE_KEY, Purpose::Resource, None),
            (OFFLINE_KEY, Purpose::Offline, None),
            (NODEDB_KEY, Purpose::NodeDb, None),
            (SHORT_KEY, Purpose::Offline, Some(HOUR)),
        ] {
            store.apply(AdoptKey {
                key_id,
                purpose,
                fingerprint: Fingerprint([key_id.0[0]; 32]),
                max_ttl_ms,
                node_pattern: None,
            });
        }
        store
    }

    /// Lets time pass.
    pub fn wait(&mut self, ms: u64) -> &mut Self {
        self.at_ms += ms;
        self
    }

    /// Applies an operation here and now, and checks the whole state after it.
    pub fn apply(&mut self, operation: impl Into<Operation>) -> Applied {
        self.index += 1;
        let command = Command {
            at_ms: self.at_ms,
            operation: operation.into(),
        };
        let applied = self.state.apply(self.index, &command);
        self.state
            .check_invariants()
            .unwrap_or_else(|violation| panic!("{violation} after {command:?}"));
        applied
    }

    /// Applies an operation and takes its outcome by its type.
    pub fn run<O: Typed>(&mut self, operation: O) -> O::Outcome {
        O::outcome(self.apply(operation).outcome).expect("an outcome of the operation's own kind")
    }

    pub fn configure(&mut self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.state.settings().clone();
        change(&mut settings);
        self.apply(settings);
    }

    pub fn record(&self, number: u8) -> Record {
        self.state.record(&token(number)).expect("a record")
    }

    pub fn entry(&self) -> IssuanceEntry {
        self.state.issuance(&n1()).expect("an issuance")
    }

    /// The record in one line, times in minutes since the start.
    pub fn after(&self, token_id: TokenId) -> String {
        self.state
            .record(&token_id)
            .map_or_else(|| "none".into(), |record| record_line(&record))
    }

    /// A token of a resource, claimed and consumed by `A`, its certificate `leaf`.
    pub fn admit(&mut self, number: u8, revision: u64) {
        self.apply(Register {
            revision,
            token_id: token(number),
            ..register()
        });
        let BeginOutcome::Granted { attempt, .. } = self.run(begin_as(number, A)) else {
            panic!("not granted");
        };
        let outcome = self.run(Consume {
            attempt,
            ..consume_as(number, A)
        });
        assert!(matches!(outcome, ConsumeOutcome::Admitted { .. }));
    }
}

/// Where it came from, without the node of a token minted offline: that goes and comes with who holds it.
pub fn source(record: &Record) -> Origin {
    match &record.origin {
        Origin::Offline { key_id, .. } => Origin::Offline {
            key_id: *key_id,
            node_name: None,
        },
        other => other.clone(),
    }
}

/// The node of a token minted offline.
pub fn node(record: &Record) -> Option<&str> {
    match &record.origin {
        Origin::Offline { node_name, .. } => node_name.as_deref(),
        _ => None,
    }
}

pub fn founding() -> Founded {
    Founded {
        store_id: StoreId([7; 16]),
        epoch: 1,
        trust_domain: "example.org".into(),
        fingerprints: vec![("door-ca".into(), Fingerprint([8; 32]))],
    }
}

/// `default/n1`, revision 1, for an hour, as token 1.
pub fn register() -> Register {
    Register {
        issuance: n1(),
        namespace_uid: "5d2f2a3e-0000-4000-8000-000000000001".into(),
        revision: 1,
        spec_hash: [1; 32],
        revoked: false,
        reissue_if_unused: false,
        token_id: token(1),
        key_id: RESOURCE_KEY,
        node_name: "n1".into(),
        ttl_ms: HOUR,
        in_flight_timeout_ms: None,
        max_claims: None,
        bindings: Bindings::default(),
    }
}

pub fn begin_as(number: u8, joiner: JoinerId) -> Begin {
    Begin {
        token_id: token(number),
        joiner,
        holder: FIRST_HOLDER,
        address: Some(IpAddr::from([192, 0, 2, 1])),
        registration: None,
    }
}

/// For the first attempt.
pub fn consume_as(number: u8, joiner: JoinerId) -> Consume {
    Consume {
        token_id: token(number),
        joiner,
        attempt: 1,
        leaf: b"leaf".to_vec(),
    }
}

pub fn acknowledge_as(number: u8, joiner: JoinerId) -> Acknowledge {
    Acknowledge {
        token_id: token(number),
        joiner,
    }
}

/// Of the first attempt by the first holder.
pub fn revert(number: u8) -> Revert {
    Revert {
        token_id: token(number),
        attempt: 1,
        holder: FIRST_HOLDER,
        failure: Failure::SigningFailed,
    }
}

pub fn abort(number: u8) -> Abort {
    Abort {
        token_id: token(number),
        reason: Reason::Deleted,
        keep_until_ms: None,
    }
}

pub fn revoke(number: u8) -> Revoke {
    Revoke {
        token_id: token(number),
        reason: Reason::Revoked,
        keep_until_ms: None,
    }
}

pub fn sweep() -> Sweep {
    Sweep { limit: 1000 }
}

/// A token minted offline at the start, good for an hour.
pub fn offline() -> OfflineRegistration {
    OfflineRegistration {
        key_id: OFFLINE_KEY,
        issued_at_ms: Some(START),
        expires_at_ms: START + HOUR,
        node_name: Some("edge-1".into()),
    }
}

/// A time as minutes since the start.
fn minute(at_ms: u64) -> String {
    format!("{}m", (at_ms - START) / MINUTE)
}

fn joiner(joiner: JoinerId) -> char {
    match joiner {
        A => 'A',
        B => 'B',
        _ => '?',
    }
}

fn record_line(record: &Record) -> String {
    let mut line = format!("{:?}", record.phase);
    if let Origin::Resource {
        revision, reissue, ..
    } = &record.origin
        && (*revision, *reissue) != (1, 0)
    {
        line += &format!(" revision {revision} reissue {reissue}");
    }
    if let Origin::Offline {
        node_name: Some(node),
        ..
    } = &record.origin
    {
        line += &format!(" of {node}");
    }
    if record.origin == Origin::Tombstone {
        line += &match record.expires_at_ms {
            u64::MAX => " tombstone for ever".to_owned(),
            until_ms => format!(" tombstone until {}", minute(until_ms)),
        };
    }
    if let Some(reason) = record.aborted {
        line += &format!(" ({})", reason.as_str());
    }
    if record.attempts > 0 {
        line += &format!(" attempt {}", record.attempts);
    }
    if let Some(claim) = &record.claim {
        assert_eq!(claim.attempt, record.attempts);
        line += &format!(
            " by {} holder {} until {}",
            joiner(claim.joiner),
            claim.holder[0],
            minute(claim.deadline_ms)
        );
    }
    if let Some(admission) = &record.admission {
        line += &format!(" by {}", joiner(admission.joiner));
        if let Some(leaf) = &admission.leaf {
            line += &format!(" {}", String::from_utf8_lossy(leaf));
        }
        if let Some(bar) = admission.barred {
            line += &format!(" barred ({})", bar.reason.as_str());
        }
    }
    if record.contested {
        line += " contested";
    }
    if let Some(last) = record.last_failure {
        line += &format!(" {:?}", last.failure);
    }
    line
}

/// An outcome in one line, without the record that it brings.
pub fn said(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Register(outcome) => match outcome {
            RegisterOutcome::Created(_) => "Created".into(),
            RegisterOutcome::Existing {
                reissue_not_before_ms: None,
                ..
            } => "Existing".into(),
            RegisterOutcome::Existing {
                reissue_not_before_ms: Some(not_before_ms),
                ..
            } => format!("Existing, reissue from {}", minute(*not_before_ms)),
            RegisterOutcome::Remembered(entry) => format!("Remembered {:?}", entry.phase),
            RegisterOutcome::SpecDiffers(_) => "SpecDiffers".into(),
            RegisterOutcome::Superseded(entry) => format!("Superseded by {}", entry.revision),
            RegisterOutcome::Refused(refusal) => format!("Refused {refusal:?}"),
        },
        Outcome::Begin(outcome) => match outcome {
            BeginOutcome::Granted {
                attempt,
                deadline_ms,
                ..
            } => format!("Granted {attempt} until {}", minute(*deadline_ms)),
            BeginOutcome::Redeliver { leaf, .. } => {
                format!("Redeliver {}", String::from_utf8_lossy(leaf))
            }
            BeginOutcome::ClaimConflict { until_ms } => {
                format!("ClaimConflict until {}", minute(*until_ms))
            }
            other => format!("{other:?}"),
        },
        Outcome::Consume(outcome) => match outcome {
            ConsumeOutcome::Admitted { leaf, .. } => {
                format!("Admitted {}", String::from_utf8_lossy(leaf))
            }
            other => format!("{other:?}"),
        },
        Outcome::Acknowledge(outcome) => match outcome {
            AcknowledgeOutcome::Done => "Done".into(),
            other => format!("{other:?}"),
        },
        Outcome::Revert(outcome) => match outcome {
            RevertOutcome::Done => "Done".into(),
            other => format!("{other:?}"),
        },
        Outcome::Abort(outcome) => match outcome {
            AbortOutcome::Done(_) => "Done".into(),
            AbortOutcome::AlreadyConsumed(_) => "AlreadyConsumed".into(),
            AbortOutcome::Tombstone => "Tombstone".into(),
        },
        Outcome::Revoke(outcome) => match outcome {
            RevokeOutcome::Done(_) => "Done".into(),
            RevokeOutcome::Barred(_) => "Barred".into(),
            RevokeOutcome::Tombstone => "Tombstone".into(),
        },
        other => format!("{other:?}"),
    }
}
