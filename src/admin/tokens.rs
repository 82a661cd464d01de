//! Looking at tokens and ending them by hand.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Json, Router, routing};
use data_encoding::HEXLOWER;
use jiff::Timestamp;

use crate::lifecycle::command::{Abort, Forget, Revoke};
use crate::lifecycle::outcome::{AbortOutcome, ForgetOutcome, RevokeOutcome};
use crate::lifecycle::record::Origin;
use crate::lifecycle::{Issuance, Phase, Reason, Record};
use crate::store::{RecordQuery, StoreError, TokenStore as _, submit};
use crate::token::{JoinerId, KeyId, Purpose, TokenId};

use super::server::{Offered, Refusal, refusal};
use super::wire::{
    ClaimView, EndRequest, EndResponse, Ended, ForgetRequest, ForgetResponse, MemberView,
    TokenView, TokensQuery, TokensResponse,
};

/// The most tokens of one answer.
const MAX_PAGE: usize = 1000;

pub(super) fn routes() -> Router<Arc<Offered>> {
    Router::new()
        .route("/v1/tokens", routing::post(list))
        .route("/v1/tokens/{id}", routing::get(show))
        .route("/v1/tokens/{id}/abort", routing::post(abort))
        .route("/v1/tokens/{id}/revoke", routing::post(revoke))
        .route("/v1/forget", routing::post(forget))
}

async fn list(
    State(offered): State<Arc<Offered>>,
    Json(query): Json<TokensQuery>,
) -> Result<Json<TokensResponse>, Refusal> {
    let asked = RecordQuery {
        phase: query.phase.as_deref().map(phase_of).transpose()?,
        namespace: query.namespace,
        name: query.name,
        node_name: query.node,
        key_id: query.key.as_deref().map(id_of::<KeyId>).transpose()?,
        after: query.after.as_deref().map(id_of::<TokenId>).transpose()?,
        limit: query.limit.clamp(1, MAX_PAGE),
    };
    let store = offered.store.clone();
    // It looks at every record: not on a thread that others wait for.
    let page = tokio::task::spawn_blocking(move || store.records(&asked)).await;
    let page = page.map_err(|error| failed(error.to_string()))?;
    let purposes = purposes(&offered);
    let next = page.records.last().filter(|_| page.more);
    Ok(Json(TokensResponse {
        next: next.map(|record| record.token_id.to_string()),
        tokens: page
            .records
            .iter()
            .map(|record| view(record, &purposes))
            .collect(),
    }))
}

async fn show(
    State(offered): State<Arc<Offered>>,
    Path(id): Path<String>,
) -> Result<Json<TokenView>, Refusal> {
    let token_id = id_of(&id)?;
    let record = offered.store.record(&token_id);
    let record = record.ok_or_else(|| {
        let message = format!(
            "the store knows no token {token_id}: it was never used or issued here, or is forgotten"
        );
        refusal(StatusCode::NOT_FOUND, message, false)
    })?;
    Ok(Json(view(&record, &purposes(&offered))))
}

async fn abort(
    State(offered): State<Arc<Offered>>,
    Path(id): Path<String>,
    Json(request): Json<EndRequest>,
) -> Result<Json<EndResponse>, Refusal> {
    let token_id = id_of(&id)?;
    let command = Abort {
        token_id,
        reason: Reason::Operator,
        keep_until_ms: keep_until(&offered, token_id, &request)?,
    };
    let (ended, record) = match submit(&offered.store, command).await.map_err(unanswered)? {
        AbortOutcome::Done(record) => (Ended::Ended, Some(record)),
        AbortOutcome::AlreadyConsumed(record) => (Ended::AlreadyConsumed, Some(record)),
        AbortOutcome::Tombstone => (Ended::Tombstone, None),
    };
    Ok(answer(&offered, token_id, "abort", ended, record))
}

async fn revoke(
    State(offered): State<Arc<Offered>>,
    Path(id): Path<String>,
    Json(request): Json<EndRequest>,
) -> Result<Json<EndResponse>, Refusal> {
    let token_id = id_of(&id)?;
    let command = Revoke {
        token_id,
        reason: Reason::Revoked,
        keep_until_ms: keep_until(&offered, token_id, &request)?,
    };
    let (ended, record) = match submit(&offered.store, command).await.map_err(unanswered)? {
        RevokeOutcome::Done(record) => (Ended::Ended, Some(record)),
        RevokeOutcome::Barred(record) => (Ended::Barred, Some(record)),
        RevokeOutcome::Tombstone => (Ended::Tombstone, None),
    };
    Ok(answer(&offered, token_id, "revoke", ended, record))
}

async fn forget(
    State(offered): State<Arc<Offered>>,
    Json(request): Json<ForgetRequest>,
) -> Result<Json<ForgetResponse>, Refusal> {
    let issuance = Issuance {
        namespace: request.namespace,
        name: request.name,
    };
    let command = Forget {
        issuance: issuance.clone(),
    };
    match submit(&offered.store, command).await.map_err(unanswered)? {
        ForgetOutcome::Done => {
            tracing::info!(%issuance, "an operator had the store forget a name");
            Ok(Json(ForgetResponse {}))
        }
        ForgetOutcome::Live => Err(refusal(
            StatusCode::CONFLICT,
            format!(
                "the token of {issuance} may still be used: delete the resource or abort the token first"
            ),
            false,
        )),
        ForgetOutcome::NotFound => Err(refusal(
            StatusCode::NOT_FOUND,
            format!("the store remembers no JoinToken {issuance}"),
            false,
        )),
    }
}

