//! With which time the leader of a group stamps. A decision: it is handed every clock it reads.
//!
//! The machine's own clock counts only within [`STRAY_MS`] of the lower median of the clocks that were heard of, its
//! own among them: so, from three replicas on, one machine's wrong clock expires nothing and issues nothing for years.

use crate::faults::{self, Fault};

use super::leader_clock::{Readings, Stamp};

/// How far from the group's median a leader's own clock is followed.
const STRAY_MS: u64 = 30_000;

/// The clock of a replica in a group.
#[derive(Debug, Clone, Default)]
pub(crate) struct GroupClock {
    /// The last median of three clocks or more, and when that was on the clock that nobody sets.
    last: Option<(u64, u64)>,
}

impl GroupClock {
    /// The time to stamp with now. `others`: what the clocks of the other members show, as far as they were heard of
    /// lately; `voters`: how many there are. `None`: no other clock was heard of yet, and this one alone is not
    /// trusted: whoever was just elected hears of others within a second.
    pub(crate) fn stamp(&mut self, now: Readings, others: &[u64], voters: usize) -> Option<Stamp> {
        if others.is_empty() && self.last.is_none() {
            return None;
        }
        let mut clocks = others.to_vec();
        clocks.push(now.wall_ms);
        clocks.sort_unstable();
        let median = clocks[(clocks.len() - 1) / 2];
        let median = match self.last {
            // Two clocks cannot say which of them is wrong.
            Some((at_ms, boot_ms)) if clocks.len() < 3 && voters >= 3 => {
                at_ms + now.boot_ms.saturating_sub(boot_ms)
            }
            _ => median,
        };
        if clocks.len() >= 3 {
            self.last = Some((median, now.boot_ms));
        }
        let stray_ms = match faults::is_on(Fault::ClockNotHeldBack) {
            true => u64::MAX,
            false => STRAY_MS,
        };
        let at_ms = (now.wall_ms).clamp(
            median.saturating_sub(stray_ms),
            median.saturating_add(stray_ms),
        );
        Some(Stamp {
            at_ms,
            held_back_ms: (at_ms != now.wall_ms).then(|| now.wall_ms.abs_diff(median)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: u64 = 1_750_000_000_000;
    const HOUR: u64 = 3_600_000;

    fn readings(wall_ms: u64, boot_ms: u64) -> Readings {
        Readings {
            wall_ms,
            boot_ms,
            synchronised: true,
        }
    }

    #[test]
    fn a_leader_an_hour_off_stamps_with_the_others_time() {
        for wrong in [T + HOUR, T - HOUR] {
            let mut clock = GroupClock::default();
            let stamp = clock.stamp(readings(wrong, 0), &[T, T + 20], 3).unwrap();
            let edge = if wrong > T {
                T + 20 + STRAY_MS
            } else {
                T - STRAY_MS
            };
            assert_eq!((stamp.at_ms, stamp.held_back_ms.is_some()), (edge, true));
        }
        let mut clock = GroupClock::default();
        let stamp = clock
            .stamp(readings(T, 0), &[T + HOUR, T + 1_000], 3)
            .unwrap();
        assert_eq!((stamp.at_ms, stamp.held_back_ms), (T, None));
    }

    #[test]
    fn while_only_two_are_heard_the_median_of_three_is_carried_on() {
        let mut clock = GroupClock::default();
        clock.stamp(readings(T, 1_000), &[T, T], 3);
        // The others fell silent one by one, and then the own clock was set a year ahead.
        let stamp = clock
            .stamp(readings(T + 8_760 * HOUR, 61_000), &[T + 60_000], 3)
            .unwrap();
        assert_eq!(stamp.at_ms, T + 60_000 + STRAY_MS);
        let stamp = clock
            .stamp(readings(T + 8_760 * HOUR, 121_000), &[], 3)
            .unwrap();
        assert_eq!(stamp.at_ms, T + 120_000 + STRAY_MS);
        // Heard of again: the new median counts.
        let stamp = clock
            .stamp(
                readings(T + 180_000, 181_000),
                &[T + 180_000, T + 180_001],
                3,
            )
            .unwrap();
        assert_eq!((stamp.at_ms, stamp.held_back_ms), (T + 180_000, None));
    }

    #[test]
    fn a_clock_alone_is_not_trusted() {
        let mut clock = GroupClock::default();
        assert_eq!(clock.stamp(readings(T + 8_760 * HOUR, 0), &[], 3), None);
    }

    #[test]
    fn of_two_the_earlier_counts() {
        let mut clock = GroupClock::default();
        let stamp = clock.stamp(readings(T + HOUR, 0), &[T], 2).unwrap();
        assert_eq!(stamp.at_ms, T + STRAY_MS);
        let stamp = clock.stamp(readings(T, 0), &[T + HOUR], 2).unwrap();
        assert_eq!(stamp.at_ms, T);
    }
}
