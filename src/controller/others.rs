//! Says that resources are another store's and are left alone: of a few each, of more only how many.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::ResourceExt;

use crate::api::{EventReason, JoinToken};
use crate::token::StoreId;

use super::effect::Notice;

/// So many are named, each in a line and an event of its own.
const NAMED: usize = 10;
/// How often it is said how many more there are.
const COUNTED_EVERY: Duration = Duration::from_secs(60);

/// Of which resources it was said.
#[derive(Default)]
pub(super) struct Others {
    said: Mutex<HashSet<String>>,
    /// How many were met that are not named, and that it will be said.
    more: Arc<Mutex<(usize, bool)>>,
}

impl Others {
    /// Says it, unless it was said of this one; `Some`: to be told as an event, too.
    pub fn say(&self, resource: &JoinToken, other: &str, ours: StoreId) -> Option<Notice> {
        let named = {
            let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            if !said.insert(resource.uid().unwrap_or_default()) {
                return None;
            }
            said.len() <= NAMED
        };
        if !named {
            self.count();
            return None;
        }
        let way_out = way_out(other);
        tracing::warn!(
            namespace = resource.namespace(),
            name = resource.name_any(),
            store_id = %ours,
            of_store = other,
            "a JoinToken is another store's and is left alone: divide the work by --class or --namespace{way_out}"
        );
        Some(Notice {
            reason: EventReason::OfAnotherStore,
            note: format!(
                "this JoinToken is of store {other}, so the operator of store {ours} leaves it alone: two operators serve this \
                 namespace, divide the work between them by spec.className or by namespaces{way_out}"
            ),
        })
    }

    /// The resource of this uid is this store's now, or is gone, whatever was said before.
    pub fn forget(&self, uid: &str) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.remove(uid);
    }

    fn count(&self) {
        let mut more = self.more.lock().unwrap_or_else(PoisonError::into_inner);
        more.0 += 1;
        if std::mem::replace(&mut more.1, true) {
            return;
        }
        let more = Arc::clone(&self.more);
        tokio::spawn(async move {
            tokio::time::sleep(COUNTED_EVERY).await;
            let (count, _) =
                std::mem::take(&mut *more.lock().unwrap_or_else(PoisonError::into_inner));
            tracing::warn!(
                count,
                "more JoinTokens are another store's and are left alone"
            );
        });
    }
}

/// What to do if that store is the one that this store was restored from, or is lost: only a person knows that it is gone.
fn way_out(other: &str) -> String {
    match other.parse::<StoreId>() {
        Ok(other) => format!(
            "; if store {other} is gone for good, start this operator once with --take-over {other}"
        ),
        // One that is not named cannot be taken over.
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::JoinTokenSpec;

    #[tokio::test(start_paused = true)]
    async fn it_is_said_once_of_each_and_of_a_few_by_name() {
        let others = Others::default();
        let mut events = 0;
        for round in 0..2 {
            for number in 0..100 {
                let mut resource = JoinToken::new("n1", JoinTokenSpec::default());
                resource.metadata.uid = Some(format!("uid-{number}"));
                let theirs = StoreId([2; 16]).to_string();
                let said = others.say(&resource, &theirs, StoreId([1; 16]));
                if let Some(notice) = &said {
                    assert!(
                        notice
                            .note
                            .contains(&format!("once with --take-over {theirs}"))
                    );
                }
                events += usize::from(said.is_some());
                assert!(round == 0 || said.is_none());
            }
        }
        assert_eq!(events, NAMED);
        assert_eq!(*others.more.lock().unwrap(), (100 - NAMED, true));
        tokio::time::sleep(COUNTED_EVERY * 2).await;
        assert_eq!(*others.more.lock().unwrap(), (0, false));
    }
}
