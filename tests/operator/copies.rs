//! What is copied, and put back later as it was: a data folder, and the objects of an operator.

use std::fs;
use std::path::Path;

use jointoken::api::JoinToken;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::place::Place;

pub const OBJECT: &str = "jointoken-founding";

/// What is copied together with a volume.
pub struct Copied {
    object: ConfigMap,
    keys: Vec<Secret>,
    tokens: Vec<JoinToken>,
}

impl Copied {
    pub async fn of(place: &Place) -> Self {
        let all = ListParams::default();
        Self {
            object: objects(place).get(OBJECT).await.unwrap(),
            keys: place.keys().list(&all).await.unwrap().items,
            tokens: place.resources().list(&all).await.unwrap().items,
        }
    }
}

pub fn objects(place: &Place) -> Api<ConfigMap> {
    Api::namespaced(place.system.client.clone(), &place.system.namespace)
}

/// Deletes it and creates it as it was copied: it is another object with the same contents.
async fn make_anew<K>(api: &Api<K>, copied: &K)
where
    K: Resource<DynamicType = ()> + Clone + Serialize + DeserializeOwned + std::fmt::Debug,
{
    let name = copied.name_any();
    let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    if api.get_opt(&name).await.unwrap().is_some() {
        api.patch(&name, &PatchParams::default(), &free)
            .await
            .unwrap();
        api.delete(&name, &DeleteParams::default()).await.unwrap();
    }
    let mut anew = copied.clone();
    let meta = anew.meta_mut();
    (meta.uid, meta.resource_version, meta.managed_fields) = (None, None, None);
    (meta.creation_timestamp, meta.generation) = (None, None);
    api.create(&PostParams::default(), &anew).await.unwrap();
}

/// As a backup restores it; without its status, as most do, or with it.
async fn restore_tokens(place: &Place, copied: &Copied, with_status: bool) {
    let resources = place.resources();
    for token in &copied.tokens {
        make_anew(&resources, token).await;
        if with_status {
            let status = Patch::Merge(json!({ "status": token.status }));
            let params = PatchParams::default();
            let name = token.name_any();
            resources
                .patch_status(&name, &params, &status)
                .await
                .unwrap();
        }
    }
}

pub fn set_back(data: &Path, copy: &Path) {
    fs::remove_dir_all(data).unwrap();
    copy_folder(copy, data);
}

pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_folder(&path, &to);
        } else if path.is_file() {
            fs::copy(&path, &to).unwrap();
        }
    }
}

/// What is set back together with the volume.
#[derive(Debug, Clone, Copy)]
pub enum With {
    Nothing,
    Keys,
    /// The object of the same uid.
    Object,
    /// The object, keys and JoinTokens, each made anew.
    ObjectMadeAnew,
    ObjectAndKeysMadeAnew,
    Everything,
    EverythingButStatuses,
}

impl With {
    pub async fn set_back(self, place: &Place, copied: &Copied) {
        let (is_anew, has_keys) = match self {
            Self::Nothing | Self::Object => (false, false),
            Self::Keys => (false, true),
            Self::ObjectMadeAnew => (true, false),
            Self::ObjectAndKeysMadeAnew | Self::Everything | Self::EverythingButStatuses => {
                (true, true)
            }
        };
        if has_keys {
            for key in &copied.keys {
                make_anew(&place.keys(), key).await;
            }
        }
        if is_anew {
            make_anew(&objects(place), &copied.object).await;
        }
        match self {
            Self::Object => {
                let patch = Patch::Merge(json!({ "data": copied.object.data }));
                let params = PatchParams::default();
                objects(place).patch(OBJECT, &params, &patch).await.unwrap();
            }
            Self::Everything => restore_tokens(place, copied, true).await,
            Self::EverythingButStatuses => restore_tokens(place, copied, false).await,
            _ => {}
        }
    }
}
