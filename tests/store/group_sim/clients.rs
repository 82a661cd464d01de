//! Those who use the group: joiners with tokens, as a door would carry out their requests, and an operator.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jointoken::lifecycle::command::{
    Abort, Acknowledge, Begin, Bindings, Consume, Failure, OfflineRegistration, Register, Revert,
    Revoke,
};
use jointoken::lifecycle::outcome::{
    AbortOutcome, AcknowledgeOutcome, BeginOutcome, ConsumeOutcome, Refusal, RegisterOutcome,
    RevertOutcome, RevokeOutcome,
};
use jointoken::lifecycle::{Issuance, Operation as Asked, Outcome, Phase, Reason, Record};
use jointoken::store::{Committed, StoreError, TokenStore as _};
use openraft::AsyncRuntime as _;
use rand::RngExt as _;
use rand::rngs::SmallRng;

use crate::sim_net::now;
use crate::sim_runtime::Sim;
use crate::support::{HOUR_MS, KEY, RESOURCE_KEY, T, joiner, token};

use super::history::{Answer, Call, End, Operation, Read, Seen, Told};
use super::token_model::Resource;
use super::world::{CLAIM_MS, Process, World};

/// So few tokens at a time, and joiners, that they get into each other's way.
const AT_A_TIME: u64 = 8;
/// The last ones are of a resource: two that were drawn for its first revision, and one for the second.
const OF_A_RESOURCE: [u64; 3] = [1, 1, 2];
const JOINERS: u64 = 3;
/// After so long there are others.
const ERA_MS: u64 = 3_000;

/// Which resource a token was drawn for, if it is none that was minted without a server.
pub fn resource(n: u64) -> Option<Resource> {
    let nth = (n % AT_A_TIME).checked_sub(AT_A_TIME - OF_A_RESOURCE.len() as u64)?;
    Some(Resource {
        name: n / AT_A_TIME,
        revision: OF_A_RESOURCE[nth as usize],
    })
}

/// It expires while it is still in use.
pub fn is_short(n: u64) -> bool {
    n.is_multiple_of(3) && resource(n).is_none()
}

/// When a token expires. (For a resource's token at the earliest: it is counted from its registration.)
pub fn expires_ms(n: u64) -> u64 {
    let from_ms = T + n / AT_A_TIME * ERA_MS;
    match is_short(n) {
        true => from_ms + 1_000 + n * 7_919 % 5_000,
        false => from_ms + LONG_MS,
    }
}

/// Longer than any group lives.
const LONG_MS: u64 = 100 * HOUR_MS;

fn present_era() -> u64 {
    now().as_millis() as u64 / ERA_MS
}

/// One that is in use now.
pub fn present_token(rng: &mut SmallRng) -> u64 {
    present_era() * AT_A_TIME + rng.random_range(0..AT_A_TIME)
}

/// A claim that was granted.
#[derive(Clone, Copy)]
struct Claim {
    token: u64,
    joiner: u64,
    attempt: u32,
    holder: u64,
}

/// One who asks for one thing after the other.
pub struct Client {
    world: Arc<World>,
    rng: SmallRng,
    /// Former claims: of requests that were long in coming back.
    claims: Vec<Claim>,
}

impl Client {
    pub const fn new(world: Arc<World>, rng: SmallRng) -> Self {
        Self {
            world,
            rng,
            claims: Vec::new(),
        }
    }

    /// Asks random things of random replicas until it is over.
    pub async fn run(mut self) {
        while !self.world.over.load(Ordering::Relaxed) {
            if let Some(process) = self.somebody() {
                self.act(process).await;
            }
            let longest_ms = match self.world.quiet.load(Ordering::Relaxed) {
                true => 3_000,
                false => 200,
            };
            self.pause(1, longest_ms).await;
        }
    }

    async fn pause(&mut self, from_ms: u64, to_ms: u64) {
        let ms = self.rng.random_range(from_ms..to_ms);
        Sim::sleep(Duration::from_millis(ms)).await;
    }

    fn somebody(&mut self) -> Option<Process> {
        let n = self.rng.random_range(0..self.world.size());
        self.world.process(n)
    }

    /// Mostly one of the present, now and then an older one.
    fn some_token(&mut self) -> u64 {
        let era = present_era();
        let ago = [0, 0, 0, 1, 1, 2, 5][self.rng.random_range(0..7)];
        era.saturating_sub(ago) * AT_A_TIME + self.rng.random_range(0..AT_A_TIME)
    }

