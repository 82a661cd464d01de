//! Where the keys of a store are, and what is kept of that while a restore is under way.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Between;
use super::error::RestoreError;
use crate::founding::cluster::Cluster;
use crate::founding::folder_vault::FolderVault;
use crate::founding::item::ItemName;
use crate::founding::vault::{Founding, Vault, VaultError};

/// Where the keys of the former store are, and where those of the new one will be.
#[derive(Debug, Clone)]
pub enum Home {
    /// In this folder, as `serve` keeps them. In the data folder itself they make room for the new ones.
    Folder(PathBuf),
    /// In a cluster, whose mark and keys become the new store's.
    Cluster(Cluster),
}

impl Home {
    pub(super) fn vault(&self) -> Arc<dyn Vault> {
        match self {
            Self::Folder(keys) => Arc::new(FolderVault::new(keys)),
            Self::Cluster(cluster) => cluster.vault.clone(),
        }
    }

    /// The folder of the keys, if they are in one.
    pub(super) fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(keys) => Some(keys),
            Self::Cluster(_) => None,
        }
    }
}

/// What a cluster's mark said before the restore. Kept until that is finished: the mark is exchanged if it still says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub before: Option<Founding>,
}

const FIRST_LINE: &str = "jointoken restore in a cluster 1";

impl Mark {
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        (lines.next()? == FIRST_LINE).then_some(())?;
        let before = match lines.next()?.strip_prefix("before ")? {
            "nothing" => None,
            founding => {
                let (store_id, epoch) = founding.split_once(' ')?;
                Some(Founding {
                    store_id: store_id.parse().ok()?,
                    epoch: epoch.parse().ok()?,
                })
            }
        };
        let mark = Self { before };
        // One text for one mark.
        (mark.to_string() == text).then_some(mark)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST_LINE}")?;
        match self.before {
            None => writeln!(f, "before nothing"),
            Some(Founding { store_id, epoch }) => writeln!(f, "before {store_id} {epoch}"),
        }
    }
}

/// Makes mark and keys of the cluster those of the new store, whose keys lie in `made`. May be repeated after a crash, also
/// when they lie there no more because all are in their place.
pub(super) async fn take_over(
    cluster: &Cluster,
    mark: Mark,
    ours: Founding,
    made: &Path,
    between: Between<'_>,
) -> Result<(), RestoreError> {
    cluster.mark(mark.before, ours).await?;
    between()?;
    let vault = FolderVault::new(made);
    for name in ItemName::ALL {
        if cluster.has(name, ours).await? {
            continue;
        }
        let Some(item) = vault.load(name).await? else {
            let what = "is missing, and not in the cluster either: put it there from the backup of the keys";
            return Err(VaultError::unfit(vault.place(name), what).into());
        };
        cluster.clear(name, ours).await?;
        between()?;
        cluster.put(name, &item).await?;
        between()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::StoreId;

    #[test]
    fn a_mark_has_one_text() {
        let store_id = StoreId([7; 16]);
        let founding = Founding { store_id, epoch: 3 };
        for before in [None, Some(founding)] {
            let mark = Mark { before };
            let text = mark.to_string();
            assert_eq!(Mark::parse(&text), Some(mark));
            assert_eq!(Mark::parse(&text[..text.len() - 1]), None);
            assert_eq!(Mark::parse(&format!("{text}more")), None);
        }
        assert_eq!(Mark::parse(""), None);
    }
}
