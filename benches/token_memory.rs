//! What a token costs: bytes of memory and commands a second, at a million tokens minted offline,
//! beside a map of the standard library from ids to structs that say the same.
//!
//! `cargo bench --bench token_memory [-- <tokens>]`

use std::alloc::System;
use std::collections::HashMap;
use std::time::Instant;

use cap::Cap;
use jointoken::lifecycle::command::{
    Acknowledge, AdoptKey, Begin, Consume, Founded, OfflineRegistration, RaiseRules, Register,
    Revert, Sweep,
};
use jointoken::lifecycle::command::{Bindings, Failure};
use jointoken::lifecycle::{Command, Issuance, Operation, Record, State};
use jointoken::token::{Fingerprint, JoinerId, KeyId, Purpose, StoreId, TokenId};

/// Counts every byte asked for.
#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

const START: u64 = 1_800_000_000_000;
const HOUR: u64 = 3_600_000;
const OFFLINE: KeyId = KeyId([1; 8]);
const RESOURCE: KeyId = KeyId([2; 8]);
/// What an issued offline token may cost.
const BYTES_PER_TOKEN: f64 = 80.0;
/// What stays of a resource's name.
const BYTES_PER_NAME: f64 = 160.0;

fn main() {
    // Cargo hands its own arguments on; a number is ours.
    let given = std::env::args().find_map(|argument| argument.parse().ok());
    let tokens: u64 = given.unwrap_or(1_000_000);
    println!("{tokens} tokens");
    let per_token = lifecycle(tokens);
    peer(tokens);
    let per_name = names(tokens / 10);
    let kept = per_token <= BYTES_PER_TOKEN && per_name <= BYTES_PER_NAME;
    assert!(
        kept,
        "over {BYTES_PER_TOKEN} bytes a token or {BYTES_PER_NAME} a name"
    );
}

/// Prints what `run` does a second and leaves allocated; returns the bytes for each.
fn measure(what: &str, count: u64, run: impl FnOnce()) -> f64 {
    let (before, start) = (MEMORY.allocated(), Instant::now());
    run();
    let rate = count as f64 / start.elapsed().as_secs_f64();
    let bytes = (MEMORY.allocated() as f64 - before as f64) / count as f64;
    println!("{what:<48} {bytes:>8.1} bytes each {rate:>12.0}/s");
    bytes
}

/// Ids as random as those of tokens are.
fn id(number: u64) -> TokenId {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut half = || {
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        z
    };
    let (high, low) = (half(), half());
    TokenId(((u128::from(high) << 64) | u128::from(low)).to_be_bytes())
}

struct Log {
    state: State,
    index: u64,
}

impl Log {
    fn founded() -> Self {
        let mut log = Self {
            state: State::new(),
            index: 0,
        };
        let to = State::newest_rules();
        log.apply(0, RaiseRules { to });
        log.apply(
            0,
            Founded {
                store_id: StoreId([1; 16]),
                epoch: 1,
                trust_domain: "example.org".into(),
                fingerprints: vec![],
            },
        );
        for (key_id, purpose) in [(OFFLINE, Purpose::Offline), (RESOURCE, Purpose::Resource)] {
            log.apply(
                0,
                AdoptKey {
                    key_id,
                    purpose,
                    fingerprint: Fingerprint([key_id.0[0]; 32]),
                    max_ttl_ms: None,
                    node_pattern: None,
                },
            );
        }
        log
    }

    fn apply(&mut self, after_ms: u64, operation: impl Into<Operation>) {
        self.index += 1;
        let command = Command {
            at_ms: START + after_ms,
            operation: operation.into(),
        };
        std::hint::black_box(self.state.apply(self.index, &command));
    }
}

