//! What has vanished or was exchanged since.

use super::*;

#[tokio::test]
async fn after_founding_a_missing_item_is_named_and_not_made_anew() {
    for name in ItemName::ALL {
        let (world, _) = founded_world().await;
        world.items.lock().unwrap().remove(&name);
        let error = start(&world).await.err().unwrap();
        let said = error.to_string();
        assert!(matches!(error, FoundingError::Missing { item, .. } if item == name));
        assert!(
            said.starts_with(&format!(
                "the {name} is missing (Secret jointoken/jointoken-{name})"
            )) && said.ends_with("Put it back from the backup of the keys"),
            "{said}"
        );
        assert!(!world.items.lock().unwrap().contains_key(&name));
    }
}

/// Also in the moment between the last item and the end of the founding.
#[tokio::test]
async fn an_item_that_vanishes_after_all_were_made_is_not_made_anew() {
    for last_effect in 7..11 {
        let world = Arc::new(World::default());
        assert!(
            run(&Process::new(&world, Death::After(last_effect)))
                .await
                .is_err()
        );
        assert_eq!(world.items.lock().unwrap().len(), 5);
        world.items.lock().unwrap().remove(&ItemName::MembersCa);
        let error = start(&world).await.err().unwrap();
        assert!(matches!(error, FoundingError::Missing { .. }), "{error}");
    }
}

#[tokio::test]
async fn after_founding_another_item_in_its_place_is_refused() {
    for name in ItemName::ALL {
        let (world, ours) = founded_world().await;
        let (other, _) = founded_world().await;
        let foreign = other.items.lock().unwrap()[&name].clone();

        world.items.lock().unwrap().insert(name, foreign.clone());
        let error = start(&world).await.err().unwrap();
        assert!(
            matches!(error, FoundingError::OfOtherStore { item, .. } if item == name),
            "{error}"
        );

        // Even with this store's id written on it.
        let mut relabelled = foreign;
        relabelled.store_id = ours.identity.store_id;
        world.items.lock().unwrap().insert(name, relabelled.clone());
        let error = start(&world).await.err().unwrap();
        assert!(
            matches!(error, FoundingError::Replaced { item, .. } if item == name),
            "{error}"
        );
        assert_eq!(world.items.lock().unwrap()[&name], relabelled);
    }
}

/// The founding was recorded, the process died, and then an item was exchanged.
#[tokio::test]
async fn an_item_exchanged_before_the_founding_ended_is_refused() {
    let world = Arc::new(World::default());
    let recorded = 10;
    assert!(
        run(&Process::new(&world, Death::After(recorded)))
            .await
            .is_err()
    );
    let (other, _) = founded_world().await;
    let mut foreign = other.items.lock().unwrap()[&ItemName::DoorCa].clone();
    foreign.store_id = world.identity.lock().unwrap().as_ref().unwrap().store_id;
    world
        .items
        .lock()
        .unwrap()
        .insert(ItemName::DoorCa, foreign);
    let error = start(&world).await.err().unwrap();
    assert!(
        matches!(
            error,
            FoundingError::Replaced {
                item: ItemName::DoorCa,
                ..
            }
        ),
        "{error}"
    );
    assert_ne!(
        world.identity.lock().unwrap().as_ref().unwrap().stage,
        Stage::Founded
    );
}

#[tokio::test]
async fn a_damaged_item_is_named() {
    let (world, _) = founded_world().await;
    if let Some(item) = world.items.lock().unwrap().get_mut(&ItemName::PeersCa) {
        let half = Zeroizing::new(b"-----BEGIN PRIVATE KEY-----\n".to_vec());
        item.parts.insert("tls.key".to_owned(), half);
    }
    let error = start(&world).await.err().unwrap();
    assert!(
        matches!(
            error,
            FoundingError::Damaged {
                item: ItemName::PeersCa,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_missing_or_other_founding_object_closes_the_store() {
    let (world, opened) = founded_world().await;
    let process = Process::new(&world, Death::Never);
    *world.object.lock().unwrap() = None;
    let error = run(&process).await.err().unwrap();
    assert!(
        matches!(error, FoundingError::ObjectMissing { .. }),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains(&opened.identity.store_id.to_string())
    );
    let newer = Founding {
        epoch: 2,
        ..opened.identity.founding()
    };
    *world.object.lock().unwrap() = Some(newer);
    let error = run(&process).await.err().unwrap();
    assert!(
        matches!(error, FoundingError::OtherFounding { .. }),
        "{error}"
    );
    // Most likely it is a replica of the store that was restored; a mark that was set back says something else.
    let says = "move what is in its data folder away and start it: it comes back as a new one";
    assert!(error.to_string().contains(says), "{error}");
    let older = Founding { epoch: 0, ..newer };
    *world.object.lock().unwrap() = Some(older);
    let error = run(&process).await.err().unwrap().to_string();
    assert!(!error.contains(says), "{error}");
    assert!(error.contains("the wrong volume"), "{error}");
    assert_eq!(process.effects.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_lost_log_is_not_begun_anew() {
    let (world, _) = founded_world().await;
    *world.log.lock().unwrap() = None;
    let error = start(&world).await.err().unwrap();
    assert!(
        matches!(error, FoundingError::StoreMissing { .. }),
        "{error}"
    );
    *world.log.lock().unwrap() = Some(empty_log());
    let error = start(&world).await.err().unwrap();
    assert!(matches!(error, FoundingError::NoRecord(_)), "{error}");
}

/// An older copy of the log has forgotten who was admitted since.
#[tokio::test]
async fn no_message_advises_an_older_copy_of_the_data_folder() {
    let (world, _) = founded_world().await;
    let log = world.log.lock().unwrap().take();
    let without_log = start(&world).await.err().unwrap();
    *world.log.lock().unwrap() = Some(empty_log());
    let with_another = start(&world).await.err().unwrap();
    *world.log.lock().unwrap() = log;
    let identity = world.identity.lock().unwrap().take();
    let without_folder = start(&world).await.err().unwrap();
    assert!(identity.is_some());
    for error in [without_log, with_another, without_folder] {
        let said = error.to_string();
        assert!(
            said.contains("as it was last, since an older copy would admit again"),
            "{said}"
        );
        assert!(!said.contains("backup"), "{said}");
    }
}
