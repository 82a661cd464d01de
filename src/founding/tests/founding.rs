//! How a store comes to be, stopped wherever it may be.

use super::*;

#[tokio::test]
async fn an_empty_folder_becomes_a_store_and_is_opened_again() {
    let (world, first) = founded_world().await;
    assert!(first.founded_now);
    assert_eq!(first.identity.stage, Stage::Founded);
    assert_eq!(first.identity.epoch, 1);
    let record = first.store.founded().unwrap();
    let roles: Vec<_> = record
        .fingerprints
        .iter()
        .map(|(r, _)| r.as_str())
        .collect();
    assert_eq!(
        roles,
        [
            "door-ca",
            "members-ca",
            "offline-master",
            "peers-ca",
            "resource-key"
        ]
    );
    assert_eq!(record.trust_domain, "prod.example.com");
    let keys = first.store.keys();
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].key_id, first.material.resource_key.id());
    assert_eq!(
        *world.object.lock().unwrap(),
        Some(first.identity.founding())
    );

    let process = Process::new(&world, Death::Never);
    let second = run(&process).await.unwrap();
    assert!(!second.founded_now);
    assert_eq!(prints(&second), prints(&first));
    // Opening the store is all that it does.
    assert_eq!(process.effects.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn stopped_at_any_effect_it_goes_on_with_what_it_made() {
    let effects = {
        let process = Process::new(&Arc::default(), Death::Never);
        run(&process).await.unwrap();
        process.effects.load(Ordering::SeqCst)
    };
    // Identity, object, five items, stage, store, RaiseRules, Founded, AdoptKey, stage.
    assert_eq!(effects, 13);
    let deaths = (0..effects).flat_map(|n| [Death::Before(n), Death::After(n)]);
    for death in deaths {
        let world = Arc::new(World::default());
        assert!(run(&Process::new(&world, death)).await.is_err());
        let (identity, items) = (
            world.identity.lock().unwrap().clone(),
            world.items.lock().unwrap().clone(),
        );
        let resumed = start(&world)
            .await
            .unwrap_or_else(|e| panic!("{death:?}: {e}"));
        assert_eq!(resumed.founded_now, death != Death::After(effects - 1));
        if let Some(identity) = identity {
            assert_eq!(resumed.identity.store_id, identity.store_id, "{death:?}");
            assert_eq!(resumed.identity.node_id, identity.node_id, "{death:?}");
        }
        for (name, item) in items {
            assert_eq!(world.items.lock().unwrap()[&name], item, "{death:?}");
        }
        let again = start(&world).await.unwrap();
        assert_eq!(prints(&again), prints(&resumed), "{death:?}");
        assert_eq!(world.items.lock().unwrap().len(), 5);
    }
}

/// A founding that dies again and again, one effect further each time, ends all the same.
#[tokio::test]
async fn many_deaths_in_one_founding_make_one_store() {
    let world = Arc::new(World::default());
    let mut deaths = 0;
    let opened = loop {
        let death = Death::After(deaths / 2);
        match run(&Process::new(&world, death)).await {
            Ok(opened) => break opened,
            Err(_) => deaths += 1,
        }
    };
    assert!(deaths > 5, "{deaths}");
    assert_eq!(prints(&start(&world).await.unwrap()), prints(&opened));
}

#[tokio::test]
async fn two_processes_that_found_at_once_make_one_store() {
    let world = Arc::new(World::default());
    let (one, two) = tokio::join!(start(&world), start(&world));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(prints(&one).1, prints(&two).1);
    assert_eq!(one.identity.store_id, two.identity.store_id);
}

#[tokio::test]
async fn a_store_without_a_leader_yet_is_waited_for() {
    let process = Process::new(&Arc::default(), Death::Never);
    process.slow.store(2, Ordering::SeqCst);
    assert!(run(&process).await.unwrap().founded_now);
}

#[tokio::test]
async fn an_empty_folder_beside_anothers_founding_founds_nothing() {
    let (world, _) = founded_world().await;
    *world.identity.lock().unwrap() = None;
    *world.log.lock().unwrap() = None;
    let error = start(&world).await.err().unwrap();
    assert!(
        matches!(error, FoundingError::EmptyFolder { .. }),
        "{error}"
    );
    assert!(world.identity.lock().unwrap().is_none());

    // Without the object the keys alone say it too.
    *world.object.lock().unwrap() = None;
    let error = start(&world).await.err().unwrap();
    assert!(
        matches!(
            error,
            FoundingError::Taken {
                item: ItemName::DoorCa,
                ..
            }
        ),
        "{error}"
    );
    // What loses nothing comes first.
    let said = error.to_string();
    let at = ["mount the volume", "store recover", "move its keys away"];
    let at = at.map(|step| said.find(step).expect(step));
    assert!(at.is_sorted(), "{said}");
    assert!(world.identity.lock().unwrap().is_none());
    assert!(world.object.lock().unwrap().is_none());
}

#[tokio::test]
async fn another_founding_that_came_first_is_left_alone() {
    let world = Arc::new(World::default());
    assert!(run(&Process::new(&world, Death::After(0))).await.is_err());
    let theirs = Founding {
        store_id: StoreId([9; 16]),
        epoch: 1,
    };
    *world.object.lock().unwrap() = Some(theirs);
    let error = start(&world).await.err().unwrap();
    assert!(
        matches!(error, FoundingError::Outrun { found, .. } if found == theirs),
        "{error}"
    );
    assert!(world.items.lock().unwrap().is_empty());
}

/// The keys are shared, the data folders are not.
#[tokio::test]
async fn of_two_founders_on_the_same_keys_one_founds_and_the_other_says_so() {
    let theirs = Item {
        store_id: StoreId([9; 16]),
        epoch: 1,
        parts: BTreeMap::new(),
    };
    let place = "jointoken-door-ca";
    for group in [None, Some(GroupPlace::Founder)] {
        // The other one made its first key between this one's first look and its own.
        let world = Arc::new(World::default());
        let dying = Process::new(&world, Death::After(0));
        assert!(run_without_object(&dying, group).await.is_err());
        let mut keys = BTreeMap::from([(ItemName::DoorCa, theirs.clone())]);
        *world.items.lock().unwrap() = keys.clone();
        let process = Process::new(&world, Death::Never);
        let error = run_without_object(&process, group).await.err().unwrap();
        assert!(
            matches!(&error, FoundingError::Outrun { found, .. } if found.store_id == theirs.store_id),
            "{error}"
        );
        let said = error.to_string();
        for says in [place, "founded it first", "Empty this one's data folder"] {
            assert!(said.contains(says), "{said}");
        }
        assert_eq!(*world.items.lock().unwrap(), keys);

        // A key that is put among those that this one has made is no founding.
        let world = Arc::new(World::default());
        let dying = Process::new(&world, Death::After(1));
        assert!(run_without_object(&dying, group).await.is_err());
        keys = BTreeMap::from([(ItemName::MembersCa, theirs.clone())]);
        world.items.lock().unwrap().extend(keys);
        let process = Process::new(&world, Death::Never);
        let error = run_without_object(&process, group).await.err().unwrap();
        let taken = |item: &ItemName| *item == ItemName::MembersCa;
        assert!(
            matches!(&error, FoundingError::Taken { item, .. } if taken(item)),
            "{error}"
        );
    }
}

#[tokio::test]
async fn who_is_told_to_found_beside_a_founding_that_has_begun_founds_nothing() {
    let world = Arc::new(World::default());
    let other = Process::new(&world, Death::After(1));
    let founder = Some(GroupPlace::Founder);
    assert!(run_without_object(&other, founder).await.is_err());
    let begun = world.items.lock().unwrap().clone();
    assert_eq!(begun.len(), 1);
    *world.identity.lock().unwrap() = None;
    let process = Process::new(&world, Death::Never);
    let error = run_without_object(&process, founder).await.err().unwrap();
    assert!(matches!(error, FoundingError::Begun { .. }), "{error}");
    let said = error.to_string();
    for says in [
        "jointoken-door-ca",
        "founds just now",
        "start this one again",
    ] {
        assert!(said.contains(says), "{said}");
    }
    assert!(world.identity.lock().unwrap().is_none());
    assert_eq!(*world.items.lock().unwrap(), begun);
}

#[tokio::test]
async fn the_trust_domain_is_fixed() {
    let (world, _) = founded_world().await;
    let process = Process::new(&world, Death::Never);
    let other = TrustDomain::parse("other.example.com").unwrap();
    let error = run_as(&process, &other).await.err().unwrap();
    assert!(
        matches!(error, FoundingError::TrustDomain { .. }),
        "{error}"
    );
    assert_eq!(process.effects.load(Ordering::SeqCst), 0);
}

/// On a real disk, with the keys in a folder of the data folder and no founding object.
#[tokio::test]
async fn founded_on_disk_it_opens_from_disk() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let world = Arc::new(World::default());
    let first = on_disk(&data, &world).await.unwrap();
    assert!(first.founded_now);
    let second = on_disk(&data, &world).await.unwrap();
    assert!(!second.founded_now);
    assert_eq!(prints(&second), prints(&first));
    let there = OnDisk::new(&data, never).unwrap();
    let said = on_disk(&data, &world).await.err().unwrap().to_string();
    assert!(
        said.contains("data: the data folder is in use by another process"),
        "{said}"
    );
    drop(there);
    std::fs::remove_dir_all(data.join("keys/members-ca")).unwrap();
    let said = on_disk(&data, &world).await.err().unwrap().to_string();
    assert!(said.contains("the members-ca is missing") && said.contains("keys/members-ca"));
}

