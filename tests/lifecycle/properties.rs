//! Random commands over few tokens, joiners and names, so that they meet; times that stand, jump
//! and go back. After each: all invariants, and what must hold between one command and the next.

use jointoken::lifecycle::command::{
    Abort, Acknowledge, Begin, Bindings, Consume, Failure, Forget, OfflineRegistration, RaiseRules,
    Register, Revert, Revoke, Sweep,
};
use jointoken::lifecycle::record::Origin;
use jointoken::lifecycle::{Command, Issuance, Operation, Reason, Settings, State};
use jointoken::token::{JoinerId, TokenId};
use proptest::prelude::*;

use crate::support::*;
use crate::watch::Watch;

/// What is drawn; tokens by a number that is looked up when its turn comes.
#[derive(Debug, Clone)]
pub enum Drawn {
    Register {
        name: u8,
        uid: u8,
        revision: u64,
        spec: u8,
        flags: u8,
        ttl: u8,
        reused: Option<u8>,
    },
    Begin {
        token: u8,
        joiner: u8,
        holder: u8,
        address: u8,
    },
    Consume {
        token: u8,
        joiner: u8,
        attempt: u32,
        leaf: u8,
    },
    Acknowledge {
        token: u8,
        joiner: u8,
    },
    Revert {
        token: u8,
        attempt: u32,
        holder: u8,
    },
    Abort {
        token: u8,
        reason: u8,
    },
    Revoke {
        token: u8,
    },
    Sweep {
        limit: u32,
    },
    Forget {
        name: u8,
    },
    Configure {
        retention: u8,
        remember: u8,
        supersede: bool,
    },
    RaiseRules {
        to: u32,
    },
}

pub fn drawn() -> impl Strategy<Value = Drawn> {
    // Mostly the resource's token that was made last, and the first of two joiners: so that whole
    // lives come about and not only beginnings.
    let token = prop_oneof![2 => Just(5u8), 1 => 0u8..10];
    let joiner = prop_oneof![3 => Just(0u8), 1 => 0u8..3];
    let holder = 0u8..2;
    let attempt = prop_oneof![6 => Just(1u32), 3 => Just(2), 1 => 0u32..4];
    prop_oneof![
        4 => (prop_oneof![2 => Just(0u8), 1 => 0u8..3], 0u8..2, 1u64..5, 0u8..8, 0u8..16, 0u8..5, prop::option::weighted(0.1, 5u8..10))
            .prop_map(|(name, uid, revision, spec, flags, ttl, reused)| Drawn::Register {
                name, uid, revision, spec: spec / 7, flags, ttl, reused,
            }),
        8 => (token.clone(), joiner.clone(), holder.clone(), 0u8..4)
            .prop_map(|(token, joiner, holder, address)| Drawn::Begin { token, joiner, holder, address }),
        6 => (token.clone(), joiner.clone(), attempt.clone(), 0u8..3)
            .prop_map(|(token, joiner, attempt, leaf)| Drawn::Consume { token, joiner, attempt, leaf }),
        2 => (token.clone(), joiner).prop_map(|(token, joiner)| Drawn::Acknowledge { token, joiner }),
        2 => (token.clone(), attempt, holder)
            .prop_map(|(token, attempt, holder)| Drawn::Revert { token, attempt, holder }),
        1 => (token.clone(), 0u8..6).prop_map(|(token, reason)| Drawn::Abort { token, reason }),
        1 => token.prop_map(|token| Drawn::Revoke { token }),
        3 => prop_oneof![Just(0u32), Just(1), Just(2), Just(100)].prop_map(|limit| Drawn::Sweep { limit }),
        1 => (0u8..3).prop_map(|name| Drawn::Forget { name }),
        1 => (0u8..3, 0u8..3, any::<bool>())
            .prop_map(|(retention, remember, supersede)| Drawn::Configure { retention, remember, supersede }),
        1 => (0u32..4).prop_map(|to| Drawn::RaiseRules { to }),
    ]
}

/// How time goes on before a command; the last one is a step back.
pub fn steps() -> impl Strategy<Value = i64> {
    prop_oneof![
        20 => Just(0i64),
        10 => Just(1),
        8 => Just(MINUTE as i64),
        4 => Just(5 * MINUTE as i64),
        3 => Just(10 * MINUTE as i64),
        3 => Just(HOUR as i64),
        2 => Just(DAY as i64),
        1 => Just(8 * DAY as i64),
        1 => Just(-(HOUR as i64)),
    ]
}

