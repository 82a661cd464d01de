//! What is read again after the files were left alone, cut short, changed or taken away.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openraft::AsyncRuntime;
use openraft::async_runtime::Oneshot;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft_rt_tokio::TokioRuntime;

use crate::lifecycle::command::{RaiseRules, Sweep};
use crate::lifecycle::{Command, Operation};
use crate::store::OpenError;
use crate::store::codec::{Base, Record, samples};
use crate::store::disk::RealDisk;
use crate::store::types::{Entry, LeaderId, LogId, Member, Membership, Payload, Proposal, Vote};
use crate::token::StoreId;

use super::frame::HEAD;
use super::recovery::{Recovered, read};
use super::segments::Place;

const STORE: StoreId = StoreId([7; 16]);

fn place(dir: &Path) -> Place {
    Place {
        disk: Arc::new(RealDisk),
        dir: dir.to_path_buf(),
        store_id: STORE,
        segment_bytes: 300,
        salt: 42,
    }
}

fn recover(place: Place) -> Result<Recovered, OpenError> {
    read(place)?.resume()
}

fn log_id(index: u64) -> LogId {
    let leader_id = LeaderId {
        term: 1,
        node_id: 9,
    };
    LogId::new(leader_id, index)
}

fn entry(index: u64) -> Record {
    let command = Command {
        at_ms: index,
        operation: Sweep { limit: 3 }.into(),
    };
    Record::Entry(Entry {
        log_id: log_id(index),
        payload: Payload::Normal(Proposal(command.into())),
    })
}

fn vote(term: u64) -> Vote {
    Vote {
        leader_id: LeaderId { term, node_id: 9 },
        committed: true,
    }
}

/// A log of 40 entries in several segments: frame n (n > 1) of the log holds entry n.
fn written(dir: &Path) -> Recovered {
    let mut log = recover(place(dir)).unwrap();
    log.segments.write(&[Record::Vote(vote(1))]).unwrap();
    for index in 0..40 {
        log.segments.write(&[entry(index)]).unwrap();
    }
    log
}

fn indexes(log: &Recovered) -> Vec<u64> {
    log.entries
        .range(..)
        .iter()
        .map(|entry| entry.log_id.index)
        .collect()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    files
}

fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    files(dir)
        .into_iter()
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

/// Opening fails with a message that contains `what`, and no file is touched.
fn assert_refused(dir: &Path, what: &str) {
    let before = contents(dir);
    let error = recover(place(dir))
        .err()
        .expect("it must be refused")
        .to_string();
    assert!(error.contains(what), "{error}");
    assert_eq!(contents(dir), before);
}

/// What openraft was told is done is in the files at that moment: whenever the process dies, the next one finds it.
#[tokio::test]
async fn what_is_done_is_in_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let found = || {
        let copy = tempfile::tempdir().unwrap();
        for (path, bytes) in contents(dir.path()) {
            fs::write(copy.path().join(path.file_name().unwrap()), bytes).unwrap();
        }
        let log = recover(place(copy.path())).unwrap();
        (indexes(&log), log.base)
    };
    let (mut log, _gauge, _writer) =
        super::start::<TokioRuntime>(recover(place(dir.path())).unwrap());
    log.save_vote(&vote(3)).await.unwrap();
    assert_eq!(found().1.vote, Some(vote(3)));

    let (sender, receiver) = <<TokioRuntime as AsyncRuntime>::Oneshot as Oneshot>::channel();
    let entries = (0..8).map(|index| match entry(index) {
        Record::Entry(entry) => entry,
        _ => unreachable!("it makes entries"),
    });
    log.append(entries, IOFlushed::signal(sender))
        .await
        .unwrap();
    receiver.await.unwrap().unwrap();
    assert_eq!(found().0, (0..8).collect::<Vec<_>>());

    log.truncate_after(Some(log_id(5))).await.unwrap();
    assert_eq!(found().0, (0..=5).collect::<Vec<_>>());
    log.purge(log_id(2)).await.unwrap();
    let (left, base) = found();
    assert_eq!(left, (3..=5).collect::<Vec<_>>());
    assert_eq!((base.purged, base.vote), (Some(log_id(2)), Some(vote(3))));
}

#[test]
fn what_was_written_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = written(dir.path());
    log.segments
        .write(&[Record::Truncate(Some(log_id(34))), entry(35)])
        .unwrap();
    log.segments
        .write(&[
            Record::Purge(log_id(9)),
            Record::Committed(Some(log_id(30))),
        ])
        .unwrap();
    drop(log);
    let log = recover(place(dir.path())).unwrap();
    assert_eq!(indexes(&log), (10..=35).collect::<Vec<_>>());
    let expected = Base {
        vote: Some(vote(1)),
        committed: Some(log_id(30)),
        purged: Some(log_id(9)),
        last: Some(log_id(35)),
    };
    assert_eq!(log.base, expected);
}

