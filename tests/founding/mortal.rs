//! A process that dies at its n-th effect, the effect done or not; whatever follows fails too.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::{BoxFuture, FutureExt as _, LocalBoxFuture};
use jointoken::founding::{
    Creation, DataFolder, ExchangeObject, ExchangeVault, Founding, FoundingObject, Identity,
    IfAbsent, Item, ItemName, Vault, VaultError,
};
use jointoken::store::{OpenError, TokenStore};
use jointoken::token::StoreId;

/// At which effect it dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    Never,
    Before(usize),
    After(usize),
}

pub struct Life {
    death: Death,
    effects: AtomicUsize,
}

impl Life {
    pub fn new(death: Death) -> Arc<Self> {
        let effects = AtomicUsize::new(0);
        Arc::new(Self { death, effects })
    }

    pub fn effects(&self) -> usize {
        self.effects.load(Ordering::SeqCst)
    }

    /// Whether the next effect is done, and whether anybody hears of it.
    fn next(&self) -> (bool, bool) {
        let nth = self.effects.fetch_add(1, Ordering::SeqCst);
        match self.death {
            Death::Before(n) if nth >= n => (false, false),
            Death::After(n) if nth > n => (false, false),
            Death::After(n) if nth == n => (true, false),
            _ => (true, true),
        }
    }

    async fn effect<T>(
        &self,
        act: impl Future<Output = Result<T, VaultError>>,
    ) -> Result<T, VaultError> {
        let (is_done, is_heard) = self.next();
        let died = || VaultError::new("process", "died");
        let result = if is_done { act.await } else { Err(died()) };
        if is_heard { result } else { Err(died()) }
    }

    fn effect_now<T>(&self, act: impl FnOnce() -> Result<T, VaultError>) -> Result<T, VaultError> {
        let result = self.effect(async { act() }).now_or_never();
        result.expect("nothing to wait for")
    }
}

/// Any of the three, with the life of its process.
pub struct Mortal<T> {
    pub life: Arc<Life>,
    pub it: T,
}

impl<V: Vault> Vault for Mortal<V> {
    fn load(&self, name: ItemName) -> BoxFuture<'_, Result<Option<Item>, VaultError>> {
        self.it.load(name)
    }

    fn create<'a>(
        &'a self,
        name: ItemName,
        item: &'a Item,
    ) -> BoxFuture<'a, Result<Creation<Item>, VaultError>> {
        self.life.effect(self.it.create(name, item)).boxed()
    }

    fn place(&self, name: ItemName) -> String {
        self.it.place(name)
    }
}

impl<O: FoundingObject> FoundingObject for Mortal<O> {
    fn load(&self) -> BoxFuture<'_, Result<Option<Founding>, VaultError>> {
        self.it.load()
    }

    fn create(&self, founding: Founding) -> BoxFuture<'_, Result<Creation<Founding>, VaultError>> {
        self.life.effect(self.it.create(founding)).boxed()
    }

    fn place(&self) -> String {
        self.it.place()
    }
}

impl<V: ExchangeVault> ExchangeVault for Mortal<V> {
    fn remove<'a>(
        &'a self,
        name: ItemName,
        there: &'a Item,
    ) -> BoxFuture<'a, Result<(), VaultError>> {
        self.life.effect(self.it.remove(name, there)).boxed()
    }
}

impl<O: ExchangeObject> ExchangeObject for Mortal<O> {
    fn exchange(
        &self,
        there: Founding,
        next: Founding,
    ) -> BoxFuture<'_, Result<Creation<Founding>, VaultError>> {
        self.life.effect(self.it.exchange(there, next)).boxed()
    }

    fn inherited(&self) -> BoxFuture<'_, Result<BTreeSet<StoreId>, VaultError>> {
        self.it.inherited()
    }
}

impl<D: DataFolder> DataFolder for Mortal<D> {
    fn identity(&self) -> Result<Option<Identity>, VaultError> {
        self.it.identity()
    }

    fn create_identity(&self, identity: &Identity) -> Result<Creation<Identity>, VaultError> {
        self.life.effect_now(|| self.it.create_identity(identity))
    }

    fn replace_identity(&self, identity: &Identity) -> Result<(), VaultError> {
        self.life.effect_now(|| self.it.replace_identity(identity))
    }

    fn open_store<'a>(
        &'a self,
        identity: &'a Identity,
        if_absent: IfAbsent,
    ) -> LocalBoxFuture<'a, Result<Arc<dyn TokenStore>, OpenError>> {
        self.it.open_store(identity, if_absent)
    }
}
