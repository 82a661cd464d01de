//! Histories written by hand: those that can be, and those that cannot.

use super::history::{Answer, Call, End, History, Operation, Read, Seen, Told};
use super::token_model::{Ages, Resource, Rules};

const SECOND: u64 = 1_000_000_000;
const T: u64 = 1_000_000;
/// One that does not expire in any of these.
const N: u64 = 7;
/// One that expires after ten seconds.
const SHORT: u64 = 8;
/// Two that were drawn for the same revision of a resource, and one for the next.
const FIRST: u64 = 20;
const RIVAL: u64 = 21;
const SECOND_REVISION: u64 = 22;

fn rules() -> Rules {
    Rules {
        epoch_ms: T,
        ahead_ms: Some(30_000),
        claim_ms: 5_000,
        ages: Ages {
            window_ms: 600_000,
            retention_ms: u64::MAX,
            certificate_ms: u64::MAX,
        },
        resource: |n| {
            let revision = [(FIRST, 1), (RIVAL, 1), (SECOND_REVISION, 2)];
            let of = revision.iter().find(|(token, _)| *token == n)?;
            Some(Resource {
                name: 1,
                revision: of.1,
            })
        },
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

fn of(token: u64, it: Operation) -> Operation {
    Operation { token, ..it }
}

#[test]
fn a_revision_has_one_token() {
    let created = of(FIRST, known(Call::Register, 0, 1, 5, Answer::Created));
    let rival = |answer| of(RIVAL, known(Call::Register, 2, 3, 6, answer));
    good(&[created, rival(Answer::Existing { token: FIRST })], &[]);
    bad("cannot be", &[created, rival(Answer::Created)], &[]);
    bad("cannot be", &[created, rival(Answer::Superseded)], &[]);
    let claim = |token, answer| of(token, known(begin(1, 11), 4, 5, 7, answer));
    good(&[created, claim(RIVAL, Answer::NotFound)], &[]);
    bad("cannot be", &[created, claim(RIVAL, granted(1))], &[]);
    bad("cannot be", &[created, claim(FIRST, Answer::NotFound)], &[]);
    // Nobody knows whether the rival was first.
    let lost = of(RIVAL, unknown(Call::Register, 0));
    let late = of(
        FIRST,
        known(Call::Register, 2, 3, 5, Answer::Existing { token: RIVAL }),
    );
    good(&[lost, late, claim(RIVAL, granted(1))], &[]);
    bad("cannot be", &[late], &[]);
    // What was buried is never registered.
    let buried = of(FIRST, known(Call::Revoke, 0, 1, 5, Answer::Buried));
    let after = |answer| of(FIRST, known(Call::Register, 2, 3, 6, answer));
    good(&[buried, after(Answer::InUse)], &[]);
    bad("cannot be", &[buried, after(Answer::Created)], &[]);
    let unseen = Read {
        token: FIRST,
        ..read(2, 3, None)
    };
    bad("too old", &[created], &[unseen]);
}

#[test]
fn a_later_revision_ends_the_former_token_and_bars_its_machine() {
    let first = of(FIRST, known(Call::Register, 0, 1, 5, Answer::Created));
    let next = |at, index| {
        of(
            SECOND_REVISION,
            known(Call::Register, at, at + 1, index, Answer::Created),
        )
    };
    let claim =
        |token, at, index, answer| of(token, known(begin(1, at), at, at + 1, index, answer));
    let superseded = [first, next(2, 6)];
    good(
        &[&superseded[..], &[claim(FIRST, 4, 7, Answer::Aborted)]].concat(),
        &[],
    );
    bad(
        "cannot be",
        &[&superseded[..], &[claim(FIRST, 4, 7, granted(1))]].concat(),
        &[],
    );
    let again = of(FIRST, known(Call::Register, 4, 5, 7, Answer::Superseded));
    good(&[&superseded[..], &[again]].concat(), &[]);

    let admitted_twice = [
        first,
        claim(FIRST, 1, 6, granted(1)),
        of(FIRST, known(consume(1, 1), 2, 3, 7, admitted(101))),
        next(4, 8),
        claim(SECOND_REVISION, 5, 9, granted(1)),
        of(
            SECOND_REVISION,
            known(consume(1, 1), 6, 7, 10, admitted(101)),
        ),
    ];
    let asks_again = |answer| claim(FIRST, 8, 11, answer);
    good(
        &[&admitted_twice[..], &[asks_again(Answer::Revoked)]].concat(),
        &[],
    );
    bad(
        "cannot be",
        &[&admitted_twice[..], &[asks_again(admitted(101))]].concat(),
        &[],
    );
    good(
        &[&admitted_twice[..4], &[asks_again(admitted(101))]].concat(),
        &[],
    );
}

#[test]
fn who_was_revoked_gets_no_further_certificate() {
    let admission = [
        known(begin(1, 11), 0, 1, 5, granted(1)),
        known(consume(1, 1), 2, 3, 6, admitted(101)),
    ];
    let revoke = known(Call::Revoke, 4, 5, 7, Answer::Barred);
    let again = |answer| known(begin(1, 12), 6, 7, 8, answer);
    good(
        &[&admission[..], &[revoke, again(Answer::Revoked)]].concat(),
        &[],
    );
    bad(
        "cannot be",
        &[&admission[..], &[revoke, again(admitted(101))]].concat(),
        &[],
    );
    bad(
        "cannot be",
        &[&admission[..], &[again(Answer::Revoked)]].concat(),
        &[],
    );
    let aborted = known(Call::Revoke, 4, 5, 7, Answer::Aborted);
    bad(
        "it ended twice",
        &[&admission[..], &[aborted]].concat(),
        &[],
    );
}

#[test]
fn what_is_forgotten_is_never_good_again() {
    let check = |operations: &[Operation]| {
        let history = History {
            operations: operations.iter().map(|it| of(SHORT, *it)).collect(),
            reads: Vec::new(),
        };
        let ages = Ages {
            window_ms: 2_000,
            retention_ms: 1_000,
            certificate_ms: 3_000,
        };
        history.check(&Rules { ages, ..rules() })
    };
    let admission = [
        known(begin(1, 11), 0, 1, 5, granted(1)),
        known(consume(1, 1), 2, 3, 6, admitted(101)),
    ];
    let later = |call, at, answer| {
        let it = known(call, at, at + 1, 7, answer);
        check(&[&admission[..], &[it]].concat())
    };
    // The certificate is kept for two seconds, the record until the token has expired.
    later(begin(1, 12), 21, admitted(101)).unwrap();
    later(begin(1, 12), 22, admitted(101)).unwrap_err();
    later(begin(1, 12), 22, Answer::Used).unwrap();
    later(Call::Abort, 99, Answer::Buried).unwrap_err();
    later(Call::Abort, 100, Answer::Buried).unwrap();
    later(Call::Abort, 100, Answer::Used).unwrap();
    later(begin(1, 12), 100, Answer::Expired).unwrap();
    later(begin(1, 12), 100, granted(1)).unwrap_err();
    let revoked = |at, answer| {
        check(&[
            admission[0],
            admission[1],
            known(Call::Revoke, 90, 91, 7, Answer::Barred),
            known(begin(1, 12), at, at + 1, 8, answer),
        ])
    };
    revoked(119, Answer::Revoked).unwrap();
    revoked(119, Answer::Expired).unwrap_err();
    revoked(120, Answer::Expired).unwrap();
}
