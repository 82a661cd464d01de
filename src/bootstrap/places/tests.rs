use futures::FutureExt;

use super::*;

const MOMENT: Duration = Duration::from_secs(1);

/// As the door's.
fn door_places(connections: usize, per_site: usize) -> Places {
    Places {
        first: Stage::Silent,
        ..Places::new(connections, per_site)
    }
}

/// `None`: it is hung up on, or has to wait.
fn take(places: &Places, address: &str) -> Option<Place> {
    places
        .take(address.parse().unwrap())
        .now_or_never()
        .flatten()
}

fn is_out(place: &Place) -> bool {
    place.crowded_out.is_cancelled()
}

#[tokio::test]
async fn one_site_has_its_part_and_no_more() {
    let places = door_places(8, 2);
    let first = take(&places, "192.0.2.1").unwrap();
    let _second = take(&places, "192.0.2.1").unwrap();
    assert!(take(&places, "192.0.2.1").is_none());
    let _other = take(&places, "192.0.2.2").unwrap();
    // A site has as many addresses of version 6 as it likes.
    let _six = take(&places, "2001:db8::1").unwrap();
    let _seven = take(&places, "2001:db8::ffff:1").unwrap();
    assert!(take(&places, "2001:db8::2").is_none());
    // What was refused took no place.
    assert_eq!(places.free.available_permits(), 3);
    drop(first);
    assert!(take(&places, "192.0.2.1").is_some());
}

#[tokio::test]
async fn sites_that_have_gone_are_forgotten() {
    let places = door_places(8, 2);
    for last in 0..100 {
        let place = take(&places, &format!("192.0.2.{last}")).unwrap();
        drop(place.keep());
    }
    assert!(lock(&places.ledger).is_empty());
    assert_eq!(places.free.available_permits(), 8);
}

/// An idle crowd shut out everybody behind the same address.
#[tokio::test(start_paused = true)]
async fn in_a_full_site_who_has_come_the_least_far_makes_room() {
    let places = door_places(8, 3);
    let silent = take(&places, "192.0.2.1").unwrap();
    let connected = take(&places, "192.0.2.1").unwrap();
    connected.reached(Stage::Handshaking);
    connected.reached(Stage::Connected);
    let other_site = take(&places, "192.0.2.2").unwrap();
    sleep(MOMENT).await;
    let fresh = take(&places, "192.0.2.1").unwrap();
    assert!(!is_out(&silent), "there was room");

    let next = take(&places, "192.0.2.1").unwrap();
    assert!(is_out(&silent));
    // It has its moment; who has come further and has long been there has not.
    let third = take(&places, "192.0.2.1").unwrap();
    assert!(is_out(&connected) && !is_out(&fresh));
    assert!(take(&places, "192.0.2.1").is_none(), "all have just come");
    assert_eq!([&next, &third, &other_site].map(is_out), [false; 3]);
}

/// Each step gives it time for the next, and puts it behind those who have not made it.
#[tokio::test(start_paused = true)]
async fn who_comes_further_stays_while_a_crowd_passes_through() {
    let places = door_places(1_000, 4);
    let honest = take(&places, "192.0.2.1").unwrap();
    let mut crowd = Vec::new();
    let stages = [
        Stage::Heard,
        Stage::Handshaking,
        Stage::Connected,
        Stage::Asking,
        Stage::Proven,
    ];
    for stage in stages {
        honest.reached(stage);
        // A round trip of 800 ms, and seven that come and say nothing, ever.
        for _ in 0..7 {
            sleep(MOMENT * 8 / 70).await;
            crowd.extend(take(&places, "192.0.2.1"));
        }
        assert!(!is_out(&honest), "{stage:?}");
    }
    assert!(crowd.iter().filter(|place| is_out(place)).count() > 8);
}

#[tokio::test(start_paused = true)]
async fn when_all_places_are_taken_one_makes_room_for_one() {
    let places = Arc::new(door_places(4, 4));
    let address = |last: u8| IpAddr::from([192, 0, 2, last]);
    let of_an_admission = places.take(address(1)).await.unwrap();
    let kept = of_an_admission.keep();
    assert!(kept.is_kept);
    let first = places.take(address(2)).await.unwrap();
    sleep(Stage::patience_of_silent() / 2).await;
    let second = places.take(address(3)).await.unwrap();
    let third = places.take(address(3)).await.unwrap();
    let next = {
        let places = Arc::clone(&places);
        tokio::spawn(async move { places.take(address(4)).await.unwrap() })
    };
    let out = || [&of_an_admission, &first, &second, &third].map(is_out);
    sleep(Stage::patience_of_silent() / 4).await;
    assert_eq!(out(), [false; 4], "it has a moment");
    first.crowded_out().cancelled().await;
    sleep(4 * MOMENT).await;
    assert_eq!(out(), [false, true, false, false]);
    drop(first);
    drop(next.await.unwrap());
    drop(kept);
    assert!(!is_out(&of_an_admission));
}

/// A first message that comes byte by byte is none.
#[tokio::test(start_paused = true)]
async fn who_has_said_nothing_whole_has_come_no_further() {
    let places = door_places(8, 2);
    let dribbling = take(&places, "192.0.2.1").unwrap();
    let silent = take(&places, "192.0.2.1").unwrap();
    sleep(MOMENT).await;
    dribbling.waits();
    let third = take(&places, "192.0.2.1").unwrap();
    assert!(is_out(&silent), "what was said may be whole");
    dribbling.has_had_its_turn();
    let fourth = take(&places, "192.0.2.1").unwrap();
    assert!(is_out(&dribbling));
    assert_eq!([&third, &fourth].map(is_out), [false; 2]);
}

/// Whoever kept all places kept everybody out.
#[tokio::test(start_paused = true)]
async fn half_of_the_places_are_never_kept() {
    let places = door_places(8, 4);
    let addresses = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
    let mut taken = Vec::new();
    for address in addresses {
        for _ in 0..4 {
            taken.extend(take(&places, address));
        }
    }
    assert_eq!(taken.len(), 8);
    let kept: Vec<Kept<'_>> = taken.iter().map(Place::keep).collect();
    // Two of each site's four.
    let held = kept.iter().filter(|kept| kept.is_kept).count();
    assert_eq!(held, 4);
    sleep(MOMENT).await;
    // A place is made even so, and those with an answer make room again.
    let waits = tokio::time::timeout(MOMENT, places.take([192, 0, 2, 9].into())).await;
    assert!(waits.is_err(), "who made room has not gone");
    assert_eq!(taken.iter().filter(|place| is_out(place)).count(), 1);
    drop(kept);
    assert!(taken.iter().any(|place| place.keep().is_kept));
}
