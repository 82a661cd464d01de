//! Notices two JoinTokens of one namespace that name the same machine: each could admit one, and both certificates would carry
//! the same names. Nobody is refused for it, since a machine is replaced in just this way; it is said.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::ResourceExt;

use crate::api::{EventReason, JoinToken, Phase};

use super::effect::Notice;

/// Which JoinTokens name the same machine.
#[derive(Default)]
pub(super) struct SameNode(Mutex<Rows>);

#[derive(Default)]
struct Rows {
    /// The names of JoinTokens by namespace and the machine that they name, and whether it was said of each that another names
    /// that machine.
    named: HashMap<(String, String), BTreeMap<String, bool>>,
    /// The machines by namespace and name of the JoinToken: of one that is gone nothing else is known.
    machines: HashMap<(String, String), String>,
}

impl Rows {
    /// The JoinToken does not name this machine any more.
    fn remove(&mut self, key: &(String, String), name: &str) {
        let of = (key.0.clone(), name.to_owned());
        if self.machines.get(&of) == Some(&key.1) {
            self.machines.remove(&of);
        }
        if let Some(named) = self.named.get_mut(key) {
            named.remove(name);
            if named.is_empty() {
                self.named.remove(key);
            }
        }
    }

    /// The JoinToken names no machine any more.
    fn forget(&mut self, namespace: &str, name: &str) {
        let of = (namespace.to_owned(), name.to_owned());
        if let Some(machine) = self.machines.get(&of) {
            self.remove(&(of.0, machine.clone()), name);
        }
    }

    /// The JoinToken names this machine and, if it named another before, that one no more. All that name it.
    fn insert(&mut self, key: (String, String), name: &str) -> &mut BTreeMap<String, bool> {
        let of = (key.0.clone(), name.to_owned());
        match self.machines.insert(of, key.1.clone()) {
            Some(before) if before != key.1 => self.remove(&(key.0.clone(), before), name),
            _ => {}
        }
        self.named.entry(key).or_default()
    }
}

impl SameNode {
    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of the resource. The name of another that has named the same machine and was not told of yet: it may be gone
    /// since. One at most, so that a look costs no more however many there are.
    pub fn note(&self, resource: &JoinToken) -> Option<String> {
        let (key, name) = key_of(resource);
        let mut rows = self.rows();
        if !counts(resource) {
            rows.forget(&key.0, &name);
            return None;
        }
        let named = rows.insert(key, &name);
        // Who was told of one other knows.
        if *named.entry(name.clone()).or_default() {
            return None;
        }
        named.keys().find(|other| **other != name).cloned()
    }

    /// The resource is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.rows().forget(namespace, name);
    }

    /// What to say of the resource and another that was read just now, once; `None` if it names no machine of the resource's.
    pub fn say(
        &self,
        resource: &JoinToken,
        other: Option<&JoinToken>,
        name: &str,
    ) -> Option<Notice> {
        let (key, own_name) = key_of(resource);
        let mut rows = self.rows();
        if !other.is_some_and(|other| key_of(other).0 == key && counts(other)) {
            rows.remove(&key, name);
            return None;
        }
        let named = rows.named.get_mut(&key)?;
        let was_said = std::mem::replace(named.get_mut(&own_name)?, true);
        (!was_said).then(|| Notice {
            reason: EventReason::NodeNameShared,
            note: format!(
                "JoinToken {name} of this namespace names the same machine, {}: two machines could be admitted under the same \
                 names. Delete one of the two, or give one another spec.nodeName, for which its spec.revision has to be raised",
                resource.node_name()
            ),
        })
    }
}

fn key_of(resource: &JoinToken) -> ((String, String), String) {
    let namespace = resource.namespace().unwrap_or_default();
    ((namespace, resource.node_name()), resource.name_any())
}

/// It may admit a machine, or has.
fn counts(resource: &JoinToken) -> bool {
    let phase = resource.status.as_ref().and_then(|status| status.phase);
    resource.metadata.deletion_timestamp.is_none()
        && !resource.spec.revoked
        && !matches!(phase, Some(Phase::Expired | Phase::Aborted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{JoinTokenSpec, JoinTokenStatus};

    fn resource(name: &str, node: &str) -> JoinToken {
        let spec = JoinTokenSpec {
            node_name: Some(node.to_owned()),
            ..JoinTokenSpec::default()
        };
        let mut resource = JoinToken::new(name, spec);
        resource.metadata.namespace = Some("edge".to_owned());
        resource.metadata.uid = Some(format!("uid of {name}"));
        resource
    }

    #[test]
    fn two_that_name_one_machine_are_told_of_once() {
        let same = SameNode::default();
        let (one, two) = (resource("one", "edge-7"), resource("two", "edge-7"));
        let of_one = || Some("one".to_owned());
        assert_eq!(same.note(&one), None);
        assert_eq!(same.note(&resource("three", "edge-8")), None);
        assert_eq!(same.note(&two), of_one());
        let notice = same.say(&two, Some(&one), "one").unwrap();
        assert!(notice.note.contains("JoinToken one"), "{}", notice.note);
        assert_eq!(same.note(&two), None);
    }

    #[test]
    fn what_is_gone_takes_no_room() {
        let same = SameNode::default();
        same.note(&resource("one", "edge-7"));
        same.note(&resource("two", "edge-7"));
        same.forget("elsewhere", "one");
        same.forget("edge", "one");
        assert_eq!(same.rows().named.len(), 1);
        same.forget("edge", "two");
        assert!(same.rows().named.is_empty());
        assert!(same.rows().machines.is_empty());
    }

    #[test]
    fn what_is_gone_or_can_admit_nobody_is_not_told_of() {
        let same = SameNode::default();
        let (mut one, two) = (resource("one", "edge-7"), resource("two", "edge-7"));
        same.note(&one);
        assert_eq!(same.note(&two).as_deref(), Some("one"));
        assert_eq!(same.say(&two, None, "one"), None);
        assert_eq!(same.note(&two), None);

        same.note(&one);
        one.status = Some(JoinTokenStatus {
            phase: Some(Phase::Expired),
            ..JoinTokenStatus::default()
        });
        assert_eq!(same.note(&two).as_deref(), Some("one"));
        assert_eq!(same.say(&two, Some(&one), "one"), None);
        same.note(&one);
        assert_eq!(same.note(&two), None);
        let elsewhere = JoinToken {
            metadata: kube::api::ObjectMeta {
                namespace: Some("blue".to_owned()),
                ..two.metadata.clone()
            },
            ..two.clone()
        };
        assert_eq!(same.note(&elsewhere), None);
    }
}
