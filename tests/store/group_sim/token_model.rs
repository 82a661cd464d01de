//! One token's life as a second, smaller telling of the lifecycle's table: in the order of the log, can these answers be?
//!
//! Where an operation's answer is known its place in the log is, too. One that is unknown may have been carried out
//! anywhere between two that are known, or never: every possibility is followed until an answer rules it out. (It is not
//! counted how often: but for `Begin` a second time changes nothing.)
//!
//! What is done with other tokens of the same resource counts as far as it touches this one: another may be registered in
//! its place, end it, and bar whom it has admitted. What became of the others is left open where no answer tells.

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
    pub ages: Ages,
    /// When which token expires.
    pub expires_ms: fn(u64) -> u64,
    /// Which are a resource's.
    pub resource: fn(u64) -> Option<Resource>,
    /// A request may arrive twice.
    pub doubled: bool,
    /// After so long, in nanoseconds, nothing that was asked for is still on its way to the log: whatever is asked for
    /// later comes after it.
    pub settled: u64,
}

/// How long what has ended is kept, see `lifecycle::Settings`.
#[derive(Debug, Clone, Copy)]
pub struct Ages {
    pub window_ms: u64,
    pub retention_ms: u64,
    pub certificate_ms: u64,
}

/// What a token was drawn for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resource {
    pub name: u64,
    pub revision: u64,
}

/// No simulation comes near it.
const FAR_MS: u64 = 3_600_000;

impl Rules {
    /// The operation is about another token and may touch this one.
    pub fn concerns(&self, it: &Operation, token: u64) -> bool {
        let name_of = |token| (self.resource)(token).map(|of| of.name);
        matches!(it.call, Call::Register | Call::Consume { .. })
            && name_of(token).is_some()
            && name_of(it.token) == name_of(token)
    }

    /// Its record can be gone when all is over.
    pub fn may_be_forgotten(&self, token: u64) -> bool {
        let age_ms = self.ages.retention_ms.min(self.ages.window_ms);
        let expires_ms = (self.expires_ms)(token);
        expires_ms.saturating_add(age_ms) < self.epoch_ms + FAR_MS
    }
}

/// Where a token is in its life, and which is its resource's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    in_force: Option<u64>,
    standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// Or forgotten.
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
        /// And between which times it is dropped.
        leaf: Option<(u64, When)>,
        barred: bool,
        /// It is not forgotten before.
        kept_ms: u64,
    },
    Expired,
    Aborted {
        kept_ms: u64,
    },
}

use Standing::{Aborted, Consumed, Expired, InFlight, Issued, Unseen};

