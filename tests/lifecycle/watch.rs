//! What must hold between one command and the next, and over the whole life of a token.

use std::collections::{BTreeMap, HashMap, HashSet};

use jointoken::lifecycle::command::Register;
use jointoken::lifecycle::outcome::{
    BeginOutcome, Cause, ConsumeOutcome, ForgetOutcome, RegisterOutcome,
};
use jointoken::lifecycle::record::Origin;
use jointoken::lifecycle::{
    Applied, Command, Issuance, Operation, Outcome, Phase, Reason, Record, State, Transition,
};
use jointoken::token::{JoinerId, TokenId};

use crate::support::{node, source};

/// Looks at every command and remembers what was promised.
#[derive(Default)]
pub struct Watch {
    /// Who was admitted, with which certificate; known also when the record is forgotten.
    admitted: HashMap<TokenId, (JoinerId, Vec<u8>)>,
    barred: HashSet<TokenId>,
    /// Ids that were aborted before anybody was admitted.
    dead: HashSet<TokenId>,
    /// (name, revision, reissue) that had a token.
    issued: HashSet<(Issuance, u64, u32)>,
    /// Ids that had a record of a resource.
    of_resources: HashSet<TokenId>,
}

impl Watch {
    pub fn see(
        &mut self,
        before: &State,
        index: u64,
        command: &Command,
        applied: &Applied,
        after: &State,
    ) {
        assert_eq!(applied.now_ms, before.now_ms().max(command.at_ms));
        assert_eq!(applied.now_ms, after.now_ms());
        self.outcome(before, command, applied, after);
        self.records(before, index, applied, after);
        one_live_token_a_name(after);
        entries_keep_pace(after);
    }

    /// Each record against what it was, and both against what the transitions say.
    fn records(&mut self, before: &State, index: u64, applied: &Applied, after: &State) {
        let old: BTreeMap<_, _> = before
            .records()
            .map(|record| (record.token_id, record))
            .collect();
        let new: BTreeMap<_, _> = after
            .records()
            .map(|record| (record.token_id, record))
            .collect();
        let mut phases: BTreeMap<TokenId, Option<Phase>> = old
            .iter()
            .map(|(id, record)| (*id, Some(record.phase)))
            .collect();
        for step in &applied.transitions {
            let phase = phases.entry(step.token_id).or_default();
            assert_eq!(*phase, step.from, "transitions follow each other: {step:?}");
            *phase = step.to;
        }
        phases.retain(|_, phase| phase.is_some());
        let now: BTreeMap<_, _> = new
            .iter()
            .map(|(id, record)| (*id, Some(record.phase)))
            .collect();
        assert_eq!(phases, now, "transitions lead to where the records are");
        let touched: HashSet<_> = applied
            .transitions
            .iter()
            .map(|step| step.token_id)
            .collect();
        for (id, record) in &new {
            let same = old.get(id) == Some(record);
            assert_eq!(
                same,
                !touched.contains(id),
                "a change is told, and only a change: {record:?}"
            );
            assert_eq!(same, record.changed_at_index != index, "{record:?}");
            if let Some(was) = old.get(id) {
                goes_on(was, record);
            }
            self.record(record);
        }
        for (id, record) in &old {
            assert!(new.contains_key(id) || record.phase.is_terminal() || touched.contains(id));
        }
    }

    fn record(&mut self, record: &Record) {
        if let Some(admission) = &record.admission {
            let known = self.admitted.get(&record.token_id);
            let (joiner, leaf) = known.expect("an admission was an outcome");
            assert_eq!(admission.joiner, *joiner, "one token, one joiner");
            if let Some(kept) = &admission.leaf {
                assert_eq!(kept, leaf, "one token, one certificate");
            }
            assert_eq!(admission.barred.is_some(), {
                if admission.barred.is_some() {
                    self.barred.insert(record.token_id);
                }
                self.barred.contains(&record.token_id)
            });
        } else if record.phase.is_terminal() {
            self.dead.insert(record.token_id);
        }
        if matches!(record.origin, Origin::Resource { .. }) {
            self.of_resources.insert(record.token_id);
        }
    }

