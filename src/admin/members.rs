//! The group of replicas, as it is shown and changed over the socket.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};

use crate::store::{MemberView, RemoveError, UpgradeError};

use super::server::{Offered, Refusal, refusal};
use super::wire::{
    MemberOfGroup, MembersResponse, RemoveMembersRequest, RemoveMembersResponse, RulesResponse,
};

/// A replica that lacks more entries than this is not as good as the others.
const BEHIND: u64 = 1_000;
/// A clock that is further off is not followed by the group.
const STRAY_MS: u64 = 30_000;

pub(super) fn routes() -> Router<Arc<Offered>> {
    Router::new()
        .route("/v1/members", get(members))
        .route("/v1/members/remove", post(remove))
        .route("/v1/rules", get(rules))
        .route("/v1/rules/finalize", post(finalize))
}

async fn members(State(offered): State<Arc<Offered>>) -> Json<MembersResponse> {
    let group = offered.store.members();
    Json(MembersResponse {
        term: group.term,
        leader: group.leader.map(show_id),
        is_changing: group.is_changing,
        members: group.members.iter().map(view).collect(),
    })
}

fn show_id(node: u64) -> String {
    format!("{node:016x}")
}

fn view(member: &MemberView) -> MemberOfGroup {
    MemberOfGroup {
        node_id: show_id(member.node_id),
        address: member.address.clone(),
        role: member.role.as_str().to_owned(),
        is_asked: member.is_asked,
        matched: member.matched,
        applied: member.applied,
        lag: member.lag,
        heard_ms_ago: member.heard_ms_ago,
        clock_ahead_ms: member.clock_ahead_ms,
        health: health(member).to_owned(),
    }
}

fn health(member: &MemberView) -> &'static str {
    let is_off = |ahead: i64| ahead.unsigned_abs() > STRAY_MS;
    match member {
        member if !member.is_present() => "silent",
        member if member.lag.is_some_and(|lag| lag > BEHIND) => "behind",
        member if member.clock_ahead_ms.is_some_and(is_off) => "clock",
        _ => "ok",
    }
}

async fn remove(
    State(offered): State<Arc<Offered>>,
    Json(request): Json<RemoveMembersRequest>,
) -> Result<Json<RemoveMembersResponse>, Refusal> {
    let parsed = |text: &String| match (text.len(), u64::from_str_radix(text, 16)) {
        (16, Ok(node)) => Ok(node),
        _ => Err(refusal(
            StatusCode::BAD_REQUEST,
            format!(
                "{text:?} is not the id of a replica: it has 16 hexadecimal digits, as `jointoken store members` shows them"
            ),
            false,
        )),
    };
    let nodes: BTreeSet<u64> = request
        .node_ids
        .iter()
        .map(parsed)
        .collect::<Result<_, _>>()?;
    match offered.store.remove_members(nodes, request.force).await {
        Ok(()) => {
            tracing::warn!(nodes = ?request.node_ids, force = request.force, "an operator removed members of the group");
            Ok(Json(RemoveMembersResponse {}))
        }
        Err(RemoveError::Store(error)) => Err(refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            error.to_string(),
            true,
        )),
        Err(error) => Err(refusal(StatusCode::CONFLICT, error.to_string(), false)),
    }
}

async fn rules(State(offered): State<Arc<Offered>>) -> Json<RulesResponse> {
    Json(show_rules(&offered))
}

fn show_rules(offered: &Offered) -> RulesResponse {
    let rules = offered.store.rules();
    RulesResponse {
        in_force: rules.in_force,
        known_to_all: rules.known_to_all,
        unheard: rules.unheard.into_iter().map(show_id).collect(),
    }
}

async fn finalize(State(offered): State<Arc<Offered>>) -> Result<Json<RulesResponse>, Refusal> {
    match offered.store.finalize_upgrade().await {
        Ok(to) => {
            tracing::warn!(to, "an operator put later rules in force");
            Ok(Json(RulesResponse {
                in_force: to,
                ..show_rules(&offered)
            }))
        }
        Err(UpgradeError::Store(error)) => Err(refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            error.to_string(),
            true,
        )),
        Err(error) => Err(refusal(StatusCode::CONFLICT, error.to_string(), false)),
    }
}
