//! Publishes events: what repeats itself is counted up, and no resource can fill the API server with them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::Patch;
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;
use tokio::time::Instant;

use crate::api::{EventReason, JoinToken};

use super::api_error::told;
use super::effect::Notice;
use super::execute::patch_by_us;
use super::namespaces::is_because_namespace_ends;
use super::vault::by_us;

/// Who reports, as events name it.
const REPORTER: &str = "jointoken.io/operator";
/// The longest note that an event may have, in characters; the limit is 1 kB.
const MAX_NOTE: usize = 1_000;
/// The longest name that an object can have.
const MAX_NAME: usize = 253;
/// How long the same event is counted up instead of being written anew.
const SERIES: Duration = Duration::from_secs(6 * 60);
/// So many events of one resource are published at once, and one more after each of these times.
const BURST: u32 = 25;
const REFILL: Duration = Duration::from_secs(60);
/// How often what is remembered is looked through.
const CLEANING: Duration = Duration::from_secs(60);

/// Writes the events of all resources.
pub(super) struct Publisher {
    client: Client,
    instance: String,
    memory: Mutex<Memory>,
}

/// What was published lately.
struct Memory {
    resources: HashMap<String, Published>,
    cleaned_at: Instant,
}

/// Of one resource.
struct Published {
    /// How many more may be published, as of then.
    tokens: u32,
    filled_at: Instant,
    series: HashMap<(EventReason, String), Series>,
}

/// One event and how often it was published.
#[derive(Clone)]
struct Series {
    name: String,
    count: i32,
    at: Instant,
}

impl Published {
    fn new(now: Instant) -> Self {
        Self {
            tokens: BURST,
            filled_at: now,
            series: HashMap::new(),
        }
    }

    /// One more may be published.
    fn take(&mut self, now: Instant) -> bool {
        let passed = now.duration_since(self.filled_at).as_secs() / REFILL.as_secs();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX).min(BURST);
        if passed > 0 {
            self.tokens = self.tokens.saturating_add(passed).min(BURST);
            self.filled_at += REFILL * passed;
        }
        if self.tokens == BURST {
            self.filled_at = now;
        }
        let may = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        may
    }

    /// Nothing of it matters any more.
    fn is_over(&self, now: Instant) -> bool {
        self.series.is_empty() && now.duration_since(self.filled_at) >= REFILL * BURST
    }
}

impl Publisher {
    /// `instance` signs the events.
    pub fn new(client: Client, instance: Option<String>) -> Self {
        Self {
            client,
            instance: instance.unwrap_or_else(|| "jointoken".to_owned()),
            memory: Mutex::new(Memory {
                resources: HashMap::new(),
                cleaned_at: Instant::now(),
            }),
        }
    }

    /// An event that cannot be published is said and let go: what it tells is in the status too.
    pub async fn publish(&self, resource: &JoinToken, notice: &Notice) {
        let note: String = notice.note.chars().take(MAX_NOTE).collect();
        let key = (notice.reason, note);
        let Some(former) = self.begin(resource, &key) else {
            tracing::debug!(
                reason = notice.reason.as_str(),
                "too many events of this resource: one is not published"
            );
            return;
        };
        match self.write(resource, &key, former).await {
            Ok(series) => self.end(resource, key, series),
            Err(error) if is_because_namespace_ends(&error) => {
                tracing::debug!("the namespace is being deleted: an event is not published");
            }
            Err(error) => {
                tracing::warn!(
                    error = told(&error),
                    reason = notice.reason.as_str(),
                    "an event could not be published"
                );
            }
        }
    }

