//! The status that the resource should have.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::{self, JoinTokenStatus, JoinerStatus, LastFailure};
use crate::lifecycle::command::Failure;
use crate::lifecycle::record::Origin;
use crate::lifecycle::{Phase, Reason, Record};

use super::super::former::is_import;
use super::super::ownership::Owner;
use super::super::standing::InForce;
use super::super::view::View;
use super::{Obstacle, conditions, knows_more};

/// The whole status. What is no longer known of a token, since its record is forgotten, stays as it was reported.
pub(super) fn desired(
    view: &View<'_>,
    secret_name: Option<String>,
    obstacle: Option<&Obstacle>,
) -> JoinTokenStatus {
    let old = view.status();
    let mut status = match &view.standing.in_force {
        // At its old place in the log: as long as it stands there it is not taken for what this store says.
        _ if knows_more(view) => of_former_store(&old),
        Some(in_force) if is_import(view, in_force) => JoinTokenStatus {
            store_id: Some(view.founded.store_id.to_string()),
            store_epoch: Some(position(view, in_force).0),
            store_index: Some(position(view, in_force).1),
            ..of_former_store(&old)
        },
        Some(in_force) => of_issuance(view, in_force, &old),
        None if matches!(
            obstacle,
            Some(Obstacle::StoreReplaced | Obstacle::StatusAhead)
        ) =>
        {
            of_former_store(&old)
        }
        None => pending(view, &old),
    };
    if view.owner() == Owner::Ours {
        // Earlier releases left it out.
        status.store_id = Some(view.founded.store_id.to_string());
    }
    status.observed_generation = view.resource.metadata.generation.unwrap_or_default();
    status.secret_name = secret_name;
    status.conditions = conditions::desired(view, &old, &status, obstacle);
    status
}

/// Nothing is registered, and the resource is this store's from now on.
fn pending(view: &View<'_>, old: &JoinTokenStatus) -> JoinTokenStatus {
    let (store_epoch, store_index) = match view.owner() {
        Owner::Former => (Some(view.founded.epoch), None),
        _ => (old.store_epoch, old.store_index),
    };
    JoinTokenStatus {
        phase: Some(api::Phase::Pending),
        joiner: Some(expected(view)),
        store_id: Some(view.founded.store_id.to_string()),
        store_epoch,
        store_index,
        ..JoinTokenStatus::default()
    }
}

fn of_issuance(view: &View<'_>, in_force: &InForce, old: &JoinTokenStatus) -> JoinTokenStatus {
    let token_id = in_force.token_id.to_string();
    let mut status = match &old.token_id {
        Some(known) if *known == token_id => old.clone(),
        _ => JoinTokenStatus::default(),
    };
    status.phase = Some(phase(in_force.phase));
    status.revision = Some(in_force.revision);
    status.reissues = Some(in_force.reissue);
    status.token_id = Some(token_id);
    status.store_id = Some(view.founded.store_id.to_string());
    let (epoch, index) = position(view, in_force);
    (status.store_epoch, status.store_index) = (Some(epoch), Some(index));
    if in_force.phase == Phase::Consumed {
        status.consumed_at = in_force.ended_at_ms.and_then(time);
    }
    if let Some(record) = &in_force.record {
        of_record(&mut status, record);
        if in_force.namespace_differs {
            // Who may have joined, and where from, was the business of others.
            status.joiner = Some(expected(view));
        }
    }
    status
}

/// Where in the store's log the new status is. The API server lets the pair only grow. Where the status has more than
/// the record, and this is the leader's look, it was edited or outlived the record it was made from: it stays as it is.
fn position(view: &View<'_>, in_force: &InForce) -> (u64, u64) {
    (view.founded.epoch, in_force.changed_at_index).max(reported_at(view))
}

/// Where in this store's log the status was, or claims to have been, when it was written.
fn reported_at(view: &View<'_>) -> (u64, u64) {
    if view.owner() != Owner::Ours {
        return (0, 0);
    }
    let status = view.resource.status.as_ref();
    let epoch = status.and_then(|status| status.store_epoch);
    let index = status.and_then(|status| status.store_index);
    (epoch.unwrap_or(0), index.unwrap_or(0))
}

/// The store has changed this since the old status was written. What else the status says is no measure of what was
/// told already: it can be edited, while the API server lets this pair only grow.
pub(super) fn is_news(view: &View<'_>, in_force: &InForce) -> bool {
    // Known to be wrong.
    view.status_ahead || (view.founded.epoch, in_force.changed_at_index) > reported_at(view)
}

fn of_record(status: &mut JoinTokenStatus, record: &Record) {
    status.issued_at = time(record.issued_at_ms);
    status.expires_at = time(record.expires_at_ms);
    // What the former store told of its end after the snapshot that this one was restored from is all there is.
    let is_known_no_more = record.aborted == Some(Reason::Restored);
    if !is_known_no_more {
        status.consumed_at = record
            .admission
            .as_ref()
            .and_then(|admission| time(admission.at_ms));
    }
    status.attempts = Some(record.attempts);
    status.last_failure = record.last_failure.and_then(|last| {
        Some(LastFailure {
            reason: failure(last.failure).to_owned(),
            time: time(last.at_ms)?,
        })
    });
    let node_name = match &record.origin {
        Origin::Resource { node_name, .. } => Some(node_name.clone()),
        Origin::Offline { .. } | Origin::Tombstone => None,
    };
    let (key, address) = match (&record.admission, &record.claim) {
        (Some(admission), _) => (Some(admission.joiner), admission.address),
        (None, Some(claim)) => (Some(claim.joiner), claim.address),
        (None, None) => (None, None),
    };
    if is_known_no_more && status.consumed_at.is_some() {
        return;
    }
    status.joiner = Some(JoinerStatus {
        node_name,
        address: address.map(|address| address.to_string()),
        public_key_sha256: key.map(|key| key.to_string()),
    });
}

/// The machine that the spec asks for, before anything is known of it.
fn expected(view: &View<'_>) -> JoinerStatus {
    JoinerStatus {
        node_name: Some(view.resource.node_name()),
        ..JoinerStatus::default()
    }
}

/// What an earlier founding issued can't be live any more: its tokens are for another store.
fn of_former_store(old: &JoinTokenStatus) -> JoinTokenStatus {
    let ended = old.phase.filter(|phase| phase.is_terminal());
    JoinTokenStatus {
        phase: Some(ended.unwrap_or(api::Phase::Aborted)),
        ..old.clone()
    }
}

const fn phase(phase: Phase) -> api::Phase {
    match phase {
        Phase::Issued => api::Phase::Issued,
        Phase::InFlight => api::Phase::InFlight,
        Phase::Consumed => api::Phase::Consumed,
        Phase::Expired => api::Phase::Expired,
        Phase::Aborted => api::Phase::Aborted,
    }
}

const fn failure(failure: Failure) -> &'static str {
    match failure {
        Failure::SigningFailed => "SigningFailed",
        Failure::BundleUnavailable => "BundleUnavailable",
        Failure::Interrupted => "Interrupted",
    }
}

/// To the second, as the API server keeps it: a finer time would look like a change each time.
pub(super) fn time(ms: u64) -> Option<Time> {
    let seconds = i64::try_from(ms / 1_000).ok()?;
    jiff::Timestamp::from_second(seconds).ok().map(Time)
}