fn never(_: &Identity, _: IfAbsent) -> LocalBoxFuture<'_, Result<Arc<dyn TokenStore>, OpenError>> {
    unreachable!("the folder is not to be opened")
}

async fn on_disk(data: &std::path::Path, world: &Arc<World>) -> Result<Opened, FoundingError> {
    let parts = Parts(Process::new(world, Death::Never));
    let vault = FolderVault::new(data.join("keys"));
    let folder = OnDisk::new(data, move |identity: &Identity, if_absent| {
        let parts = Parts(parts.0.clone());
        let identity = identity.clone();
        Box::pin(async move { parts.open_store(&identity, if_absent).await })
            as LocalBoxFuture<'_, Result<Arc<dyn TokenStore>, OpenError>>
    })?;
    let site = Site {
        group: None,
        data: &folder,
        vault: &vault,
        object: None,
        former: None,
        trust_domain: &domain(),
        clock: &ManualClock::new(NOW),
    };
    found_or_open(site).await
}

/// Beside statuses of a lost store: what they tell of must not look as if this one had issued it.
#[tokio::test]
async fn a_store_is_founded_above_every_epoch_that_is_told_of() {
    let world = Arc::new(World::default());
    *world.former.lock().unwrap() = vec![3, 7];
    let opened = start(&world).await.unwrap();
    assert_eq!(opened.identity.epoch, 8);
    assert_eq!(opened.store.founded().unwrap().epoch, 8);
    assert_eq!(world.object.lock().unwrap().unwrap().epoch, 8);
    // Its own statuses are no reason for another.
    *world.former.lock().unwrap() = vec![8];
    assert_eq!(start(&world).await.unwrap().identity.epoch, 8);
}

