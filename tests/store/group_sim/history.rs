//! What clients asked and what they were told, in the order of a clock that all share, and whether it can be true.
//!
//! Exact for what is written once: the index that an answer names is its place in one order of all operations. That order
//! must be the order of time wherever two did not overlap; read in it, each token's answers must be those of the
//! lifecycle's table (see [`super::token_model`]); what is read after a barrier must not be older than any answer before
//! it; and a token that was told to be at its end, told to whomever, is so for everybody and for ever.

use std::collections::{BTreeMap, BTreeSet};

use super::token_model::{self, Rules};

/// What was asked; of one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Begin {
        joiner: u64,
        holder: u64,
    },
    Consume {
        joiner: u64,
        attempt: u32,
        leaf: u64,
    },
    Revert {
        attempt: u32,
        holder: u64,
    },
    Acknowledge {
        joiner: u64,
    },
    Abort,
    /// As [`Call::Abort`]; whoever was admitted is barred.
    Revoke,
    /// It is to be the token of its resource.
    Register,
}

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Granted {
        attempt: u32,
    },
    /// Another joiner holds the claim.
    Conflict,
    /// It was admitted, and here is its certificate (again).
    Admitted {
        leaf: u64,
    },
    /// The claim is not the one that holds.
    Stale,
    Done,
    /// It has admitted somebody.
    Used,
    Expired,
    Aborted,
    /// It was never seen, and will never be let in.
    Buried,
    NotAdmitted,
    NotFound,
    /// It has admitted somebody, who gets no further certificate from now on.
    Barred,
    /// Whoever asks was admitted, and barred.
    Revoked,
    /// It is the resource's token now.
    Created,
    /// This one is, for the revision that was asked for.
    Existing {
        token: u64,
    },
    /// A later revision is in force.
    Superseded,
    /// It cannot be the resource's: it was aborted before it was registered.
    InUse,
}

/// What a client knows of an operation afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Known {
        index: u64,
        now_ms: u64,
        answer: Answer,
    },
    /// It was certainly not carried out.
    Undone,
    /// It may have been, or may yet be.
    Unknown,
}

/// An operation from when it was asked for until it was answered, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    pub token: u64,
    pub call: Call,
    pub began: u64,
    pub ended: u64,
    pub told: Told,
}

/// A token's record as one replica showed it after a barrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    pub token: u64,
    /// When the barrier was asked for, and when it was read.
    pub began: u64,
    pub ended: u64,
    pub seen: Option<Seen>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub changed_at: u64,
    /// The joiner that holds the claim.
    pub claimed_by: Option<u64>,
    pub end: Option<End>,
}

/// How a token ended. Nothing comes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By whom, and with which certificate, as far as that was told.
    Consumed(Option<u64>, Option<u64>),
    Expired,
    Aborted,
}

#[derive(Debug, Clone, Default)]
pub struct History {
    pub operations: Vec<Operation>,
    pub reads: Vec<Read>,
}

type Verdict = Result<(), String>;

impl History {
    /// Whether all of it can be true.
    pub fn check(&self, rules: &Rules) -> Verdict {
        self.check_order()?;
        self.check_time(rules)?;
        for token in self.tokens() {
            let about: Vec<_> = self
                .operations
                .iter()
                .filter(|it| it.token == token || rules.concerns(it, token))
                .collect();
            let operations: Vec<_> = about
                .iter()
                .copied()
                .filter(|it| it.token == token)
                .collect();
            let reads: Vec<_> = self.reads.iter().filter(|it| it.token == token).collect();
            let may_be_forgotten = rules.may_be_forgotten(token);
            let checked = match may_be_forgotten {
                // It may end again, as a tombstone.
                true => Ok(()),
                false => check_ends(&operations, &reads),
            };
            checked
                .and_then(|()| check_reads(&operations, &reads, may_be_forgotten))
                .and_then(|()| token_model::check(token, &about, rules))
                .map_err(|why| format!("token {token}: {why}\n{}", listing(&about, &reads)))?;
        }
        Ok(())
    }

