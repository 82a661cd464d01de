//! A `JoinToken` as it comes from the API server, taken as far as it can be read.
//!
//! One object that cannot be decoded fails a whole list, and with it the watch on all the others. The API server
//! keeps objects that we cannot read: its own check of a date is looser than ours, and another version of the CRD may
//! have let in anything. So decoding never fails here; what it comes to is said of that one object.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::de::DeserializeSeed;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::lean::Part;
use crate::api::JoinToken;

/// So many are listed at a time. An answer is in memory as a whole, more than once while it is read, and an object may have one
/// and a half megabytes; each namespace that is named is listed by itself.
pub const PAGE: u32 = 10;

/// One object of the watch, or of an answer.
#[derive(Debug, Clone)]
pub enum Seen {
    Read(Box<JoinToken>),
    /// Its name at least, and what is wrong with it.
    Unreadable {
        metadata: Box<ObjectMeta>,
        error: String,
    },
}

impl Seen {
    /// The resource, if it can be read.
    pub fn read(&self) -> Option<&JoinToken> {
        match self {
            Self::Read(resource) => Some(resource),
            Self::Unreadable { .. } => None,
        }
    }

    fn of(mut object: Value) -> Self {
        let error = match JoinToken::deserialize(&object) {
            Ok(resource) => return Self::Read(Box::new(resource)),
            Err(error) => error,
        };
        salvage(&mut object);
        match JoinToken::deserialize(&object) {
            Ok(resource) => Self::Read(Box::new(resource)),
            Err(_) => Self::Unreadable {
                metadata: Box::new(name_of(&object)),
                error: error.to_string(),
            },
        }
    }
}

/// Takes out what keeps the object from being read and is not needed to act on it: the fields of the status
/// that make no sense, since a status is written anew, and the spec of an object that is being deleted.
fn salvage(object: &mut Value) {
    if let Some(Value::Object(status)) = object.get_mut("status").map(Value::take) {
        object["status"] = Value::Object(readable(status));
    }
    if !object["metadata"]["deletionTimestamp"].is_null() {
        object["spec"] = json!({});
    }
}

fn readable(status: Map<String, Value>) -> Map<String, Value> {
    let makes_sense = |name: &String, value: &Value| {
        let alone = Value::Object([(name.clone(), value.clone())].into_iter().collect());
        crate::api::JoinTokenStatus::deserialize(&alone).is_ok()
    };
    status
        .into_iter()
        .filter(|(name, value)| makes_sense(name, value))
        .collect()
}

/// What a message needs to name the object, and the watch to tell its versions apart.
fn name_of(object: &Value) -> ObjectMeta {
    let text = |name: &str| object["metadata"][name].as_str().map(str::to_owned);
    ObjectMeta {
        name: text("name"),
        namespace: text("namespace"),
        uid: text("uid"),
        resource_version: text("resourceVersion"),
        ..ObjectMeta::default()
    }
}

impl<'de> Deserialize<'de> for Seen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Part::Object.deserialize(deserializer).map(Self::of)
    }
}

impl Resource for Seen {
    type DynamicType = ();
    type Scope = <JoinToken as Resource>::Scope;