    async fn act(&mut self, process: Process) {
        let token = self.some_token();
        let token = self.registered(&process, token).await;
        let joiner = self.rng.random_range(0..JOINERS);
        match self.rng.random_range(0..21) {
            0 => {
                self.ask(&process, token, Call::Abort).await;
            }
            20 => {
                self.ask(&process, token, Call::Revoke).await;
            }
            1 | 2 => self.read(&process, token).await,
            3 => {
                self.ask(&process, token, Call::Acknowledge { joiner })
                    .await;
            }
            // What was asked for long ago arrives only now.
            4 | 5 if !self.claims.is_empty() => {
                let n = self.rng.random_range(0..self.claims.len());
                let claim = self.claims.swap_remove(n);
                let gives_up = self.rng.random_bool(0.5);
                self.finish(&process, claim, gives_up).await;
            }
            6 | 7 => self.join_twice(&process, token, joiner).await,
            _ => self.join(&process, token, joiner).await,
        }
    }

    /// A resource's token, as its controller has it registered; or that which it is told is in force.
    async fn registered(&mut self, process: &Process, token: u64) -> u64 {
        if resource(token).is_none() || self.rng.random_bool(0.3) {
            return token;
        }
        match self.ask(process, token, Call::Register).await {
            Some(Outcome::Register(RegisterOutcome::Existing { record, .. }))
                if self.rng.random_bool(0.8) =>
            {
                number(&record.token_id.0)
            }
            _ => token,
        }
    }

    /// A joiner that takes its request for lost and asks again; both are carried out, and what belongs to the first comes
    /// when the second holds the claim.
    async fn join_twice(&mut self, process: &Process, token: u64, joiner: u64) {
        let Some(first) = self.claim(process, token, joiner).await else {
            return;
        };
        let gives_up_between = self.rng.random_bool(0.5);
        if gives_up_between {
            self.finish(process, first, true).await;
        }
        let Some(second) = self.claim(process, token, joiner).await else {
            return;
        };
        self.finish(process, first, !gives_up_between).await;
        self.finish(process, second, false).await;
    }

    async fn claim(&mut self, process: &Process, token: u64, joiner: u64) -> Option<Claim> {
        let holder = self.rng.random_range(1..u64::MAX);
        let begin = Call::Begin { joiner, holder };
        match self.ask(process, token, begin).await? {
            Outcome::Begin(BeginOutcome::Granted { attempt, .. }) => Some(Claim {
                token,
                joiner,
                attempt,
                holder,
            }),
            _ => None,
        }
    }

    /// One request of a joiner; it may be given up half way, or be slow.
    async fn join(&mut self, process: &Process, token: u64, joiner: u64) {
        let holder = self.rng.random_range(1..u64::MAX);
        let begin = Call::Begin { joiner, holder };
        let mut answer = self.ask(process, token, begin).await;
        if let Some(Outcome::Begin(BeginOutcome::ClaimConflict { until_ms })) = answer
            && self.rng.random_bool(0.5)
        {
            // Comes back the moment the other's claim ends.
            let wait_ms = until_ms
                .saturating_sub(super::machine::right_ms())
                .min(CLAIM_MS);
            Sim::sleep(Duration::from_millis(wait_ms)).await;
            answer = self.ask(process, token, begin).await;
        }
        let Some(Outcome::Begin(BeginOutcome::Granted { attempt, .. })) = answer else {
            return;
        };
        let claim = Claim {
            token,
            joiner,
            attempt,
            holder,
        };
        match self.rng.random_range(0..10) {
            0 | 1 => self.claims.push(claim),
            2 => self.finish(process, claim, true).await,
            3 => {
                let around_ms = CLAIM_MS - 300..CLAIM_MS + 300;
                self.pause(around_ms.start, around_ms.end).await;
                self.finish(process, claim, false).await;
            }
            _ => self.finish(process, claim, false).await,
        }
    }

    async fn finish(&mut self, process: &Process, claim: Claim, gives_up: bool) {
        let Claim {
            token,
            joiner,
            attempt,
            holder,
        } = claim;
        let call = match gives_up {
            true => Call::Revert { attempt, holder },
            false => Call::Consume {
                joiner,
                attempt,
                leaf: self.rng.random_range(1..u64::MAX),
            },
        };
        let answer = self.ask(process, token, call).await;
        if answer.is_none() && self.rng.random_bool(0.5) {
            // Whoever does not know asks again, elsewhere.
            let Some(other) = self.somebody() else {
                return;
            };
            self.ask(&other, token, call).await;
        }
    }