    fn tokens(&self) -> BTreeSet<u64> {
        let operations = self.operations.iter().map(|it| it.token);
        operations
            .chain(self.reads.iter().map(|it| it.token))
            .collect()
    }

    /// How many tokens had ended, as somebody was told, and were not there any more when they were last read.
    pub fn forgotten(&self) -> u64 {
        let ended: BTreeSet<_> = self
            .operations
            .iter()
            .filter(|it| it.end().is_some())
            .map(|it| it.token)
            .collect();
        let last: BTreeMap<_, _> = self.reads.iter().map(|it| (it.token, it.seen)).collect();
        let gone = ended.iter().filter(|token| last.get(token) == Some(&None));
        gone.count() as u64
    }

    fn known(&self) -> impl Iterator<Item = (&Operation, u64, u64)> {
        self.operations.iter().filter_map(|it| match it.told {
            Told::Known { index, now_ms, .. } => Some((it, index, now_ms)),
            Told::Undone | Told::Unknown => None,
        })
    }

    /// Whoever asks after another was answered comes after it.
    fn check_order(&self) -> Verdict {
        let mut by_end: Vec<_> = self.known().collect();
        by_end.sort_by_key(|(it, ..)| it.ended);
        let mut by_begin = by_end.clone();
        by_begin.sort_by_key(|(it, ..)| it.began);
        let mut answered = by_end.into_iter().peekable();
        let mut last: Option<(&Operation, u64)> = None;
        for (it, index, _) in by_begin {
            while let Some((before, before_index, _)) =
                answered.next_if(|(of, ..)| of.ended < it.began)
            {
                if last.is_none_or(|(_, last)| last < before_index) {
                    last = Some((before, before_index));
                }
            }
            if let Some((before, _)) = last.filter(|(_, last)| *last >= index) {
                return Err(format!(
                    "{it:?} came before {before:?}, which was answered when it began"
                ));
            }
        }
        Ok(())
    }

    /// One index is one operation, and the state's clock goes with the index, and with the right time.
    fn check_time(&self, rules: &Rules) -> Verdict {
        let mut times = BTreeMap::new();
        for (it, index, now_ms) in self.known() {
            if times.insert(index, now_ms).is_some() {
                return Err(format!("{it:?} is at the place of another"));
            }
            let right_ms = rules.epoch_ms + it.ended / 1_000_000;
            if rules
                .ahead_ms
                .is_some_and(|ahead_ms| now_ms > right_ms + ahead_ms)
            {
                return Err(format!(
                    "the state's clock is ahead of the right time, {right_ms}: {it:?}"
                ));
            }
        }
        let mut last_ms = 0;
        for (index, now_ms) in times {
            if now_ms < last_ms {
                return Err(format!("the state's clock went backwards at entry {index}"));
            }
            last_ms = now_ms;
        }
        Ok(())
    }
}

impl Operation {
    fn index(&self) -> Option<u64> {
        match self.told {
            Told::Known { index, .. } => Some(index),
            Told::Undone | Told::Unknown => None,
        }
    }

    pub fn answer(&self) -> Option<Answer> {
        match self.told {
            Told::Known { answer, .. } => Some(answer),
            Told::Undone | Told::Unknown => None,
        }
    }

    /// What the answer says of the token's end.
    fn end(&self) -> Option<End> {
        let asked_by = match self.call {
            Call::Begin { joiner, .. }
            | Call::Consume { joiner, .. }
            | Call::Acknowledge { joiner } => Some(joiner),
            Call::Revert { .. } | Call::Abort | Call::Revoke | Call::Register => None,
        };
        match (self.answer()?, self.call) {
            (Answer::Admitted { leaf }, _) => Some(End::Consumed(asked_by, Some(leaf))),
            (Answer::Done, Call::Acknowledge { .. }) => Some(End::Consumed(asked_by, None)),
            (Answer::Used | Answer::Barred, _) => Some(End::Consumed(None, None)),
            (Answer::Revoked, _) => Some(End::Consumed(asked_by, None)),
            // A token that comes for the first time when it is too late leaves no record, and can be buried yet.
            (Answer::Expired, Call::Begin { .. }) => None,
            (Answer::Expired, _) => Some(End::Expired),
            (Answer::Aborted | Answer::Buried | Answer::InUse, _) => Some(End::Aborted),
            _ => None,
        }
    }
}

