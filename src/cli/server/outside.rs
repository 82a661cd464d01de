//! What is outside of a replica's data folder and tells whether that was set back to an older copy.

use std::path::PathBuf;
use std::sync::Arc;

use crate::cli::patience::Patience;
use crate::cli::ports::Watched;
use crate::founding::{FormerEpochs, Identity, ReachedMark, Remembered, SeenObject, VaultError};
use crate::store::{OpenError, Told, Witness};

/// Whoever remembers how far the log has been.
#[derive(Clone)]
pub(super) struct Outside {
    pub mark: Arc<dyn ReachedMark>,
    /// What the statuses of JoinTokens tell; `None` outside Kubernetes.
    pub statuses: Option<Arc<dyn FormerEpochs>>,
    pub data_dir: PathBuf,
    /// Where it is told that this replica waits, unless somebody tells it there already.
    pub watched: Watched,
}

impl Outside {
    /// What tells how far the log of this replica has been. Waits for a cluster that does not answer.
    ///
    /// # Errors
    /// If the founding object is another than the data folder has seen.
    pub async fn witnesses(&self, of: &Identity) -> Result<Vec<Witness>, OpenError> {
        let founding = of.founding();
        let mut patience = Patience::new(self.watched);
        let look = || self.mark.remembered(founding.store_id);
        let remembered = patiently(&mut patience, look).await.map_err(outside)?;
        self.check_object(of, &remembered)?;
        let marked = remembered.reached.map(|reached| Witness {
            told: Told::Entry(reached),
            place: self.mark.place(),
        });
        let told = match &self.statuses {
            None => None,
            Some(statuses) => patiently(&mut patience, || statuses.furthest(founding))
                .await
                .map_err(outside)?,
        };
        patience.end().await;
        Ok(marked.into_iter().chain(told).collect())
    }

    fn check_object(&self, of: &Identity, remembered: &Remembered) -> Result<(), OpenError> {
        let Some(object) = &remembered.object else {
            return Ok(());
        };
        let file = SeenObject::of(of, &self.data_dir);
        // It is kept when the store is open: nothing is changed in a folder that is refused.
        match file.load().map_err(outside)? {
            Some(seen) if seen != *object && !remembered.folders_are_current => {
                Err(OpenError::Outside(another(
                    &self.mark.place(),
                    object,
                    &seen,
                    &self.data_dir.display().to_string(),
                )))
            }
            _ => Ok(()),
        }
    }
}

/// What to do when the founding object is another.
fn another(place: &str, object: &str, seen: &str, folder: &str) -> String {
    let (namespace, name) = place
        .strip_prefix("ConfigMap ")
        .and_then(|place| place.split_once('/'))
        .unwrap_or(("NAMESPACE", "NAME"));
    format!(
        "{place} is another object (uid {object}) than the one that the data folder {folder} has seen (uid {seen}): it was made anew, as when a namespace is restored from a backup. \
         If the volumes were restored, too, they are older than what was issued since and would admit used tokens again: make a new store of this folder or of a snapshot (`jointoken store recover`, `jointoken store snapshot restore`). \
         Only if all volumes are those in use last: kubectl -n {namespace} annotate configmap {name} --overwrite jointoken.io/volumes-are-current={object}"
    )
}

fn outside(error: VaultError) -> OpenError {
    OpenError::Outside(error.to_string())
}

/// Repeats what failed because the cluster did not answer.
async fn patiently<T, F>(
    patience: &mut Patience,
    mut look: impl FnMut() -> F,
) -> Result<T, VaultError>
where
    F: Future<Output = Result<T, VaultError>>,
{
    loop {
        match look().await {
            Err(error) if !error.is_unfit => {
                let why = "it tells whether the data folder was set back, and the store is not opened before it can be read";
                patience.wait(&format_args!("{error}: {why}")).await;
            }
            result => return result,
        }
    }
}
