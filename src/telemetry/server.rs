//! `/metrics`, `/livez` and `/readyz`, in plain HTTP on a listener of their own.

use std::future::Future;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::store::Health;

use super::health::Readiness;
use super::metrics::Metrics;

/// What the text format of OpenMetrics is called (OpenMetrics 1.0, section "Overall Structure").
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone)]
struct Sources {
    metrics: Arc<Metrics>,
    health: watch::Receiver<Health>,
}

/// Answers until `shutdown` is over; then the requests at hand are finished.
///
/// Nothing here is secret, nor authenticated: bind it to loopback, or to the pod's network if a
/// policy says who may ask.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    health: watch::Receiver<Health>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(show_metrics))
        .route("/livez", get(show_livez))
        .route("/readyz", get(show_readyz))
        .with_state(Sources { metrics, health });
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown)
        .await
}

async fn show_metrics(State(sources): State<Sources>) -> Response {
    match sources.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The process runs. Only what a restart would mend may fail here: a store that has stopped.
async fn show_livez(State(sources): State<Sources>) -> Response {
    let readiness = Readiness::of(&sources.health.borrow());
    match readiness {
        Readiness::Stopped(_) => answer(StatusCode::SERVICE_UNAVAILABLE, &readiness),
        _ => answer(StatusCode::OK, &"alive"),
    }
}

async fn show_readyz(State(sources): State<Sources>) -> Response {
    let readiness = Readiness::of(&sources.health.borrow());
    let code = match readiness {
        Readiness::Ready => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    answer(code, &readiness)
}

fn answer(code: StatusCode, text: &dyn std::fmt::Display) -> Response {
    (code, format!("{text}\n")).into_response()
}

#[cfg(test)]
mod tests;
