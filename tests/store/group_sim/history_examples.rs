//! Histories written by hand: those that can be, and those that cannot.

use super::history::{Answer, Call, End, History, Operation, Read, Seen, Told};
use super::token_model::Rules;

const SECOND: u64 = 1_000_000_000;
const T: u64 = 1_000_000;
/// One that does not expire in any of these.
const N: u64 = 7;
/// One that expires after ten seconds.
const SHORT: u64 = 8;

fn rules() -> Rules {
    Rules {
        epoch_ms: T,
        ahead_ms: Some(30_000),
        claim_ms: 5_000,
        expires_ms: |n| if n == SHORT { T + 10_000 } else { u64::MAX },
        doubled: false,
        settled: SECOND,
    }
}

/// Told what it came to: (call, from and to which tenth of a second, index, answer).
fn known(call: Call, from: u64, to: u64, index: u64, answer: Answer) -> Operation {
    let told = Told::Known {
        index,
        now_ms: T + from * 100,
        answer,
    };
    operation(call, from, to, told)
}

fn operation(call: Call, from: u64, to: u64, told: Told) -> Operation {
    Operation {
        token: N,
        call,
        began: from * SECOND / 10,
        ended: to.saturating_mul(SECOND / 10),
        told,
    }
}

fn unknown(call: Call, from: u64) -> Operation {
    operation(call, from, u64::MAX, Told::Unknown)
}

fn read(from: u64, to: u64, seen: Option<(u64, Option<u64>, Option<End>)>) -> Read {
    Read {
        token: N,
        began: from * SECOND / 10,
        ended: to * SECOND / 10,
        seen: seen.map(|(changed_at, claimed_by, end)| Seen {
            changed_at,
            claimed_by,
            end,
        }),
    }
}

fn begin(joiner: u64, holder: u64) -> Call {
    Call::Begin { joiner, holder }
}

fn consume(joiner: u64, attempt: u32) -> Call {
    let leaf = joiner * 100 + u64::from(attempt);
    Call::Consume {
        joiner,
        attempt,
        leaf,
    }
}

const fn granted(attempt: u32) -> Answer {
    Answer::Granted { attempt }
}

const fn admitted(leaf: u64) -> Answer {
    Answer::Admitted { leaf }
}

fn check(operations: &[Operation], reads: &[Read]) -> Result<(), String> {
    let history = History {
        operations: operations.to_vec(),
        reads: reads.to_vec(),
    };
    history.check(&rules())
}

fn good(operations: &[Operation], reads: &[Read]) {
    check(operations, reads).unwrap();
}

/// It is found, and for this reason.
fn bad(why: &str, operations: &[Operation], reads: &[Read]) {
    let found = check(operations, reads).expect_err(why);
    assert!(found.contains(why), "{found}");
}

#[test]
fn one_is_admitted_and_gets_its_certificate_again() {
    good(
        &[
            known(begin(1, 11), 0, 1, 5, granted(1)),
            known(begin(2, 12), 1, 3, 6, Answer::Conflict),
            known(consume(1, 1), 2, 4, 7, admitted(101)),
            known(begin(1, 13), 5, 6, 8, admitted(101)),
            known(begin(2, 14), 5, 7, 9, Answer::Used),
        ],
        &[read(
            8,
            9,
            Some((7, None, Some(End::Consumed(Some(1), Some(101))))),
        )],
    );
}

#[test]
fn never_two_joiners_nor_two_certificates() {
    let first = [
        known(begin(1, 11), 0, 1, 5, granted(1)),
        known(consume(1, 1), 2, 3, 6, admitted(101)),
    ];
    let other = known(consume(2, 2), 4, 5, 8, admitted(202));
    bad("it ended twice", &[&first[..], &[other]].concat(), &[]);
    let another = known(begin(1, 12), 4, 5, 8, admitted(102));
    bad("it ended twice", &[&first[..], &[another]].concat(), &[]);
    let ended = known(Call::Abort, 4, 5, 8, Answer::Aborted);
    bad("it ended twice", &[&first[..], &[ended]].concat(), &[]);
    let shown = read(4, 5, Some((8, None, Some(End::Aborted))));
    bad("it ended twice", &first, &[shown]);
}

#[test]
fn what_was_told_is_true_for_whoever_asks_later() {
    let first = [
        known(begin(1, 11), 0, 1, 5, granted(1)),
        known(consume(1, 1), 2, 3, 6, admitted(101)),
    ];
    // It overlaps, and came before.
    let beside = known(begin(2, 12), 0, 9, 4, granted(1));
    bad("cannot be", &[&first[..], &[beside]].concat(), &[]);
    let later = known(begin(2, 12), 4, 5, 7, granted(2));
    bad("cannot be", &[&first[..], &[later]].concat(), &[]);
    // At a place before that of one that was answered before it began.
    let before = known(begin(2, 12), 4, 5, 4, Answer::Used);
    bad("came before", &[&first[..], &[before]].concat(), &[]);
    let same = known(begin(2, 12), 2, 5, 6, Answer::Used);
    bad(
        "at the place of another",
        &[&first[..], &[same]].concat(),
        &[],
    );
}