    fn outcome(&mut self, before: &State, command: &Command, applied: &Applied, after: &State) {
        let transitions = &applied.transitions;
        match (&command.operation, &applied.outcome) {
            (Operation::Begin(begin), Outcome::Begin(outcome)) => match outcome {
                BeginOutcome::Granted {
                    attempt,
                    deadline_ms,
                    record,
                    ..
                } => {
                    let id = &begin.token_id;
                    assert!(
                        !self.admitted.contains_key(id),
                        "an admitted token is claimed again"
                    );
                    assert!(!self.dead.contains(id), "a dead token is claimed");
                    assert!(*deadline_ms > after.now_ms() && *deadline_ms <= record.expires_at_ms);
                    assert_eq!(*attempt, record.attempts);
                    assert_eq!(record.bindings.broken(begin.address, &begin.joiner), None);
                    let said = begin.registration.as_ref();
                    let said = said.and_then(|said| said.node_name.as_deref());
                    match before.rules_version() {
                        1 => assert_eq!(node(record), None),
                        _ => assert!(said.is_none() || node(record) == said),
                    }
                }
                BeginOutcome::Redeliver { leaf, record } => {
                    assert_eq!(self.admitted[&begin.token_id], (begin.joiner, leaf.clone()));
                    assert!(
                        !self.barred.contains(&begin.token_id),
                        "a barred machine is answered"
                    );
                    assert_eq!(record.phase, Phase::Consumed);
                }
                _ => {}
            },
            (
                Operation::Consume(consume),
                Outcome::Consume(ConsumeOutcome::Admitted { leaf, record }),
            ) => {
                assert!(!self.dead.contains(&consume.token_id));
                assert!(!self.barred.contains(&consume.token_id));
                if !self.admitted.contains_key(&consume.token_id) {
                    let record = before.record(&consume.token_id);
                    let claim = record.and_then(|record| record.claim).expect("a claim");
                    assert_eq!(
                        (claim.joiner, claim.attempt),
                        (consume.joiner, consume.attempt)
                    );
                    assert!(claim.deadline_ms > after.now_ms());
                }
                let new = (consume.joiner, leaf.clone());
                let known = self
                    .admitted
                    .entry(consume.token_id)
                    .or_insert_with(|| new.clone());
                assert_eq!(*known, new, "one token, one joiner, one certificate");
                self.check_succession(before, record, after);
            }
            (
                Operation::Register(register),
                Outcome::Register(RegisterOutcome::Created(record)),
            ) => {
                self.created(before, register, record);
            }
            (Operation::Revert(revert), _) if reverted(transitions) => {
                let record = before.record(&revert.token_id);
                let claim = record.and_then(|record| record.claim).expect("a claim");
                assert_eq!(
                    (claim.holder, claim.attempt),
                    (revert.holder, revert.attempt)
                );
            }
            (Operation::Forget(forget), Outcome::Forget(ForgetOutcome::Done)) => {
                self.issued
                    .retain(|(issuance, ..)| *issuance != forget.issuance);
            }
            (Operation::Sweep(_), Outcome::Sweep(swept)) => {
                let due = after
                    .next_due_ms()
                    .is_some_and(|due_ms| due_ms <= after.now_ms());
                assert_eq!(swept.more, due);
                let names: HashSet<_> = after.issuances().map(|entry| entry.issuance).collect();
                self.issued
                    .retain(|(issuance, ..)| names.contains(issuance));
            }
            _ => {}
        }
    }