#[test]
fn purging_frees_the_disk_and_what_it_left_is_a_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = written(dir.path());
    let before = files(dir.path()).len();
    assert!(before > 4, "{before} segments");
    log.segments.write(&[Record::Purge(log_id(39))]).unwrap();
    drop(log);
    assert_eq!(files(dir.path()).len(), 1);
    let mut log = recover(place(dir.path())).unwrap();
    assert_eq!(log.base.vote, Some(vote(1)));
    assert_eq!(log.base.last, Some(log_id(39)));
    assert!(indexes(&log).is_empty());
    log.segments.write(&[entry(40)]).unwrap();
    drop(log);
    assert_eq!(indexes(&recover(place(dir.path())).unwrap()), [40]);
}

#[test]
fn a_log_cut_short_anywhere_in_its_last_write_loses_that_write_alone() {
    let dir = tempfile::tempdir().unwrap();
    let log = written(dir.path());
    drop(log);
    let last = files(dir.path()).pop().unwrap();
    let whole = fs::read(&last).unwrap();
    let frame_len = {
        let mut w = crate::store::codec::Writer::new();
        entry(39).encode(&mut w);
        HEAD + w.into_bytes().len()
    };
    for cut in 1..frame_len {
        fs::write(&last, &whole[..whole.len() - cut]).unwrap();
        let mut log = recover(place(dir.path())).unwrap();
        assert_eq!(indexes(&log), (0..39).collect::<Vec<_>>(), "cut {cut}");
        // And it goes on from there.
        log.segments.write(&[entry(39)]).unwrap();
        drop(log);
        assert_eq!(indexes(&recover(place(dir.path())).unwrap()).len(), 40);
        fs::write(&last, &whole).unwrap();
    }
}

#[test]
fn a_flipped_byte_anywhere_is_refused_and_named() {
    let dir = tempfile::tempdir().unwrap();
    drop(written(dir.path()));
    for path in files(dir.path()) {
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(7) {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x20;
            fs::write(&path, &flipped).unwrap();
            let error = recover(place(dir.path()))
                .err()
                .expect("it must be refused");
            let message = error.to_string();
            assert!(message.contains(path.to_str().unwrap()), "{message}");
            match error {
                OpenError::Damaged { offset, .. } => {
                    assert!(offset <= at as u64, "byte {at}: {message}");
                }
                // A bit of the format number makes it a later one.
                OpenError::NewerFormat { .. } if (8..12).contains(&at) => {}
                error => panic!("byte {at}: {error}"),
            }
            assert_eq!(fs::read(&path).unwrap(), flipped, "the file was left alone");
        }
        fs::write(&path, &whole).unwrap();
    }
    recover(place(dir.path())).unwrap();
}

#[test]
fn missing_and_foreign_segments_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(written(dir.path()));
    let files = files(dir.path());
    let away = dir.path().join("away");
    for (missing, what) in [
        (0, "is not complete: segments at its beginning are missing"),
        (2, "is not complete: segment 3 is missing"),
    ] {
        fs::rename(&files[missing], &away).unwrap();
        assert_refused(dir.path(), what);
        fs::rename(&away, &files[missing]).unwrap();
    }
    // A segment under another's name.
    let second = fs::read(&files[1]).unwrap();
    fs::copy(&files[2], &files[1]).unwrap();
    assert_refused(dir.path(), "it says that it is segment 3");
    fs::write(&files[1], second).unwrap();

    let mut other = place(dir.path());
    other.store_id = StoreId([8; 16]);
    let error = recover(other).err().unwrap();
    assert!(matches!(error, OpenError::OtherStore { found, .. } if found == STORE));
}

#[test]
fn a_later_format_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(written(dir.path()));
    let last = files(dir.path()).pop().unwrap();
    let mut bytes = fs::read(&last).unwrap();
    bytes[8] = 5;
    fs::write(&last, bytes).unwrap();
    assert_refused(
        dir.path(),
        "has format 5, this release reads formats up to 4",
    );
}

#[test]
fn zeros_after_the_last_frame_are_a_torn_tail_unless_a_frame_follows() {
    let dir = tempfile::tempdir().unwrap();
    drop(written(dir.path()));
    let last = files(dir.path()).pop().unwrap();
    let whole = fs::read(&last).unwrap();
    // The file had grown, what was written did not get there.
    let mut grown = whole.clone();
    grown.resize(whole.len() + 1_500, 0);
    fs::write(&last, grown).unwrap();
    assert_eq!(indexes(&recover(place(dir.path())).unwrap()).len(), 40);
    assert_eq!(fs::read(&last).unwrap(), whole);
    // A sector that was never written, but frames behind it, which came later.
    let dir = tempfile::tempdir().unwrap();
    let mut log = recover(Place {
        segment_bytes: 1 << 20,
        ..place(dir.path())
    })
    .unwrap();
    for index in 0..40 {
        log.segments.write(&[entry(index)]).unwrap();
    }
    drop(log);
    let only = files(dir.path()).pop().unwrap();
    let mut hole = fs::read(&only).unwrap();
    hole[512..1024].fill(0);
    fs::write(&only, hole).unwrap();
    assert_refused(dir.path(), "a frame is not whole, but later ones are");
}

