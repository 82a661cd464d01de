//! The Secret: there while the token lives, gone (or kept) afterwards, never in another's place.

use crate::api::{JoinToken, ReissuePolicy, SecretRetention, is_secret_name};
use crate::lifecycle::Phase;
use crate::lifecycle::record::Origin;

use super::super::effect::Effect;
use super::super::secret::{Minted, SecretContent, SecretSeen};
use super::super::standing::{InForce, Relation, Standing};
use super::super::view::View;
use super::Obstacle;

/// The Secrets that a plan depends on: whether the one that the spec names, and which other one.
pub(in crate::controller) fn to_look_at(
    resource: &JoinToken,
    standing: &Standing,
) -> (bool, Option<String>) {
    if resource.metadata.deletion_timestamp.is_some() {
        // The garbage collector takes them; and in a namespace that is being deleted the right to read them may have gone.
        return (false, None);
    }
    let status = resource.status.as_ref();
    let reported = status.and_then(|status| status.secret_name.clone());
    let by_spec = match &standing.in_force {
        Some(in_force) if !in_force.is_live() && !matches!(standing.relation, Relation::New) => {
            // Once the end is reported together with the Secret's, there is nothing left to look for.
            let known = status.and_then(|status| status.token_id.as_deref());
            let may_return = resource.spec.reissue_policy == ReissuePolicy::WhenUnused
                && in_force.phase != Phase::Consumed;
            reported.is_some() || may_return || known != Some(&in_force.token_id.to_string())
        }
        _ => true,
    };
    let by_spec = by_spec && is_secret_name(&resource.secret_name());
    let former = reported.filter(|name| *name != resource.secret_name() && is_secret_name(name));
    (by_spec, former)
}

/// The name that the status gives, if it can be that of a token's Secret.
pub(super) fn reported(view: &View<'_>) -> Option<String> {
    let name = view.status().secret_name;
    name.filter(|name| is_secret_name(name))
}

/// What to do about Secrets, the name that the status gives, and what stands in the way.
pub(super) fn plan(
    view: &View<'_>,
    obstacle: Option<Obstacle>,
) -> (Vec<Effect>, Option<String>, Option<Obstacle>) {
    let reported = reported(view);
    match &view.standing.in_force {
        Some(in_force) if in_force.is_live() => {
            // The spec is not that of the token in force: its Secret stays as it is.
            if !matches!(view.standing.relation, Relation::Current { .. }) {
                return (Vec::new(), reported, obstacle);
            }
            if obstacle.is_some() {
                return (
                    Vec::new(),
                    reported.filter(|_| is_ours(&view.secret)),
                    obstacle,
                );
            }
            hand_over(view, in_force)
        }
        Some(_) if view.resource.spec.secret_retention == SecretRetention::Scrub => {
            (scrub(view), None, obstacle)
        }
        _ => (Vec::new(), reported, obstacle),
    }
}

fn hand_over(
    view: &View<'_>,
    in_force: &InForce,
) -> (Vec<Effect>, Option<String>, Option<Obstacle>) {
    let name = view.resource.secret_name();
    let holding = match &view.secret {
        SecretSeen::Ours { holds, .. } => Some(holds),
        _ => None,
    };
    let content = match render(view, in_force) {
        Ok(content) => content,
        // It was handed over while the key was at hand.
        Err(_) if holding.is_some_and(|holds| holds.is_of(in_force.token_id)) => {
            return (Vec::new(), Some(name), None);
        }
        Err(obstacle) => return (Vec::new(), None, Some(obstacle)),
    };
    let mut effects = Vec::new();
    if !holding.is_some_and(|holds| holds.is(&content)) {
        if !view.keys_in_order {
            let there = holding.filter(|holds| holds.is_of(in_force.token_id));
            let obstacle = there.is_none().then_some(Obstacle::KEYS_AMISS);
            return (Vec::new(), there.map(|_| name), obstacle);
        }
        effects.extend(delete(&view.secret, &name));
        let name = name.clone();
        effects.push(Effect::CreateSecret { name, content });
    }
    if view.resource.spec.secret_retention == SecretRetention::Scrub {
        effects.extend(delete_former(view));
    }
    (effects, Some(name), None)
}

fn render(view: &View<'_>, in_force: &InForce) -> Result<SecretContent, Obstacle> {
    let record = in_force.record.as_ref().ok_or(Obstacle::KeyMissing)?;
    let Origin::Resource {
        key_id, node_name, ..
    } = &record.origin
    else {
        return Err(Obstacle::KeyMissing);
    };
    if *key_id != view.minting.key.id() {
        return Err(Obstacle::KeyMissing);
    }
    let minted = Minted {
        token_id: record.token_id,
        node_name,
        issued_at_ms: record.issued_at_ms,
        expires_at_ms: record.expires_at_ms,
    };
    SecretContent::render(view.minting, view.founded.store_id, minted)
        .map_err(Obstacle::Unrenderable)
}

fn scrub(view: &View<'_>) -> Vec<Effect> {
    let by_spec = delete(&view.secret, &view.resource.secret_name());
    by_spec.into_iter().chain(delete_former(view)).collect()
}

fn delete_former(view: &View<'_>) -> Option<Effect> {
    delete(&view.former_secret, &reported(view)?)
}

/// Only what the operator made.
fn delete(secret: &SecretSeen, name: &str) -> Option<Effect> {
    match secret {
        SecretSeen::Ours { uid, .. } | SecretSeen::Former { uid } => Some(Effect::DeleteSecret {
            name: name.to_owned(),
            uid: uid.clone(),
        }),
        SecretSeen::NotLookedAt
        | SecretSeen::Absent
        | SecretSeen::Others { .. }
        | SecretSeen::Foreign
        | SecretSeen::Held => None,
    }
}

const fn is_ours(secret: &SecretSeen) -> bool {
    matches!(secret, SecretSeen::Ours { .. })
}