impl End {
    fn contradicts(self, other: Self) -> bool {
        let differ = |a: Option<u64>, b: Option<u64>| a.zip(b).is_some_and(|(a, b)| a != b);
        match (self, other) {
            (Self::Consumed(by, leaf), Self::Consumed(also_by, also)) => {
                differ(by, also_by) || differ(leaf, also)
            }
            _ => self != other,
        }
    }
}

/// At most one end, one joiner and one certificate, whoever was told of it, and whenever.
fn check_ends(operations: &[&Operation], reads: &[&Read]) -> Verdict {
    let told = operations.iter().filter_map(|it| it.end());
    let seen = reads.iter().filter_map(|it| it.seen?.end);
    let ends: Vec<_> = told.chain(seen).collect();
    for (n, end) in ends.iter().enumerate() {
        if let Some(other) = ends[..n].iter().find(|other| end.contradicts(**other)) {
            return Err(format!("it ended twice: {other:?} and {end:?}"));
        }
    }
    Ok(())
}

fn check_reads(operations: &[&Operation], reads: &[&Read], may_be_forgotten: bool) -> Verdict {
    for read in reads {
        let changed_at = read.seen.map_or(0, |seen| seen.changed_at);
        for it in operations {
            let Some((index, answer)) = it.index().zip(it.answer()) else {
                continue;
            };
            let changes = matches!(
                answer,
                Answer::Granted { .. } | Answer::Buried | Answer::Created
            );
            if it.ended < read.began && !may_be_forgotten {
                let may_be_missing = match answer {
                    Answer::NotFound | Answer::Expired | Answer::Superseded => true,
                    // Another is there in its place.
                    Answer::Existing { token } => token != it.token,
                    _ => false,
                };
                let is_missing = read.seen.is_none() && !may_be_missing;
                let is_old = changes && changed_at < index;
                let has_end = read.seen.is_some_and(|seen| seen.end.is_some());
                if is_missing || is_old || it.end().is_some() && !has_end {
                    return Err(format!("{read:?} is too old: {it:?} was answered before"));
                }
            }
            if it.began > read.ended && index <= changed_at {
                return Err(format!(
                    "{it:?} came before what was read when it began: {read:?}"
                ));
            }
            if let (Some(seen), Call::Begin { joiner, .. }) = (read.seen, it.call)
                && matches!(answer, Answer::Granted { .. })
                && seen.changed_at == index
                && seen.claimed_by != Some(joiner)
            {
                return Err(format!(
                    "{read:?} does not show what was granted there: {it:?}"
                ));
            }
        }
        if may_be_forgotten {
            continue;
        }
        let later = reads.iter().filter(|later| later.began > read.ended);
        for later in later {
            if later.seen.map_or(0, |seen| seen.changed_at) < changed_at {
                return Err(format!(
                    "{later:?} is older than {read:?}, which was read before"
                ));
            }
        }
    }
    Ok(())
}

/// All that is known of a token, in the order in which it was asked for.
fn listing(operations: &[&Operation], reads: &[&Read]) -> String {
    let operations = operations.iter().map(|it| (it.began, format!("{it:?}")));
    let reads = reads.iter().map(|it| (it.began, format!("{it:?}")));
    let mut lines: Vec<_> = operations.chain(reads).collect();
    lines.sort();
    let lines: Vec<_> = lines.into_iter().map(|(_, line)| line).collect();
    lines.join("\n")
}