/// One of everything that is ever written into a log.
fn everything() -> Vec<Record> {
    let member = Member {
        address: "replica-0.example:7443".into(),
    };
    let members = std::collections::BTreeMap::from([(9, member)]);
    let membership = Membership::new(vec![[9].into()], members).unwrap();
    let mut payloads = vec![Payload::Membership(membership), Payload::Blank];
    for operation in samples::operations() {
        let command = Command {
            at_ms: 1_750_000_000_123,
            operation,
        };
        payloads.push(Payload::Normal(Proposal(command.into())));
    }
    let mut records = vec![Record::Vote(vote(1))];
    records.extend((0..).zip(payloads).map(|(index, payload)| {
        let log_id = log_id(index);
        Record::Entry(Entry { log_id, payload })
    }));
    records.push(Record::Truncate(Some(log_id(9))));
    records.push(entry(10));
    records.push(Record::Committed(Some(log_id(9))));
    records.push(Record::Purge(log_id(1)));
    records
}

/// Only what the first format cannot hold begins a segment of the second: until then the release before can read all of it.
#[test]
fn later_rules_begin_a_segment_of_the_second_format() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = recover(place(dir.path())).unwrap();
    log.segments.write(&[entry(1)]).unwrap();
    let formats = || -> Vec<u8> {
        let files = contents(dir.path()).into_iter();
        files.map(|(_, bytes)| bytes[8]).collect()
    };
    assert_eq!(formats(), [1]);
    let raise = Command {
        at_ms: 5,
        operation: RaiseRules { to: 1 }.into(),
    };
    let raise = Record::Entry(Entry {
        log_id: log_id(2),
        payload: Payload::Normal(Proposal(raise.into())),
    });
    log.segments.write(std::slice::from_ref(&raise)).unwrap();
    log.segments.write(&[entry(3)]).unwrap();
    assert_eq!(formats(), [1, 2]);
    drop(log);
    let log = recover(place(dir.path())).unwrap();
    let read: Vec<_> = log
        .entries
        .range(..)
        .into_iter()
        .map(Record::Entry)
        .collect();
    assert_eq!(read, [entry(1), raise, entry(3)]);
}

/// What came with the second rules begins a segment of the third format, which is read for ever: written once and never again.
#[test]
fn the_third_format_is_read_for_ever() {
    let golden = include_bytes!("../../../tests/store/golden/log-3.segment");
    is_read_for_ever(golden, samples::operations_of_second_rules(), 3);
}

/// And what came with the third rules one of the fourth.
#[test]
fn the_fourth_format_is_read_for_ever() {
    let golden = include_bytes!("../../../tests/store/golden/log-4.segment");
    is_read_for_ever(golden, samples::operations_of_third_rules(), 4);
}

/// First the rules are raised, then comes what they brought.
fn is_read_for_ever(golden: &[u8], operations: Vec<Operation>, format: u32) {
    let records: Vec<Record> = (1..)
        .zip(operations)
        .map(|(index, operation)| {
            let command = Command {
                at_ms: 1_750_000_000_123,
                operation,
            };
            Record::Entry(Entry {
                log_id: log_id(index),
                payload: Payload::Normal(Proposal(command.into())),
            })
        })
        .collect();
    let formats: Vec<_> = records.iter().map(Record::format).collect();
    assert_eq!(formats, [2, format]);
    let dir = tempfile::tempdir().unwrap();
    let mut log = recover(place(dir.path())).unwrap();
    log.segments.write(&records).unwrap();
    drop(log);
    let last = files(dir.path()).pop().unwrap();
    assert!(
        fs::read(&last).unwrap() == golden,
        "other bytes are written"
    );
    fs::write(&last, golden).unwrap();
    let log = recover(place(dir.path())).unwrap();
    let read = log.entries.range(..).into_iter().map(Record::Entry);
    assert_eq!(read.collect::<Vec<_>>(), records);
}

/// A segment of this format, written once and never again: later releases must read it, and write
/// the same bytes as long as they write this format.
#[test]
fn the_first_format_is_read_for_ever() {
    let golden: &[u8] = include_bytes!("../../../tests/store/golden/log-1.segment");
    let write = |dir: &Path, records: &[Record]| {
        let place = Place {
            segment_bytes: 1 << 20,
            ..place(dir)
        };
        let mut log = recover(place).unwrap();
        // The first frame of two records, the others of one.
        log.segments.write(&records[..2]).unwrap();
        for record in &records[2..] {
            log.segments.write(std::slice::from_ref(record)).unwrap();
        }
    };
    let records = everything();
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &records);
    let only = files(dir.path()).pop().unwrap();
    assert!(
        fs::read(&only).unwrap() == golden,
        "other bytes are written"
    );

    fs::write(&only, golden).unwrap();
    let log = recover(place(dir.path())).unwrap();
    let expected = Base {
        vote: Some(vote(1)),
        committed: Some(log_id(9)),
        purged: Some(log_id(1)),
        last: Some(log_id(10)),
    };
    assert_eq!(log.base, expected);
    let entries = log.entries.range(..).into_iter().map(Record::Entry);
    let kept = records[3..11].iter().cloned().chain([entry(10)]);
    assert_eq!(entries.collect::<Vec<_>>(), kept.collect::<Vec<_>>());
}
