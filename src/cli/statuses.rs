//! What the operator asks of the JoinTokens before there is a controller.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use super::exit::{Exit, Failure};
use super::readable::Unreadable;
use crate::api::{JoinToken, JoinTokenStatus};
use crate::controller::{PAGE, Seen, is_away, tells_of_store, told, told_store};
use crate::founding::{FormerEpochs, Founding, Stranger, ToldEpochs, UNNAMED, VaultError};
use crate::store::{Told, Witness};
use crate::token::StoreId;

/// A store that is gone for good, whose JoinTokens another one takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakeOver {
    Store(StoreId),
    /// The one of which statuses of an earlier release tell.
    Unnamed,
}

impl TakeOver {
    /// From the command line.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == UNNAMED {
            return Ok(Self::Unnamed);
        }
        let id = text.parse();
        id.map(Self::Store)
            .map_err(|error| format!("{error}, as status.storeId shows them"))
    }

    /// Its id, if it has one.
    pub const fn id(&self) -> Option<StoreId> {
        match self {
            Self::Store(id) => Some(*id),
            Self::Unnamed => None,
        }
    }
}

/// An API server that takes longer to list nothing much is as good as away.
const ANSWER: Duration = Duration::from_secs(15);

/// The statuses of the JoinTokens that the operator serves.
pub struct Statuses {
    /// As far as they can be read: one that somebody has spoiled must not keep a store from being founded.
    tokens: Vec<Api<Seen>>,
    /// Which class of them; `None`: all.
    class: Option<Option<String>>,
    taken_over: Vec<StoreId>,
    takes_over_unnamed: bool,
}

impl Statuses {
    /// Those of these namespaces; of all if there is none.
    pub fn new(client: &Client, namespaces: &[String]) -> Self {
        let tokens = match namespaces {
            [] => vec![Api::all(client.clone())],
            named => named
                .iter()
                .map(|namespace| Api::namespaced(client.clone(), namespace))
                .collect(),
        };
        Self {
            tokens,
            class: None,
            taken_over: Vec::new(),
            takes_over_unnamed: false,
        }
    }

    /// Only those of this class; `None`: without one.
    pub fn of_class(self, class: Option<&str>) -> Self {
        Self {
            class: Some(class.map(str::to_owned)),
            ..self
        }
    }

    /// Those of these stores are no stranger's.
    pub fn taking_over(self, stores: &[TakeOver]) -> Self {
        let ids = stores.iter().filter_map(|store| store.id());
        Self {
            taken_over: ids.collect(),
            takes_over_unnamed: stores.contains(&TakeOver::Unnamed),
            ..self
        }
    }

    /// Whether JoinTokens can be listed at all.
    ///
    /// # Errors
    /// One line: the CustomResourceDefinition is missing, or a right.
    pub async fn check(&self) -> Result<(), Failure> {
        match self.unreadable().await.first() {
            None => Ok(()),
            Some(unreadable) => Err(Failure::new(Exit::Failed, unreadable)),
        }
    }

    /// Where JoinTokens cannot be listed, and why.
    pub async fn unreadable(&self) -> Vec<Unreadable> {
        let mut unreadable = Vec::new();
        for tokens in &self.tokens {
            let params = ListParams::default().limit(1);
            let listed = tokio::time::timeout(ANSWER, tokens.list_metadata(&params)).await;
            let listed = listed.unwrap_or_else(|_| {
                let late = format!("no answer within {} s", ANSWER.as_secs());
                Err(kube::Error::Service(late.into()))
            });
            if let Err(error) = listed {
                unreadable.push(Unreadable::new(tokens.namespace(), &error));
            }
        }
        unreadable
    }

    /// In how many places they are listed: each of the named namespaces, or all at once.
    pub const fn count(&self) -> usize {
        self.tokens.len()
    }

    /// Shows each that is of the class.
    async fn each(&self, mut see: impl FnMut(&JoinToken) + Send) -> Result<(), VaultError> {
        for tokens in &self.tokens {
            let shown = self.each_in(tokens, &mut see).await;
            shown.map_err(|error| VaultError::new("the JoinTokens", told(&error)))?;
        }
        Ok(())
    }

