//! The conditions, row by row of what a token can be in. kstatus, `kubectl wait`, Flux and Argo CD read them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::api::{ConditionReason, ConditionType, JoinTokenStatus};
use crate::lifecycle::{Phase, Reason};

use super::super::standing::{InForce, Relation};
use super::super::view::View;
use super::status::{is_news, time};
use super::{Obstacle, messages, reissue_at_ms};

/// How far the API server's clock and the store's may be apart: as far as tokens allow.
const CLOCKS_DIFFER_MS: u64 = 5 * super::MINUTE_MS;

/// A condition's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    True,
    False,
    Unknown,
}

impl Is {
    const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// One row of the table.
struct Row {
    ready: Is,
    succeeded: Is,
    usable: Is,
    /// Work is going on, or cannot go on: a condition of its own, while it is so.
    extra: Option<ConditionType>,
    reason: ConditionReason,
}

impl Row {
    /// Not there yet.
    const fn going_on(reason: ConditionReason) -> Self {
        Self {
            ready: Is::Unknown,
            succeeded: Is::Unknown,
            usable: Is::False,
            extra: Some(ConditionType::Reconciling),
            reason,
        }
    }

    /// All is as was asked for.
    const fn reached(succeeded: Is, usable: Is, reason: ConditionReason) -> Self {
        Self {
            ready: Is::True,
            succeeded,
            usable,
            extra: None,
            reason,
        }
    }

    /// Nothing more happens until somebody acts.
    const fn stalled(reason: ConditionReason) -> Self {
        Self {
            ready: Is::False,
            succeeded: Is::False,
            usable: Is::False,
            extra: Some(ConditionType::Stalled),
            reason,
        }
    }

