//! The namespaces that resources are in, remembered for a moment: a look at every resource asks for the few namespaces
//! that they share once, not once for each resource.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt};
use tokio::time::Instant;

use crate::api::JoinToken;

use super::view::version_of;

/// How long what was read is gone by. Whether a namespace is being deleted may be known so much later.
const LIFE: Duration = Duration::from_secs(10);

/// What there is to know of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NamespaceSeen {
    pub uid: String,
    /// It is being deleted: nothing can be created in it any more.
    pub is_ending: bool,
}

/// One namespace as it was read.
#[derive(Debug)]
struct Entry {
    seen: NamespaceSeen,
    read_at: Instant,
    /// The highest version of any resource that had been seen before it was read.
    as_of: u64,
    /// The uids of resources that are known to be in it, whatever their version is by now.
    residents: HashSet<String>,
}

/// Remembers namespaces.
///
/// A namespace of the same name but another uid is another one, whose inhabitants must not learn of the former's
/// tokens, so what is remembered must never be an earlier one than the resource is in. It cannot be: a namespace goes only
/// after all that was in it, so a resource is in whatever namespace had the name at any time in the resource's life. What
/// was read after the resource was there is right for it as long as it is there; the order of the two is told by the
/// resource's version, since versions of one API server only grow.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    entries: Mutex<HashMap<String, Entry>>,
    newest: AtomicU64,
    /// Who asks for a namespace keeps others from asking for the same, as far as their names' hashes tell them apart.
    asking: [tokio::sync::Mutex<()>; 16],
}

impl Namespaces {
    /// The resource's namespace; `None`: it has gone.
    pub async fn of(
        &self,
        client: &Client,
        resource: &JoinToken,
    ) -> kube::Result<Option<NamespaceSeen>> {
        self.note_version(resource);
        if let Some(seen) = self.remembered(resource) {
            return Ok(Some(seen));
        }
        let name = resource.namespace().unwrap_or_default();
        let place = crc32fast::hash(name.as_bytes()) % 16;
        let asking = self.asking.get(usize::try_from(place).unwrap_or(0));
        let _asking = match asking {
            Some(asking) => Some(asking.lock().await),
            None => None,
        };
        // Somebody else may have asked meanwhile.
        match self.remembered(resource) {
            Some(seen) => Ok(Some(seen)),
            None => self.now(client, resource).await,
        }
    }

    /// The same, asked for now.
    pub async fn now(
        &self,
        client: &Client,
        resource: &JoinToken,
    ) -> kube::Result<Option<NamespaceSeen>> {
        self.note_version(resource);
        let as_of = self.newest.load(Ordering::Relaxed);
        let name = resource.namespace().unwrap_or_default();
        let found = Api::<Namespace>::all(client.clone()).get_opt(&name).await?;
        let mut entries = self.entries();
        entries.retain(|_, entry| entry.read_at.elapsed() < LIFE);
        let Some(seen) = found.and_then(seen) else {
            entries.remove(&name);
            return Ok(None);
        };
        let entry = Entry {
            seen: seen.clone(),
            read_at: Instant::now(),
            as_of,
            residents: resource.uid().into_iter().collect(),
        };
        entries.insert(name, entry);
        Ok(Some(seen))
    }

    /// The API server has refused to create something in it since it is being deleted.
    pub fn ends(&self, resource: &JoinToken) {
        let name = resource.namespace().unwrap_or_default();
        if let Some(entry) = self.entries().get_mut(&name) {
            entry.seen.is_ending = true;
        }
    }

    fn remembered(&self, resource: &JoinToken) -> Option<NamespaceSeen> {
        let name = resource.namespace()?;
        let uid = resource.uid()?;
        let mut entries = self.entries();
        let entry = entries.get_mut(&name)?;
        if entry.read_at.elapsed() >= LIFE {
            return None;
        }
        if !entry.residents.contains(&uid) {
            version_of(resource).filter(|version| *version <= entry.as_of)?;
            entry.residents.insert(uid);
        }
        Some(entry.seen.clone())
    }

