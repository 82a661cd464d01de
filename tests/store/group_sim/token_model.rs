//! One token's life as a second, smaller telling of the lifecycle's table: in the order of the log, can these answers be?
//!
//! Where an operation's answer is known its place in the log is, too. One that is unknown may have been carried out
//! anywhere between two that are known, or never: every possibility is followed until an answer rules it out. (It is not
//! counted how often: but for `Begin` a second time changes nothing.)

use std::collections::BTreeSet;

use super::history::{Answer, Call, Operation, Told};

/// What else a history goes by.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The time at the beginning of the simulation.
    pub epoch_ms: u64,
    /// How far the state's clock may be ahead of the right time; `None`: as far as it likes.
    pub ahead_ms: Option<u64>,
    /// How long a claim holds.
    pub claim_ms: u64,
    /// When which token expires.
    pub expires_ms: fn(u64) -> u64,
    /// A request may arrive twice.
    pub doubled: bool,
    /// After so long, in nanoseconds, nothing that was asked for is still on its way to the log: whatever is asked for
    /// later comes after it.
    pub settled: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Unseen,
    Issued {
        attempts: u32,
    },
    InFlight {
        attempt: u32,
        joiner: u64,
        holder: u64,
        /// Where the claim was granted by an operation of unknown time, its deadline lies between these.
        deadline_ms: (u64, u64),
    },
    Consumed {
        joiner: u64,
        attempt: u32,
        leaf: u64,
        acknowledged: bool,
    },
    Expired,
    Aborted,
}

use Standing::{Aborted, Consumed, Expired, InFlight, Issued, Unseen};

impl Standing {
    const fn attempts(&self) -> u32 {
        match self {
            Unseen | Expired | Aborted => 0,
            Issued { attempts } => *attempts,
            InFlight { attempt, .. } | Consumed { attempt, .. } => *attempt,
        }
    }
}

/// A time, or between which two it was.
type When = (u64, u64);

/// Whether the answers about one token can be true.
pub fn check(token: u64, operations: &[&Operation], rules: &Rules) -> Result<(), String> {
    let mut known: Vec<_> = operations
        .iter()
        .filter_map(|it| match it.told {
            Told::Known {
                index,
                now_ms,
                answer,
            } => Some((index, now_ms, answer, *it)),
            Told::Undone | Told::Unknown => None,
        })
        .collect();
    known.sort_by_key(|(index, ..)| *index);
    let floating: Vec<_> = operations
        .iter()
        .copied()
        .filter(|it| may_float(it, rules))
        .collect();
    let life = Life {
        claim_ms: rules.claim_ms,
        expires_ms: (rules.expires_ms)(token),
    };
    let mut possible = BTreeSet::from([Unseen]);
    let (mut last_ms, mut latest_began) = (0, 0);
    for (_, now_ms, answer, it) in known {
        let is_about =
            |of: &&&Operation| of.began < it.ended && latest_began <= of.began + rules.settled;
        let about: Vec<&Operation> = floating.iter().filter(is_about).copied().collect();
        life.spread(&mut possible, &about, (last_ms, now_ms));
        let stood = possible;
        possible = BTreeSet::new();
        let now = (now_ms, now_ms);
        for standing in stood.iter().flat_map(|standing| life.after(*standing, now)) {
            let (standing, answered) = life.apply(standing, it.call, now);
            if answered == answer {
                possible.insert(standing);
            }
        }
        if possible.is_empty() {
            return Err(format!("{it:?} cannot be: it stood {stood:?}"));
        }
        (last_ms, latest_began) = (now_ms, it.began.max(latest_began));
    }
    Ok(())
}

/// It may be in the log at a place that nobody was told of.
fn may_float(it: &Operation, rules: &Rules) -> bool {
    match it.told {
        Told::Unknown => true,
        Told::Undone => rules.doubled,
        // A second time; all others come to nothing then.
        Told::Known { .. } => {
            rules.doubled && matches!(it.call, Call::Begin { .. } | Call::Acknowledge { .. })
        }
    }
}

struct Life {
    claim_ms: u64,
    expires_ms: u64,
}

impl Life {
    /// Adds whatever the unknown operations may have made of it meanwhile.
    fn spread(&self, possible: &mut BTreeSet<Standing>, about: &[&Operation], when: When) {
        let begins = about
            .iter()
            .filter(|it| matches!(it.call, Call::Begin { .. }))
            .count() as u32;
        let most = begins + possible.iter().map(Standing::attempts).max().unwrap_or(0);
        let mut fresh: Vec<_> = possible.iter().copied().collect();
        while let Some(standing) = fresh.pop() {
            for standing in self.after(standing, when) {
                for operation in about {
                    let (further, _) = self.apply(standing, operation.call, when);
                    if further.attempts() <= most && possible.insert(further) {
                        fresh.push(further);
                    }
                }
            }
        }
    }

