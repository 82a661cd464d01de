//! A store of a cluster that is lost for good, and another founded in its place.

use std::path::Path;

use jointoken::founding::{ReplaceError, ReplaceRequest, Replacement};
use jointoken::token::StoreId;

use super::*;

async fn look(
    replica: &Replica,
    life: &Arc<Life>,
    data: &Path,
    lost: StoreId,
) -> Result<Replacement, ReplaceError> {
    let request = ReplaceRequest {
        data: data.to_path_buf(),
        cluster: replica.cluster(life, 7),
        lost,
        trust_domain: TrustDomain::parse("prod.example.com").unwrap(),
    };
    Replacement::of(request).await
}

/// Mark, then five keys taken away.
#[tokio::test]
async fn stopped_at_any_step_the_same_command_goes_on_and_the_operator_ends_the_founding() {
    let stops = deaths(6).chain([Death::Never]);
    for death in stops {
        let mut replica = Replica::new("replacing").await;
        let folder = tempfile::tempdir().unwrap();
        let former = replica.start(&folder.path().join("lost")).await.unwrap();
        let lost = former.identity.store_id;
        replica.store = new_store();
        let data = folder.path().join("data");
        let said = replica.start(&data).await.err().unwrap().to_string();
        let command = format!("jointoken store found --replace-lost {lost}");
        assert!(said.contains(&command), "{said}");
        assert!(said.contains("jointoken store snapshot restore"), "{said}");

        let first = look(&replica, &Life::new(death), &data, lost)
            .await
            .unwrap();
        let first = first.carry_out().await;
        if death != Death::Never {
            assert!(first.is_err(), "{death:?}");
            let again = look(&replica, &Life::new(Death::Never), &data, lost).await;
            let again = again.unwrap_or_else(|error| panic!("{death:?}: {error}"));
            again.carry_out().await.unwrap();
        }
        let opened = replica.start(&data).await;
        let opened = opened.unwrap_or_else(|error| panic!("{death:?}: {error}"));
        assert!(opened.founded_now);
        assert_eq!(opened.identity.epoch, 8);
        assert_ne!(opened.identity.store_id, lost);
        assert_ne!(
            opened.material.door.fingerprint(),
            former.material.door.fingerprint()
        );
        let mark = replica.mark().await;
        assert_eq!(mark.0, opened.identity.store_id.to_string());
        // It is not lost.
        let error = look(&replica, &Life::new(Death::Never), &data, lost).await;
        assert!(matches!(error, Err(ReplaceError::NotEmpty { .. })));
        replica.ground.remove().await;
    }
}

#[tokio::test]
async fn only_the_store_that_the_mark_names_is_replaced() {
    let replica = Replica::new("replacing-other").await;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let life = Life::new(Death::Never);
    let other = StoreId([7; 16]);
    let error = look(&replica, &life, &data, other).await.unwrap_err();
    assert!(
        matches!(error, ReplaceError::NothingToReplace(_)),
        "{error}"
    );
    replica.start(&folder.path().join("there")).await.unwrap();
    let error = look(&replica, &life, &data, other).await.unwrap_err();
    assert!(matches!(error, ReplaceError::OtherStore { .. }), "{error}");
    assert_eq!(life.effects(), 0);
    assert!(!data.exists());
    // Somebody was faster.
    let lost = replica.mark().await.0.parse().unwrap();
    let slower = look(&replica, &life, &data, lost).await.unwrap();
    let faster = folder.path().join("faster");
    let faster = look(&replica, &life, &faster, lost).await.unwrap();
    let ours = faster.carry_out().await.unwrap();
    let error = slower.carry_out().await.unwrap_err();
    assert!(error.to_string().contains("meanwhile"), "{error}");
    assert_eq!(replica.mark().await.0, ours.store_id.to_string());
    replica.ground.remove().await;
}
