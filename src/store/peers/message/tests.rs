//! Every message there is, its bytes and what is made of nonsense.

use std::fs;
use std::sync::Arc;

use crate::lifecycle::command::Sweep;
use crate::lifecycle::{Command, StateHash};
use crate::store::codec::samples;
use crate::store::contradiction::Contradiction;
use crate::store::members::RemoveError;
use crate::store::token_store::StoreError;
use crate::store::types::{
    Entry, LeaderId, LogId, Member, Membership, Payload, Proposal, SnapshotMeta, StoredMembership,
    Vote,
};
use crate::store::upgrade::UpgradeError;
use crate::token::StoreId;

use super::pulse::MOST_HASHES;
use super::request::{MOST_NODES, MOST_REMOVED};
use super::*;

fn log_id(index: u64) -> LogId {
    let leader_id = LeaderId {
        term: 3,
        node_id: 9,
    };
    LogId::new(leader_id, index)
}

fn vote() -> Vote {
    Vote {
        leader_id: LeaderId {
            term: 3,
            node_id: 9,
        },
        committed: true,
    }
}

fn membership() -> Membership {
    let member = Member {
        address: "a:1".into(),
    };
    let nodes = std::collections::BTreeMap::from([(9, member)]);
    Membership::new(vec![[9].into()], nodes).unwrap()
}

fn pulse() -> Pulse {
    Pulse {
        clock_ms: 1_750_000_000_000,
        is_new: false,
        list: [7; 32],
        applied: 70,
        hashes: vec![(64, StateHash([8; 16]))],
        rules: 1,
    }
}

/// One of every kind, with every field in every form.
fn asks() -> Vec<Ask> {
    let payloads = [
        Payload::Blank,
        Payload::Membership(membership()),
        Payload::Normal(Proposal(Arc::new(Command {
            at_ms: 5,
            operation: samples::operations().remove(0),
        }))),
    ];
    let entries = (5..).zip(payloads);
    let entries = entries.map(|(index, payload)| Entry {
        log_id: log_id(index),
        payload,
    });
    vec![
        Ask::Append(Append {
            vote: vote(),
            previous: Some(log_id(4)),
            entries: entries.collect(),
            committed: Some(log_id(3)),
        }),
        Ask::Append(Append {
            vote: vote(),
            previous: None,
            entries: Vec::new(),
            committed: None,
        }),
        Ask::Vote {
            pre: true,
            vote: vote(),
            last: Some(log_id(4)),
            leadership_transfer: false,
        },
        Ask::Snapshot(Piece {
            vote: vote(),
            transfer: 11,
            meta: SnapshotMeta {
                last_log_id: Some(log_id(4)),
                last_membership: StoredMembership::new(Some(log_id(2)), membership()),
            },
            removed: [1, 2].into(),
            offset: 3,
            total: 8,
            bytes: vec![1, 2, 3],
            crc32c: 0xdead_beef,
        }),
        Ask::TakeOver {
            from: vote(),
            last: None,
        },
        Ask::Propose(Arc::new(Command {
            at_ms: 0,
            operation: Sweep { limit: 3 }.into(),
        })),
        Ask::ReadIndex,
        Ask::Pulse(pulse()),
        Ask::Remove {
            nodes: [5].into(),
            force: true,
        },
        Ask::Finalize,
    ]
}

fn replies() -> Vec<Reply> {
    let mut all = vec![
        Reply::Appended,
        Reply::AppendedTo(Some(log_id(4))),
        Reply::AppendedTo(None),
        Reply::Conflict,
        Reply::HigherVote(vote()),
        Reply::Vote {
            vote: vote(),
            granted: true,
            last: Some(log_id(4)),
        },
        Reply::Received(vote()),
        Reply::Lost,
        Reply::Done,
        Reply::Committed(log_id(4)),
        Reply::ReadAfter(log_id(4)),
        Reply::Pulse(pulse()),
        Reply::Removed(Ok(())),
        Reply::Removed(Err(RemoveError::NotAMember)),
        Reply::Removed(Err(RemoveError::WouldLoseQuorum)),
        Reply::Removed(Err(RemoveError::NobodyLeft)),
        Reply::Removed(Err(RemoveError::Store(StoreError::Unknown))),
        Reply::Finalized(Ok(2)),
        Reply::Finalized(Err(UpgradeError::Unheard([5].into()))),
        Reply::Finalized(Err(UpgradeError::NothingLater(1))),
        Reply::Finalized(Err(UpgradeError::Store(StoreError::Unknown))),
    ];
    all.extend((1..=11).filter_map(Refusal::of_number).map(Reply::Refused));
    all.push(Reply::Contradicted(Contradiction {
        applied: log_id(4),
        leader: vote(),
    }));
    all
}

