//! With which time a leader stamps what it proposes. A decision: it is handed every clock it reads.

use crate::lifecycle::Operation;

/// How far ahead of the machine's clock the state's may be while anything is still issued.
const MAX_LEAD_MS: u64 = 5 * 60_000;

/// A forward step up to this long is followed at once.
const FOLLOWED_STEP_MS: u64 = 30_000;

/// A longer one only after it has stood for so long.
const HOLD_MS: u64 = 60_000;

/// May the operation be proposed with this time? While the state's clock is far ahead, what would
/// be issued now would live far into the future, and what is claimed would be dated there.
pub(crate) fn may_issue(operation: &Operation, state_now_ms: u64, at_ms: u64) -> bool {
    match operation {
        Operation::Register(_) | Operation::Begin(_) => {
            too_far_ahead(state_now_ms, at_ms).is_none()
        }
        _ => true,
    }
}

/// How far the state's clock is ahead of this time, in milliseconds, if it is by so much that nothing is issued.
pub(crate) fn too_far_ahead(state_now_ms: u64, at_ms: u64) -> Option<u64> {
    let ahead_ms = state_now_ms.saturating_sub(at_ms);
    (ahead_ms > MAX_LEAD_MS).then_some(ahead_ms)
}

/// What a lone replica's clocks showed at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Readings {
    /// Milliseconds since the epoch.
    pub wall_ms: u64,
    /// Milliseconds since the machine was started, time asleep included; no one sets this clock.
    pub boot_ms: u64,
    /// The kernel says that something keeps the wall clock right.
    pub synchronised: bool,
}

/// The clock of a replica that has no others to compare with.
///
/// A backward step is followed at once: the state's own clock never runs backwards. A forward step
/// of more than 30 seconds may be somebody's mistake that would expire every token, and there is no
/// way back from it: until it has stood for a minute on a clock that the kernel calls synchronised,
/// or an operator accepts it, time is carried on from before the step.
#[derive(Debug, Clone, Default)]
pub(crate) struct LoneClock {
    last: Option<Last>,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    at_ms: u64,
    boot_ms: u64,
    /// When the step was first seen that is not followed yet.
    held_since_boot_ms: Option<u64>,
}

/// The time to stamp with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub at_ms: u64,
    /// The machine's clock is so many milliseconds ahead, and not followed yet.
    pub held_back_ms: Option<u64>,
}

impl LoneClock {
    /// The time to stamp with now.
    pub(crate) fn stamp(&mut self, now: Readings) -> Stamp {
        let Some(last) = self.last else {
            return self.follow(now);
        };
        let carried_on = last.at_ms + now.boot_ms.saturating_sub(last.boot_ms);
        let step_ms = now.wall_ms.saturating_sub(carried_on);
        if step_ms <= FOLLOWED_STEP_MS {
            return self.follow(now);
        }
        let since = last.held_since_boot_ms.unwrap_or(now.boot_ms);
        if now.synchronised && now.boot_ms.saturating_sub(since) >= HOLD_MS {
            return self.follow(now);
        }
        self.last = Some(Last {
            at_ms: carried_on,
            boot_ms: now.boot_ms,
            held_since_boot_ms: Some(since),
        });
        Stamp {
            at_ms: carried_on,
            held_back_ms: Some(step_ms),
        }
    }

    /// An operator says that the machine's clock is right as it is. How far ahead it was, if it was held back, milliseconds.
    pub(crate) fn accept(&mut self, now: Readings) -> Option<u64> {
        let held_back_ms = self.stamp(now).held_back_ms;
        self.follow(now);
        held_back_ms
    }