/// Whoever may write one status could once use up all epochs, and no store would have been founded or restored after that.
#[tokio::test]
async fn a_status_neither_uses_up_the_epochs_nor_keeps_a_store_from_being_founded() {
    for edited in [1001, MAX_EPOCH - 1, MAX_EPOCH] {
        let world = Arc::new(World::default());
        *world.former.lock().unwrap() = vec![7, edited];
        assert_eq!(start(&world).await.unwrap().identity.epoch, 8);
    }
    let world = Arc::new(World::default());
    *world.former.lock().unwrap() = vec![1000];
    assert_eq!(start(&world).await.unwrap().identity.epoch, 1001);
}

/// A second installation beside a living one: it once founded above the other's epoch, and ended its tokens.
#[tokio::test]
async fn no_store_is_founded_beside_what_is_another_stores() {
    let world = Arc::new(World::default());
    let stranger = |store_id, count| Stranger {
        store_id,
        place: "JoinToken edge/n1".to_owned(),
        count,
    };
    let id = StoreId([7; 16]);
    *world.strangers.lock().unwrap() = vec![stranger(Some(id), 3), stranger(None, 1)];
    let Err(error) = start(&world).await else {
        panic!("it was founded");
    };
    let said = error.to_string();
    for part in [
        &format!("JoinToken edge/n1, like 2 more, is of store {id}"),
        "--class or --namespace",
        &format!("--take-over {id} --take-over unnamed"),
    ] {
        assert!(said.contains(part), "{part:?} is missing: {said}");
    }
    assert!(!error.is_about_keys());
    assert_eq!(*world.object.lock().unwrap(), None);
    assert!(world.items.lock().unwrap().is_empty());
    assert!(world.identity.lock().unwrap().is_none());
    // Once there is a store nobody asks any more.
    world.strangers.lock().unwrap().clear();
    start(&world).await.unwrap();
    *world.strangers.lock().unwrap() = vec![stranger(Some(id), 3)];
    start(&world).await.unwrap();
}
