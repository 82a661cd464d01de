//! The paths of the door, and what is common to their requests: body, time limit, observation.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, DATE};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router, middleware};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Bytes};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};
use tower_http::catch_panic::CatchPanicLayer;

use crate::token::TokenId;

use super::anonymous::{anonymous, count_requests};
use super::limits::Limit;
use super::observer::{Answered, Class, Refused, Route};
use super::peer::Connection;
use super::wire::{
    ACK_PATH, AckRequest, AckResponse, CA_PATH, CaResponse, ErrorBody, JOIN_PATH, JoinRequest,
    JoinResponse, OPENAPI_PATH,
};
use super::{Door, DoorError, MAX_BODY, OpenDoor, ack, join, openapi_json};

type Open = State<Arc<OpenDoor>>;
type Peering = Extension<Connection>;

pub(super) fn router(open: Arc<OpenDoor>) -> Router {
    Router::new()
        .route(JOIN_PATH, post(post_join))
        .route(ACK_PATH, post(post_ack))
        .route(CA_PATH, get(get_ca))
        .route(OPENAPI_PATH, get(get_openapi))
        .method_not_allowed_fallback(|open: Open, connection: Peering| async move {
            anonymous(
                &open,
                &connection,
                Route::Other,
                Err(DoorError::WrongMethod),
            )
            .await
        })
        .fallback(|open: Open, connection: Peering| async move {
            anonymous(
                &open,
                &connection,
                Route::Other,
                Err(DoorError::NoSuchRoute),
            )
            .await
        })
        // What a panic says stays inside: it may speak of what the request held.
        .layer(CatchPanicLayer::custom(|_| {
            DoorError::Internal.into_response()
        }))
        .layer(middleware::map_response_with_state(
            Arc::clone(&open),
            common_headers,
        ))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&open),
            count_requests,
        ))
        .with_state(open)
}

/// Admits a machine, or gives an admitted one its answer again.
#[utoipa::path(
    post,
    path = JOIN_PATH,
    tag = "door",
    request_body = JoinRequest,
    responses(
        (status = 200, description = "Admitted, or admitted before and asking again", body = JoinResponse),
        (status = 400, description = "Not a proper request or CSR", body = ErrorBody),
        (status = 401, description = "No client certificate, or no valid token", body = ErrorBody),
        (status = 403, description = "The token may not be used like this", body = ErrorBody),
        (status = 408, description = "The body came too slowly", body = ErrorBody),
        (status = 409, description = "Another machine is using the token", body = ErrorBody, headers(("Retry-After" = u64, description = "Seconds"))),
        (status = 410, description = "The token is used, expired, revoked or was ended", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody, headers(("Retry-After" = u64, description = "Seconds"))),
        (status = 500, description = "A fault in the server", body = ErrorBody),
        (status = 503, description = "Not now, or the outcome is not known: ask again with the same key", body = ErrorBody, headers(("Retry-After" = u64, description = "Seconds"))),
    )
)]
pub(super) async fn post_join(
    State(open): Open,
    Extension(connection): Peering,
    body: Body,
) -> Response {
    let mut observed = Observed::begin(&open, Route::Join, &connection);
    let answer = async {
        let request: JoinRequest = read_json(&open, body).await?;
        observed.since = Instant::now();
        let admission = join::join(&open, &connection, request, &mut observed.token_id);
        in_time(&open, admission).await
    };
    let answer = answer.await;
    observed.answer(answer).await
}

/// Ends redelivery: the machine has its answer.
#[utoipa::path(
    post,
    path = ACK_PATH,
    tag = "door",
    request_body = AckRequest,
    responses(
        (status = 200, description = "Redelivery has ended, now or before", body = AckResponse),
        (status = 400, description = "Not a proper request", body = ErrorBody),
        (status = 401, description = "No client certificate", body = ErrorBody),
        (status = 403, description = "Not the machine that was admitted by that token", body = ErrorBody),
        (status = 408, description = "The body came too slowly", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody, headers(("Retry-After" = u64, description = "Seconds"))),
        (status = 500, description = "A fault in the server", body = ErrorBody),
        (status = 503, description = "Not now: ask again", body = ErrorBody, headers(("Retry-After" = u64, description = "Seconds"))),
    )
)]
pub(super) async fn post_ack(
    State(open): Open,
    Extension(connection): Peering,
    body: Body,
) -> Response {
    let mut observed = Observed::begin(&open, Route::Ack, &connection);
    let answer = async {
        let request: AckRequest = read_json(&open, body).await?;
        observed.since = Instant::now();
        let acknowledged = ack::acknowledge(&open, &connection, request, &mut observed.token_id);
        in_time(&open, acknowledged).await
    };
    let answer = answer.await;
    observed.answer(answer).await
}

/// The CA that members' certificates chain to.
#[utoipa::path(
    get,
    path = CA_PATH,
    tag = "door",
    responses((status = 200, description = "The CA", body = CaResponse))
)]
pub(super) async fn get_ca(State(open): Open, Extension(connection): Peering) -> Response {
    anonymous(&open, &connection, Route::Ca, Ok(open.ca_json.clone())).await
}