/// Tokens 0 to 4 were minted offline, each good for a time of its own; the others are the last
/// that were made for resources, and one that nobody knows.
struct Tokens {
    of_resources: Vec<TokenId>,
}

const LAST: usize = 4;

impl Tokens {
    fn id(&self, number: u8) -> TokenId {
        let of_resource = usize::from(number).checked_sub(5);
        match of_resource {
            None => token(number),
            Some(LAST) => token(99),
            Some(back) => self
                .of_resources
                .iter()
                .rev()
                .nth(back)
                .copied()
                .unwrap_or(token(98)),
        }
    }

    /// What the verified token says, if it was minted offline.
    fn registration(number: u8) -> Option<OfflineRegistration> {
        let (key_id, issued_at_ms, expires_at_ms, node_name) = match number {
            0 => (
                OFFLINE_KEY,
                Some(START),
                START + HOUR,
                Some("edge-0".into()),
            ),
            1 => (
                OFFLINE_KEY,
                Some(START + HOUR),
                START + 2 * DAY,
                Some("edge-1".into()),
            ),
            2 => (NODEDB_KEY, None, START + 3 * DAY, Some("node-2".into())),
            // As a replica proposes it that has not heard yet of the rules that keep the name.
            3 => (SHORT_KEY, Some(START + DAY), START + DAY + HOUR, None),
            // Earlier rules do not look at it.
            4 => (
                OFFLINE_KEY,
                Some(START + DAY),
                START + 8 * DAY,
                Some("n".repeat(64)),
            ),
            _ => return None,
        };
        Some(OfflineRegistration {
            key_id,
            issued_at_ms,
            expires_at_ms,
            node_name,
        })
    }

    /// An abort by the id alone is not enough for a NodeDB token: it does not say when it was issued.
    fn keep_until_ms(number: u8) -> Option<u64> {
        (number == 2).then_some(START + 3 * DAY)
    }

    fn operation(&mut self, drawn: &Drawn, step: usize) -> Operation {
        let joiner = |number: u8| JoinerId([0xa + number; 32]);
        let issuance = |name: u8| Issuance {
            namespace: if name == 2 { "other" } else { "default" }.into(),
            name: format!("n{}", name % 2),
        };
        match *drawn {
            Drawn::Register {
                name,
                uid,
                revision,
                spec,
                flags,
                ttl,
                reused,
            } => {
                let fresh = TokenId((step as u128 + 0x1_0000).to_be_bytes());
                let token_id = reused.map_or(fresh, |number| self.id(number));
                self.of_resources.push(token_id);
                Register {
                    issuance: issuance(name),
                    namespace_uid: format!("uid-{uid}"),
                    revision,
                    spec_hash: [spec; 32],
                    revoked: flags == 0,
                    reissue_if_unused: flags & 1 == 1,
                    token_id,
                    max_claims: (flags & 2 == 2).then_some(2),
                    in_flight_timeout_ms: (flags & 4 == 4).then_some(MINUTE),
                    ttl_ms: [MINUTE, HOUR, HOUR, DAY, 8 * DAY][usize::from(ttl)],
                    bindings: Bindings {
                        source_cidrs: if flags & 8 == 8 {
                            vec!["192.0.2.0/31".parse().expect("a range")]
                        } else {
                            vec![]
                        },
                        joiner: (flags == 15).then_some(A),
                    },
                    ..register()
                }
                .into()
            }
            Drawn::Begin {
                token,
                joiner: who,
                holder,
                address,
            } => Begin {
                token_id: self.id(token),
                joiner: joiner(who),
                holder: [holder; 16],
                address: (address < 3).then(|| [192, 0, 2, address].into()),
                registration: Self::registration(token),
            }
            .into(),
            Drawn::Consume {
                token,
                joiner: who,
                attempt,
                leaf,
            } => Consume {
                token_id: self.id(token),
                joiner: joiner(who),
                attempt,
                leaf: vec![leaf; 3],
            }
            .into(),
            Drawn::Acknowledge { token, joiner: who } => Acknowledge {
                token_id: self.id(token),
                joiner: joiner(who),
            }
            .into(),
            Drawn::Revert {
                token,
                attempt,
                holder,
            } => Revert {
                token_id: self.id(token),
                attempt,
                holder: [holder; 16],
                failure: Failure::Interrupted,
            }
            .into(),
            Drawn::Abort { token, reason } => Abort {
                token_id: self.id(token),
                reason: if reason < 4 {
                    Reason::Deleted
                } else {
                    Reason::Operator
                },
                keep_until_ms: Self::keep_until_ms(token),
            }
            .into(),
            Drawn::Revoke { token } => Revoke {
                token_id: self.id(token),
                reason: Reason::Revoked,
                keep_until_ms: Self::keep_until_ms(token),
            }
            .into(),
            Drawn::Sweep { limit } => Sweep { limit }.into(),
            Drawn::Forget { name } => Forget {
                issuance: issuance(name),
            }
            .into(),
            Drawn::Configure {
                retention,
                remember,
                supersede,
            } => Settings {
                retention_ms: [0, HOUR, 7 * DAY][usize::from(retention)],
                remember_issuances_ms: [None, Some(0), Some(DAY)][usize::from(remember)],
                supersede,
                ..Settings::default()
            }
            .into(),
            Drawn::RaiseRules { to } => RaiseRules { to }.into(),
        }
    }
}

