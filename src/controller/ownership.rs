//! Whose a resource is: which store looks after it. What is another store's is left alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use kube::ResourceExt;
use tokio::sync::watch;

use crate::api::JoinToken;
use crate::lifecycle::command::Founded;
use crate::store::TokenStore;
use crate::token::StoreId;

/// Says which store took the resource first: `<store id>/<uid of the resource>`. It counts as long as the status names no store.
pub const CLAIM: &str = "jointoken.io/store";

/// The stores whose resources this one has taken over: it was restored or recovered from them, founded in their place, or
/// told to take them over.
pub type FormerStores = Arc<BTreeSet<StoreId>>;

/// Which store looks after a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// None so far: whoever claims it first.
    Nobody,
    Ours,
    /// One whose resources this store has taken over.
    Former,
    /// Another one; its id, as far as it is known.
    Other(String),
}

impl Owner {
    /// As this store sees it.
    pub fn of(resource: &JoinToken, ours: &Founded, former: &BTreeSet<StoreId>) -> Self {
        if let Some(store_id) = told_store(resource) {
            return match store_id.parse::<StoreId>() {
                Ok(id) if id == ours.store_id => Self::Ours,
                Ok(id) if former.contains(&id) => Self::Former,
                _ => Self::Other(store_id.to_owned()),
            };
        }
        // A status of an earlier release does not name its store, and a store has one epoch for its life.
        let status = resource.status.as_ref();
        match status.and_then(|status| status.store_epoch) {
            Some(epoch) if epoch == ours.epoch => Self::Ours,
            Some(epoch) if epoch < ours.epoch => Self::Former,
            Some(epoch) => Self::Other(format!("unnamed, of epoch {epoch}")),
            // Of a token without any position: nobody but a user who edited the status leaves that.
            None if tells_of_store(resource) => Self::Former,
            None => Self::Nobody,
        }
    }
}

/// The status was written by a store, perhaps of an earlier release that did not name itself.
pub fn tells_of_store(resource: &JoinToken) -> bool {
    resource.status.as_ref().is_some_and(|status| {
        status.store_id.is_some()
            || status.store_epoch.is_some()
            || status.token_id.is_some()
            || status.store_index > Some(0)
    })
}

/// The store that the status names or, if it names none, the one that claimed the resource.
pub fn told_store(resource: &JoinToken) -> Option<&str> {
    let status = resource.status.as_ref();
    if let Some(store_id) = status.and_then(|status| status.store_id.as_deref()) {
        return Some(store_id);
    }
    if tells_of_store(resource) {
        return None;
    }
    // The uid: a manifest that was copied with its annotations claims nothing.
    let (store_id, uid) = resource.annotations().get(CLAIM)?.split_once('/')?;
    let is_claim = resource.metadata.uid.as_deref() == Some(uid);
    (is_claim && store_id.parse::<StoreId>().is_ok()).then_some(store_id)
}

/// The annotation by which this store claims a resource.
pub fn claim(resource: &JoinToken, store_id: StoreId) -> String {
    format!("{store_id}/{}", resource.uid().unwrap_or_default())
}

/// Which resources an operator serves.
#[derive(Clone)]
pub(super) struct Scope {
    pub store: Arc<dyn TokenStore>,
    pub class: Option<String>,
    pub former: watch::Receiver<FormerStores>,
}

impl Scope {
    /// The resource is of the operator's class.
    pub fn serves(&self, resource: &JoinToken) -> bool {
        resource.spec.class_name == self.class
    }

    /// The other store that looks after a resource.
    pub fn other(&self, resource: &JoinToken) -> Option<String> {
        let founded = self.store.founded()?;
        match Owner::of(resource, &founded, &self.former.borrow()) {
            Owner::Other(store_id) => Some(store_id),
            Owner::Nobody | Owner::Ours | Owner::Former => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const OURS: StoreId = StoreId([0xaa; 16]);
    const THEIRS: StoreId = StoreId([0xbb; 16]);

    fn owner(annotations: Value, status: Value) -> Owner {
        let resource = json!({
            "apiVersion": "jointoken.io/v1alpha1", "kind": "JoinToken",
            "metadata": { "name": "n1", "uid": "uid-1", "annotations": annotations },
            "spec": {}, "status": status,
        });
        let ours = Founded {
            store_id: OURS,
            epoch: 5,
            trust_domain: "example.org".to_owned(),
            fingerprints: Vec::new(),
        };
        let former = [StoreId([0xcc; 16])].into();
        Owner::of(&serde_json::from_value(resource).unwrap(), &ours, &former)
    }

    fn id(byte: &str) -> String {
        byte.repeat(16)
    }

    #[test]
    fn the_status_says_whose_a_resource_is() {
        let by_status = |status| owner(json!({}), status);
        let theirs = Owner::Other(THEIRS.to_string());
        assert_eq!(by_status(json!({})), Owner::Nobody);
        assert_eq!(by_status(json!({ "storeId": id("aa") })), Owner::Ours);
        assert_eq!(by_status(json!({ "storeId": id("bb") })), theirs);
        // Whatever its epoch: a store that was taken over may have had a higher one.
        let taken_over = json!({ "storeId": id("cc"), "storeEpoch": 9 });
        assert_eq!(by_status(taken_over), Owner::Former);
        let same_epoch = json!({ "storeId": id("bb"), "storeEpoch": 5 });
        assert_eq!(by_status(same_epoch), theirs);
    }

    #[test]
    fn a_status_of_an_earlier_release_goes_by_its_epoch() {
        let by_epoch = |epoch: u64| owner(json!({}), json!({ "storeEpoch": epoch }));
        assert_eq!(by_epoch(5), Owner::Ours);
        assert_eq!(by_epoch(4), Owner::Former);
        let other = Owner::Other("unnamed, of epoch 6".to_owned());
        assert_eq!(by_epoch(6), other);
        let edited = json!({ "tokenId": "ab", "revision": 1 });
        assert_eq!(owner(json!({}), edited), Owner::Former);
    }

    #[test]
    fn a_claim_counts_for_this_very_resource_and_while_the_status_names_nobody() {
        let claimed = |claim: String, status| owner(json!({ CLAIM: claim }), status);
        let (ours, theirs) = (format!("{OURS}/uid-1"), format!("{THEIRS}/uid-1"));
        let other = Owner::Other(THEIRS.to_string());
        assert_eq!(claimed(ours, json!(null)), Owner::Ours);
        assert_eq!(claimed(theirs.clone(), json!(null)), other);
        assert_eq!(
            claimed(format!("{THEIRS}/uid-2"), json!(null)),
            Owner::Nobody
        );
        assert_eq!(
            claimed("anything/uid-1".to_owned(), json!(null)),
            Owner::Nobody
        );
        assert_eq!(
            claimed(theirs.clone(), json!({ "storeId": id("aa") })),
            Owner::Ours
        );
        assert_eq!(claimed(theirs, json!({ "storeEpoch": 5 })), Owner::Ours);
    }
}
