//! A time by which the API server has to answer. A connection whose other end is gone without a word looks as one on which
//! nothing happens: whoever waits on it would wait for as long as the kernel tries.

use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use hyper::{Request, Response};
use kube::client::Body;
use tower::{BoxError, Layer, Service};
use tower_http::timeout::TimeoutBody;

/// How long the API server has for an answer, and then for each next part of it.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a watch lasts, in seconds. One that tells nothing any more is noticed soon after.
pub(super) const WATCH_SECS: u32 = 60;
/// How long nothing at all may come from a watch: it tells at least of each minute, whatever kind of watch it is.
const WATCH: Duration = Duration::from_secs(150);

/// Gives each request a deadline.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines;

impl<S> Layer<S> for Deadlines {
    type Service = WithDeadline<S>;

    fn layer(&self, inner: S) -> WithDeadline<S> {
        WithDeadline(inner)
    }
}

/// A service of which nobody waits for ever.
#[derive(Debug, Clone)]
pub struct WithDeadline<S>(S);

/// The API server has not answered.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {} s", ANSWER.as_secs())]
struct Late;

impl<S, B> Service<Request<Body>> for WithDeadline<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response<TimeoutBody<B>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let is_watch = request.uri().query().is_some_and(asks_for_watch);
        let between_parts = if is_watch { WATCH } else { ANSWER };
        let answer = self.0.call(request);
        async move {
            let answered = tokio::time::timeout(ANSWER, answer).await;
            let response = answered.map_err(|_| Late)?.map_err(Into::into)?;
            Ok(response.map(|body| TimeoutBody::new(between_parts, body)))
        }
        .boxed()
    }
}

fn asks_for_watch(query: &str) -> bool {
    query.split('&').any(|part| part == "watch=true")
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future;

    use futures::{TryStreamExt, stream};
    use http_body_util::StreamBody;
    use hyper::body::{Bytes, Frame};
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::WatchParams;
    use kube::client::ClientBuilder;
    use kube::{Api, Client};
    use tokio::time::Instant;
    use tower::service_fn;

    use super::super::api_error::{is_away, told};
    use super::*;

    fn api(client: Client) -> Api<ConfigMap> {
        Api::namespaced(client, "edge")
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_never_answers_is_away() {
        let silent = service_fn(|_| future::pending::<Result<Response<Body>, Infallible>>());
        let client = ClientBuilder::new(silent, "default").with_layer(&Deadlines);
        let started = Instant::now();
        let error = api(client.build()).get("n1").await.unwrap_err();
        assert!(is_away(&error));
        assert_eq!(
            told(&error),
            "the API server does not answer: no answer within 30 s"
        );
        assert_eq!(started.elapsed(), ANSWER);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_stops_in_the_middle_is_given_up_and_a_watch_waits_longer() {
        let endless = service_fn(|_| {
            let body = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
            future::ready(Ok::<_, Infallible>(Response::new(body)))
        });
        let client = ClientBuilder::new(endless, "default").with_layer(&Deadlines);
        let api = api(client.build());
        let started = Instant::now();
        assert!(is_away(&api.get("n1").await.unwrap_err()));
        assert_eq!(started.elapsed(), ANSWER);
        let started = Instant::now();
        let watch = api.watch(&WatchParams::default(), "0").await.unwrap();
        let told: Result<Vec<_>, _> = watch.try_collect().await;
        assert!(is_away(&told.unwrap_err()));
        assert_eq!(started.elapsed(), WATCH);
    }
}