    fn created(&mut self, before: &State, register: &Register, record: &Record) {
        let Origin::Resource {
            issuance,
            revision,
            reissue,
            ..
        } = &record.origin
        else {
            panic!("a resource's token of another origin");
        };
        assert!(
            before.record(&record.token_id).is_none(),
            "an id is used twice"
        );
        let issue = (issuance.clone(), *revision, *reissue);
        assert!(
            self.issued.insert(issue),
            "a second token for {issuance} {revision} {reissue}"
        );
        // Drawn again after everything of that id was forgotten: a token of its own.
        self.admitted.remove(&record.token_id);
        self.barred.remove(&record.token_id);
        self.dead.remove(&record.token_id);
        if *reissue > 0 {
            assert!(register.reissue_if_unused && !register.revoked);
            let former = before.issuance(issuance).expect("the former issuance");
            assert_eq!((former.revision, former.reissue + 1), (*revision, *reissue));
            let live = !former.phase.is_terminal();
            assert!(
                live || former.phase == Phase::Expired || former.aborted == Some(Reason::Deleted)
            );
        }
    }

    /// The machine admitted before under this name is barred, or its record is.
    fn check_succession(&self, before: &State, record: &Record, after: &State) {
        let Origin::Resource { issuance, .. } = &record.origin else {
            return;
        };
        let former = before
            .issuance(issuance)
            .and_then(|entry| entry.last_admission);
        let Some(former) = former.filter(|former| *former != record.token_id) else {
            return;
        };
        if !after.settings().supersede || after.issuance(issuance).is_none() {
            return;
        }
        let former = after.record(&former).expect("a record or a tombstone");
        let barred = former
            .admission
            .is_some_and(|admission| admission.barred.is_some());
        assert!(barred || former.phase == Phase::Aborted || former.phase == Phase::Expired);
    }
}

/// What a record may become of what it was.
fn goes_on(was: &Record, is: &Record) {
    if was.phase.is_terminal() {
        assert_eq!(was.phase, is.phase, "a terminal state is final");
        assert_eq!(was.terminal_at_ms, is.terminal_at_ms);
        assert_eq!(was.aborted, is.aborted);
    }
    assert!(
        is.attempts >= was.attempts && is.attempts <= was.attempts + 1,
        "attempts only grow"
    );
    assert!(is.changed_at_index >= was.changed_at_index);
    assert!(is.contested || !was.contested);
    assert_eq!(is.issued_at_ms, was.issued_at_ms);
    // Later rules keep marks for ever.
    let is_kept = was.origin == Origin::Tombstone && is.expires_at_ms == u64::MAX;
    assert!(is.expires_at_ms == was.expires_at_ms || is_kept);
    assert_eq!((source(is), &is.bindings), (source(was), &was.bindings));
    if was.phase == Phase::Consumed {
        assert_eq!(is.origin, was.origin, "an admission keeps its node");
    }
    if let (Some(was), Some(is)) = (&was.admission, &is.admission) {
        assert!(
            is.leaf.is_none() || was.leaf == is.leaf,
            "a certificate changes"
        );
        assert!(
            was.barred.is_none() || was.barred == is.barred,
            "a bar is for ever"
        );
    }
}

fn reverted(transitions: &[Transition]) -> bool {
    (transitions.iter()).any(|step| step.cause == Cause::Reverted)
}

fn one_live_token_a_name(state: &State) {
    let mut names = HashSet::new();
    for record in state.records().filter(Record::is_live) {
        if let Origin::Resource { issuance, .. } = record.origin {
            assert!(
                names.insert(issuance.clone()),
                "two live tokens of {issuance}"
            );
        }
    }
}

/// An entry is as new as its record.
fn entries_keep_pace(state: &State) {
    for entry in state.issuances() {
        let record = state.record(&entry.token_id);
        // Not what took the id after the record was forgotten.
        let own = |record: &Record| match &record.origin {
            Origin::Resource { issuance, .. } => *issuance == entry.issuance,
            Origin::Offline { .. } | Origin::Tombstone => false,
        };
        let Some(record) = record.filter(own) else {
            continue;
        };
        assert_eq!(entry.changed_at_index, record.changed_at_index);
        assert_eq!((entry.phase, entry.aborted), (record.phase, record.aborted));
        assert!(entry.at_ms <= state.now_ms());
        if let Some(ended_at_ms) = record.terminal_at_ms {
            assert_eq!(entry.at_ms, ended_at_ms);
        }
    }
}
