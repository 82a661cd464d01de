//! The events of a change of status: one for each transition that users watch for.

use crate::api::{ConditionReason, ConditionType, EventReason, JoinTokenStatus, Phase};
use crate::lifecycle::{Phase as LifecyclePhase, Reason};

use super::super::effect::Notice;
use super::super::standing::{InForce, Relation};
use super::super::view::View;
use super::conditions::{find, has};
use super::messages;
use super::status::is_news;

/// What there is to tell when `old` becomes `new`.
pub(super) fn notices(
    view: &View<'_>,
    old: &JoinTokenStatus,
    new: &JoinTokenStatus,
    secret_restored: bool,
) -> Vec<Notice> {
    let mut notices = Vec::new();
    let mut tell = |reason, note: &str| {
        notices.push(Notice {
            reason,
            note: note.to_owned(),
        });
    };
    if let Some((reason, note)) = former_end(view, old) {
        tell(reason, &note);
    }
    let same_token = old.token_id == new.token_id;
    let in_force = view.standing.in_force.as_ref();
    let is_news = in_force.is_none_or(|in_force| is_news(view, in_force));
    let newly = |kind| find(new, kind).filter(|_| is_news && (!same_token || !has(old, kind)));
    let steps = match newly(ConditionType::Adopted) {
        Some(adopted) => {
            tell(EventReason::Adopted, &adopted.message);
            Vec::new()
        }
        None => steps(view, old, new, is_news),
    };
    for reason in &steps {
        tell(*reason, &state(view, new));
    }
    if let Some(contested) = newly(ConditionType::Contested) {
        tell(EventReason::Contested, &contested.message);
    }
    let stalled = |status| find(status, ConditionType::Stalled);
    let why = |status| stalled(status).map(|stalled| stalled.reason.as_str());
    if let Some(stalled) = stalled(new)
        && why(new) != why(old)
        // The end of the token says it all.
        && !steps.contains(&EventReason::Aborted)
    {
        tell(EventReason::Stalled, &stalled.message);
    }
    if secret_restored {
        tell(
            EventReason::SecretRestored,
            "the Secret of the live token had vanished and was made again, with the same token",
        );
    }
    notices
}

/// The end of the token that the status tells of, if it came with, or just before, another one's beginning.
fn former_end(view: &View<'_>, old: &JoinTokenStatus) -> Option<(EventReason, String)> {
    let former = view.former.as_ref()?;
    if old.phase.is_some_and(Phase::is_terminal) || !is_news(view, former) {
        return None;
    }
    let reason = match former.phase {
        LifecyclePhase::Issued | LifecyclePhase::InFlight => return None,
        LifecyclePhase::Consumed => EventReason::Admitted,
        LifecyclePhase::Expired => EventReason::Expired,
        LifecyclePhase::Aborted => ended(Some(former)),
    };
    Some((reason, messages::former_end(former)))
}

/// The steps of the token's life that led from `old` to `new`, as far as they can be told.
fn steps(
    view: &View<'_>,
    old: &JoinTokenStatus,
    new: &JoinTokenStatus,
    is_news: bool,
) -> Vec<EventReason> {
    let same_token = old.token_id == new.token_id;
    let stranger = matches!(
        view.standing.relation,
        Relation::SpecDiffers | Relation::TooLow
    );
    if new.token_id.is_none() || (!same_token && stranger) {
        return Vec::new();
    }
    let issued = if new.reissues > Some(0) {
        EventReason::Reissued
    } else {
        EventReason::Issued
    };
    if same_token && old.phase == new.phase {
        let why = |status| find(status, ConditionType::Stalled).map(|stalled| &*stalled.reason);
        if why(old) == Some(ConditionReason::SecretRefused.as_str()) && why(new).is_none() {
            return vec![issued];
        }
        let newly_barred = is_news && is_barred(view) && message(old) != message(new);
        return newly_barred
            .then_some(EventReason::Revoked)
            .into_iter()
            .collect();
    }
    if !is_news {
        return Vec::new();
    }
    match new.phase {
        Some(Phase::Issued) if same_token && old.phase == Some(Phase::InFlight) => {
            vec![EventReason::ClaimReverted]
        }
        Some(Phase::Issued) => vec![issued],
        Some(Phase::InFlight) if same_token => vec![EventReason::Claimed],
        Some(Phase::InFlight) => vec![issued, EventReason::Claimed],
        Some(Phase::Consumed) => vec![EventReason::Admitted],
        Some(Phase::Expired) => vec![EventReason::Expired],
        Some(Phase::Aborted) => vec![ended(view.standing.in_force.as_ref())],
        Some(Phase::Pending) | None => Vec::new(),
    }
}

/// What is to be said of the token's state, whatever else the conditions are taken up with.
fn state(view: &View<'_>, new: &JoinTokenStatus) -> String {
    match &view.standing.in_force {
        Some(in_force) => messages::state(view, in_force),
        None => message(new).unwrap_or_default().to_owned(),
    }
}

fn ended(in_force: Option<&InForce>) -> EventReason {
    match in_force.and_then(|in_force| in_force.aborted) {
        Some(Reason::Revoked) => EventReason::Revoked,
        _ => EventReason::Aborted,
    }
}

fn is_barred(view: &View<'_>) -> bool {
    let record = view
        .standing
        .in_force
        .as_ref()
        .and_then(|in_force| in_force.record.as_ref());
    record
        .and_then(|record| record.admission.as_ref())
        .is_some_and(|admission| admission.barred.is_some())
}

fn message(status: &JoinTokenStatus) -> Option<&str> {
    find(status, ConditionType::Ready).map(|ready| ready.message.as_str())
}