    fn note_version(&self, resource: &JoinToken) {
        let version = version_of(resource).unwrap_or(0);
        self.newest.fetch_max(version, Ordering::Relaxed);
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seen(namespace: Namespace) -> Option<NamespaceSeen> {
    let phase = namespace.status.and_then(|status| status.phase);
    let is_deleted = namespace.metadata.deletion_timestamp.is_some();
    Some(NamespaceSeen {
        uid: namespace.metadata.uid?,
        is_ending: is_deleted || phase.as_deref() == Some("Terminating"),
    })
}

/// What the API server says to whoever creates something in a namespace that is being deleted.
pub(super) fn is_because_namespace_ends(error: &kube::Error) -> bool {
    const CAUSE: &str = "NamespaceTerminating";
    let kube::Error::Api(status) = error else {
        return false;
    };
    let details = status.details.as_ref();
    status.is_forbidden()
        && details.is_some_and(|details| details.causes.iter().any(|cause| cause.reason == CAUSE))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use hyper::{Request, Response};
    use kube::client::Body;
    use serde_json::json;
    use tower::service_fn;

    use super::*;
    use crate::api::JoinTokenSpec;

    /// An API server on which each answer is another namespace of the name, and how often it was asked.
    fn server() -> (Client, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let noted = asked.clone();
        let service = service_fn(move |_: Request<Body>| {
            let count = noted.fetch_add(1, Ordering::Relaxed) + 1;
            let namespace = json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": "edge", "uid": format!("ns-{count}")},
                "status": {"phase": if count > 2 { "Terminating" } else { "Active" }},
            });
            let response = Response::new(Body::from(namespace.to_string().into_bytes()));
            async move { Ok::<_, Infallible>(response) }
        });
        (Client::new(service, "default"), asked)
    }

    fn resource(uid: &str, version: &str) -> JoinToken {
        let mut resource = JoinToken::new("n1", JoinTokenSpec::default());
        resource.metadata.namespace = Some("edge".to_owned());
        resource.metadata.uid = Some(uid.to_owned());
        resource.metadata.resource_version = Some(version.to_owned());
        resource
    }

    async fn uid_of(namespaces: &Namespaces, client: &Client, of: &JoinToken) -> String {
        namespaces.of(client, of).await.unwrap().unwrap().uid
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_is_remembered_for_those_who_were_there_when_it_was_read() {
        let (client, asked) = server();
        let namespaces = Namespaces::default();
        assert_eq!(
            uid_of(&namespaces, &client, &resource("a", "9")).await,
            "ns-1"
        );
        // Older than what had been seen, and the same one after it was written.
        for there in [resource("b", "8"), resource("a", "12"), resource("b", "13")] {
            assert_eq!(uid_of(&namespaces, &client, &there).await, "ns-1");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        // Perhaps younger than the namespace that was read.
        assert_eq!(
            uid_of(&namespaces, &client, &resource("c", "14")).await,
            "ns-2"
        );
        assert_eq!(
            uid_of(&namespaces, &client, &resource("d", "11")).await,
            "ns-2"
        );
        for odd in ["", "12x"] {
            let before = asked.load(Ordering::Relaxed);
            uid_of(&namespaces, &client, &resource(&format!("odd {odd}"), odd)).await;
            assert_eq!(asked.load(Ordering::Relaxed), before + 1);
        }
        let before = asked.load(Ordering::Relaxed);
        tokio::time::advance(LIFE).await;
        uid_of(&namespaces, &client, &resource("d", "11")).await;
        assert_eq!(asked.load(Ordering::Relaxed), before + 1);
    }

    #[tokio::test]
    async fn a_namespace_that_is_being_deleted_is_known_by_its_phase_or_by_a_refusal() {
        let (client, _) = server();
        let namespaces = Namespaces::default();
        let there = resource("a", "9");
        let first = namespaces.of(&client, &there).await.unwrap().unwrap();
        assert!(!first.is_ending);
        namespaces.ends(&there);
        assert!(
            namespaces
                .of(&client, &there)
                .await
                .unwrap()
                .unwrap()
                .is_ending
        );
        assert!(
            !namespaces
                .now(&client, &there)
                .await
                .unwrap()
                .unwrap()
                .is_ending
        );
        assert!(
            namespaces
                .now(&client, &there)
                .await
                .unwrap()
                .unwrap()
                .is_ending
        );
    }
}
