//! A store of a cluster that is lost for good, and another founded in its place.

use std::path::Path;

use jointoken::founding::{
    Creation, IdentityFile, ReplaceError, ReplaceRequest, Replacement, Stage,
};
use jointoken::token::StoreId;

use super::*;

async fn look(
    replica: &Replica,
    life: &Arc<Life>,
    data: &Path,
    lost: StoreId,
) -> Result<Replacement, ReplaceError> {
    look_for(replica, life, data, lost, "prod.example.com").await
}

async fn look_for(
    replica: &Replica,
    life: &Arc<Life>,
    data: &Path,
    lost: StoreId,
    trust_domain: &str,
) -> Result<Replacement, ReplaceError> {
    let request = ReplaceRequest {
        data: data.to_path_buf(),
        cluster: replica.cluster(life, 7),
        lost,
        trust_domain: TrustDomain::parse(trust_domain).unwrap(),
        epoch_above: 0,
    };
    said_in_prose(Replacement::of(request).await)
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
        assert_eq!(replica.former_stores().await, lost.to_string());
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

/// What was begun is gone on with as it was begun, so another name must not look as if it counted.
#[tokio::test]
async fn another_trust_domain_is_not_taken_silently() {
    let replica = Replica::new("replacing-domain").await;
    let folder = tempfile::tempdir().unwrap();
    let life = Life::new(Death::Never);
    replica.start(&folder.path().join("lost")).await.unwrap();
    let lost = replica.mark().await.0.parse().unwrap();
    let data = folder.path().join("data");
    let wrong = look_for(&replica, &life, &data, lost, "prod.exmaple.com").await;
    let begun = wrong.unwrap().carry_out().await.unwrap();
    let error = look(&replica, &life, &data, lost).await.unwrap_err();
    assert!(error.is_about_input());
    for said in ["prod.exmaple.com", "empty the folder", "jointoken-founding"] {
        assert!(error.to_string().contains(said), "{error}");
    }
    // What it advises.
    std::fs::remove_dir_all(&data).unwrap();
    let right = look(&replica, &life, &data, begun.store_id).await.unwrap();
    right.carry_out().await.unwrap();
    let identity = IdentityFile::new(&data).load().unwrap().unwrap();
    assert_eq!(identity.trust_domain.as_str(), "prod.example.com");
    replica.ground.remove().await;
}

/// Where all volumes are lost, the replicas are started again before anybody comes to look.
#[tokio::test]
async fn the_folder_of_a_newcomer_is_not_taken_for_that_of_a_store_that_is_there() {
    let replica = Replica::new("replacing-newcomer").await;
    let folder = tempfile::tempdir().unwrap();
    let life = Life::new(Death::Never);
    let opened = replica.start(&folder.path().join("lost")).await.unwrap();
    let data = folder.path().join("data");
    let newcomer = Identity {
        stage: Stage::Joining,
        ..opened.identity
    };
    let created = IdentityFile::new(&data).create(&newcomer).unwrap();
    assert_eq!(created, Creation::Created);
    let lost = newcomer.store_id;
    let error = look(&replica, &life, &data, lost).await.unwrap_err();
    assert!(matches!(error, ReplaceError::Newcomer { .. }), "{error}");
    assert_eq!(life.effects(), 0);
    replica.ground.remove().await;
}