    async fn ask(&mut self, process: &Process, token: u64, call: Call) -> Option<Outcome> {
        self.world.ask(process, token, call).await
    }

    async fn read(&mut self, process: &Process, token: u64) {
        self.world.read(process, &[token]).await;
    }
}

impl World {
    /// Asks a replica and writes down what was asked and answered.
    pub async fn ask(&self, process: &Process, n: u64, call: Call) -> Option<Outcome> {
        let at = {
            let mut history = self.history.lock().unwrap();
            history.operations.push(Operation {
                token: n,
                call,
                began: nanos(),
                // Until it is answered.
                ended: u64::MAX,
                told: Told::Unknown,
            });
            history.operations.len() - 1
        };
        let answer = process.store.propose(operation(n, call)).await;
        // Whoever asked a process that is gone by now has heard nothing.
        let answer = match self.is_alive(process) {
            true => answer,
            false => Err(StoreError::Unknown),
        };
        let (told, outcome) = match answer {
            Ok(Committed {
                index,
                now_ms,
                outcome,
            }) => {
                let answer = answer_of(&outcome);
                let told = Told::Known {
                    index,
                    now_ms,
                    answer,
                };
                if let Some(record) = process.store.record(&token(n)) {
                    self.outside.saw(n, record.changed_at_index);
                }
                (told, Some(outcome))
            }
            Err(StoreError::NoLeader | StoreError::Clock) => (Told::Undone, None),
            Err(_) => (Told::Unknown, None),
        };
        let mut history = self.history.lock().unwrap();
        let operation = &mut history.operations[at];
        operation.told = told;
        if told != Told::Unknown {
            operation.ended = nanos();
        }
        self.trace.add(format!("{operation:?}").as_bytes());
        outcome
    }

    /// Reads tokens' records after a barrier, and writes down what was seen.
    pub async fn read(&self, process: &Process, tokens: &[u64]) -> bool {
        let began = nanos();
        let is_fresh = process.store.barrier().await.is_ok();
        if !is_fresh || !self.is_alive(process) {
            return false;
        }
        for n in tokens {
            let seen = process.store.record(&token(*n)).as_ref().map(seen_of);
            if let Some(seen) = seen {
                self.outside.saw(*n, seen.changed_at);
            }
            let read = Read {
                token: *n,
                began,
                ended: nanos(),
                seen,
            };
            self.trace.add(format!("{read:?}").as_bytes());
            self.history.lock().unwrap().reads.push(read);
        }
        true
    }
}

fn nanos() -> u64 {
    now().as_nanos() as u64
}

/// The node of a token that is minted offline.
pub fn node_name_of(n: u64) -> String {
    format!("edge-{n}")
}

fn operation(n: u64, call: Call) -> Asked {
    let token_id = token(n);
    match call {
        Call::Begin { joiner: by, holder } => Asked::Begin(Begin {
            token_id,
            joiner: joiner(by),
            holder: u128::from(holder).to_be_bytes(),
            address: None,
            registration: resource(n).is_none().then(|| OfflineRegistration {
                key_id: KEY,
                issued_at_ms: Some(T - 1),
                expires_at_ms: expires_ms(n),
                node_name: Some(node_name_of(n)),
            }),
        }),
        Call::Consume {
            joiner: by,
            attempt,
            leaf,
        } => Asked::Consume(Consume {
            token_id,
            joiner: joiner(by),
            attempt,
            leaf: leaf.to_be_bytes().to_vec(),
        }),
        Call::Revert { attempt, holder } => Asked::Revert(Revert {
            token_id,
            attempt,
            holder: u128::from(holder).to_be_bytes(),
            failure: Failure::SigningFailed,
        }),
        Call::Acknowledge { joiner: by } => Asked::Acknowledge(Acknowledge {
            token_id,
            joiner: joiner(by),
        }),
        Call::Abort => Asked::Abort(Abort {
            token_id,
            reason: Reason::Operator,
            keep_until_ms: None,
        }),
        Call::Revoke => Asked::Revoke(Revoke {
            token_id,
            reason: Reason::Revoked,
            keep_until_ms: None,
        }),
        Call::Register => {
            let Resource { name, revision } = resource(n).expect("only these are registered");
            Asked::Register(Register {
                issuance: Issuance {
                    namespace: "machines".into(),
                    name: format!("machine-{name}"),
                },
                namespace_uid: "1".into(),
                revision,
                spec_hash: [1; 32],
                revoked: false,
                reissue_if_unused: false,
                token_id,
                key_id: RESOURCE_KEY,
                node_name: format!("machine-{name}"),
                ttl_ms: LONG_MS,
                in_flight_timeout_ms: None,
                max_claims: None,
                bindings: Bindings::default(),
            })
        }
    }
}