/// What [`get_ca`] answers.
pub(super) fn ca_json(door: &Door) -> Bytes {
    let answer = CaResponse {
        trust_domain: door.trust_domain.to_string(),
        ca: door.members.cert_pem(),
    };
    // Serialising two strings cannot fail.
    serde_json::to_vec(&answer).unwrap_or_default().into()
}

/// This description.
#[utoipa::path(
    get,
    path = OPENAPI_PATH,
    tag = "door",
    responses((status = 200, description = "OpenAPI", content_type = "application/json", body = Object))
)]
pub(super) async fn get_openapi(State(open): Open, Extension(connection): Peering) -> Response {
    let json = Bytes::from_static(openapi_json().as_bytes());
    anonymous(&open, &connection, Route::Document, Ok(json)).await
}

/// Reads a whole body of bounded length in bounded time, and parses it.
async fn read_json<T: DeserializeOwned>(open: &OpenDoor, body: Body) -> Result<T, DoorError> {
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(DoorError::BodyTooLarge);
    }
    let body = Limited::new(body, MAX_BODY).collect();
    let bytes = match timeout(open.door.limits.body, body).await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(DoorError::BodyTooLarge),
        Ok(Err(_broken)) => return Err(DoorError::BrokenBody),
        Err(_elapsed) => return Err(DoorError::BodyTooSlow),
    };
    // serde's message would repeat what it found; the place is enough.
    serde_json::from_slice(&bytes).map_err(|error| DoorError::Malformed {
        line: error.line(),
        column: error.column(),
    })
}

async fn in_time<T>(
    open: &OpenDoor,
    work: impl Future<Output = Result<T, DoorError>>,
) -> Result<T, DoorError> {
    let limit = open.door.limits.request;
    timeout(limit, work)
        .await
        .unwrap_or(Err(DoorError::TooSlow))
}

/// `Date` tells joiners whether their clocks are right before they send a token. Nothing that the
/// door says is for caches.
async fn common_headers(State(open): Open, mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let now = i64::try_from(open.door.clock.now_ms())
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .and_then(|now| {
            let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&now);
            HeaderValue::try_from(text.ok()?).ok()
        });
    if let Some(now) = now {
        headers.insert(DATE, now);
    }
    response
}

/// A request as the observer sees it. It is reported however it ends.
pub(super) struct Observed<'a> {
    open: &'a OpenDoor,
    route: Route,
    connection: &'a Connection,
    token_id: Option<TokenId>,
    since: Instant,
    pub(super) answered: Option<(Class, Option<super::wire::Code>)>,
}

impl<'a> Observed<'a> {
    pub(super) fn begin(open: &'a OpenDoor, route: Route, connection: &'a Connection) -> Self {
        Self {
            open,
            route,
            connection,
            token_id: None,
            since: Instant::now(),
            answered: None,
        }
    }

    /// The answer to what came of the request. Who is to slow down is answered slowly, so that one
    /// connection cannot ask as fast as it likes; nobody else waits for that.
    async fn answer<T: Serialize>(self, answer: Result<(Class, T), DoorError>) -> Response {
        let pause = self.open.door.limits.slow_answer;
        let (limits, address) = (&self.open.limits, self.connection.address());
        match self.report(answer) {
            Ok(body) => Json(body).into_response(),
            Err(error) => {
                if matches!(error, DoorError::RateLimited { .. }) {
                    limits.reached(Limit::RequestRate, address);
                    sleep(pause).await;
                }
                error.into_response()
            }
        }
    }

    /// Tells the observer, before the reply.
    fn report<T>(mut self, answer: Result<(Class, T), DoorError>) -> Result<T, DoorError> {
        match answer {
            Ok((class, body)) => {
                self.answered = Some((class, None));
                Ok(body)
            }
            Err(error) => {
                let error = self.slow_down(error);
                let (class, code) = (error.class(), error.code());
                self.answered = Some((class, Some(code)));
                if matches!(class, Class::Malformed | Class::Unproven | Class::Refused) {
                    self.open.door.observer.refused(&Refused {
                        route: self.route,
                        code,
                        class,
                        address: self.connection.address(),
                        joiner: self.connection.peer.joiner(),
                        token_id: self.token_id,
                    });
                }
                Err(error)
            }
        }
    }

    /// Counts what came without a valid token. Beyond the limit the answer is to slow down, and
    /// the audit is spared the flood. A valid token is never kept out by this, not even one from
    /// the same address: it is asked only when all is lost.
    fn slow_down(&self, error: DoorError) -> DoorError {
        match error.class() {
            Class::Malformed | Class::Unproven => {
                let counted = self.open.limiters.failed(self.connection.address());
                counted.err().unwrap_or(error)
            }
            _ => error,
        }
    }
}

impl Drop for Observed<'_> {
    fn drop(&mut self) {
        let cut_short = if std::thread::panicking() {
            Class::Failed
        } else {
            Class::Abandoned
        };
        let (class, code) = self.answered.unwrap_or((cut_short, None));
        self.open.door.observer.answered(&Answered {
            route: self.route,
            class,
            code,
            token_id: self.token_id,
            joiner: self.connection.peer.joiner(),
            duration: self.since.elapsed(),
        });
    }
}
