//! The group of replicas, as it is shown and changed over the socket.

use std::collections::BTreeSet;

use axum::extract::{FromRef, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};

use crate::store::{MemberView, Members, RaftStore, RemoveError, Role, UpgradeError};

use super::server::{Refusal, refusal};
use super::wire::{
    MemberOfGroup, MembersResponse, RemoveMembersRequest, RemoveMembersResponse, RulesResponse,
};

/// A replica that lacks more entries than this is not as good as the others.
const BEHIND: u64 = 1_000;
/// A clock that is further off is not followed by the group.
const STRAY_MS: u64 = 30_000;

/// What needs nothing but the store.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S>
where
    RaftStore: FromRef<S>,
{
    Router::new()
        .route("/v1/members", get(members))
        .route("/v1/members/remove", post(remove))
        .route("/v1/rules", get(rules))
        .route("/v1/rules/finalize", post(finalize))
}

async fn members(State(store): State<RaftStore>) -> Json<MembersResponse> {
    Json(response(&store.members()))
}

fn response(group: &Members) -> MembersResponse {
    let heard = || group.members.iter().filter(|member| member.is_present());
    let is_voter = |member: &&MemberView| member.role != Role::Learner;
    let voters = group.members.iter().filter(is_voter).count();
    MembersResponse {
        term: group.term,
        leader: group.leader.map(show_id),
        leader_is_heard: heard().any(|member| group.leader == Some(member.node_id)),
        majority_is_heard: heard().filter(is_voter).count() > voters / 2,
        is_ready: Some(group.is_ready),
        is_changing: group.is_changing,
        members: group.members.iter().map(view).collect(),
    }
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
        member if member.is_incomplete => "incomplete",
        member if member.lag.is_some_and(|lag| lag > BEHIND) => "behind",
        member if member.is_stalled => "stalled",
        member if member.clock_ahead_ms.is_some_and(is_off) => "clock",
        _ => "ok",
    }
}

async fn remove(
    State(store): State<RaftStore>,
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
    match store.remove_members(nodes, request.force).await {
        Ok(()) => {
            tracing::warn!(
                nodes = request.node_ids.join(", "),
                force = request.force,
                "an operator removed members of the group"
            );
            Ok(Json(RemoveMembersResponse {}))
        }
        Err(error @ (RemoveError::Store(_) | RemoveError::NoMajority)) => Err(refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            error.to_string(),
            true,
        )),
        Err(error) => Err(refusal(StatusCode::CONFLICT, error.to_string(), false)),
    }
}

async fn rules(State(store): State<RaftStore>) -> Json<RulesResponse> {
    Json(show_rules(&store))
}

fn show_rules(store: &RaftStore) -> RulesResponse {
    let rules = store.rules();
    RulesResponse {
        in_force: rules.in_force,
        known_to_all: rules.known_to_all,
        unheard: rules.unheard.into_iter().map(show_id).collect(),
    }
}

async fn finalize(State(store): State<RaftStore>) -> Result<Json<RulesResponse>, Refusal> {
    match store.finalize_upgrade().await {
        Ok(to) => {
            tracing::warn!(to, "an operator put later rules in force");
            Ok(Json(RulesResponse {
                in_force: to,
                ..show_rules(&store)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Of three, of which 1 led when it was last heard of and 3 is asked.
    fn group(heard_ms_ago: [Option<u64>; 2]) -> Members {
        let [first, second] = heard_ms_ago;
        let heard = [first, second, Some(0)];
        let member = |(node_id, heard_ms_ago)| MemberView {
            node_id,
            address: format!("{node_id}.example:9443"),
            role: match node_id {
                1 => Role::Leader,
                _ => Role::Voter,
            },
            is_asked: node_id == 3,
            matched: None,
            applied: Some(7),
            lag: Some(0),
            heard_ms_ago,
            clock_ahead_ms: Some(0),
            is_incomplete: false,
            is_stalled: false,
        };
        Members {
            term: 5,
            leader: Some(1),
            is_ready: true,
            is_changing: false,
            members: (1..).zip(heard).map(member).collect(),
        }
    }

    fn shown(group: &Members) -> (bool, bool, Vec<String>) {
        let shown = response(group);
        let health = shown.members.into_iter().map(|member| member.health);
        (
            shown.leader_is_heard,
            shown.majority_is_heard,
            health.collect(),
        )
    }

    #[test]
    fn a_leader_that_is_silent_and_a_lost_majority_are_told() {
        let (ok, silent) = ("ok".to_owned(), "silent".to_owned());
        let all = [ok.clone(), ok.clone(), ok.clone()];
        assert_eq!(
            shown(&group([Some(40), Some(3_000)])),
            (true, true, all.into())
        );
        let leader_is_gone = [silent.clone(), ok.clone(), ok.clone()];
        assert_eq!(
            shown(&group([Some(3_001), Some(40)])),
            (false, true, leader_is_gone.into())
        );
        let alone = [silent.clone(), silent, ok];
        assert_eq!(
            shown(&group([Some(45_000), None])),
            (false, false, alone.into())
        );
        // Whoever is heard of is not well for that.
        let mut stalled = group([Some(40), Some(40)]);
        stalled.members[1].is_stalled = true;
        let second = ["ok", "stalled", "ok"].map(str::to_owned);
        assert_eq!(shown(&stalled), (true, true, second.into()));
        // That is the cause, where nobody leads.
        stalled.members[1].is_incomplete = true;
        let second = ["ok", "incomplete", "ok"].map(str::to_owned);
        assert_eq!(shown(&stalled), (true, true, second.into()));
        // A learner's voice is no vote.
        let mut learner = group([Some(45_000), Some(40)]);
        learner.members[2].role = Role::Learner;
        assert!(!response(&learner).majority_is_heard);
    }
}