pub fn commands(drawn: &[(i64, Drawn)], start_ms: u64) -> Vec<Command> {
    let mut tokens = Tokens {
        of_resources: Vec::new(),
    };
    let mut at_ms = start_ms;
    let command = |(step, (wait, drawn)): (usize, &(i64, Drawn))| {
        at_ms = at_ms.saturating_add_signed(*wait);
        Command {
            at_ms,
            operation: tokens.operation(drawn, step),
        }
    };
    drawn.iter().enumerate().map(command).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_commanded(
        drawn in proptest::collection::vec((steps(), drawn()), 1..120),
        cut in 0usize..120,
    ) {
        let mut store = Store::founded_by(1);
        let log = commands(&drawn, store.at_ms);
        let first = store.index + 1;
        let mut watch = Watch::default();
        // A replica that was restored from an image somewhere on the way.
        let mut restored: Option<State> = None;
        for (index, command) in (first..).zip(&log) {
            if index - first == cut as u64 {
                restored = Some(State::decode(&store.state.encode()).expect("its own image"));
            }
            let before = store.state.clone();
            let applied = store.state.apply(index, command);
            store.state.check_invariants().map_err(|violation| {
                TestCaseError::fail(format!("{violation} after {command:?}"))
            })?;
            watch.see(&before, index, command, &applied, &store.state);
            if let Some(restored) = &mut restored {
                prop_assert_eq!(&restored.apply(index, command), &applied);
                prop_assert_eq!(restored.hash(), store.state.hash());
            }
        }
        let image = store.state.encode();
        if let Some(restored) = restored {
            prop_assert_eq!(&restored.encode(), &image);
        }
        // Another replica, from the beginning of the log.
        let mut replica = Store::founded_by(1).state;
        for (index, command) in (first..).zip(&log) {
            replica.apply(index, command);
        }
        prop_assert_eq!(replica.encode(), image);
        prop_assert_eq!(replica.hash(), store.state.hash());
        prop_assert_eq!(replica.next_due_ms(), store.state.next_due_ms());
    }

    /// Once everything is over, nothing but keys and marks of ids is left.
    #[test]
    fn in_the_end_everything_is_forgotten(
        drawn in proptest::collection::vec((steps(), drawn()), 1..80),
    ) {
        let mut store = Store::founded();
        for command in commands(&drawn, store.at_ms) {
            store.at_ms = command.at_ms;
            store.apply(command.operation);
        }
        store.configure(|settings| settings.remember_issuances_ms = Some(0));
        // Twice: what ends only when the sweep comes by stays for its retention.
        for _ in 0..2 {
            store.at_ms = store.state.now_ms();
            store.wait(100 * DAY).apply(sweep());
        }
        let all_marks = store.state.records().all(|record| record.origin == Origin::Tombstone);
        prop_assert!(all_marks, "only marks of ids stay");
        prop_assert_eq!(store.state.issuances().count(), 0);
        prop_assert_eq!(store.state.next_due_ms(), None);
    }
}
