//! What is to be done about a resource: a pure function of one look at it.
//!
//! The order is always the same, so that a stop between any two effects leaves something from which
//! the next look goes on: finalizer, registration, Secret, status, events, and the finalizer's
//! removal once the token has ended. A registration ends a plan; the next one rests on its outcome.

mod conditions;
mod ending;
mod events;
mod messages;
mod obstacle;
mod secrets;
mod status;

use crate::api::{EventReason, JoinToken, ReissuePolicy};
use crate::lifecycle::{Phase, Reason};
use crate::store::StoreError;

use super::effect::{Effect, Notice};
use super::former::{self, Told};
use super::frozen;
use super::ownership::Owner;
use super::secret::SecretSeen;
use super::standing::{InForce, Relation};
use super::view::View;

pub use ending::in_ending_namespace;
use obstacle::Obstacle;
pub(super) use secrets::to_look_at as secrets_to_look_at;

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
/// How often the Secret of a live token is looked at, at the least and at the most: there is no watch on Secrets.
const SECRET_CHECKS_MS: (u64, u64) = (15 * SECOND_MS, 10 * MINUTE_MS);
/// In each quarter of its time at least.
const SECRET_CHECKS: u64 = 4;
/// How often something is looked at that only a user's act elsewhere can mend.
const OBSTACLE_CHECK_MS: u64 = MINUTE_MS;
/// How soon it is looked whether a full namespace has room: each look costs a commit, and there may be very many.
const FULL_CHECK_MS: u64 = 10 * MINUTE_MS;
/// How soon a live token is looked at whose time is over by our clock and not by the store's.
const OVERDUE_CHECK_MS: u64 = 5 * SECOND_MS;

/// What to do, in this order, and what then.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub effects: Vec<Effect>,
    pub then: Then,
}

/// What follows the effects of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The last effect was a proposal: plan again with its outcome.
    PlanAgain,
    /// Everything is as it should be. Look again after so many milliseconds, or when something changes.
    Rest(Option<u64>),
}

/// What is to be done. What ends a token comes first, whatever else is wrong.
pub fn plan(view: &View<'_>) -> Plan {
    // Before all else, also of a resource that is about to vanish: once its status is gone nobody knows any more.
    if let Some(told) = to_be_imported(view) {
        return propose(Effect::Import(Box::new(former::import(view, &told))));
    }
    if view.resource.metadata.deletion_timestamp.is_some() {
        return plan_deletion(view);
    }
    if let Some(in_force) = to_be_revoked(view) {
        return propose(Effect::Revoke(in_force.token_id, Reason::Revoked));
    }
    if let Some((in_force, reason)) = to_be_ended(view) {
        return propose(Effect::Abort(in_force.token_id, reason));
    }
    let obstacle = Obstacle::find(view);
    if obstacle.is_none() && wants_registration(view) {
        return plan_registration(view);
    }
    settle(view, obstacle)
}

/// What the status tells of a former store and this one does not know.
fn to_be_imported(view: &View<'_>) -> Option<Told> {
    let told = Told::of(view)?;
    let in_force = view.standing.in_force.as_ref();
    (!view.registered && told.is_beyond(in_force)).then_some(told)
}

/// A live token that nobody asked to end and that must not live on, and what it is said to have ended of.
fn to_be_ended<'a>(view: &'a View<'_>) -> Option<(&'a InForce, Reason)> {
    let in_force = view.standing.in_force.as_ref();
    let in_force = in_force.filter(|in_force| in_force.is_live())?;
    if view.status_ahead {
        // The store has lost what came after some point, and perhaps that the token was used. A status is never
        // believed when it keeps a token alive; one that was edited ends its own token at the worst.
        return Some((in_force, Reason::Restored));
    }
    // An import that was stopped half way, or one that came too late: it counts as used.
    if Told::of(view).is_some_and(|told| told.contradicts(in_force)) {
        return Some((in_force, Reason::Restored));
    }
    // Its namespace is gone and its resource with it, unseen. Whoever has the namespace's name now must not
    // take over a token that others may hold.
    let is_taken_over = in_force.namespace_differs && !view.registered;
    is_taken_over.then_some((in_force, Reason::Deleted))
}

fn plan_deletion(view: &View<'_>) -> Plan {
    match &view.standing.in_force {
        // Abort and never Revoke: a deletion that comes while a machine is being admitted must not bar it.
        // Also if somebody has taken the finalizer away and another's holds the resource.
        Some(in_force) if in_force.is_live() => {
            propose(Effect::Abort(in_force.token_id, Reason::Deleted))
        }
        _ if !view.has_finalizer() => rest(Vec::new(), None),
        in_force => {
            // First, since a stop in between must not leave the resource to be told of again and again.
            let mut effects = vec![Effect::RemoveFinalizer];
            let by_deletion = |in_force: &InForce| in_force.aborted == Some(Reason::Deleted);
            if in_force.as_ref().is_some_and(by_deletion) {
                effects.push(Effect::Publish(Notice {
                    reason: EventReason::Aborted,
                    note: messages::aborted_by_deletion(),
                }));
            }
            rest(effects, None)
        }
    }
}

