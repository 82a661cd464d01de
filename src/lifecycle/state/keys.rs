//! The signing keys that were adopted. None is dropped while a store lives: a restore retires them, and they stay known so that
//! none of them is taken for a new one.

use std::collections::HashMap;

use crate::lifecycle::command::AdoptKey;
use crate::lifecycle::limits;
use crate::lifecycle::outcome::AdoptKeyOutcome;
use crate::token::{Fingerprint, KeyId, Purpose};

use super::slot::NO_KEY;

/// A record names its key by a number below this.
const PLACES: usize = NO_KEY as usize;

const _: () = assert!(2 * limits::KEYS < PLACES);

#[derive(Debug, Clone, Default)]
pub(in crate::lifecycle) struct Keys {
    all: Vec<AdoptKey>,
    /// So many of the first were retired by a restore: they mint nothing any more.
    retired: usize,
    // Neither an id nor a fingerprint is in it twice.
    by_id: HashMap<KeyId, u16>,
    by_fingerprint: HashMap<Fingerprint, u16>,
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
        let at = *self.by_id.get(key_id)?;
        let key = self.get(at)?;
        (usize::from(at) >= self.retired).then_some((at, key))
    }

    /// The key of a record, whether it still mints or not.
    pub fn get(&self, at: u16) -> Option<&AdoptKey> {
        self.all.get(usize::from(at))
    }

    /// Makes a key known. Of a NodeDB secret the maximum TTL is no part of the key but configured
    /// beside it: it is changed.
    pub fn adopt(&mut self, key: &AdoptKey, keeps_bounds: bool) -> AdoptKeyOutcome {
        let alike = self.by_fingerprint.get(&key.fingerprint).copied();
        if alike.is_some_and(|at| usize::from(at) < self.retired) {
            return AdoptKeyOutcome::Retired;
        }
        // A retired one that it clashes with has another fingerprint: it is neither known nor the same secret.
        let clash = alike.or_else(|| self.by_id.get(&key.key_id).copied());
        let full = self.is_full(key.purpose, keeps_bounds);
        match clash.and_then(|at| self.all.get_mut(usize::from(at))) {
            Some(known) if known == key => AdoptKeyOutcome::Known,
            Some(known) if is_same_nodedb_secret(known, key) => {
                known.max_ttl_ms = key.max_ttl_ms;
                AdoptKeyOutcome::Adopted
            }
            Some(_) => AdoptKeyOutcome::Conflict,
            None if !key.fits() => AdoptKeyOutcome::Refused,
            None if full => AdoptKeyOutcome::Full,
            None => match self.add(key.clone()) {
                Some(()) => AdoptKeyOutcome::Adopted,
                None => AdoptKeyOutcome::Full,
            },
        }
    }

    /// Retired ones take no room, and exported ones leave some to the others. By the rules before the third all are alike.
    fn is_full(&self, purpose: Purpose, keeps_bounds: bool) -> bool {
        match (keeps_bounds, purpose) {
            (false, _) => self.all.len() >= limits::KEYS,
            (true, Purpose::Offline) => self.in_force().len() >= limits::KEYS - limits::OWN_KEYS,
            (true, Purpose::Resource | Purpose::NodeDb) => self.in_force().len() >= limits::KEYS,
        }
    }

    /// `None`: no record could name it.
    fn add(&mut self, key: AdoptKey) -> Option<()> {
        let at = u16::try_from(self.all.len()).ok()?;
        if usize::from(at) >= PLACES {
            return None;
        }
        self.by_id.insert(key.key_id, at);
        self.by_fingerprint.insert(key.fingerprint, at);
        self.all.push(key);
        Some(())
    }

    /// No more room is left than the operator's own keys may need, by whatever rules.
    pub fn is_crowded(&self) -> bool {
        self.all.len() >= limits::KEYS - limits::OWN_KEYS
    }

    /// From now on no key that is known mints.
    pub fn retire_all(&mut self) {
        self.retired = self.all.len();
    }

    /// Drops those exported keys that no record names, once all are retired. Each was derived from the master key of a former store:
    /// none can be exported again. Where each key lies from now on.
    pub fn drop_exported(&mut self, is_named: impl Fn(u16) -> bool) -> HashMap<u16, u16> {
        let former = std::mem::take(self);
        let mut places = HashMap::new();
        for (at, key) in (0u16..).zip(former.all) {
            if (key.purpose != Purpose::Offline || is_named(at)) && self.add(key).is_some() {
                places.insert(at, u16::try_from(places.len()).unwrap_or(NO_KEY));
            }
        }
        self.retire_all();
        places
    }

    /// Says of an image's keys how many of the first are retired. `None`: there are not so many.
    pub fn restore_retired(&mut self, retired: usize) -> Option<()> {
        self.retired = retired;
        (retired <= self.all.len()).then_some(())
    }

    /// Adds the next key of an image. `None`: it could not have been adopted.
    pub fn restore(&mut self, key: AdoptKey) -> Option<()> {
        let is_known = self.by_id.contains_key(&key.key_id)
            || self.by_fingerprint.contains_key(&key.fingerprint);
        if is_known || !key.fits() {
            return None;
        }
        self.add(key)
    }
}

fn is_same_nodedb_secret(known: &AdoptKey, key: &AdoptKey) -> bool {
    let retimed = AdoptKey {
        max_ttl_ms: key.max_ttl_ms,
        ..known.clone()
    };
    known.purpose == Purpose::NodeDb && retimed == *key
}
