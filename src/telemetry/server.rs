//! `/metrics`, in plain HTTP on a listener of its own.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::metrics::Metrics;
use crate::bootstrap::Places;

/// What the text format of OpenMetrics is called (OpenMetrics 1.0, section "Overall Structure").
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Connections at one time, and those of one address.
const CONNECTIONS: usize = 32;
const CONNECTIONS_PER_ADDRESS: usize = 8;
/// From the end of one answer to the end of the next request's headers.
const HEADERS: Duration = Duration::from_secs(10);
/// Nobody stays longer.
const CONNECTION: Duration = Duration::from_secs(300);
/// What runs when it stops may go on for so long.
const STOP: Duration = Duration::from_secs(2);

/// Answers until `shutdown` is over; then the requests at hand are finished, in bounded time.
///
/// Nothing here is secret, nor authenticated: bind it to loopback, or to the pod's network if a
/// policy says who may ask. A crowd that holds all connections delays the others.
pub async fn serve_metrics(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let router = Router::new()
        .route("/metrics", get(show_metrics))
        .with_state(metrics);
    let places = Places::new(CONNECTIONS, CONNECTIONS_PER_ADDRESS);
    let (closing, connections) = (CancellationToken::new(), TaskTracker::new());
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            (tcp, _, place) = places.accept(&listener, |_| ()) => {
                let (router, closing) = (router.clone(), closing.clone());
                connections.spawn(async move {
                    tokio::select! {
                        () = converse(tcp, router, closing) => (),
                        () = place.crowded_out().cancelled_owned() => (),
                    }
                });
            }
        }
    }
    drop(listener);
    closing.cancel();
    connections.close();
    connections.wait().await;
}

/// Answers the requests of one connection.
async fn converse(tcp: TcpStream, router: Router, closing: CancellationToken) {
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .serve_connection(TokioIo::new(tcp), TowerToHyperService::new(router))
    );
    tokio::select! {
        _ended = connection.as_mut() => return,
        () = sleep(CONNECTION) => (),
        () = closing.cancelled() => (),
    }
    connection.as_mut().graceful_shutdown();
    let _cut_off = timeout(STOP, connection).await;
}

async fn show_metrics(State(metrics): State<Arc<Metrics>>) -> Response {
    match metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests;
