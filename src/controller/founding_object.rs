//! The mark of the store's founding, kept in the operator's namespace.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::watch;

use super::api_error::told;
use super::ownership::FormerStores;
use super::vault::{by_us, metadata, owner};
use crate::founding::{
    Creation, ExchangeObject, Founding, FoundingObject, ReachedMark, Remembered, VaultError,
};
use crate::store::Reached;
use crate::token::StoreId;

/// The stores that the one which is named was made of, or has taken the place of: their ids, with spaces in between.
const FORMER: &str = "former-store-ids";

/// The key of the data that says how far the store's log has been.
const REACHED: &str = "reached";
/// Says, with the object's uid, that the replicas' volumes are those in use last, though the object was made anew.
const VOLUMES_ARE_CURRENT: &str = "jointoken.io/volumes-are-current";
/// How often a write is repeated that somebody else's write came before.
const TRIES: usize = 5;

/// The founding object: a ConfigMap `<prefix>-founding` with the store's id and epoch, and how far its log has been. Keys of
/// its data that are not known here are left as they are.
pub struct FoundingConfigMap {
    config_maps: Api<ConfigMap>,
    namespace: String,
    name: String,
    /// What was last seen of it that is a store's.
    seen: watch::Sender<Option<Remembered>>,
    former: watch::Sender<FormerStores>,
}

impl FoundingConfigMap {
    /// The object in this namespace.
    pub fn new(client: Client, namespace: &str, prefix: &str) -> Self {
        Self {
            config_maps: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            name: format!("{prefix}-founding"),
            seen: watch::Sender::new(None),
            former: watch::Sender::default(),
        }
    }

    /// The former stores, as the object named them when it was last read.
    pub fn former_stores(&self) -> watch::Receiver<FormerStores> {
        self.former.subscribe()
    }

    fn saw(&self, config_map: &ConfigMap) {
        let seen = config_map.data.as_ref().map(former_of).unwrap_or_default();
        self.former.send_if_modified(|former| {
            let is_news = *former != seen;
            *former = seen;
            is_news
        });
    }

    async fn read(&self) -> Result<Option<Founding>, VaultError> {
        let found = self.config_maps.get_opt(&self.name).await;
        let Some(config_map) = found.map_err(|error| self.failed(&error))? else {
            return Ok(None);
        };
        let founding = self.founding_in(&config_map)?;
        self.show(&config_map);
        self.saw(&config_map);
        Ok(Some(founding))
    }

    fn founding_in(&self, config_map: &ConfigMap) -> Result<Founding, VaultError> {
        let what = "does not say which store was founded: data must have store-id and epoch, restore it from the backup";
        founding_of(config_map).ok_or_else(|| VaultError::unfit(FoundingObject::place(self), what))
    }

    async fn write(&self, founding: Founding) -> Result<Creation<Founding>, VaultError> {
        let config_map = ConfigMap {
            metadata: metadata(&self.name),
            data: Some(data_of(founding)),
            ..ConfigMap::default()
        };
        match self.config_maps.create(&by_us(), &config_map).await {
            Ok(_) => Ok(Creation::Created),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let there = self.read().await?;
                there.map(Creation::Exists).ok_or_else(|| {
                    VaultError::new(
                        FoundingObject::place(self),
                        "was there a moment ago and is gone",
                    )
                })
            }
            Err(error) => Err(self.failed(&error)),
        }
    }
}

impl FoundingConfigMap {
    fn failed(&self, error: &kube::Error) -> VaultError {
        VaultError::new(FoundingObject::place(self), told(error))
    }

    /// Compares and swaps. `change` says whether it has changed anything. What is written carries the version that was read: what
    /// somebody else wrote meanwhile is looked at anew. Returns the object as it is then.
    async fn update(
        &self,
        change: impl Fn(&mut ConfigMap) -> Result<bool, VaultError>,
    ) -> Result<ConfigMap, VaultError> {
        for _ in 0..TRIES {
            let found = self.config_maps.get(&self.name).await;
            let mut found = found.map_err(|error| self.failed(&error))?;
            if !change(&mut found)? {
                return Ok(found);
            }
            match self.config_maps.replace(&self.name, &by_us(), &found).await {
                Err(kube::Error::Api(status)) if status.is_conflict() => {}
                written => return written.map_err(|error| self.failed(&error)),
            }
        }
        Err(VaultError::new(
            FoundingObject::place(self),
            format!(
                "somebody else changes it all the time: it could not be written in {TRIES} tries"
            ),
        ))
    }

    async fn swap(
        &self,
        there: Founding,
        next: Founding,
    ) -> Result<Creation<Founding>, VaultError> {
        let now = self.update(|found| {
            if self.founding_in(found)? != there {
                return Ok(false);
            }
            let data = found.data.get_or_insert_default();
            data.extend(data_of(next));
            // The former store's.
            data.remove(REACHED);
            name_former(data, &[there.store_id]);
            Ok(true)
        });
        let now = self.founding_in(&now.await?)?;
        Ok(match now == next {
            true => Creation::Created,
            false => Creation::Exists(now),
        })
    }

