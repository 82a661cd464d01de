//! The keys while the store is served.

use super::*;

struct Watched {
    world: Arc<World>,
    guard: KeyGuard,
    store: GuardedStore,
}

async fn watched() -> Watched {
    let (world, opened) = founded_world().await;
    let process = Process::new(&world, Death::Never);
    let parts = || Arc::new(Parts(process.clone()));
    let guard = KeyGuard::new(
        opened.identity,
        parts(),
        Some(parts()),
        opened.store.clone(),
    );
    let store = GuardedStore::new(opened.store, guard.in_order());
    Watched {
        world,
        guard,
        store,
    }
}

async fn issues(store: &GuardedStore) -> Result<(), StoreError> {
    let key = crate::token::SigningKey::generate(crate::token::Purpose::NodeDb).unwrap();
    let adopted = adopt_nodedb(store, &key, 60_000).await;
    adopted.map_err(|error| match error {
        AdoptError::Store(error) => error,
        error => panic!("{error}"),
    })
}

#[tokio::test]
async fn a_key_that_vanishes_or_changes_while_serving_stops_everything_that_issues() {
    let mut watched = watched().await;
    let items = watched.world.items.lock().unwrap().clone();
    let object = *watched.world.object.lock().unwrap();
    let (other, _) = founded_world().await;
    for name in ItemName::ALL {
        let foreign = other.items.lock().unwrap()[&name].clone();
        let mut relabelled = foreign.clone();
        relabelled.store_id = items[&name].store_id;
        let mut damaged = items[&name].clone();
        damaged.parts.clear();
        for instead in [None, Some(foreign), Some(relabelled), Some(damaged)] {
            let mut there = items.clone();
            there.remove(&name);
            there.extend(instead.map(|item| (name, item)));
            *watched.world.items.lock().unwrap() = there.clone();
            watched.guard.look().await;
            assert_eq!(issues(&watched.store).await, Err(StoreError::KeysAmiss));
            assert_eq!(
                *watched.world.items.lock().unwrap(),
                there,
                "nothing is made"
            );
            *watched.world.items.lock().unwrap() = items.clone();
            watched.guard.look().await;
            assert_eq!(issues(&watched.store).await, Ok(()));
        }
    }
    let other_founding = Founding {
        store_id: StoreId([9; 16]),
        epoch: 1,
    };
    for instead in [None, Some(other_founding)] {
        *watched.world.object.lock().unwrap() = instead;
        watched.guard.look().await;
        assert_eq!(issues(&watched.store).await, Err(StoreError::KeysAmiss));
        // What ends tokens goes on.
        let sweep = crate::lifecycle::command::Sweep { limit: 1 };
        assert!(crate::store::submit(&watched.store, sweep).await.is_ok());
    }
    *watched.world.object.lock().unwrap() = object;
    watched.guard.look().await;
    assert_eq!(issues(&watched.store).await, Ok(()));
}

/// The API server is away for a while: that says nothing of the keys.
#[tokio::test]
async fn keys_that_cannot_be_looked_at_change_nothing() {
    let mut watched = watched().await;
    *watched.world.is_out_of_reach.lock().unwrap() = true;
    watched.guard.look().await;
    assert_eq!(issues(&watched.store).await, Ok(()));
    *watched.world.is_out_of_reach.lock().unwrap() = false;
    watched.world.items.lock().unwrap().clear();
    watched.guard.look().await;
    *watched.world.is_out_of_reach.lock().unwrap() = true;
    watched.guard.look().await;
    assert_eq!(issues(&watched.store).await, Err(StoreError::KeysAmiss));
}

/// A connection whose other end is gone looks as one on which nothing happens: the guard waited for ever, and said nothing.
#[tokio::test(start_paused = true)]
async fn a_look_that_is_not_answered_ends_and_is_told_of() {
    let mut watched = watched().await;
    let unseen = watched.guard.unseen();
    *watched.world.is_silent.lock().unwrap() = true;
    let started = tokio::time::Instant::now();
    for looks in 1..4 {
        watched.guard.look().await;
        assert_eq!(*unseen.borrow(), started.elapsed());
        assert_eq!(started.elapsed().as_secs(), 10 * looks);
    }
    assert_eq!(issues(&watched.store).await, Ok(()));
    *watched.world.is_silent.lock().unwrap() = false;
    watched.guard.look().await;
    assert!(unseen.borrow().is_zero());
}

/// Each change of what it says has every resource looked at: what it says at each look must not count as one.
#[tokio::test]
async fn looks_that_find_everything_as_before_tell_nobody() {
    let mut watched = watched().await;
    let mut in_order = watched.guard.in_order();
    let items = watched.world.items.lock().unwrap().clone();
    for is_whole in [true, false, true] {
        let there = if is_whole {
            items.clone()
        } else {
            Default::default()
        };
        *watched.world.items.lock().unwrap() = there;
        watched.guard.look().await;
        let before = *in_order.borrow_and_update();
        assert_eq!(before, is_whole);
        for _ in 0..3 {
            watched.guard.look().await;
            assert!(!in_order.has_changed().unwrap(), "{is_whole}");
        }
    }
}
