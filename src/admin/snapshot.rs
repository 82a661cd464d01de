//! A snapshot of the store, for a backup.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Router, routing};

use crate::clock::{Clock as _, SystemClock};
use crate::store::{Backup, NotFounded, TokenStore as _};

use super::server::{Offered, Refusal, refusal};

pub(super) fn routes() -> Router<Arc<Offered>> {
    Router::new().route("/v1/snapshot", routing::get(snapshot))
}

/// The bytes of a backup file. They hold no key and no token, but who was admitted, from where, and when.
async fn snapshot(State(offered): State<Arc<Offered>>) -> Result<Body, Refusal> {
    let try_again = |error: String| refusal(StatusCode::SERVICE_UNAVAILABLE, error, true);
    // Whatever was acknowledged to anybody before the call is in it.
    let barrier = offered.store.barrier().await;
    barrier.map_err(|error| try_again(error.to_string()))?;
    let store = offered.store.clone();
    // Not on a thread that others wait for.
    let encoding = tokio::task::spawn_blocking(move || {
        let (index, state) = store.state();
        let backup = Backup::of(index, SystemClock.now_ms(), state)?;
        Ok::<_, NotFounded>((index, backup.encode()))
    });
    let encoded = encoding
        .await
        .map_err(|error| refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), false))?;
    let (index, bytes) = encoded.map_err(|error| try_again(error.to_string()))?;
    tracing::info!(index, bytes = bytes.len(), "an operator took a snapshot");
    Ok(Body::from(bytes))
}