/// The issuance that `spec.revoked` is still to end or to bar, whatever the spec's revision.
fn to_be_revoked<'a>(view: &'a View<'_>) -> Option<&'a InForce> {
    let in_force = view.standing.in_force.as_ref()?;
    // A revision that is not registered yet is registered as revoked, which ends the one before.
    if !view.resource.spec.revoked || matches!(view.standing.relation, Relation::New) {
        return None;
    }
    in_force.can_be_revoked().then_some(in_force)
}

/// What a resource that is another store's still asks of this one: to end the token that this one issued for it. Whoever has
/// another store's id written to the status must not be able to prevent that.
pub fn of_another_store(resource: &JoinToken, in_force: Option<&InForce>) -> Option<Effect> {
    let in_force = in_force?;
    if resource.metadata.deletion_timestamp.is_some() {
        let is_live = in_force.is_live();
        return is_live.then_some(Effect::Abort(in_force.token_id, Reason::Deleted));
    }
    let is_revoked = resource.spec.revoked && in_force.can_be_revoked();
    is_revoked.then_some(Effect::Revoke(in_force.token_id, Reason::Revoked))
}

fn wants_registration(view: &View<'_>) -> bool {
    if view.registered {
        return false;
    }
    match view.standing.relation {
        Relation::New => true,
        Relation::Current { .. } => {
            is_overdue(view) || reissue_at_ms(view).is_some_and(|at_ms| at_ms <= view.now_ms)
        }
        Relation::SpecDiffers | Relation::TooLow | Relation::Refused(_) => false,
    }
}

/// A live token's time is over and the store has not said so: a registration makes it look.
fn is_overdue(view: &View<'_>) -> bool {
    due_at_ms(view).is_some_and(|due_ms| due_ms <= view.now_ms)
}

/// When time will change a live token.
fn due_at_ms(view: &View<'_>) -> Option<u64> {
    let in_force = view
        .standing
        .in_force
        .as_ref()
        .filter(|in_force| in_force.is_live())?;
    let record = in_force.record.as_ref()?;
    let deadline = record.claim.as_ref().map(|claim| claim.deadline_ms);
    Some(deadline.map_or(record.expires_at_ms, |deadline| {
        deadline.min(record.expires_at_ms)
    }))
}

/// When a token that ended unused may be issued again, if that is asked for.
fn reissue_at_ms(view: &View<'_>) -> Option<u64> {
    let in_force = view.standing.in_force.as_ref()?;
    let spec = &view.resource.spec;
    let unused = match in_force.phase {
        Phase::Expired => true,
        Phase::Aborted => in_force.aborted == Some(Reason::Deleted),
        Phase::Issued | Phase::InFlight | Phase::Consumed => false,
    };
    let Relation::Current {
        reissue_not_before_ms,
    } = view.standing.relation
    else {
        return None;
    };
    if !unused || spec.revoked || spec.reissue_policy != ReissuePolicy::WhenUnused {
        return None;
    }
    // Without a record the last issue is long ago.
    let by_record = in_force.record.as_ref().map_or(0, |record| {
        record
            .issued_at_ms
            .saturating_add(view.store.reissue_interval_ms)
    });
    Some(reissue_not_before_ms.unwrap_or(by_record))
}

/// What ended unused in the snapshot that the store was restored from: it may have been issued again since, and used.
fn may_have_been_reissued(view: &View<'_>) -> bool {
    let Some(in_force) = &view.standing.in_force else {
        return false;
    };
    let is_former = view.store.restored_at >= Some(in_force.changed_at_index);
    (is_former && reissue_at_ms(view).is_some())
        || Told::of(view).is_some_and(|told| told.is_reissue_of(in_force))
}

/// The status tells of a token that the store has not come to know: it is all that is known of it, and stays.
fn knows_more(view: &View<'_>) -> bool {
    let in_force = view.standing.in_force.as_ref();
    Told::of(view).is_some_and(|told| {
        told.is_beyond(in_force) || in_force.is_some_and(|in_force| told.is_reissue_of(in_force))
    })
}

fn plan_registration(view: &View<'_>) -> Plan {
    let registration = frozen::registration(
        &view.resource,
        &view.namespace_uid,
        view.fresh_token_id,
        view.minting.key.id(),
    );
    match registration {
        Ok(register) => {
            let mut effects = Vec::new();
            // First, so that a token never lives without it; it also marks the issuance as this
            // resource's own until the status says so.
            // With it this store claims the resource: of two that see it at the same time one registers a token.
            if !view.has_finalizer() || view.owner() != Owner::Ours {
                effects.push(Effect::AddFinalizer);
            }
            effects.push(Effect::Register(Box::new(register)));
            Plan {
                effects,
                then: Then::PlanAgain,
            }
        }
        Err(error) => settle(view, Some(Obstacle::Field(error))),
    }
}