impl Standing {
    const fn attempts(&self) -> u32 {
        match self {
            Unseen | Expired | Aborted { .. } => 0,
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
    let life = Life { token, rules };
    let nothing = Place {
        in_force: None,
        standing: Unseen,
    };
    let mut possible = BTreeSet::from([nothing]);
    let (mut last_ms, mut latest_began) = (0, 0);
    for (_, now_ms, answer, it) in known {
        let is_about =
            |of: &&&Operation| of.began < it.ended && latest_began <= of.began + rules.settled;
        let about: Vec<&Operation> = floating.iter().filter(is_about).copied().collect();
        life.spread(&mut possible, &about, (last_ms, now_ms));
        let stood = possible;
        possible = BTreeSet::new();
        let now = (now_ms, now_ms);
        for place in stood.iter().flat_map(|place| life.after(*place, now)) {
            possible.extend(life.follow(place, it, Some(answer), now));
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
        // A second time; and that of which somebody was told may have been the second.
        Told::Undone | Told::Known { .. } => rules.doubled,
    }
}

struct Life<'a> {
    token: u64,
    rules: &'a Rules,
}

impl Life<'_> {
    fn expires_ms(&self) -> u64 {
        (self.rules.expires_ms)(self.token)
    }

    fn revision(&self, token: u64) -> u64 {
        (self.rules.resource)(token).map_or(0, |of| of.revision)
    }

    /// Adds whatever the unknown operations may have made of it meanwhile.
    fn spread(&self, possible: &mut BTreeSet<Place>, about: &[&Operation], when: When) {
        let begins = about
            .iter()
            .filter(|it| matches!(it.call, Call::Begin { .. }))
            .count() as u32;
        let attempts = possible.iter().map(|place| place.standing.attempts());
        let most = begins + attempts.max().unwrap_or(0);
        let mut fresh: Vec<_> = possible.iter().copied().collect();
        while let Some(place) = fresh.pop() {
            for place in self.after(place, when) {
                for operation in about {
                    for further in self.follow(place, operation, None, when) {
                        if further.standing.attempts() <= most && possible.insert(further) {
                            fresh.push(further);
                        }
                    }
                }
            }
        }
    }

    /// What time alone may have made of it.
    fn after(&self, place: Place, when: When) -> BTreeSet<Place> {
        let (mut may, mut fresh) = (BTreeSet::new(), vec![place.standing]);
        while let Some(standing) = fresh.pop() {
            for next in self.age(standing, when) {
                if next == standing {
                    may.insert(Place { standing, ..place });
                } else {
                    fresh.push(next);
                }
            }
        }
        may
    }

    /// The next that time may make of it, and whether it may stay as it is.
    fn age(&self, standing: Standing, (earliest, latest): When) -> Vec<Standing> {
        let mut may = Vec::new();
        let is_live = matches!(standing, Issued { .. } | InFlight { .. });
        if is_live && latest >= self.expires_ms() {
            may.push(Expired);
        }
        if is_live && earliest >= self.expires_ms() {
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
            Consumed {
                joiner,
                attempt,
                leaf: Some((_, (from, to))),
                barred,
                kept_ms,
            } => {
                if latest >= from {
                    may.push(Consumed {
                        joiner,
                        attempt,
                        leaf: None,
                        barred,
                        kept_ms,
                    });
                }
                if earliest < to {
                    may.push(standing);
                }
            }
            Consumed { kept_ms, .. } | Aborted { kept_ms } => {
                if latest >= kept_ms {
                    may.push(Unseen);
                }
                may.push(standing);
            }
            Expired => {
                if latest
                    >= self
                        .expires_ms()
                        .saturating_add(self.rules.ages.retention_ms)
                {
                    may.push(Unseen);
                }
                may.push(standing);
            }
            Unseen | Issued { .. } => may.push(standing),
        }
        may
    }

    /// What the operation makes of it; with an answer, only if that can be it.
    fn follow(
        &self,
        place: Place,
        it: &Operation,
        answer: Option<Answer>,
        when: When,
    ) -> Vec<Place> {
        if it.token != self.token {
            return self.beside(place, it, answer, when);
        }
        let (place, answered) = match it.call {
            Call::Register => self.register(place),
            call => {
                let (standing, answered) = self.apply(place.standing, call, when);
                (Place { standing, ..place }, answered)
            }
        };
        match answer.is_none_or(|answer| answer == answered) {
            true => vec![place],
            false => Vec::new(),
        }
    }

    /// What is done with another token of the same resource makes this of it.
    fn beside(
        &self,
        place: Place,
        it: &Operation,
        answer: Option<Answer>,
        when: When,
    ) -> Vec<Place> {
        let may_be = |of: Answer| answer.is_none_or(|answer| answer == of);
        let revision = self.revision(it.token);
        match it.call {
            Call::Register => match place.in_force {
                Some(token) if self.revision(token) > revision => {
                    may_be(Answer::Superseded).then_some(place)
                }
                Some(token) if self.revision(token) == revision => {
                    may_be(Answer::Existing { token }).then_some(place)
                }
                _ if answer == Some(Answer::InUse) => Some(place),
                _ => may_be(Answer::Created).then(|| Place {
                    in_force: Some(it.token),
                    standing: match place.standing {
                        Issued { .. } | InFlight { .. } => self.aborted(when),
                        standing => standing,
                    },
                }),
            }
            .into_iter()
            .collect(),
            Call::Consume { .. } => {
                let bars = self.revision(self.token) < revision;
                match answer {
                    Some(Answer::Admitted { .. }) | None if bars => vec![Place {
                        standing: self.barred(place.standing, when),
                        ..place
                    }],
                    _ => vec![place],
                }
            }
            _ => vec![place],
        }
    }

    fn register(&self, place: Place) -> (Place, Answer) {
        let mine = self.revision(self.token);
        match place.in_force {
            Some(token) if self.revision(token) > mine => (place, Answer::Superseded),
            Some(token) if self.revision(token) == mine => (place, Answer::Existing { token }),
            _ if place.standing != Unseen => (place, Answer::InUse),
            _ => {
                let place = Place {
                    in_force: Some(self.token),
                    standing: Issued { attempts: 0 },
                };
                (place, Answer::Created)
            }
        }
    }

    fn apply(&self, standing: Standing, call: Call, when: When) -> (Standing, Answer) {
        match call {
            Call::Begin { joiner, holder } => self.begin(standing, joiner, holder, when),
            Call::Consume {
                joiner,
                attempt,
                leaf,
            } => self.consume(standing, joiner, attempt, leaf, when),
            Call::Revert { attempt, holder } => revert(standing, attempt, holder),
            Call::Acknowledge { joiner } => acknowledge(standing, joiner),
            Call::Abort | Call::Revoke => match standing {
                Unseen => (Aborted { kept_ms: u64::MAX }, Answer::Buried),
                Issued { .. } | InFlight { .. } => (self.aborted(when), Answer::Aborted),
                Aborted { .. } => (standing, Answer::Aborted),
                Consumed { .. } if call == Call::Revoke => {
                    (self.barred(standing, when), Answer::Barred)
                }
                Consumed { .. } => (standing, Answer::Used),
                Expired => (standing, Answer::Expired),
            },
            Call::Register => (standing, Answer::NotFound),
        }
    }

    /// When a record that ends now can be forgotten at the earliest.
    fn kept_ms(&self, (earliest, _): When) -> u64 {
        self.expires_ms()
            .max(earliest.saturating_add(self.rules.ages.retention_ms))
    }

    fn aborted(&self, when: When) -> Standing {
        Aborted {
            kept_ms: self.kept_ms(when),
        }
    }

    /// Whoever was admitted gets no further certificate.
    fn barred(&self, standing: Standing, when: When) -> Standing {
        match standing {
            Consumed {
                joiner,
                attempt,
                barred: false,
                kept_ms,
                ..
            } => Consumed {
                joiner,
                attempt,
                leaf: None,
                barred: true,
                kept_ms: kept_ms.max(when.0.saturating_add(self.rules.ages.certificate_ms)),
            },
            _ => standing,
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
            let until = |ms: u64| (ms + self.rules.claim_ms).min(self.expires_ms());
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
            Unseen if (self.rules.resource)(self.token).is_some() => (Unseen, Answer::NotFound),
            Unseen if when.0 >= self.expires_ms() => (Unseen, Answer::Expired),
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
                barred,
                ..
            } if by == joiner => (standing, again(leaf, barred)),
            Consumed { .. } => (standing, Answer::Used),
            Expired => (standing, Answer::Expired),
            Aborted { .. } => (standing, Answer::Aborted),
        }
    }

