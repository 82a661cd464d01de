//! Whether this replica is fit to serve, and if not, why.

use std::fmt;

use crate::store::Health;

/// The answer to `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    /// The store has stopped for good.
    Stopped(String),
    NoLeader,
    /// It lacks entries that were committed, and nobody sends them, or not all yet.
    Incomplete,
    /// It lacks all of them, since it has just come.
    Newcomer,
    /// Too few of the others are heard of or acknowledge what it sends, or it is sent nothing, or it has no vote yet.
    CutOff,
    /// Nothing is committed, or nothing applied, though there is something.
    Stalled,
    /// The replicas' states differ: this one's is not known to be right.
    Suspended,
    /// So many committed entries are not applied here yet.
    Behind {
        applied_index: u64,
        committed_index: u64,
    },
}

impl Readiness {
    /// Judges what the store says of itself.
    pub fn of(health: &Health) -> Self {
        if let Some(reason) = &health.fatal {
            Self::Stopped(reason.clone())
        } else if health.incomplete && !health.is_ready() {
            match health.newcomer {
                true => Self::Newcomer,
                false => Self::Incomplete,
            }
        } else if !health.leader_known {
            Self::NoLeader
        } else if health.cut_off {
            Self::CutOff
        } else if health.suspended {
            Self::Suspended
        } else if health.stalled {
            Self::Stalled
        } else if health.is_ready() {
            Self::Ready
        } else {
            Self::Behind {
                applied_index: health.applied_index,
                committed_index: health.committed_index,
            }
        }
    }
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::Stopped(reason) => write!(f, "the store has stopped: {reason}"),
            Self::NoLeader => f.write_str("the store has no leader that this replica knows"),
            Self::Incomplete => f.write_str(
                "this replica lacks entries that were committed, since it was away or its data folder was set back: it does not campaign until a leader has sent them, see its log",
            ),
            Self::Newcomer => f.write_str(
                "this replica is new in its group, or its data folder was emptied: it is catching up, and is ready once a leader has let it in and sent it what was committed; its log says whom it waits for",
            ),
            Self::CutOff => f.write_str(
                "this replica hears of no majority of its group, or not of its leader, or has no vote in it yet; or it leads and no majority \
                 acknowledges what it sends, or it is sent no log",
            ),
            Self::Stalled => f.write_str(
                "what is in the log is not committed, or not applied here, and has not advanced for some seconds: see the log of the leader, \
                 its disk and those of the others",
            ),
            Self::Suspended => f.write_str(
                "the replicas' states differ: this one serves nobody until that is put right, see its log",
            ),
            Self::Behind {
                applied_index,
                committed_index,
            } => write!(
                f,
                "this replica is catching up: applied {applied_index} of {committed_index} committed entries"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_obstacle_is_named() {
        let ready = Health {
            leader_known: true,
            applied_index: 5,
            committed_index: 6,
            ..Health::default()
        };
        assert_eq!(Readiness::of(&ready), Readiness::Ready);
        let behind = Health {
            committed_index: 5_000,
            ..ready.clone()
        };
        assert_eq!(
            Readiness::of(&behind).to_string(),
            "this replica is catching up: applied 5 of 5000 committed entries"
        );
        let suspended = Health {
            suspended: true,
            ..behind.clone()
        };
        assert!(
            (Readiness::of(&suspended).to_string()).starts_with("the replicas' states differ: ")
        );
        let stalled = Health {
            stalled: true,
            ..ready.clone()
        };
        assert!(!stalled.is_ready());
        assert_eq!(Readiness::of(&stalled), Readiness::Stalled);
        let cut_off = Health {
            cut_off: true,
            ..suspended
        };
        assert_eq!(Readiness::of(&cut_off), Readiness::CutOff);
        let alone = Health {
            leader_known: false,
            ..cut_off
        };
        assert_eq!(Readiness::of(&alone), Readiness::NoLeader);
        // Whoever lacks something and is well otherwise serves by what it asks the leader.
        let served = Health {
            incomplete: true,
            ..ready
        };
        assert_eq!(Readiness::of(&served), Readiness::Ready);
        let incomplete = Health {
            incomplete: true,
            ..alone.clone()
        };
        assert_eq!(Readiness::of(&incomplete), Readiness::Incomplete);
        let newcomer = Health {
            newcomer: true,
            ..incomplete.clone()
        };
        let said = Readiness::of(&newcomer).to_string();
        assert!(said.contains("it is catching up"), "{said}");
        assert!(!said.contains("set back"), "{said}");
        let stopped = Health {
            fatal: Some("no space left on device".to_owned()),
            ..alone
        };
        assert_eq!(
            Readiness::of(&stopped).to_string(),
            "the store has stopped: no space left on device"
        );
    }
}
