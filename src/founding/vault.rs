//! Where key material is kept, and the mark that a store was founded: both create-once.

use std::collections::BTreeSet;
use std::error::Error as StdError;

use futures::future::BoxFuture;

use super::item::{Item, ItemName};
use super::told::ToldEpochs;
use crate::store::Witness;
use crate::token::StoreId;

/// What came of creating something that may be created once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Creation<T> {
    /// It is there now, durably.
    Created,
    /// It was there before, and nothing was changed; this is what it is.
    Exists(T),
}

/// Keeps key material.
pub trait Vault: Send + Sync {
    /// The item of this name. What is returned is durable.
    fn load(&self, name: ItemName) -> BoxFuture<'_, Result<Option<Item>, VaultError>>;

    /// Creates the item, all of it or nothing, unless there is one of its name; returns when it is
    /// durable. A vault never overwrites.
    fn create<'a>(
        &'a self,
        name: ItemName,
        item: &'a Item,
    ) -> BoxFuture<'a, Result<Creation<Item>, VaultError>>;

    /// Where the item is or would be, for messages: a path, or a Secret's namespace and name.
    fn place(&self, name: ItemName) -> String;
}

/// Which founding of a store a whole cluster goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Founding {
    /// The store's random name.
    pub store_id: StoreId,
    /// Grows with each founding, restore or recovery.
    pub epoch: u64,
}

/// The one object outside of any replica's folder that says which store was founded: an empty
/// folder beside another's founding object must not found a second store. In Kubernetes a
/// ConfigMap; outside there is none, and the data folder speaks for itself.
pub trait FoundingObject: Send + Sync {
    /// What it says, if it is there.
    fn load(&self) -> BoxFuture<'_, Result<Option<Founding>, VaultError>>;

    /// Creates it unless it is there.
    fn create(&self, founding: Founding) -> BoxFuture<'_, Result<Creation<Founding>, VaultError>>;

    /// Where it is or would be, for messages.
    fn place(&self) -> String;
}

/// A vault whose items can be exchanged: for who makes a new store of a former one, while no replica runs.
pub trait ExchangeVault: Vault {
    /// Takes the item of this name away, if it is still this one or gone already.
    fn remove<'a>(
        &'a self,
        name: ItemName,
        there: &'a Item,
    ) -> BoxFuture<'a, Result<(), VaultError>>;
}

/// A founding object that can be made another store's.
pub trait ExchangeObject: FoundingObject {
    /// Has it say `next`, if it says `there`. Otherwise what it says. What the former store looked after is the next one's
    /// then, as long as the former one goes by this object and so comes to know.
    fn exchange(
        &self,
        there: Founding,
        next: Founding,
    ) -> BoxFuture<'_, Result<Creation<Founding>, VaultError>>;

    /// The stores that it names as former ones: what they looked after is that of the store which it is about.
    fn inherited(&self) -> BoxFuture<'_, Result<BTreeSet<StoreId>, VaultError>>;
}

/// What former foundings have left behind, outside of any store.
///
/// A store that is founded where there was one before takes a higher epoch, so that whatever tells
/// of the former one is known to be of it. In Kubernetes these are the statuses of JoinTokens.
pub trait FormerEpochs: Send + Sync {
    /// The greatest epoch that anything tells of; 0 if nothing does. `known`: the greatest that is known from elsewhere.
    fn greatest(&self, known: u64) -> BoxFuture<'_, Result<ToldEpochs, VaultError>>;

    /// What tells of the highest places in this store's own log, the highest first.
    fn furthest(&self, of: Founding) -> BoxFuture<'_, Result<Vec<Witness>, VaultError>> {
        let _ = of;
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// The stores that something tells of and that were not taken over: they may be alive.
    fn strangers(&self) -> BoxFuture<'_, Result<Vec<Stranger>, VaultError>>;
}

/// A store that something tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranger {
    /// `None`: it is told of by an earlier release, which did not name it.
    pub store_id: Option<StoreId>,
    /// What tells of it, and of how many such things this is one.
    pub place: String,
    pub count: usize,
}

/// An epoch that something tells of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FormerEpoch {
    pub epoch: u64,
    /// What tells of it, for messages: it may be wrong.
    pub place: String,
}

/// A vault, or the founding object, could not be read or written. Whether something was created
/// is not known: look again.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {}", whole(&**source))]
pub struct VaultError {
    /// What was read or written: a path, a Secret.
    pub place: String,
    /// Why it failed. Never contains any of the contents.
    #[source]
    pub source: Box<dyn StdError + Send + Sync>,
    /// It was read, and is not what it should be: to look again is of no use.
    pub is_unfit: bool,
}

/// An error with everything behind it, in one line: that a call failed says little without why.
pub fn whole(error: &(dyn StdError + 'static)) -> String {
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let more = error.to_string();
        // Some repeat what is behind them.
        if !said.contains(&more) {
            said.push_str(": ");
            said.push_str(&more);
        }
        next = error.source();
    }
    said.replace('\n', " ")
}

impl VaultError {
    /// An error at this place.
    pub fn new(
        place: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self {
            place: place.into(),
            source: source.into(),
            is_unfit: false,
        }
    }

    /// What was read at this place is not what it should be.
    pub fn unfit(
        place: impl Into<String>,
        what: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self {
            is_unfit: true,
            ..Self::new(place, what)
        }
    }
}
