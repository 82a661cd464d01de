//! The signing keys that were adopted. None is ever dropped while the state lives: a restore retires
//! them, and they stay known so that none of them is taken for a new one.

use crate::lifecycle::command::AdoptKey;
use crate::lifecycle::limits;
use crate::lifecycle::outcome::AdoptKeyOutcome;
use crate::token::{KeyId, Purpose};

use super::slot::NO_KEY;

const _: () = assert!(limits::KEYS < NO_KEY as usize);

#[derive(Debug, Clone, Default)]
pub(in crate::lifecycle) struct Keys {
    all: Vec<AdoptKey>,
    /// So many of the first were retired by a restore: they mint nothing any more.
    retired: usize,
}

impl Keys {
    /// In the order in which the log adopted them; records name a key by its place here.
    pub fn in_order_of_adoption(&self) -> &[AdoptKey] {
        &self.all
    }

    /// Those that mint, in the order of their adoption.
    pub fn in_force(&self) -> &[AdoptKey] {
        self.all.get(self.retired..).unwrap_or_default()
    }

    pub fn retired(&self) -> &[AdoptKey] {
        self.all.get(..self.retired).unwrap_or_default()
    }

    /// A key that mints.
    pub fn find(&self, key_id: &KeyId) -> Option<(u16, &AdoptKey)> {
        let keys = self.all.iter().enumerate().skip(self.retired);
        let (at, key) = keys.into_iter().find(|(_, key)| key.key_id == *key_id)?;
        Some((u16::try_from(at).ok()?, key))
    }

    /// The key of a record, whether it still mints or not.
    pub fn get(&self, at: u16) -> Option<&AdoptKey> {
        self.all.get(usize::from(at))
    }

    /// Makes a key known. Of a NodeDB secret the maximum TTL is no part of the key but configured
    /// beside it: it is changed.
    pub fn adopt(&mut self, key: &AdoptKey) -> AdoptKeyOutcome {
        let is_retired = |known: &AdoptKey| known.fingerprint == key.fingerprint;
        if self.retired().iter().any(is_retired) {
            return AdoptKeyOutcome::Retired;
        }
        let full = self.all.len() >= limits::KEYS;
        // A retired one that it clashes with has another fingerprint: it is neither known nor the same secret.
        match self.all.iter_mut().find(|known| clash(known, key)) {
            Some(known) if known == key => AdoptKeyOutcome::Known,
            Some(known) if is_same_nodedb_secret(known, key) => {
                known.max_ttl_ms = key.max_ttl_ms;
                AdoptKeyOutcome::Adopted
            }
            Some(_) => AdoptKeyOutcome::Conflict,
            None if full || !key.fits() => AdoptKeyOutcome::Refused,
            None => {
                self.all.push(key.clone());
                AdoptKeyOutcome::Adopted
            }
        }
    }

    /// From now on no key that is known mints.
    pub fn retire_all(&mut self) {
        self.retired = self.all.len();
    }

    /// Says of an image's keys how many of the first are retired. `None`: there are not so many.
    pub fn restore_retired(&mut self, retired: usize) -> Option<()> {
        self.retired = retired;
        (retired <= self.all.len()).then_some(())
    }

    /// Adds the next key of an image. `None`: it could not have been adopted.
    pub fn restore(&mut self, key: AdoptKey) -> Option<()> {
        let is_new = !self.all.iter().any(|known| clash(known, &key));
        (is_new && matches!(self.adopt(&key), AdoptKeyOutcome::Adopted)).then_some(())
    }
}

fn clash(known: &AdoptKey, key: &AdoptKey) -> bool {
    known.key_id == key.key_id || known.fingerprint == key.fingerprint
}

fn is_same_nodedb_secret(known: &AdoptKey, key: &AdoptKey) -> bool {
    let retimed = AdoptKey {
        max_ttl_ms: key.max_ttl_ms,
        ..known.clone()
    };
    known.purpose == Purpose::NodeDb && retimed == *key
}