    fn of(view: &View<'_>, obstacle: Option<&Obstacle>) -> Self {
        use ConditionReason as R;
        if let Some(obstacle) = obstacle {
            return match obstacle.reason() {
                R::StoreUnavailable => Self::going_on(R::StoreUnavailable),
                reason => Self::stalled(reason),
            };
        }
        let Some(in_force) = &view.standing.in_force else {
            return Self::going_on(R::Pending);
        };
        if reissue_at_ms(view).is_some() {
            // Nothing is being worked at: it waits for a moment that is known.
            return Self::reached(Is::Unknown, Is::False, R::ReissueDelayed);
        }
        match in_force.phase {
            Phase::Issued => Self::reached(Is::Unknown, Is::True, R::Issued),
            Phase::InFlight => Self::reached(Is::Unknown, Is::False, R::InFlight),
            Phase::Consumed => Self::reached(Is::True, Is::False, R::Consumed),
            Phase::Expired => Self::reached(Is::False, Is::False, R::Expired),
            Phase::Aborted => match in_force.aborted.unwrap_or(Reason::Operator) {
                Reason::Revoked => Self::reached(Is::False, Is::False, R::Revoked),
                Reason::Deleted => Self::reached(Is::False, Is::False, R::Deleted),
                Reason::Superseded => Self::reached(Is::False, Is::False, R::Superseded),
                Reason::Operator => Self::reached(Is::False, Is::False, R::AbortedByOperator),
                Reason::Attempts => Self::stalled(R::TooManyClaims),
                Reason::Restored => Self::stalled(R::Restored),
            },
        }
    }
}

/// What is said, before it is known since when.
struct Said {
    kind: ConditionType,
    is: Is,
    reason: ConditionReason,
    message: String,
}

/// The conditions of `new`, given those of `old`.
pub(super) fn desired(
    view: &View<'_>,
    old: &JoinTokenStatus,
    new: &JoinTokenStatus,
    obstacle: Option<&Obstacle>,
) -> Vec<Condition> {
    said(view, old, new, obstacle)
        .into_iter()
        .map(|said| Condition {
            type_: said.kind.as_str().to_owned(),
            status: said.is.as_str().to_owned(),
            reason: said.reason.as_str().to_owned(),
            message: said.message,
            observed_generation: view.resource.metadata.generation,
            last_transition_time: since(&said.kind, said.is, old)
                .unwrap_or_else(|| time(view.now_ms).unwrap_or(Time(jiff::Timestamp::UNIX_EPOCH))),
        })
        .collect()
}

fn said(
    view: &View<'_>,
    old: &JoinTokenStatus,
    new: &JoinTokenStatus,
    obstacle: Option<&Obstacle>,
) -> Vec<Said> {
    let row = Row::of(view, obstacle);
    let in_force = view.standing.in_force.as_ref();
    let message = match (obstacle, in_force) {
        (Some(obstacle), _) => obstacle.message(view),
        (None, Some(in_force)) => messages::state(view, in_force),
        (None, None) => "the token is to be registered".to_owned(),
    };
    let (ready_reason, ready_message) = match in_force {
        Some(in_force) if view.standing.relation == Relation::TooLow => (
            ConditionReason::RevisionTooLow,
            messages::too_low(view, in_force),
        ),
        // The machine was admitted all the same: only this condition tells.
        Some(in_force) if obstacle.is_none() && is_revoked_machine(in_force) => {
            (ConditionReason::Revoked, message.clone())
        }
        _ => (row.reason, message.clone()),
    };
    let mut said = vec![Said {
        kind: ConditionType::Ready,
        is: row.ready,
        reason: ready_reason,
        message: ready_message,
    }];
    let mut say = |kind, is, reason, message: &str| {
        said.push(Said {
            kind,
            is,
            reason,
            message: message.to_owned(),
        });
    };
    say(
        ConditionType::Succeeded,
        row.succeeded,
        row.reason,
        &message,
    );
    say(ConditionType::Usable, row.usable, row.reason, &message);
    if let Some(extra) = row.extra {
        say(extra, Is::True, row.reason, &message);
    }
    if is_contested(in_force, old, new) {
        say(
            ConditionType::Contested,
            Is::True,
            ConditionReason::UsedByAnotherKey,
            "another key presented the token after it had been used, so it may have been stolen: look for its id \
             in the audit; set spec.revoked if the machine that was admitted is not yours",
        );
    }
    if let Some(in_force) = in_force.filter(|_| is_adopted(view, old, new)) {
        let reason = match in_force.phase {
            Phase::Issued | Phase::InFlight => ConditionReason::AdoptedLive,
            Phase::Consumed => ConditionReason::AdoptedConsumed,
            Phase::Expired | Phase::Aborted => ConditionReason::AdoptedEnded,
        };
        let message = messages::adopted(view, in_force);
        say(ConditionType::Adopted, Is::True, reason, &message);
    }
    said
}

fn is_revoked_machine(in_force: &InForce) -> bool {
    let admission = in_force
        .record
        .as_ref()
        .and_then(|record| record.admission.as_ref());
    let bar = admission.and_then(|admission| admission.barred);
    bar.is_some_and(|bar| bar.reason == Reason::Revoked)
}

/// A forgotten record cannot say it any more; what was said of its token stays.
fn is_contested(in_force: Option<&InForce>, old: &JoinTokenStatus, new: &JoinTokenStatus) -> bool {
    match in_force.and_then(|in_force| in_force.record.as_ref()) {
        Some(record) => record.contested,
        None => old.token_id == new.token_id && has(old, ConditionType::Contested),
    }
}

/// The issuance in force was there before this resource.
///
/// A resource that registers carries the finalizer first: without it, an issuance that its status does
/// not know was made for a former resource of its name. A resource that was restored from a backup may
/// carry it from the start; that one is younger than the issuance.
fn is_adopted(view: &View<'_>, old: &JoinTokenStatus, new: &JoinTokenStatus) -> bool {
    if !matches!(view.standing.relation, Relation::Current { .. }) {
        return false;
    }
    let in_force = view.standing.in_force.as_ref();
    let is_news = in_force.is_some_and(|in_force| is_news(view, in_force));
    if old.token_id == new.token_id || !is_news {
        return has(old, ConditionType::Adopted);
    }
    !view.created && (!view.has_finalizer() || is_younger(view))
}

/// By more than clocks may differ, the resource was created after what is in force was issued.
fn is_younger(view: &View<'_>) -> bool {
    let created = view.resource.metadata.creation_timestamp.as_ref();
    let created_ms = created.and_then(|time| u64::try_from(time.0.as_millisecond()).ok());
    let issued_ms = view.standing.in_force.as_ref().and_then(|in_force| {
        let record = in_force.record.as_ref();
        record
            .map(|record| record.issued_at_ms)
            .or(in_force.ended_at_ms)
    });
    match (created_ms, issued_ms) {
        (Some(created_ms), Some(issued_ms)) => created_ms > issued_ms + CLOCKS_DIFFER_MS,
        _ => false,
    }
}

pub(super) fn has(status: &JoinTokenStatus, kind: ConditionType) -> bool {
    find(status, kind).is_some_and(|condition| condition.status == Is::True.as_str())
}

pub(super) fn find(status: &JoinTokenStatus, kind: ConditionType) -> Option<&Condition> {
    let mut conditions = status.conditions.iter();
    conditions.find(|condition| condition.type_ == kind.as_str())
}

/// Since when the condition has had this status, if it has.
fn since(kind: &ConditionType, is: Is, old: &JoinTokenStatus) -> Option<Time> {
    find(old, *kind)
        .filter(|condition| condition.status == is.as_str())
        .map(|condition| condition.last_transition_time.clone())
}
