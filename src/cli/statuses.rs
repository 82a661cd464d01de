//! What the operator asks of the JoinTokens before there is a controller.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use super::exit::{Exit, Failure};
use crate::api::JoinToken;
use crate::controller::Seen;
use crate::founding::{FormerEpoch, FormerEpochs, Founding, VaultError, whole};
use crate::store::Witness;

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
        for tokens in &self.tokens {
            let listed = tokens.list_metadata(&ListParams::default().limit(1)).await;
            let Err(error) = listed else { continue };
            let hint = match &error {
                kube::Error::Api(status) if status.is_not_found() => {
                    ": install their definition first (jointoken crd | kubectl apply --server-side -f -)"
                }
                kube::Error::Api(status) if status.is_forbidden() => {
                    ": give the operator the rights of deploy/rbac.yaml or of the chart"
                }
                kube::Error::Api(_) => "",
                _ => ": is the Kubernetes API running, and is this the right kubeconfig?",
            };
            return Err(Failure::new(
                Exit::Failed,
                format_args!("JoinTokens cannot be listed{hint} ({})", whole(&error)),
            ));
        }
        Ok(())
    }

    async fn read(&self) -> Result<FormerEpoch, VaultError> {
        let mut greatest = FormerEpoch::default();
        self.each(|token| {
            let status = token.status.as_ref();
            let epoch = status.and_then(|status| status.store_epoch).unwrap_or(0);
            if epoch > greatest.epoch {
                let place = place(token);
                greatest = FormerEpoch { epoch, place };
            }
        })
        .await?;
        Ok(greatest)
    }

    /// Looks at each that can be read.
    async fn each(&self, mut look: impl FnMut(&JoinToken) + Send) -> Result<(), VaultError> {
        for tokens in &self.tokens {
            let mut params = ListParams::default().limit(PAGE);
            loop {
                let page = tokens.list(&params).await;
                let page = page.map_err(|error| VaultError::new("the JoinTokens", error))?;
                page.items.iter().filter_map(Seen::read).for_each(&mut look);
                match page.metadata.continue_.filter(|more| !more.is_empty()) {
                    Some(more) => params = params.continue_token(&more),
                    None => break,
                }
            }
        }
        Ok(())
    }
}

impl Statuses {
    /// What tells of the highest place in this store's own log, if anything does.
    async fn witness(&self, of: Founding) -> Result<Option<Witness>, VaultError> {
        let mut highest: Option<Witness> = None;
        self.each(|token| {
            let Some(status) = token.status.as_ref() else {
                return;
            };
            // By the epoch alone: a restored store has another.
            let index = status
                .store_index
                .filter(|_| status.store_epoch == Some(of.epoch));
            let Some(index) =
                index.filter(|index| highest.as_ref().is_none_or(|of| of.index < *index))
            else {
                return;
            };
            highest = Some(Witness {
                term: None,
                index,
                place: place(token),
            });
        })
        .await?;
        Ok(highest)
    }
}

fn place(token: &JoinToken) -> String {
    let namespace = token.namespace().unwrap_or_default();
    format!("the status of JoinToken {namespace}/{}", token.name_any())
}

impl FormerEpochs for Statuses {
    fn greatest(&self) -> BoxFuture<'_, Result<FormerEpoch, VaultError>> {
        self.read().boxed()
    }

    fn furthest(&self, of: Founding) -> BoxFuture<'_, Result<Option<Witness>, VaultError>> {
        self.witness(of).boxed()
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
