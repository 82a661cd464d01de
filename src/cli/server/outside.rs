//! What is outside of a replica's data folder and tells whether that was set back to an older copy.

use std::path::PathBuf;
use std::sync::Arc;

use crate::cli::patience::Patience;
use crate::cli::ports::Watched;
use crate::founding::{
    FormerEpochs, Identity, ReachedMark, Remembered, SeenObject, VaultError, WrittenFor,
};
use crate::store::{OpenError, Told, Witness};
use crate::token::StoreId;

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
            None => Vec::new(),
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
        // It is kept when the store is open: nothing is changed in a folder that is refused.
        let seen = SeenObject::of(of, &self.data_dir).load().map_err(outside)?;
        if seen.as_ref() == Some(object) {
            return Ok(());
        }
        let refusal = Refusal {
            place: &self.mark.place(),
            folder: &self.data_dir.display().to_string(),
        };
        let why = match (&remembered.written_for, seen) {
            // Nobody who says that the folders are current can know that the store does not live on there, too.
            (WrittenFor::Another(original), _) => refusal.copied(original, of.store_id),
            (_, None) => return Ok(()),
            (WrittenFor::Itself, Some(_)) if remembered.folders_are_current => return Ok(()),
            (WrittenFor::Itself, Some(seen)) => refusal.made_anew(object, &seen),
            (WrittenFor::Untold, Some(seen)) => refusal.of_unknown_origin(object, &seen),
        };
        Err(OpenError::Outside(why))
    }
}

/// What to do when the founding object is another than the data folder has seen.
struct Refusal<'a> {
    place: &'a str,
    folder: &'a str,
}

impl Refusal<'_> {
    /// Namespace and name.
    fn object(&self) -> (&str, &str) {
        let object = self.place.strip_prefix("ConfigMap ");
        let parts = object.and_then(|object| object.split_once('/'));
        parts.unwrap_or(("NAMESPACE", "NAME"))
    }

    fn copied(&self, original: &str, store_id: StoreId) -> String {
        let Self { place, folder } = self;
        let (namespace, _) = self.object();
        let original = original.escape_debug();
        format!(
            "{place} is a copy of ConfigMap {original}, for which its data `object` says that it was written: the store may live on there, and a second one of the same id, on the data folder {folder}, would admit again by tokens that are used there. Nothing was changed. \
             Make a new store of this folder or of a snapshot, with --system-namespace {namespace} (`jointoken store recover`, `jointoken store snapshot restore`). If the store of {original} is gone for good, start the operator then once with --take-over {store_id}, and its JoinTokens are the new one's"
        )
    }

    fn another(&self, object: &str, seen: &str) -> String {
        let Self { place, folder } = self;
        format!(
            "{place} is another object (uid {object}) than the one that the data folder {folder} has seen (uid {seen}): it was made anew, as when a namespace is restored from a backup. \
             If the volumes were restored, too, they are older than what was issued since and would admit used tokens again: make a new store of this folder or of a snapshot (`jointoken store recover`, `jointoken store snapshot restore`)."
        )
    }

    fn made_anew(&self, object: &str, seen: &str) -> String {
        let another = self.another(object, seen);
        let (namespace, name) = self.object();
        format!(
            "{another} Only if all volumes are those in use last, and the store does not live on in another cluster, of which this one is a copy: kubectl -n {namespace} annotate configmap {name} --overwrite jointoken.io/volumes-are-current={object}"
        )
    }

    /// It may be a copy, too, and only whoever made it knows.
    fn of_unknown_origin(&self, object: &str, seen: &str) -> String {
        let another = self.another(object, seen);
        let (namespace, name) = self.object();
        let patch = serde_json::json!({
            "data": { "object": format!("{namespace}/{name}") },
            "metadata": { "annotations": { "jointoken.io/volumes-are-current": object } },
        });
        format!(
            "{another} Its data do not say (`object`) for which ConfigMap they were written. Only if the store has always been in namespace {namespace}, all volumes are those in use last, and the store does not live on in another cluster, of which this one is a copy: \
             kubectl -n {namespace} patch configmap {name} --type merge -p '{patch}'"
        )
    }
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