    async fn add(&self, former: &[StoreId]) -> Result<(), VaultError> {
        let add =
            |found: &mut ConfigMap| Ok(name_former(found.data.get_or_insert_default(), former));
        let now = self.update(add).await?;
        self.saw(&now);
        Ok(())
    }
}

/// What cannot be read names no store.
fn former_of(data: &BTreeMap<String, String>) -> FormerStores {
    let named = data.get(FORMER).map(String::as_str).unwrap_or_default();
    let ids = named.split_ascii_whitespace();
    Arc::new(ids.filter_map(|id| id.parse().ok()).collect())
}

/// Adds those that are not named yet; whether there were any.
fn name_former(data: &mut BTreeMap<String, String>, more: &[StoreId]) -> bool {
    let ours: Option<StoreId> = data.get("store-id").and_then(|id| id.parse().ok());
    let before = former_of(data);
    let mut former = (*before).clone();
    former.extend(more);
    former.retain(|id| Some(*id) != ours);
    if former == *before {
        return false;
    }
    let ids: Vec<String> = former.iter().map(StoreId::to_string).collect();
    data.insert(FORMER.to_owned(), ids.join(" "));
    true
}

impl ExchangeObject for FoundingConfigMap {
    fn exchange(
        &self,
        there: Founding,
        next: Founding,
    ) -> BoxFuture<'_, Result<Creation<Founding>, VaultError>> {
        self.swap(there, next).boxed()
    }

    fn add_former<'a>(&'a self, former: &'a [StoreId]) -> BoxFuture<'a, Result<(), VaultError>> {
        self.add(former).boxed()
    }
}

fn data_of(founding: Founding) -> BTreeMap<String, String> {
    [
        ("store-id".to_owned(), founding.store_id.to_string()),
        ("epoch".to_owned(), founding.epoch.to_string()),
    ]
    .into()
}

fn founding_of(config_map: &ConfigMap) -> Option<Founding> {
    let data = config_map.data.as_ref()?;
    owner(data.get("store-id"), data.get("epoch"))
}

fn remembered(config_map: &ConfigMap) -> Remembered {
    let data = config_map.data.as_ref();
    let reached = data.and_then(|data| data.get(REACHED)?.parse().ok());
    let told = config_map.annotations().get(VOLUMES_ARE_CURRENT);
    Remembered {
        reached,
        folders_are_current: told.is_some() && told == config_map.metadata.uid.as_ref(),
        object: config_map.uid(),
    }
}

impl FoundingConfigMap {
    fn show(&self, config_map: &ConfigMap) {
        let now = Some(remembered(config_map));
        self.seen
            .send_if_modified(|seen| std::mem::replace(seen, now.clone()) != now);
    }

    /// The object has to be this store's.
    fn check_is_of(&self, of: StoreId, found: &ConfigMap) -> Result<(), VaultError> {
        match founding_of(found) {
            Some(founding) if founding.store_id == of => Ok(()),
            _ => Err(VaultError::unfit(
                FoundingObject::place(self),
                "is not this store's any more",
            )),
        }
    }

    async fn look(&self, of: StoreId) -> Result<Remembered, VaultError> {
        let found = self.config_maps.get(&self.name).await;
        let found = found.map_err(|error| self.failed(&error))?;
        self.check_is_of(of, &found)?;
        let text = found.data.as_ref().and_then(|data| data.get(REACHED));
        if text.is_some_and(|text| text.parse::<Reached>().is_err()) {
            let what = "does not say in its data `reached` how far the log of the store has been: somebody has changed it, put it back or remove that key";
            return Err(VaultError::unfit(FoundingObject::place(self), what));
        }
        self.show(&found);
        Ok(remembered(&found))
    }

    async fn raise(&self, of: StoreId, reached: Reached) -> Result<Remembered, VaultError> {
        let now = self.update(|found| {
            self.check_is_of(of, found)?;
            let is_further = remembered(found).reached < Some(reached);
            if is_further {
                let data = found.data.get_or_insert_default();
                data.insert(REACHED.to_owned(), reached.to_string());
            }
            Ok(is_further)
        });
        let now = now.await?;
        self.show(&now);
        Ok(remembered(&now))
    }
}

impl ReachedMark for FoundingConfigMap {
    fn remembered(&self, of: StoreId) -> BoxFuture<'_, Result<Remembered, VaultError>> {
        self.look(of).boxed()
    }

    fn remember(
        &self,
        of: StoreId,
        reached: Reached,
    ) -> BoxFuture<'_, Result<Remembered, VaultError>> {
        self.raise(of, reached).boxed()
    }

    fn seen(&self) -> Option<watch::Receiver<Option<Remembered>>> {
        Some(self.seen.subscribe())
    }

    fn place(&self) -> String {
        FoundingObject::place(self)
    }
}