fn requests() -> impl Iterator<Item = Request> {
    asks().into_iter().map(|ask| Request {
        store_id: StoreId([6; 16]),
        from: 9,
        to: ANYBODY,
        ask,
    })
}

fn answers() -> impl Iterator<Item = Answer> {
    replies().into_iter().map(|reply| Answer { from: 9, reply })
}

#[test]
fn what_is_said_is_understood() {
    for request in requests() {
        let bytes = request.encode();
        assert_eq!(Request::decode(&bytes).unwrap(), request);
        // Nothing less, and nothing more.
        for len in 0..bytes.len() {
            assert!(Request::decode(&bytes[..len]).is_err());
        }
        assert!(Request::decode(&[&bytes[..], &[0]].concat()).is_err());
    }
    for answer in answers() {
        let bytes = answer.encode();
        assert_eq!(Answer::decode(&bytes).unwrap(), answer);
        for len in 0..bytes.len() {
            assert!(Answer::decode(&bytes[..len]).is_err());
        }
    }
}

/// What a peer tells is kept, and compared: of no list there is more than any replica has.
#[test]
fn longer_lists_than_any_replica_has_are_not_read() {
    let with = |ask| Request {
        store_id: StoreId([6; 16]),
        from: 9,
        to: ANYBODY,
        ask,
    };
    let hashes = |of: usize| {
        let hashes = (0..of as u64).map(|index| (index, StateHash([8; 16])));
        with(Ask::Pulse(Pulse {
            hashes: hashes.collect(),
            ..pulse()
        }))
    };
    let removed = |of: usize| {
        let mut asks = asks().into_iter();
        let piece = asks.find_map(|ask| match ask {
            Ask::Snapshot(piece) => Some(piece),
            _ => None,
        });
        with(Ask::Snapshot(Piece {
            removed: (0..of as u64).collect(),
            ..piece.unwrap()
        }))
    };
    let nodes = |of: usize| {
        with(Ask::Remove {
            nodes: (0..of as u64).collect(),
            force: false,
        })
    };
    let lists: [(&dyn Fn(usize) -> Request, usize); 3] = [
        (&hashes, MOST_HASHES),
        (&removed, MOST_REMOVED),
        (&nodes, MOST_NODES),
    ];
    for (request, most) in lists {
        assert!(Request::decode(&request(most).encode()).is_ok());
        let longer = Request::decode(&request(most + 1).encode());
        assert!(matches!(longer, Err(Unreadable::Malformed(_))));
    }
}

#[test]
fn another_version_is_told_from_nonsense() {
    let mut bytes = requests().last().unwrap().encode();
    assert_eq!(bytes[1], 1);
    bytes[1] = 2;
    assert_eq!(Request::decode(&bytes), Err(Unreadable::Version));
    let mut bytes = answers().last().unwrap().encode();
    bytes[1] = 2;
    assert_eq!(Answer::decode(&bytes), Err(Unreadable::Version));
    let nonsense = Request::decode(b"nonsense");
    assert!(matches!(nonsense, Err(Unreadable::Malformed(_))));
}

/// What this version says, written once: two releases of one version understand each other.
#[test]
fn the_bytes_of_this_version_stay_as_they_are() {
    let mut said = Vec::new();
    let requests = requests().map(|request| request.encode());
    for message in requests.chain(answers().map(|answer| answer.encode())) {
        said.extend_from_slice(&(message.len() as u32).to_le_bytes());
        said.extend_from_slice(&message);
    }
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/store/golden/peers-1.messages"
    );
    assert!(fs::read(path).unwrap() == said, "other bytes are said");
}
