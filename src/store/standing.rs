//! Whether a replica and its group are well. They are only while the log advances: whoever is heard of and is sent nothing is
//! not. Rules; what is observed is handed in.

use std::collections::BTreeMap;

use super::group::PRESENT_MS;
use super::types::NodeId;

/// What ought to have advanced for so long stands still. Longer than a disk takes that is slow for once.
pub(crate) const STALLED_MS: u64 = 5_000;
/// So long after a leader came to be known others may still have asked for votes without having heard of it.
const SETTLING_MS: u64 = 2_000;

/// How far something has come, and how far there was to go when it was last looked at closely.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress {
    reached: u64,
    goal: u64,
    /// When it last advanced, or had come as far as it could.
    since_ms: u64,
}

impl Progress {
    /// It has come so far of so much, by the clock that nobody sets.
    pub(crate) fn observe(&mut self, reached: u64, goal: u64, now_ms: u64) {
        if reached >= self.goal || reached > self.reached {
            self.since_ms = now_ms;
            self.goal = goal;
        }
        self.reached = reached;
    }

    /// For how long there was something to do and nothing was done.
    pub(crate) const fn stalled_ms(&self, now_ms: u64) -> u64 {
        match self.reached >= self.goal {
            true => 0,
            false => now_ms.saturating_sub(self.since_ms),
        }
    }

    const fn is_stalled(&self, now_ms: u64) -> bool {
        self.stalled_ms(now_ms) >= STALLED_MS
    }
}

/// What was observed of the log's way through the group, over time.
#[derive(Debug, Default)]
pub(crate) struct Advance {
    /// What is committed, of what is in the log here.
    pub committed: Progress,
    /// What is applied here, of what is committed.
    pub applied: Progress,
    /// What each other member has of the log: as the leader knows it, or as it says itself of what is committed.
    pub of: BTreeMap<NodeId, Progress>,
    /// When each other member last asked for a vote.
    pub sought_ms: BTreeMap<NodeId, u64>,
    /// When this replica last took what its leader sent.
    pub followed_ms: Option<u64>,
    /// Who leads, and since when.
    leader: Option<(NodeId, u64)>,
}

impl Advance {
    /// The leader that is known now.
    pub(crate) fn lead(&mut self, leader: Option<NodeId>, now_ms: u64) {
        if self.leader.map(|(leader, _)| leader) != leader {
            self.leader = leader.map(|leader| (leader, now_ms));
        }
    }

    /// It asks to be elected though there is a leader: it hears nothing from that.
    pub(crate) fn seeks(&self, node: NodeId, now_ms: u64) -> bool {
        let Some((leader, since_ms)) = self.leader else {
            return false;
        };
        let sought_ms = self.sought_ms.get(&node).copied().unwrap_or(0);
        node != leader
            && now_ms.saturating_sub(sought_ms) <= PRESENT_MS
            && sought_ms > since_ms + SETTLING_MS
    }
}

/// What a replica knows of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Own {
    pub leader_known: bool,
    /// How long ago it was acknowledged by a majority, or, if it follows, took what its leader sent.
    pub contact_ms_ago: Option<u64>,
}

impl Own {
    /// What it takes on can reach the group, and what the group decides reaches it.
    pub(crate) fn is_in_touch(&self) -> bool {
        self.leader_known && self.contact_ms_ago.is_some_and(|ago| ago <= PRESENT_MS)
    }
}

/// What is in the log here is not committed, or what is committed is not applied, and it does not advance.
pub(crate) fn is_stalled(advance: &Advance, now_ms: u64) -> bool {
    advance.committed.is_stalled(now_ms) || advance.applied.is_stalled(now_ms)
}

/// What the replica that is asked knows of another member.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Other {
    pub node: NodeId,
    pub leads: bool,
    /// How long ago it acknowledged what the leader sent; `None`: only the leader knows.
    pub acknowledged_ms_ago: Option<Option<u64>>,
}