    fn kind(dynamic: &()) -> Cow<'_, str> {
        JoinToken::kind(dynamic)
    }

    fn group(dynamic: &()) -> Cow<'_, str> {
        JoinToken::group(dynamic)
    }

    fn version(dynamic: &()) -> Cow<'_, str> {
        JoinToken::version(dynamic)
    }

    fn plural(dynamic: &()) -> Cow<'_, str> {
        JoinToken::plural(dynamic)
    }

    fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Read(resource) => resource.meta(),
            Self::Unreadable { metadata, .. } => metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Read(resource) => resource.meta_mut(),
            Self::Unreadable { metadata, .. } => metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::ResourceExt;
    use kube::core::ObjectList;

    use super::super::lean::MORE;
    use super::super::ownership::CLAIM;
    use super::super::view::FINALIZER;
    use super::*;
    use crate::api::Phase;

    fn object(name: &str, more: Value) -> Value {
        let mut object = json!({
            "apiVersion": "jointoken.io/v1alpha1", "kind": "JoinToken",
            "metadata": { "namespace": "edge", "name": name, "uid": "u", "resourceVersion": "7" },
            "spec": {},
        });
        for (name, value) in more.as_object().unwrap() {
            object[name] = value.clone();
        }
        object
    }

    /// The API server's check of a date-time takes all of these. It once stopped the operator for everybody.
    #[test]
    fn a_status_that_makes_no_sense_is_read_as_far_as_it_does() {
        for bad in [
            json!("2031-02-03T04:05:06+99:99"),
            json!("2031-02-03T04:05:06x7Z"),
            json!({"not": "a time"}),
        ] {
            let status = json!({
                "phase": "Consumed", "issuedAt": bad, "storeEpoch": 1, "storeIndex": 7, "unknown": [1],
                "conditions": [{
                    "type": "Ready", "status": "True", "reason": "R", "message": "", "lastTransitionTime": bad,
                }],
            });
            let seen = Seen::of(object("n1", json!({ "status": status })));
            let status = seen.read().expect("readable").status.clone().unwrap();
            assert_eq!(status.phase, Some(Phase::Consumed));
            assert_eq!((status.store_epoch, status.store_index), (Some(1), Some(7)));
            assert_eq!((status.issued_at, status.conditions), (None, Vec::new()));
        }
        let seen = Seen::of(object("n1", json!({ "status": 7 })));
        assert!(seen.read().is_none() || seen.read().unwrap().status.is_none());
    }

    #[test]
    fn one_object_does_not_hide_the_others() {
        let mut strange = object("strange", json!({}));
        strange["metadata"]["managedFields"] = json!([{ "time": 7, "fieldsV1": "?" }]);
        strange["metadata"]["labels"] = json!(7);
        let list = json!({
            "apiVersion": "jointoken.io/v1alpha1", "kind": "JoinTokenList", "metadata": {},
            "items": [
                object("bad", json!({ "spec": { "revision": "one" } })),
                object("worse", json!({ "metadata": { "name": "worse", "generation": {} } })),
                strange,
                object("good", json!({})),
            ],
        });
        let list: ObjectList<Seen> = serde_json::from_value(list).unwrap();
        let read: Vec<(String, bool)> = list
            .items
            .iter()
            .map(|seen| (seen.name_any(), seen.read().is_some()))
            .collect();
        let expected = [
            ("bad", false),
            ("worse", false),
            ("strange", true),
            ("good", true),
        ];
        assert_eq!(
            read,
            expected.map(|(name, is_read)| (name.to_owned(), is_read))
        );
    }

    fn read(object: &Value) -> JoinToken {
        let seen: Seen = serde_json::from_str(&object.to_string()).unwrap();
        seen.read().expect("readable").clone()
    }

    /// Each cost several megabytes in every replica, and nothing of that was ever read.
    #[test]
    fn what_nobody_reads_takes_no_room() {
        let many = |name: &str| -> Map<String, Value> {
            let entry = |at| (format!("example.org/{name}-{at}"), json!("v".repeat(63)));
            (0..8_500).map(entry).collect()
        };
        let mut annotations = many("annotation");
        annotations.insert("long".to_owned(), json!("v".repeat(256 << 10)));
        annotations.insert(CLAIM.to_owned(), json!("claim"));
        let owner = json!({ "apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u" });
        let mut finalizers: Vec<String> = many("finalizer").into_iter().map(|(n, _)| n).collect();
        finalizers.push(FINALIZER.to_owned());
        let mut fat = object("n1", json!({}));
        let metadata = fat["metadata"].as_object_mut().unwrap();
        metadata.insert("labels".to_owned(), many("label").into());
        metadata.insert("annotations".to_owned(), annotations.into());
        metadata.insert("finalizers".to_owned(), finalizers.into());
        metadata.insert("ownerReferences".to_owned(), vec![owner; 1_000].into());
        let kept = read(&fat).metadata;
        let claim = (CLAIM.to_owned(), "claim".to_owned());
        let expected = ObjectMeta {
            annotations: Some([claim].into()),
            finalizers: Some(vec![MORE.to_owned(), FINALIZER.to_owned()]),
            ..name_of(&fat)
        };
        assert_eq!(kept, expected);

        fat["metadata"]["annotations"] = json!({ CLAIM: "v".repeat(256 << 10) });
        fat["metadata"]["finalizers"] = json!([format!("example.org/{}", "v".repeat(1 << 20))]);
        let kept = read(&fat);
        assert_eq!(kept.annotations()[CLAIM], "");
        assert_eq!(kept.finalizers(), [MORE]);
        // A few are kept: nothing has to be read anew before ours is added.
        fat["metadata"]["finalizers"] = json!(["example.org/a", "foregroundDeletion"]);
        assert_eq!(
            read(&fat).finalizers(),
            ["example.org/a", "foregroundDeletion"]
        );
    }

    /// Otherwise its finalizer would hold it for ever.
    #[test]
    fn what_is_being_deleted_can_be_read_whatever_its_spec_says() {
        let metadata = json!({
            "namespace": "edge", "name": "n1", "finalizers": ["jointoken.io/abort-on-delete"],
            "deletionTimestamp": "2031-02-03T04:05:06Z",
        });
        let object = object(
            "n1",
            json!({ "metadata": metadata, "spec": { "revision": "one" } }),
        );
        let seen = Seen::of(object);
        assert_eq!(seen.read().expect("readable").finalizers().len(), 1);
    }
}