/// Until when the mark of an unknown token must stay: its own expiry. Without one it stays for ever; by the rules before
/// the third as long as a token of ours may live, which is not enough for NodeDB's.
fn keep_until(
    offered: &Offered,
    token_id: TokenId,
    request: &EndRequest,
) -> Result<Option<u64>, Refusal> {
    if let Some(ms) = request.expires_at_ms {
        return Ok(Some(ms));
    }
    let may_be_nodedb = || {
        let keys = offered.store.keys();
        keys.iter().any(|key| key.purpose == Purpose::NodeDb)
    };
    if request.is_ours || offered.store.record(&token_id).is_some() || !may_be_nodedb() {
        return Ok(None);
    }
    let message = "the store does not know this token, and accepts NodeDB's, whose names don't say how long they must be remembered: give the token itself with --token-file, or --expires-at";
    Err(refusal(StatusCode::BAD_REQUEST, message.into(), false))
}

fn answer(
    offered: &Offered,
    token_id: TokenId,
    what: &'static str,
    ended: Ended,
    record: Option<Box<Record>>,
) -> Json<EndResponse> {
    tracing::info!(%token_id, what, ended = ended.as_str(), "an operator ended a token");
    let purposes = purposes(offered);
    Json(EndResponse {
        ended,
        token: record.map(|record| view(&record, &purposes)),
    })
}

fn id_of<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Refusal> {
    let parsed = text.parse();
    parsed.map_err(|error: T::Err| refusal(StatusCode::BAD_REQUEST, format!("{error}"), false))
}

fn phase_of(text: &str) -> Result<Phase, Refusal> {
    let all = [
        Phase::Issued,
        Phase::InFlight,
        Phase::Consumed,
        Phase::Expired,
        Phase::Aborted,
    ];
    let found = all.into_iter().find(|phase| phase_name(*phase) == text);
    found.ok_or_else(|| {
        refusal(
            StatusCode::BAD_REQUEST,
            "there is no such phase".into(),
            false,
        )
    })
}

const fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Issued => "Issued",
        Phase::InFlight => "InFlight",
        Phase::Consumed => "Consumed",
        Phase::Expired => "Expired",
        Phase::Aborted => "Aborted",
    }
}

fn unanswered(error: StoreError) -> Refusal {
    refusal(
        StatusCode::SERVICE_UNAVAILABLE,
        format!("{error}: try again"),
        true,
    )
}

fn failed(message: String) -> Refusal {
    refusal(StatusCode::INTERNAL_SERVER_ERROR, message, false)
}

/// What the keys are for; a record says only which key it is.
fn purposes(offered: &Offered) -> HashMap<KeyId, Purpose> {
    let mut keys = offered.store.keys();
    keys.extend(offered.store.retired_keys());
    keys.iter().map(|key| (key.key_id, key.purpose)).collect()
}

fn view(record: &Record, purposes: &HashMap<KeyId, Purpose>) -> TokenView {
    let key = match &record.origin {
        Origin::Resource { key_id, .. } | Origin::Offline { key_id, .. } => Some(*key_id),
        Origin::Tombstone => None,
    };
    let mut view = TokenView {
        token_id: record.token_id.to_string(),
        phase: phase_name(record.phase).into(),
        purpose: match key {
            Some(id) => purposes.get(&id).map(|purpose| purpose.as_str().into()),
            None => None,
        },
        key_id: key.map(|id| id.to_string()),
        namespace: None,
        name: None,
        revision: None,
        reissue: None,
        node: None,
        issued_at: time(record.issued_at_ms),
        expires_at: time(record.expires_at_ms),
        ended_at: record.terminal_at_ms.and_then(time),
        aborted: record.aborted.map(|reason| reason.as_str().into()),
        attempts: record.attempts,
        claim: record.claim.as_ref().map(|claim| ClaimView {
            public_key_sha256: joiner(claim.joiner),
            address: claim.address.map(|address| address.to_string()),
            until: time(claim.deadline_ms),
        }),
        member: record.admission.as_ref().map(|admission| MemberView {
            public_key_sha256: joiner(admission.joiner),
            address: admission.address.map(|address| address.to_string()),
            admitted_at: time(admission.at_ms),
            may_ask_again: admission.leaf.is_some(),
            barred: admission.barred.map(|bar| bar.reason.as_str().into()),
        }),
        contested: record.contested,
    };
    match &record.origin {
        Origin::Resource {
            issuance,
            revision,
            reissue,
            node_name,
            ..
        } => {
            view.namespace = Some(issuance.namespace.clone());
            view.name = Some(issuance.name.clone());
            view.revision = Some(*revision);
            view.reissue = Some(*reissue);
            view.node = Some(node_name.clone());
        }
        Origin::Offline { node_name, .. } => view.node.clone_from(node_name),
        Origin::Tombstone => {}
    }
    view
}

fn joiner(id: JoinerId) -> String {
    HEXLOWER.encode(&id.0)
}

/// As RFC 3339; none where that has no words for it.
fn time(at_ms: u64) -> Option<String> {
    let at = Timestamp::from_millisecond(i64::try_from(at_ms).ok()?).ok()?;
    Some(at.to_string())
}
