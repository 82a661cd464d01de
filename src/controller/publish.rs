//! Publishes events through kube.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};

use crate::api::{EventReason, JoinToken};

use super::effect::Notice;
use super::execute::MANAGER;

/// The longest note that an event may have, in characters; the limit is 1 kB.
const MAX_NOTE: usize = 1_000;

/// Writes the events of all resources.
pub(super) struct Publisher(Recorder);

impl Publisher {
    /// `instance` signs the events.
    pub fn new(client: Client, instance: Option<String>) -> Self {
        let controller = MANAGER.to_owned();
        Self(Recorder::new(
            client,
            Reporter {
                controller,
                instance,
            },
        ))
    }

    /// An event that cannot be published is said and let go: what it tells is in the status too.
    pub async fn publish(&self, resource: &JoinToken, notice: &Notice) {
        let event = Event {
            type_: if notice.reason.is_warning() {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: notice.reason.as_str().to_owned(),
            note: Some(notice.note.chars().take(MAX_NOTE).collect()),
            action: action(notice.reason).to_owned(),
            secondary: None,
        };
        if let Err(error) = self.0.publish(&event, &regarding(resource)).await {
            tracing::warn!(%error, reason = notice.reason.as_str(), "an event could not be published");
        }
    }
}

/// This version of the resource.
///
/// kube counts an event up, and drops its note, if one about the same object was published for the same reason some
/// minutes ago; another token's expiry would be lost. What is told of one version is the same each time.
fn regarding(resource: &JoinToken) -> ObjectReference {
    ObjectReference {
        resource_version: resource.metadata.resource_version.clone(),
        ..resource.object_ref(&())
    }
}

/// What the operator did, as events name it.
const fn action(reason: EventReason) -> &'static str {
    match reason {
        EventReason::Issued | EventReason::Reissued => "Issue",
        EventReason::Claimed => "Claim",
        EventReason::ClaimReverted => "RevertClaim",
        EventReason::Admitted | EventReason::Contested => "Admit",
        EventReason::Expired => "Expire",
        EventReason::Revoked => "Revoke",
        EventReason::Aborted => "Abort",
        EventReason::Adopted => "Adopt",
        EventReason::SecretRestored => "RestoreSecret",
        EventReason::Stalled | EventReason::OfAnotherStore => "Reconcile",
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use http_body_util::BodyExt;
    use hyper::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};
    use tower::service_fn;

    use super::*;
    use crate::api::JoinTokenSpec;

    /// Of each request: method, note, how often.
    type Asked = Arc<Mutex<Vec<(String, Value, Value)>>>;

    /// An API server that takes every event.
    fn server() -> (Client, Asked) {
        let asked = Asked::default();
        let noted = asked.clone();
        let service = service_fn(move |request: Request<Body>| {
            let noted = noted.clone();
            async move {
                let method = request.method().to_string();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let event: Value = serde_json::from_slice(&body).unwrap();
                let count = event["series"]["count"].clone();
                noted
                    .lock()
                    .unwrap()
                    .push((method, event["note"].clone(), count));
                Ok::<_, Infallible>(Response::new(Body::from(body.to_vec())))
            }
        });
        (Client::new(service, "default"), asked)
    }

    #[tokio::test]
    async fn another_tokens_event_has_its_own_text_and_a_repeated_one_is_counted() {
        let (client, asked) = server();
        let publisher = Publisher::new(client, None);
        let mut resource = JoinToken::new("n1", JoinTokenSpec::default());
        resource.metadata.namespace = Some("edge".to_owned());
        for (version, note) in [
            ("7", "until 9:00"),
            ("8", "until 9:30"),
            ("8", "until 9:30"),
        ] {
            resource.metadata.resource_version = Some(version.to_owned());
            let note = note.to_owned();
            let reason = EventReason::Issued;
            publisher.publish(&resource, &Notice { reason, note }).await;
        }
        let asked = asked.lock().unwrap().clone();
        let text = |method: &str, note: &str, count| (method.to_owned(), json!(note), count);
        assert_eq!(
            asked,
            [
                text("POST", "until 9:00", Value::Null),
                text("POST", "until 9:30", Value::Null),
                text("PATCH", "until 9:30", json!(2)),
            ]
        );
    }
}