    fn consume(
        &self,
        standing: Standing,
        joiner: u64,
        attempt: u32,
        leaf: u64,
        when: When,
    ) -> (Standing, Answer) {
        match standing {
            Unseen => (standing, Answer::NotFound),
            InFlight {
                attempt: of,
                joiner: by,
                ..
            } if (of, by) == (attempt, joiner) => {
                let until = |ms: u64| ms.saturating_add(self.rules.ages.window_ms);
                let consumed = Consumed {
                    joiner,
                    attempt,
                    leaf: Some((leaf, (until(when.0), until(when.1)))),
                    barred: false,
                    kept_ms: self.kept_ms(when),
                };
                (consumed, Answer::Admitted { leaf })
            }
            Issued { .. } | InFlight { .. } => (standing, Answer::Stale),
            Consumed {
                joiner: by,
                attempt: of,
                leaf,
                barred,
                ..
            } if (by, of) == (joiner, attempt) => (standing, again(leaf, barred)),
            Consumed { .. } => (standing, Answer::Used),
            Expired => (standing, Answer::Expired),
            Aborted { .. } => (standing, Answer::Aborted),
        }
    }
}

/// Whoever was admitted asks again.
const fn again(leaf: Option<(u64, When)>, barred: bool) -> Answer {
    match leaf {
        _ if barred => Answer::Revoked,
        Some((leaf, _)) => Answer::Admitted { leaf },
        None => Answer::Used,
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
        Issued { .. } | Expired | Aborted { .. } => (standing, Answer::Done),
        Consumed { .. } => (standing, Answer::Used),
    }
}

fn acknowledge(standing: Standing, joiner: u64) -> (Standing, Answer) {
    match standing {
        Unseen => (standing, Answer::NotFound),
        Consumed {
            joiner: by,
            attempt,
            barred,
            kept_ms,
            ..
        } if by == joiner => {
            let consumed = Consumed {
                joiner,
                attempt,
                leaf: None,
                barred,
                kept_ms,
            };
            (consumed, Answer::Done)
        }
        _ => (standing, Answer::NotAdmitted),
    }
}