/// What to say when the store could not answer: only of a resource that waits for its registration, since
/// the others have a token to tell of, which is as it was.
pub fn unavailable(view: &View<'_>, error: StoreError) -> Vec<Effect> {
    let is_new = matches!(view.standing.relation, Relation::New);
    if !is_new || view.resource.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    tell(view, &Obstacle::StoreUnavailable(error))
}

/// What to say when the API server did not take the Secret: a quota, a policy, a missing right.
pub fn secret_refused(view: &View<'_>, reason: &str) -> Vec<Effect> {
    tell(view, &Obstacle::SecretRefused(reason.to_owned()))
}

/// The status with an obstacle that an effect has met with.
fn tell(view: &View<'_>, obstacle: &Obstacle) -> Vec<Effect> {
    let old = view.status();
    let secret_name = match obstacle {
        Obstacle::SecretRefused(_) => None,
        _ => secrets::reported(view),
    };
    let new = status::desired(view, secret_name, Some(obstacle));
    let mut notices = events::notices(view, &old, &new, false);
    // A token without its Secret has not been handed over: that is told when it has.
    notices.retain(|notice| !matches!(notice.reason, EventReason::Issued | EventReason::Reissued));
    let status = (new != old).then(|| Effect::WriteStatus(Box::new(new)));
    let notices = notices.into_iter().map(Effect::Publish);
    status.into_iter().chain(notices).collect()
}

/// Brings Secret, status and finalizer in line with what is in force.
fn settle(view: &View<'_>, obstacle: Option<Obstacle>) -> Plan {
    let (mut effects, secret_name, obstacle) = secrets::plan(view, obstacle);
    let old = view.status();
    let new = status::desired(view, secret_name, obstacle.as_ref());
    let restored = old.secret_name.is_some()
        && old.token_id == new.token_id
        && matches!(view.secret, SecretSeen::Absent)
        && effects
            .iter()
            .any(|effect| matches!(effect, Effect::CreateSecret { .. }));
    let notices = events::notices(view, &old, &new, restored);
    if new != old {
        effects.push(Effect::WriteStatus(Box::new(new)));
    }
    effects.extend(notices.into_iter().map(Effect::Publish));
    let live = view
        .standing
        .in_force
        .as_ref()
        .is_some_and(InForce::is_live);
    match (live, view.has_finalizer()) {
        // An adopted token: after the status, which says whose it is.
        (true, false) => effects.push(Effect::AddFinalizer),
        (false, true) => effects.push(Effect::RemoveFinalizer),
        _ => {}
    }
    rest(effects, next_look(view, obstacle.as_ref()))
}

fn next_look(view: &View<'_>, obstacle: Option<&Obstacle>) -> Option<u64> {
    let in_ms = |at_ms: u64| at_ms.saturating_sub(view.now_ms).max(OVERDUE_CHECK_MS);
    let live = view
        .standing
        .in_force
        .as_ref()
        .is_some_and(InForce::is_live);
    // Only a change of the resource itself can mend its status, and each look costs a commit.
    let obstacle = obstacle.filter(|obstacle| **obstacle != Obstacle::StatusAhead);
    let looks = [
        obstacle.map(|obstacle| match obstacle.is_full_namespace() {
            true => spread(view, FULL_CHECK_MS),
            false => OBSTACLE_CHECK_MS,
        }),
        due_at_ms(view).map(in_ms),
        reissue_at_ms(view).map(in_ms),
        live.then(|| secret_check_ms(view)),
    ];
    looks.into_iter().flatten().min()
}

/// In time for a token that lives for a minute only; up to a tenth sooner, the same for a resource each time, so that
/// the looks at many are spread.
fn secret_check_ms(view: &View<'_>) -> u64 {
    let in_force = view.standing.in_force.as_ref();
    let record = in_force.and_then(|in_force| in_force.record.as_ref());
    let (least, most) = SECRET_CHECKS_MS;
    let check_ms = record.map_or(most, |record| {
        let ttl_ms = record.expires_at_ms.saturating_sub(record.issued_at_ms);
        (ttl_ms / SECRET_CHECKS).clamp(least, most)
    });
    spread(view, check_ms)
}

/// Up to a tenth sooner, the same for a resource each time.
fn spread(view: &View<'_>, check_ms: u64) -> u64 {
    let uid = view.resource.metadata.uid.as_deref().unwrap_or_default();
    check_ms - u64::from(crc32fast::hash(uid.as_bytes())) % (check_ms / 10)
}

fn propose(effect: Effect) -> Plan {
    Plan {
        effects: vec![effect],
        then: Then::PlanAgain,
    }
}

fn rest(effects: Vec<Effect>, look_again_ms: Option<u64>) -> Plan {
    Plan {
        effects,
        then: Then::Rest(look_again_ms),
    }
}

#[cfg(test)]
mod tests;
