//! Namespaces, each kept once however many issuances it has.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::slab::Slab;

#[derive(Debug, Clone)]
pub(super) struct Namespaces {
    all: Slab<Namespace>,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

#[derive(Debug, Clone)]
pub(super) struct Namespace {
    pub name: Box<str>,
    pub uid: Box<str>,
    /// How many issuances are in it.
    pub uses: u32,
    /// Of these, how many have a live token.
    pub live: u32,
}

impl Namespaces {
    pub fn new() -> Self {
        Self {
            all: Slab::new(),
            table: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    pub fn get(&self, at: u32) -> &Namespace {
        &self.all[at]
    }

    fn find(&self, name: &str, uid: &str) -> Option<u32> {
        let hash = self.hasher.hash_one((name, uid));
        let is_it = |at: &u32| *self.all[*at].name == *name && *self.all[*at].uid == *uid;
        self.table.find(hash, is_it).copied()
    }

    /// The namespace, if anything is in it.
    pub fn named(&self, name: &str, uid: &str) -> Option<&Namespace> {
        self.find(name, uid).map(|at| self.get(at))
    }

    /// The token of an issuance in it came to life, or ended.
    pub fn count_live(&mut self, at: u32, was: bool, is: bool) {
        let live = &mut self.all[at].live;
        *live = *live - u32::from(was) + u32::from(is);
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, &Namespace)> {
        self.all.iter()
    }

    /// The number of this namespace for one more use.
    pub fn take(&mut self, name: &str, uid: &str) -> u32 {
        let hash = self.hasher.hash_one((name, uid));
        if let Some(at) = self.find(name, uid) {
            self.all[at].uses += 1;
            return at;
        }
        let all = &mut self.all;
        let at = all.insert(Namespace {
            name: name.into(),
            uid: uid.into(),
            uses: 1,
            live: 0,
        });
        let hasher = &self.hasher;
        self.table.insert_unique(hash, at, |other| {
            hasher.hash_one((&*all[*other].name, &*all[*other].uid))
        });
        at
    }

    /// Ends one use; the last one forgets the namespace.
    pub fn release(&mut self, at: u32) {
        let namespace = &mut self.all[at];
        namespace.uses -= 1;
        if namespace.uses > 0 {
            return;
        }
        let hash = self.hasher.hash_one((&*namespace.name, &*namespace.uid));
        if let Ok(found) = self.table.find_entry(hash, |other| *other == at) {
            found.remove();
        }
        self.all.remove(at);
    }
}
