//! What the operator asks of the JoinTokens before there is a controller.

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use super::exit::{Exit, Failure};
use super::readable::Unreadable;
use crate::controller::{Seen, told};
use crate::founding::{FormerEpoch, FormerEpochs, VaultError};

/// An API server that takes longer to list nothing much is as good as away.
const ANSWER: Duration = Duration::from_secs(15);
/// So many at a time.
const PAGE: u32 = 500;

/// The statuses of the JoinTokens that the operator serves.
pub struct Statuses {
    /// As far as they can be read: one that somebody has spoiled must not keep a store from being founded.
    tokens: Vec<Api<Seen>>,
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
        Self { tokens }
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

    async fn read(&self) -> Result<FormerEpoch, VaultError> {
        let mut greatest = FormerEpoch::default();
        for tokens in &self.tokens {
            let mut params = ListParams::default().limit(PAGE);
            loop {
                let page = tokens.list(&params).await;
                let page = page.map_err(|error| VaultError::new("the JoinTokens", told(&error)))?;
                let tokens = page.items.iter().filter_map(Seen::read);
                for token in tokens {
                    let status = token.status.as_ref();
                    let epoch = status.and_then(|status| status.store_epoch).unwrap_or(0);
                    if epoch > greatest.epoch {
                        let namespace = token.namespace().unwrap_or_default();
                        let place =
                            format!("the status of JoinToken {namespace}/{}", token.name_any());
                        greatest = FormerEpoch { epoch, place };
                    }
                }
                match page.metadata.continue_.filter(|more| !more.is_empty()) {
                    Some(more) => params = params.continue_token(&more),
                    None => break,
                }
            }
        }
        Ok(greatest)
    }
}

impl FormerEpochs for Statuses {
    fn greatest(&self) -> BoxFuture<'_, Result<FormerEpoch, VaultError>> {
        self.read().boxed()
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