    async fn each_in(
        &self,
        tokens: &Api<Seen>,
        see: &mut (impl FnMut(&JoinToken) + Send),
    ) -> kube::Result<()> {
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let page = tokens.list(&params).await?;
            let seen = page.items.iter().filter_map(Seen::read);
            seen.filter(|token| self.serves(token)).for_each(&mut *see);
            match page.metadata.continue_.filter(|more| !more.is_empty()) {
                Some(more) => params = params.continue_token(&more),
                None => return Ok(()),
            }
        }
    }

    fn serves(&self, token: &JoinToken) -> bool {
        let class = self.class.as_ref();
        class.is_none_or(|class| token.spec.class_name == *class)
    }

    async fn read(&self, known: u64) -> Result<ToldEpochs, VaultError> {
        let mut epochs = ToldEpochs::beside(known);
        self.each(|token| {
            let status = token.status.as_ref();
            let epoch = status.and_then(|status| status.store_epoch).unwrap_or(0);
            epochs.add(epoch, || format!("the status of {}", named(token)));
        })
        .await?;
        Ok(epochs)
    }

    async fn read_stores(&self) -> Result<Vec<Stranger>, VaultError> {
        let mut strangers: Vec<Stranger> = Vec::new();
        self.each(|token| {
            // Nobody has written anything about it. A claim alone is no token, and whoever may create a JoinToken can make one.
            if !tells_of_store(token) {
                return;
            }
            let store_id = told_store(token).and_then(|told| told.parse::<StoreId>().ok());
            let is_known = match store_id {
                Some(store_id) => self.taken_over.contains(&store_id),
                None => self.takes_over_unnamed,
            };
            if is_known {
                return;
            }
            match strangers
                .iter_mut()
                .find(|other| other.store_id == store_id)
            {
                Some(stranger) => stranger.count += 1,
                None => strangers.push(Stranger {
                    store_id,
                    place: named(token),
                    count: 1,
                }),
            }
        })
        .await?;
        Ok(strangers)
    }
}

fn named(token: &JoinToken) -> String {
    let namespace = token.namespace().unwrap_or_default();
    format!("JoinToken {namespace}/{}", token.name_any())
}

impl Statuses {
    /// What tells of the highest places in this store's own log. Where JoinTokens may not be listed nobody waits for them: the
    /// founding object remembers, too.
    async fn witnesses(&self, of: Founding) -> Result<Vec<Witness>, VaultError> {
        let ours = of.store_id.to_string();
        let mut highest = BinaryHeap::new();
        let mut see = |token: &JoinToken| {
            let status = token.status.as_ref();
            // An earlier release named no store; a restored one has another epoch.
            let is_ours = |status: &&JoinTokenStatus| {
                // One that is being deleted is how an edited status is got rid of: its finalizer waits for this very operator.
                token.metadata.deletion_timestamp.is_none()
                    && status.store_epoch == Some(of.epoch)
                    && told_store(token).is_none_or(|told| told == ours)
            };
            if let Some(index) = status.filter(is_ours).and_then(|status| status.store_index) {
                highest.push(Reverse((index, named(token))));
                if highest.len() > Witness::STATUSES {
                    highest.pop();
                }
            }
        };
        for tokens in &self.tokens {
            match self.each_in(tokens, &mut see).await {
                Err(error) if is_away(&error) => {
                    return Err(VaultError::new("the JoinTokens", told(&error)));
                }
                Err(error) => tracing::warn!(
                    namespace = tokens.namespace(),
                    error = told(&error),
                    "JoinTokens cannot be listed: their statuses do not count when it is looked whether the data folder was set back"
                ),
                Ok(()) => {}
            }
        }
        let highest_first = highest.into_sorted_vec().into_iter();
        Ok(highest_first
            .map(|Reverse((index, token))| Witness {
                told: Told::Index(index),
                place: format!("the status of {token}"),
            })
            .collect())
    }
}

impl FormerEpochs for Statuses {
    fn greatest(&self, known: u64) -> BoxFuture<'_, Result<ToldEpochs, VaultError>> {
        self.read(known).boxed()
    }

    fn furthest(&self, of: Founding) -> BoxFuture<'_, Result<Vec<Witness>, VaultError>> {
        self.witnesses(of).boxed()
    }

    fn strangers(&self) -> BoxFuture<'_, Result<Vec<Stranger>, VaultError>> {
        self.read_stores().boxed()
    }
}

#[cfg(test)]
mod tests {
    /// A store of a higher epoch could write no status at all.
    #[test]
    fn every_epoch_that_can_be_founded_fits_into_a_status() {
        assert_eq!(crate::founding::MAX_EPOCH, crate::api::MAX_INTEGER);
    }
}
