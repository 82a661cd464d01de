//! A replica's store, from its folder to a member of its group.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::SetOnce;

use super::outside::Outside;
use crate::cli::group::GroupWay;
use crate::clock::Clock;
use crate::founding::{self, IfAbsent};
use crate::store::disk::RealDisk;
use crate::store::{Identity, OpenError, RaftStore, StoreConfig, identity};

/// Opens the store of one replica.
#[derive(Clone)]
pub(super) struct Opening {
    pub config: StoreConfig,
    pub clock: Arc<dyn Clock>,
    /// The way to the other replicas; `None`: this one is alone.
    pub way: Option<Arc<GroupWay>>,
    /// What tells whether the folder was set back.
    pub outside: Outside,
    /// The store as soon as it is open, for who has to close it when something fails afterwards.
    pub opened: Arc<SetOnce<RaftStore>>,
}

impl Opening {
    /// Opens the store in its folder; makes it first if it is to be made. One of a group answers the others from here on.
    pub async fn open(
        self,
        of: &founding::Identity,
        if_absent: IfAbsent,
    ) -> Result<RaftStore, OpenError> {
        let Self {
            mut config,
            clock,
            way,
            outside,
            opened: shown,
        } = self;
        let disk = Arc::new(RealDisk);
        config.expected_store = Some(of.store_id);
        if if_absent != IfAbsent::Refuse && identity::read(&*disk, &config.data_dir)?.is_none() {
            let drawn = Identity {
                store_id: of.store_id,
                node_id: of.node_id,
                epoch: of.epoch,
                founding: true,
            };
            identity::create(&*disk, &config.data_dir, &drawn)?;
        }
        config.witnesses = outside.witnesses(of).await?;
        let is_remembered = !config.witnesses.is_empty();
        let store_dir = config.data_dir.clone();
        let opened = match &way {
            Some(way) => Some((way, way.open(of).await?)),
            None => None,
        };
        config.group = opened.as_ref().map(|(_, opened)| opened.config.clone());
        let store = RaftStore::open(config, disk, clock).await?;
        // It is opened once.
        let _ = shown.set(store.clone());
        if let Some((way, opened)) = &opened {
            way.serve(opened.tls(), &store);
        }
        if if_absent == IfAbsent::Make && store.identity().founding {
            // Unless it was founded already, and stopped before that was written down.
            if store.is_new() {
                if is_remembered {
                    return Err(OpenError::Outside(begun_again(&store_dir, &outside)));
                }
                store.until_all_are_new().await?;
            }
            store
                .initialize()
                .await
                .map_err(|error| OpenError::Start(error.to_string()))?;
            store.founding_complete().await?;
        }
        Ok(store)
    }
}

/// A folder that was copied while its store was being founded.
fn begun_again(store_dir: &Path, outside: &Outside) -> String {
    format!(
        "{} was set back to an older copy, of when its store was being founded: {} says that it was. Mount the volume that was in use last",
        store_dir.display(),
        outside.mark.place()
    )
}