fn answer_of(outcome: &Outcome) -> Answer {
    match outcome {
        Outcome::Begin(outcome) => match outcome {
            BeginOutcome::Granted { attempt, .. } => Answer::Granted { attempt: *attempt },
            BeginOutcome::Redeliver { leaf, .. } => Answer::Admitted {
                leaf: leaf_of(leaf),
            },
            BeginOutcome::ClaimConflict { .. } => Answer::Conflict,
            BeginOutcome::AlreadyConsumed => Answer::Used,
            BeginOutcome::Expired => Answer::Expired,
            BeginOutcome::Aborted(_) => Answer::Aborted,
            BeginOutcome::Revoked => Answer::Revoked,
            // Nobody asks for what could come to this.
            _ => Answer::NotFound,
        },
        Outcome::Consume(outcome) => match outcome {
            ConsumeOutcome::Admitted { leaf, .. } => Answer::Admitted {
                leaf: leaf_of(leaf),
            },
            ConsumeOutcome::StaleClaim => Answer::Stale,
            ConsumeOutcome::AlreadyConsumed => Answer::Used,
            ConsumeOutcome::Expired => Answer::Expired,
            ConsumeOutcome::Aborted(_) => Answer::Aborted,
            ConsumeOutcome::NotFound => Answer::NotFound,
            ConsumeOutcome::Revoked => Answer::Revoked,
        },
        Outcome::Revert(outcome) => match outcome {
            RevertOutcome::Done => Answer::Done,
            RevertOutcome::StaleClaim => Answer::Stale,
            RevertOutcome::AlreadyConsumed => Answer::Used,
            RevertOutcome::NotFound => Answer::NotFound,
        },
        Outcome::Acknowledge(outcome) => match outcome {
            AcknowledgeOutcome::Done => Answer::Done,
            AcknowledgeOutcome::NotAdmitted => Answer::NotAdmitted,
            AcknowledgeOutcome::NotFound => Answer::NotFound,
        },
        Outcome::Abort(outcome) => match outcome {
            AbortOutcome::Done(record) if record.phase == Phase::Expired => Answer::Expired,
            AbortOutcome::Done(_) => Answer::Aborted,
            AbortOutcome::Tombstone => Answer::Buried,
            AbortOutcome::AlreadyConsumed(_) => Answer::Used,
        },
        Outcome::Revoke(outcome) => match outcome {
            RevokeOutcome::Done(record) if record.phase == Phase::Expired => Answer::Expired,
            RevokeOutcome::Done(_) => Answer::Aborted,
            RevokeOutcome::Barred(_) => Answer::Barred,
            RevokeOutcome::Tombstone => Answer::Buried,
        },
        Outcome::Register(outcome) => match outcome {
            RegisterOutcome::Created(_) => Answer::Created,
            RegisterOutcome::Existing { record, .. } => Answer::Existing {
                token: number(&record.token_id.0),
            },
            RegisterOutcome::Superseded(_) => Answer::Superseded,
            RegisterOutcome::Refused(Refusal::IdInUse) => Answer::InUse,
            _ => Answer::NotFound,
        },
        // Of another operation: it is judged as what it pretends to be.
        _ => Answer::NotFound,
    }
}

fn leaf_of(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

/// The number that an id was made of.
fn number(id: &[u8]) -> u64 {
    u64::from_be_bytes(id[..8].try_into().unwrap())
}

fn seen_of(record: &Record) -> Seen {
    Seen {
        changed_at: record.changed_at_index,
        claimed_by: record.claim.as_ref().map(|claim| number(&claim.joiner.0)),
        end: match record.phase {
            Phase::Issued | Phase::InFlight => None,
            Phase::Consumed => {
                let admission = record.admission.as_ref();
                let by = admission.map(|it| number(&it.joiner.0));
                let leaf = admission.and_then(|it| it.leaf.as_deref().map(leaf_of));
                Some(End::Consumed(by, leaf))
            }
            Phase::Expired => Some(End::Expired),
            Phase::Aborted => Some(End::Aborted),
        },
    }
}
