//! Requests that need prove nothing, and what counts of all requests.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{CONNECTION, CONTENT_TYPE};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::body::Bytes;
use tokio::time::sleep;

use super::limits::Limit;
use super::observer::{Class, Route};
use super::peer::Connection;
use super::places::Stage;
use super::routes::Observed;
use super::{DoorError, OpenDoor};

/// Answers who need not prove anything, with JSON or an error, as often as he may ask. Beyond that
/// the first request of a connection is refused at once, and without closing it: a machine asks
/// what time it is before it shows its token, and refusals tell that, too.
pub(super) async fn anonymous(
    open: &OpenDoor,
    connection: &Connection,
    route: Route,
    answer: Result<Bytes, DoorError>,
) -> Response {
    let mut observed = Observed::begin(open, route, connection);
    let length = answer.as_ref().map_or(0, Bytes::len);
    let told = open.limiters.told(connection.address(), length);
    let error = match told.and(answer) {
        Ok(json) => {
            observed.answered = Some((Class::Served, None));
            let kind = HeaderValue::from_static("application/json");
            return ([(CONTENT_TYPE, kind)], json).into_response();
        }
        Err(error) => error,
    };
    observed.answered = Some((error.class(), Some(error.code())));
    drop(observed);
    let is_limited = matches!(error, DoorError::RateLimited { .. });
    let mut response = error.into_response();
    if is_limited {
        open.limits
            .reached(Limit::RequestRate, connection.address());
        if connection.requests.load(Ordering::Relaxed) > 1 {
            sleep(open.door.limits.slow_answer).await;
            close(&mut response);
        }
    }
    response
}

/// Counts the requests of a connection, whose last one is told so.
pub(super) async fn count_requests(
    State(open): State<Arc<OpenDoor>>,
    Extension(connection): Extension<Connection>,
    request: Request,
    next: Next,
) -> Response {
    connection.place.reached(Stage::Asking);
    let number = connection
        .requests
        .fetch_add(1, Ordering::Relaxed)
        .saturating_add(1);
    let mut response = next.run(request).await;
    if number >= open.door.limits.requests_per_connection {
        open.limits
            .reached(Limit::RequestsPerConnection, connection.address());
        close(&mut response);
    }
    response
}

fn close(response: &mut Response) {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
}