#[test]
fn a_claim_is_the_attempts_and_the_holders() {
    let revert = |attempt, holder| Call::Revert { attempt, holder };
    let twice = [
        known(begin(1, 11), 0, 1, 5, granted(1)),
        known(begin(1, 12), 2, 3, 6, granted(1)),
    ];
    let stale = known(revert(1, 11), 4, 5, 7, Answer::Stale);
    good(&[&twice[..], &[stale]].concat(), &[]);
    let by_another = known(revert(1, 11), 4, 5, 7, Answer::Done);
    bad("cannot be", &[&twice[..], &[by_another]].concat(), &[]);
    let by_holder = known(revert(1, 12), 4, 5, 7, Answer::Done);
    let again = known(begin(1, 13), 6, 7, 8, granted(2));
    good(&[&twice[..], &[by_holder, again]].concat(), &[]);
    let too_late = known(consume(1, 1), 8, 9, 9, admitted(101));
    bad(
        "cannot be",
        &[&twice[..], &[by_holder, again, too_late]].concat(),
        &[],
    );
}

#[test]
fn a_claim_ends_when_its_time_has_come_and_not_before() {
    let claim = known(begin(1, 11), 0, 1, 5, granted(1));
    let at = |tenths, index, answer| known(begin(2, 12), tenths, tenths + 1, index, answer);
    good(
        &[claim, at(49, 6, Answer::Conflict), at(50, 7, granted(2))],
        &[],
    );
    bad("cannot be", &[claim, at(50, 6, Answer::Conflict)], &[]);
    bad("cannot be", &[claim, at(49, 6, granted(2))], &[]);
    let late = known(consume(1, 1), 60, 61, 6, admitted(101));
    bad("cannot be", &[claim, late], &[]);
}

#[test]
fn a_token_expires_when_its_time_has_come_and_not_before() {
    let short = |it: Operation| Operation { token: SHORT, ..it };
    let early = short(known(begin(1, 11), 99, 100, 5, granted(1)));
    good(
        &[
            early,
            short(known(consume(1, 1), 100, 101, 6, Answer::Expired)),
        ],
        &[],
    );
    bad(
        "cannot be",
        &[
            early,
            short(known(consume(1, 1), 100, 101, 6, admitted(101))),
        ],
        &[],
    );
    bad(
        "cannot be",
        &[short(known(begin(1, 11), 99, 100, 5, Answer::Expired))],
        &[],
    );
    // Were the store's clock far ahead, everything would expire early, and the answers would agree with it.
    let told = Told::Known {
        index: 5,
        now_ms: T + 60_000,
        answer: Answer::Expired,
    };
    bad(
        "ahead of the right time",
        &[operation(begin(1, 11), 1, 2, told)],
        &[],
    );
}

#[test]
fn what_is_unknown_may_have_happened_or_not() {
    let claim = known(begin(1, 11), 0, 1, 5, granted(1));
    let lost = unknown(consume(1, 1), 2);
    good(
        &[claim, lost, known(begin(1, 12), 4, 5, 7, admitted(101))],
        &[],
    );
    good(
        &[claim, lost, known(begin(1, 12), 4, 5, 7, granted(1))],
        &[],
    );
    // Not after it was seen not to have, and all that was on its way has arrived.
    let seen = known(begin(1, 12), 30, 31, 7, granted(1));
    let meanwhile = known(begin(1, 13), 40, 41, 8, granted(1));
    let at_last = known(begin(1, 14), 45, 46, 9, admitted(101));
    bad("cannot be", &[claim, lost, seen, meanwhile, at_last], &[]);
    // It was said that nothing had happened.
    let undone = operation(consume(1, 1), 2, 3, Told::Undone);
    bad(
        "cannot be",
        &[claim, undone, known(begin(1, 12), 4, 5, 7, admitted(101))],
        &[],
    );
    // Unknown claims raise the attempt, but not of themselves.
    let begun = unknown(begin(2, 21), 2);
    good(
        &[begun, known(begin(1, 12), 4, 5, 7, Answer::Conflict)],
        &[],
    );
    bad(
        "cannot be",
        &[begun, known(begin(1, 12), 4, 5, 7, granted(4))],
        &[],
    );
}

#[test]
fn who_reads_after_a_barrier_sees_what_was_answered_before() {
    let claim = known(begin(1, 11), 0, 1, 5, granted(1));
    let renewed = known(begin(1, 12), 2, 3, 6, granted(1));
    let admission = known(consume(1, 1), 2, 3, 6, admitted(101));
    good(
        &[claim],
        &[read(0, 1, None), read(2, 3, Some((5, Some(1), None)))],
    );
    bad("too old", &[claim], &[read(2, 3, None)]);
    bad(
        "too old",
        &[claim, renewed],
        &[read(4, 5, Some((5, Some(1), None)))],
    );
    bad(
        "too old",
        &[claim, admission],
        &[read(4, 5, Some((5, Some(1), None)))],
    );
    bad(
        "does not show",
        &[claim],
        &[read(2, 3, Some((5, Some(2), None)))],
    );
    let newer = read(4, 5, Some((9, Some(1), None)));
    bad(
        "is older than",
        &[claim],
        &[newer, read(6, 7, Some((5, Some(1), None)))],
    );
    let after = known(begin(1, 12), 6, 7, 8, granted(1));
    bad("came before what was read", &[claim, after], &[newer]);
}