impl FoundingObject for FoundingConfigMap {
    fn load(&self) -> BoxFuture<'_, Result<Option<Founding>, VaultError>> {
        self.read().boxed()
    }

    fn create(&self, founding: Founding) -> BoxFuture<'_, Result<Creation<Founding>, VaultError>> {
        self.write(founding).boxed()
    }

    fn place(&self) -> String {
        format!("ConfigMap {}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Mutex;

    use http_body_util::BodyExt as _;
    use hyper::{Method, Request, Response, StatusCode};
    use kube::client::Body;
    use serde_json::{Value, json};
    use tower::service_fn;

    use super::*;

    const OURS: Founding = Founding {
        store_id: StoreId([1; 16]),
        epoch: 3,
    };

    /// An API server with the object of `OURS`, on which somebody else writes before each of the first `conflicts` writes; how
    /// many writes it was asked for.
    fn server(conflicts: usize) -> (FoundingConfigMap, Arc<Mutex<usize>>) {
        let asked = Arc::new(Mutex::new(0));
        let noted = Arc::clone(&asked);
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "jointoken-founding", "namespace": "home", "resourceVersion": "1"},
            "data": data_of(OURS),
        });
        let there = Arc::new(Mutex::new(object));
        let service = service_fn(move |request: Request<Body>| {
            let (noted, there) = (Arc::clone(&noted), Arc::clone(&there));
            async move {
                let is_write = request.method() == Method::PUT;
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let mut there = there.lock().unwrap();
                let mut asked = noted.lock().unwrap();
                let mut status = StatusCode::OK;
                let mut answer = there.clone();
                if is_write {
                    *asked += 1;
                    if *asked <= conflicts {
                        status = StatusCode::CONFLICT;
                        answer = json!({
                            "kind": "Status", "status": "Failure", "reason": "Conflict", "code": 409, "message": "changed",
                        });
                    } else {
                        *there = serde_json::from_slice::<Value>(&body).unwrap();
                        answer = there.clone();
                    }
                }
                let body = Body::from(answer.to_string().into_bytes());
                let mut response = Response::new(body);
                *response.status_mut() = status;
                Ok::<_, Infallible>(response)
            }
        });
        let client = Client::new(service, "home");
        (FoundingConfigMap::new(client, "home", "jointoken"), asked)
    }

    /// Each of the three: exchanges, adds, raises.
    async fn write(object: &FoundingConfigMap, which: usize) -> Result<(), VaultError> {
        let other = StoreId([2; 16]);
        let next = Founding {
            store_id: other,
            epoch: 4,
        };
        let reached = Reached { term: 1, index: 9 };
        match which {
            0 => object.swap(OURS, next).await.map(|made| {
                assert_eq!(made, Creation::Created);
            }),
            1 => object.add(&[other]).await,
            _ => object.raise(OURS.store_id, reached).await.map(drop),
        }
    }

    #[tokio::test]
    async fn a_write_that_somebody_else_came_before_is_repeated_and_not_for_ever() {
        for which in 0..3 {
            let (object, asked) = server(2);
            write(&object, which).await.unwrap();
            assert_eq!(*asked.lock().unwrap(), 3);
            let (object, asked) = server(usize::MAX);
            let error = write(&object, which).await.unwrap_err().to_string();
            for says in ["ConfigMap home/jointoken-founding", "all the time"] {
                assert!(error.contains(says), "{error}");
            }
            assert_eq!(*asked.lock().unwrap(), TRIES);
        }
        // What is there already, or is another store's, is not written.
        let (object, asked) = server(0);
        let reached = Reached { term: 1, index: 9 };
        for index in [9, 8] {
            let lower = Reached { index, ..reached };
            let now = object.raise(OURS.store_id, lower).await.unwrap();
            assert_eq!(now.reached, Some(reached));
        }
        let stranger = Founding {
            store_id: StoreId([7; 16]),
            epoch: 1,
        };
        let made = object.swap(stranger, OURS).await.unwrap();
        assert_eq!(made, Creation::Created, "it says so already");
        let made = object.swap(stranger, stranger).await.unwrap();
        assert_eq!(made, Creation::Exists(OURS));
        assert!(object.raise(stranger.store_id, reached).await.is_err());
        assert_eq!(*asked.lock().unwrap(), 1);
    }

    #[test]
    fn former_stores_are_named_once_and_never_the_store_itself() {
        let [ours, lost, older] = [1, 2, 3].map(|byte| StoreId([byte; 16]));
        let mut data = data_of(Founding {
            store_id: ours,
            epoch: 3,
        });
        assert!(!name_former(&mut data, &[]));
        assert_eq!(data.get(FORMER), None);
        assert!(name_former(&mut data, &[lost, ours]));
        assert!(name_former(&mut data, &[older, lost]));
        assert!(!name_former(&mut data, &[older, lost, ours]));
        assert_eq!(data[FORMER], format!("{lost} {older}"));
        assert_eq!(*former_of(&data), [lost, older].into());
        data.insert(FORMER.to_owned(), format!("nonsense {lost}"));
        assert_eq!(*former_of(&data), [lost].into());
    }
}