    /// The series that it belongs to, if there is one; `None`: it may not be published.
    fn begin(&self, resource: &JoinToken, key: &(EventReason, String)) -> Option<Option<Series>> {
        let now = Instant::now();
        let mut memory = self.memory();
        if now.duration_since(memory.cleaned_at) >= CLEANING {
            memory.cleaned_at = now;
            memory.resources.retain(|_, published| {
                let series = &mut published.series;
                series.retain(|_, series| now.duration_since(series.at) < SERIES);
                !published.is_over(now)
            });
        }
        let published = match memory.resources.entry(resource.uid().unwrap_or_default()) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(free) => free.insert(Published::new(now)),
        };
        if !published.take(now) {
            return None;
        }
        let former = published.series.get(key);
        Some(
            former
                .filter(|series| now.duration_since(series.at) < SERIES)
                .cloned(),
        )
    }

    fn end(&self, resource: &JoinToken, key: (EventReason, String), series: Series) {
        let uid = resource.uid().unwrap_or_default();
        if let Some(published) = self.memory().resources.get_mut(&uid) {
            published.series.insert(key, series);
        }
    }

    /// Counts up, or writes anew.
    async fn write(
        &self,
        resource: &JoinToken,
        (reason, note): &(EventReason, String),
        former: Option<Series>,
    ) -> kube::Result<Series> {
        let namespace = resource.namespace().unwrap_or_default();
        let events: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let now = Timestamp::now();
        if let Some(former) = former {
            let count = former.count.saturating_add(1);
            let series = EventSeries {
                count,
                last_observed_time: MicroTime(now),
            };
            let patch = Patch::Merge(json!({ "series": series }));
            match events.patch(&former.name, &patch_by_us(), &patch).await {
                Ok(_) => {
                    return Ok(Series {
                        count,
                        at: Instant::now(),
                        ..former
                    });
                }
                // Events are forgotten after a while.
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        let name = event_name(&resource.name_any(), now.as_nanosecond());
        let event = Event {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(namespace),
                ..ObjectMeta::default()
            },
            action: Some(action(*reason).to_owned()),
            event_time: Some(MicroTime(now)),
            note: Some(note.clone()),
            reason: Some(reason.as_str().to_owned()),
            regarding: Some(regarding(resource)),
            reporting_controller: Some(REPORTER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(
                if reason.is_warning() {
                    "Warning"
                } else {
                    "Normal"
                }
                .to_owned(),
            ),
            ..Event::default()
        };
        events.create(&by_us(), &event).await?;
        Ok(Series {
            name,
            count: 1,
            at: Instant::now(),
        })
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The resource, in whatever version: the same event about another version is the same event.
fn regarding(resource: &JoinToken) -> ObjectReference {
    ObjectReference {
        resource_version: None,
        ..resource.object_ref(&())
    }
}

/// The resource's name and the time. A name that is as long as can be is cut off, where a name may end.
fn event_name(resource: &str, at_ns: i128) -> String {
    let end = format!(".{at_ns:x}");
    let room = MAX_NAME - end.len();
    // The names of resources are ASCII.
    let kept: String = resource.chars().take(room).collect();
    format!("{}{end}", kept.trim_end_matches(['.', '-']))
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
        EventReason::Stalled | EventReason::OfAnotherStore | EventReason::NodeNameShared => {
            "Reconcile"
        }
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

    fn resource(version: &str) -> JoinToken {
        let mut resource = JoinToken::new("n1", JoinTokenSpec::default());
        resource.metadata.namespace = Some("edge".to_owned());
        resource.metadata.uid = Some("uid-1".to_owned());
        resource.metadata.resource_version = Some(version.to_owned());
        resource
    }

    async fn publish(publisher: &Publisher, version: &str, note: &str) {
        let note = note.to_owned();
        let reason = EventReason::Issued;
        let notice = Notice { reason, note };
        publisher.publish(&resource(version), &notice).await;
    }

    #[tokio::test(start_paused = true)]
    async fn another_text_is_another_event_and_a_repeated_one_is_counted_whatever_the_version() {
        let (client, asked) = server();
        let publisher = Publisher::new(client, None);
        for (version, note) in [
            ("7", "until 9:00"),
            ("8", "until 9:30"),
            ("9", "until 9:30"),
            ("10", "until 9:00"),
            ("11", "until 9:30"),
        ] {
            publish(&publisher, version, note).await;
        }
        tokio::time::advance(SERIES).await;
        publish(&publisher, "12", "until 9:30").await;
        let asked = asked.lock().unwrap().clone();
        let created = |note: &str| ("POST".to_owned(), json!(note), Value::Null);
        let counted = |count| ("PATCH".to_owned(), Value::Null, json!(count));
        assert_eq!(
            asked,
            [
                created("until 9:00"),
                created("until 9:30"),
                counted(2),
                counted(2),
                counted(3),
                created("until 9:30"),
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn one_resource_publishes_so_many_events_and_no_more() {
        let (client, asked) = server();
        let publisher = Publisher::new(client, None);
        let count = || asked.lock().unwrap().len();
        for round in 0..1_000 {
            publish(&publisher, "7", &format!("round {round}")).await;
        }
        let burst = usize::try_from(BURST).unwrap();
        assert_eq!(count(), burst);
        for more in 1..=3 {
            tokio::time::advance(REFILL).await;
            publish(&publisher, "7", "later").await;
            publish(&publisher, "7", "at once").await;
            assert_eq!(count(), burst + more);
        }
        // Another resource's are its own, and time gives back what one had and no more.
        let mut other = resource("7");
        other.metadata.uid = Some("uid-2".to_owned());
        let (reason, note) = (EventReason::Issued, "other".to_owned());
        publisher.publish(&other, &Notice { reason, note }).await;
        assert_eq!(count(), burst + 4);
        tokio::time::advance(REFILL * (BURST * 4)).await;
        for round in 0..1_000 {
            publish(&publisher, "7", &format!("again {round}")).await;
        }
        assert_eq!(count(), 2 * burst + 4);
        // What nobody needs any more is forgotten.
        tokio::time::advance(REFILL * (BURST * 4)).await;
        publish(&publisher, "7", "last").await;
        assert_eq!(publisher.memory().resources.len(), 1);
    }

    #[test]
    fn an_event_has_a_name_whatever_its_resource_is_called() {
        let at = 0x1789_abcd_ef01_2345;
        assert_eq!(event_name("n1", at), "n1.1789abcdef012345");
        let long = event_name(&"n".repeat(253), at);
        assert_eq!(long, format!("{}.1789abcdef012345", "n".repeat(236)));
        let odd = event_name(&format!("{}.-.{}", "n".repeat(233), "n".repeat(17)), at);
        assert_eq!(odd, format!("{}.1789abcdef012345", "n".repeat(233)));
    }
}