    /// What time alone may have made of it.
    fn after(&self, standing: Standing, (earliest, latest): When) -> Vec<Standing> {
        let mut may = Vec::new();
        let is_live = matches!(standing, Issued { .. } | InFlight { .. });
        if is_live && latest >= self.expires_ms {
            may.push(Expired);
        }
        if is_live && earliest >= self.expires_ms {
            return may;
        }
        match standing {
            InFlight {
                attempt,
                deadline_ms: (from, to),
                ..
            } => {
                if latest >= from {
                    may.push(Issued { attempts: attempt });
                }
                if earliest < to {
                    may.push(standing);
                }
            }
            _ => may.push(standing),
        }
        may
    }

    fn apply(&self, standing: Standing, call: Call, when: When) -> (Standing, Answer) {
        match call {
            Call::Begin { joiner, holder } => self.begin(standing, joiner, holder, when),
            Call::Consume {
                joiner,
                attempt,
                leaf,
            } => consume(standing, joiner, attempt, leaf),
            Call::Revert { attempt, holder } => revert(standing, attempt, holder),
            Call::Acknowledge { joiner } => acknowledge(standing, joiner),
            Call::Abort => match standing {
                Unseen => (Aborted, Answer::Buried),
                Issued { .. } | InFlight { .. } | Aborted => (Aborted, Answer::Aborted),
                Consumed { .. } => (standing, Answer::Used),
                Expired => (standing, Answer::Expired),
            },
        }
    }

    fn begin(
        &self,
        standing: Standing,
        joiner: u64,
        holder: u64,
        when: When,
    ) -> (Standing, Answer) {
        let grant = |attempt| {
            let until = |ms: u64| (ms + self.claim_ms).min(self.expires_ms);
            let deadline_ms = (until(when.0), until(when.1));
            let standing = InFlight {
                attempt,
                joiner,
                holder,
                deadline_ms,
            };
            (standing, Answer::Granted { attempt })
        };
        match standing {
            Unseen if when.0 >= self.expires_ms => (Unseen, Answer::Expired),
            Unseen => grant(1),
            Issued { attempts } => grant(attempts + 1),
            InFlight {
                attempt,
                joiner: by,
                ..
            } if by == joiner => grant(attempt),
            InFlight { .. } => (standing, Answer::Conflict),
            Consumed {
                joiner: by,
                leaf,
                acknowledged: false,
                ..
            } if by == joiner => (standing, Answer::Admitted { leaf }),
            Consumed { .. } => (standing, Answer::Used),
            Expired => (standing, Answer::Expired),
            Aborted => (standing, Answer::Aborted),
        }
    }
}

fn consume(standing: Standing, joiner: u64, attempt: u32, leaf: u64) -> (Standing, Answer) {
    match standing {
        Unseen => (standing, Answer::NotFound),
        InFlight {
            attempt: of,
            joiner: by,
            ..
        } if (of, by) == (attempt, joiner) => {
            let acknowledged = false;
            (
                Consumed {
                    joiner,
                    attempt,
                    leaf,
                    acknowledged,
                },
                Answer::Admitted { leaf },
            )
        }
        Issued { .. } | InFlight { .. } => (standing, Answer::Stale),
        Consumed {
            joiner: by,
            attempt: of,
            leaf,
            acknowledged: false,
        } if (by, of) == (joiner, attempt) => (standing, Answer::Admitted { leaf }),
        Consumed { .. } => (standing, Answer::Used),
        Expired => (standing, Answer::Expired),
        Aborted => (standing, Answer::Aborted),
    }
}

fn revert(standing: Standing, attempt: u32, holder: u64) -> (Standing, Answer) {
    match standing {
        Unseen => (standing, Answer::NotFound),
        InFlight {
            attempt: of,
            holder: by,
            ..
        } if (of, by) == (attempt, holder) => (Issued { attempts: attempt }, Answer::Done),
        InFlight { .. } => (standing, Answer::Stale),
        Issued { .. } | Expired | Aborted => (standing, Answer::Done),
        Consumed { .. } => (standing, Answer::Used),
    }
}

fn acknowledge(standing: Standing, joiner: u64) -> (Standing, Answer) {
    match standing {
        Unseen => (standing, Answer::NotFound),
        Consumed {
            joiner: by,
            attempt,
            leaf,
            ..
        } if by == joiner => {
            let acknowledged = true;
            (
                Consumed {
                    joiner,
                    attempt,
                    leaf,
                    acknowledged,
                },
                Answer::Done,
            )
        }
        _ => (standing, Answer::NotAdmitted),
    }
}