/// It is heard of, and yet it is not served its log, or nothing comes of what is proposed.
pub(crate) fn is_not_served(other: Other, own: Own, advance: &Advance, now_ms: u64) -> bool {
    let is_unacknowledged = match other.acknowledged_ms_ago {
        None => false,
        Some(None) => true,
        Some(Some(ago)) => ago > PRESENT_MS,
    };
    let its = advance.of.get(&other.node);
    !own.leader_known
        || is_unacknowledged
        || advance.seeks(other.node, now_ms)
        || its.is_some_and(|progress| progress.is_stalled(now_ms))
        || (other.leads && advance.committed.is_stalled(now_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_come_as_far_as_there_was_or_comes_on_does_not_stand_still() {
        let mut progress = Progress::default();
        progress.observe(7, 7, 1_000);
        assert_eq!(progress.stalled_ms(60_000), 0);
        // A lag of one that never shrinks.
        progress.observe(7, 8, 61_000);
        assert_eq!(progress.stalled_ms(61_000), 0);
        progress.observe(7, 8, 66_000);
        assert_eq!(progress.stalled_ms(66_000), STALLED_MS);
        assert!(progress.is_stalled(66_000));
        progress.observe(8, 9, 66_500);
        assert_eq!(progress.stalled_ms(66_500), 0);
        // Always behind, and always coming on.
        for now_ms in (67_000..90_000).step_by(500) {
            progress.observe(now_ms / 500, now_ms, now_ms);
            assert!(!progress.is_stalled(now_ms));
        }
        // A little behind what is new all the time, but beyond what there was.
        let mut busy = Progress::default();
        for (reached, now_ms) in (10..50).zip((0..).step_by(4_000)) {
            busy.observe(reached, reached + 1, now_ms);
            assert!(!busy.is_stalled(now_ms));
        }
    }

    const SERVED: Other = Other {
        node: 2,
        leads: false,
        acknowledged_ms_ago: Some(Some(200)),
    };
    const LEADS: Own = Own {
        leader_known: true,
        contact_ms_ago: Some(200),
    };

    fn led_by(leader: NodeId) -> Advance {
        let mut advance = Advance::default();
        advance.lead(Some(leader), 10_000);
        advance
    }

    #[test]
    fn a_leader_calls_nobody_well_who_does_not_acknowledge() {
        let advance = led_by(1);
        let is_ill = |other| is_not_served(other, LEADS, &advance, 20_000);
        assert!(!is_ill(SERVED));
        let silent = |ago| Other {
            acknowledged_ms_ago: Some(ago),
            ..SERVED
        };
        assert!(!is_ill(silent(Some(PRESENT_MS))));
        assert!(is_ill(silent(Some(PRESENT_MS + 1))));
        assert!(is_ill(silent(None)));
        let mut advance = led_by(1);
        let progress = advance.of.entry(2).or_default();
        progress.observe(7, 7, 10_000);
        progress.observe(7, 8, 11_000);
        assert!(!is_not_served(SERVED, LEADS, &advance, 15_999));
        assert!(is_not_served(SERVED, LEADS, &advance, 16_000));
    }

    #[test]
    fn a_follower_calls_nobody_well_who_seeks_another_leader() {
        let mut advance = led_by(1);
        let follows = Own {
            leader_known: true,
            contact_ms_ago: Some(200),
        };
        let other = Other {
            acknowledged_ms_ago: None,
            ..SERVED
        };
        // It asked for votes when this leader was elected.
        advance.sought_ms.insert(2, 12_000);
        assert!(!is_not_served(other, follows, &advance, 13_000));
        advance.sought_ms.insert(2, 20_000);
        assert!(is_not_served(other, follows, &advance, 23_000));
        assert!(!is_not_served(other, follows, &advance, 23_001));
        // Whoever won asked, too.
        advance.lead(Some(2), 23_000);
        advance.sought_ms.insert(2, 26_000);
        assert!(!is_not_served(other, follows, &advance, 26_001));
    }

    #[test]
    fn nobody_is_well_while_nothing_is_committed() {
        let mut advance = led_by(1);
        assert!(LEADS.is_in_touch() && !is_stalled(&advance, 20_000));
        advance.committed.observe(7, 7, 10_000);
        advance.committed.observe(7, 8, 11_000);
        assert!(!is_stalled(&advance, 15_999));
        assert!(is_stalled(&advance, 16_000));
        let leader = Other {
            node: 1,
            leads: true,
            acknowledged_ms_ago: None,
        };
        assert!(is_not_served(leader, LEADS, &advance, 16_000));
        let alone = Own {
            leader_known: false,
            ..LEADS
        };
        assert!(!alone.is_in_touch());
        assert!(is_not_served(SERVED, alone, &led_by(1), 20_000));
        let unheard = Own {
            contact_ms_ago: Some(PRESENT_MS + 1),
            ..LEADS
        };
        assert!(!unheard.is_in_touch());
        let never = Own {
            contact_ms_ago: None,
            ..LEADS
        };
        assert!(!never.is_in_touch());
    }
}