#[cfg(test)]
mod tests {
    use futures::future::{BoxFuture, ready};
    use tokio::sync::watch;

    use super::*;
    use crate::founding::Stage;
    use crate::pki::TrustDomain;
    use crate::store::Reached;

    /// The founding object `here/x`.
    struct Object(Remembered);

    impl ReachedMark for Object {
        fn remembered(&self, _of: StoreId) -> BoxFuture<'_, Result<Remembered, VaultError>> {
            Box::pin(ready(Ok(self.0.clone())))
        }

        fn remember(
            &self,
            _of: StoreId,
            _reached: Reached,
        ) -> BoxFuture<'_, Result<Remembered, VaultError>> {
            Box::pin(ready(Ok(self.0.clone())))
        }

        fn seen(&self) -> Option<watch::Receiver<Option<Remembered>>> {
            None
        }

        fn place(&self) -> String {
            "ConfigMap here/x".to_owned()
        }
    }

    /// Of a folder that has seen this object, and of the object `now`.
    async fn refusal(
        seen: Option<&str>,
        written_for: &WrittenFor,
        folders_are_current: bool,
    ) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity {
            store_id: StoreId([1; 16]),
            epoch: 1,
            node_id: 7,
            trust_domain: TrustDomain::parse("prod.example.com").unwrap(),
            stage: Stage::Founded,
        };
        if let Some(seen) = seen {
            let file = SeenObject::of(&identity, folder.path());
            file.save(seen).unwrap();
        }
        let remembered = Remembered {
            object: Some("now".to_owned()),
            folders_are_current,
            written_for: written_for.clone(),
            ..Remembered::default()
        };
        let outside = Outside {
            mark: Arc::new(Object(remembered)),
            statuses: None,
            data_dir: folder.path().to_owned(),
            watched: Watched {
                metrics: ([127, 0, 0, 1], 0).into(),
                probes: ([127, 0, 0, 1], 0).into(),
            },
        };
        let said = outside.witnesses(&identity).await.err()?.to_string();
        let step = format!("--take-over {}", identity.store_id);
        let is_copy = matches!(written_for, WrittenFor::Another(_));
        assert_eq!(said.contains(&step), is_copy, "{said}");
        Some(said)
    }

    #[tokio::test]
    async fn that_the_volumes_are_current_is_believed_only_where_the_object_is_no_copy() {
        use WrittenFor::{Another, Itself, Untold};
        let elsewhere = Another("there/x".to_owned());
        let step =
            "kubectl -n here annotate configmap x --overwrite jointoken.io/volumes-are-current=now";
        let both = "kubectl -n here patch configmap x --type merge -p '{\"data\":{\"object\":\"here/x\"},\"metadata\":{\"annotations\":{\"jointoken.io/volumes-are-current\":\"now\"}}}'";
        for told in [false, true] {
            // It is the one that was seen last.
            for written_for in [&Itself, &Untold, &elsewhere] {
                assert_eq!(refusal(Some("now"), written_for, told).await, None);
            }
            // Nothing was seen yet.
            for written_for in [&Itself, &Untold] {
                assert_eq!(refusal(None, written_for, told).await, None);
            }
            for seen in [None, Some("before")] {
                let said = refusal(seen, &elsewhere, told).await.unwrap();
                let copy = "ConfigMap here/x is a copy of ConfigMap there/x";
                assert!(said.starts_with(copy), "{said}");
                assert!(said.contains("--system-namespace here"), "{said}");
                assert!(!said.contains("kubectl"), "{said}");
            }
            let said = refusal(Some("before"), &Untold, told).await.unwrap();
            assert!(said.ends_with(both), "{said}");
        }
        let said = refusal(Some("before"), &Itself, false).await.unwrap();
        assert!(said.ends_with(step), "{said}");
        assert_eq!(refusal(Some("before"), &Itself, true).await, None);
    }
}