/// The number-th token, minted offline for an hour and a bit: not all expire at once, so that the
/// due times have something to sort.
fn begin(number: u64) -> Begin {
    Begin {
        token_id: id(number),
        joiner: JoinerId([7; 32]),
        holder: [7; 16],
        address: None,
        registration: Some(OfflineRegistration {
            key_id: OFFLINE,
            issued_at_ms: Some(START),
            expires_at_ms: START + HOUR + number * 7919 % 1_000_000,
            node_name: Some(format!("storage-node-{number:07}")),
        }),
    }
}

fn lifecycle(tokens: u64) -> f64 {
    let mut log = Log::founded();
    // Seen and given back: an offline token is issued and in nobody's hands only so.
    let per_token = measure(
        "an issued offline token, begun and reverted",
        tokens,
        || {
            for number in 0..tokens {
                log.apply(1, begin(number));
                log.apply(
                    1,
                    Revert {
                        token_id: id(number),
                        attempt: 1,
                        holder: [7; 16],
                        failure: Failure::Interrupted,
                    },
                );
            }
        },
    );
    let mut image = Vec::new();
    measure("its image, written", tokens, || image = log.state.encode());
    measure("the state read from it", tokens, || {
        log.state = State::decode(&image).expect("its own image");
    });
    drop(image);
    measure(
        "claimed, admitted, acknowledged: one in ten",
        tokens / 10,
        || {
            for number in 0..tokens / 10 {
                admit(&mut log, number);
            }
        },
    );
    measure("expired and swept: nine in ten", tokens * 9 / 10, || {
        log.apply(2 * HOUR, Sweep { limit: u32::MAX });
    });
    measure("forgotten", tokens, || {
        log.apply(10 * 24 * HOUR, Sweep { limit: u32::MAX });
    });
    assert_eq!(log.state.record_count(), 0);
    per_token
}

fn admit(log: &mut Log, number: u64) {
    let (token_id, joiner) = (id(number), JoinerId([7; 32]));
    log.apply(2, begin(number));
    let consume = Consume {
        token_id,
        joiner,
        attempt: 2,
        leaf: vec![7; 700],
    };
    log.apply(2, consume);
    log.apply(2, Acknowledge { token_id, joiner });
}

/// What is left of resources whose tokens are long gone.
fn names(names: u64) -> f64 {
    let mut log = Log::founded();
    measure("a resource's name, its record forgotten", names, || {
        // In batches, so that what is measured is what stays and not what the records needed.
        for batch in 0..names.div_ceil(1000) {
            let after_ms = batch * 9 * 24 * HOUR;
            for number in batch * 1000..names.min((batch + 1) * 1000) {
                log.apply(after_ms, register(number));
            }
            log.apply(after_ms + HOUR, Sweep { limit: u32::MAX });
            log.apply(after_ms + 8 * 24 * HOUR, Sweep { limit: u32::MAX });
        }
        assert_eq!(log.state.record_count(), 0);
    })
}

fn register(number: u64) -> Register {
    Register {
        issuance: Issuance {
            namespace: format!("tenant-{}", number % 100),
            name: format!("storage-node-{number:07}"),
        },
        namespace_uid: format!("5d2f2a3e-0000-4000-8000-{:012}", number % 100),
        revision: 1,
        spec_hash: [1; 32],
        revoked: false,
        reissue_if_unused: false,
        token_id: id(number),
        key_id: RESOURCE,
        node_name: format!("storage-node-{number:07}"),
        ttl_ms: HOUR,
        in_flight_timeout_ms: None,
        max_claims: None,
        bindings: Bindings::default(),
    }
}

/// The same content in the plain way, without due times, hash or outcomes that are kept.
fn peer(tokens: u64) {
    let mut records: HashMap<TokenId, Record> = HashMap::new();
    let mut log = Log::founded();
    log.apply(1, begin(0));
    let one = log.state.record(&id(0)).expect("a record");
    measure("std HashMap of ids to records", tokens, || {
        for number in 0..tokens {
            let record = Record {
                token_id: id(number),
                ..one.clone()
            };
            records.insert(record.token_id, record);
        }
    });
    assert_eq!(records.len() as u64, tokens);
}