    fn follow(&mut self, now: Readings) -> Stamp {
        self.last = Some(Last {
            at_ms: now.wall_ms,
            boot_ms: now.boot_ms,
            held_since_boot_ms: None,
        });
        Stamp {
            at_ms: now.wall_ms,
            held_back_ms: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::command::{Abort, Forget};
    use crate::lifecycle::{Issuance, Reason};
    use crate::token::TokenId;

    const T: u64 = 1_750_000_000_000;
    const YEAR_MS: u64 = 365 * 24 * 3_600_000;

    const fn readings(wall_ms: u64, boot_ms: u64, synchronised: bool) -> Readings {
        Readings {
            wall_ms,
            boot_ms,
            synchronised,
        }
    }

    fn at(clock: &mut LoneClock, wall_ms: u64, boot_ms: u64) -> u64 {
        clock.stamp(readings(wall_ms, boot_ms, true)).at_ms
    }

    #[test]
    fn time_passing_small_steps_and_backward_steps_are_followed_at_once() {
        let mut clock = LoneClock::default();
        assert_eq!(at(&mut clock, T, 1_000), T);
        assert_eq!(
            at(&mut clock, T + 9 * YEAR_MS, 1_000 + 9 * YEAR_MS),
            T + 9 * YEAR_MS
        );
        let mut clock = LoneClock::default();
        at(&mut clock, T, 1_000);
        assert_eq!(at(&mut clock, T + 30_500, 1_500), T + 30_500);
        assert_eq!(at(&mut clock, T - YEAR_MS, 2_000), T - YEAR_MS);
    }

    #[test]
    fn a_year_ahead_is_not_believed_before_it_stood_for_a_minute_and_the_kernel_agrees() {
        for synchronised in [true, false] {
            let mut clock = LoneClock::default();
            at(&mut clock, T, 0);
            let mut stamp =
                |wall_ms, boot_ms| clock.stamp(readings(wall_ms, boot_ms, synchronised));
            let first = stamp(T + YEAR_MS, 1_000);
            assert_eq!(first.at_ms, T + 1_000);
            assert_eq!(first.held_back_ms, Some(YEAR_MS - 1_000));
            // Carried on by the clock that nobody sets, however often it is asked.
            assert_eq!(stamp(T + YEAR_MS + 5_000, 6_000).at_ms, T + 6_000);
            assert_eq!(stamp(T + YEAR_MS + 59_999, 60_999).at_ms, T + 60_999);
            let after = stamp(T + YEAR_MS + 60_000, 61_000);
            if synchronised {
                assert_eq!(after.at_ms, T + YEAR_MS + 60_000);
                assert_eq!(after.held_back_ms, None);
            } else {
                assert_eq!(after.at_ms, T + 61_000);
                assert_eq!(stamp(T + 2 * YEAR_MS, YEAR_MS).at_ms, T + YEAR_MS);
            }
        }
    }

    #[test]
    fn a_step_that_is_taken_back_leaves_no_trace() {
        let mut clock = LoneClock::default();
        at(&mut clock, T, 0);
        at(&mut clock, T + YEAR_MS, 1_000);
        assert_eq!(at(&mut clock, T + 2_000, 2_000), T + 2_000);
        // The next one waits its own minute.
        at(&mut clock, T + YEAR_MS, 59_000);
        assert_eq!(at(&mut clock, T + YEAR_MS, 61_000), T + 61_000);
    }

    #[test]
    fn an_operator_may_accept_a_step() {
        let mut clock = LoneClock::default();
        let ahead = readings(T + YEAR_MS, 1_000, false);
        clock.stamp(readings(T, 0, false));
        clock.stamp(ahead);
        assert_eq!(clock.accept(ahead), Some(YEAR_MS - 1_000));
        assert_eq!(clock.accept(ahead), None);
        let stamp = clock.stamp(readings(T + YEAR_MS + 1, 1_001, false));
        assert_eq!((stamp.at_ms, stamp.held_back_ms), (T + YEAR_MS + 1, None));
    }

    #[test]
    fn nothing_is_issued_while_the_state_is_far_ahead_but_all_else_goes_on() {
        use crate::lifecycle::command::Begin;
        use crate::token::JoinerId;
        let begin: Operation = Begin {
            token_id: TokenId([0; 16]),
            joiner: JoinerId([0; 32]),
            holder: [0; 16],
            address: None,
            registration: None,
        }
        .into();
        assert!(may_issue(&begin, T + MAX_LEAD_MS, T));
        assert!(!may_issue(&begin, T + MAX_LEAD_MS + 1, T));
        assert!(may_issue(&begin, T, T + YEAR_MS));
        let abort: Operation = Abort {
            token_id: TokenId([0; 16]),
            reason: Reason::Operator,
            keep_until_ms: None,
        }
        .into();
        assert!(may_issue(&abort, T + YEAR_MS, T));
        let issuance = Issuance {
            namespace: "a".into(),
            name: "b".into(),
        };
        assert!(may_issue(&Forget { issuance }.into(), T + YEAR_MS, T));
    }
}
