//! A log that nobody reads: a pipe that is full. Nobody waits for it but the audit, which is written once somebody reads.

use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::join_all;
use jointoken::pki::JoinerKey;

use crate::log_lost::{metric, told};
use crate::program::{Machine, id_of};
use crate::raw_joiner::RawJoiner;
use crate::server::wait_until;
use crate::standalone::{Standalone, create};

/// Asks with what is no token, from so many addresses, each as often as it is let.
async fn refused(place: &Standalone, token: &str, addresses: u8) -> usize {
    let of_one = |last| async move {
        let key = JoinerKey::generate().unwrap();
        let mut joiner = RawJoiner::new(token, key, place.door_port);
        joiner.from = Ipv4Addr::new(127, 5, 5, last);
        let mut refused = 0;
        for _ in 0..20 {
            let (code, answer) = joiner.present("jt1_none").await;
            assert!((400..500).contains(&code), "{code} {answer}");
            refused += usize::from(code != 429);
        }
        refused
    };
    let all = join_all((1..=addresses).map(of_one)).await;
    all.into_iter().sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_never_reads_stops_nobody_and_is_told_all_that_matters() {
    let place = Standalone::new();
    let mut setup = place.setup();
    // As much as can be had is logged, so that strangers fill the pipe and whatever waits for it.
    setup.arguments.push("--log=trace".to_owned());
    let (mut reader, writer) = io::pipe().unwrap();
    let mut server = setup.spawn_saying_to(writer);
    server.until_ready();
    let key = place.export("edge-*", "1h");
    let first = create(&key, "edge-1");
    Machine::new().join(&first).ok();
    let refused = refused(&place, &first, 60).await;
    let lost = || {
        let lost = metric(&server, "jointoken_log_lines_lost_total ");
        lost.parse::<u64>().unwrap()
    };
    println!("{refused} refused, {} lines lost", lost());
    assert!(refused >= 100, "{refused}");
    assert!(lost() > 0);
    assert_eq!(metric(&server, "jointoken_log_writable "), "0");

    let begun = Instant::now();
    assert_eq!(server.get("/livez").unwrap().0, 200);
    assert_eq!(server.get("/readyz").unwrap().0, 200);
    let probed = begun.elapsed();
    let last = create(&key, "edge-2");
    Machine::new().join(&last).ok();
    println!("probed in {probed:?}, joined in {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(20));

    let read = Arc::<Mutex<Vec<u8>>>::default();
    let page = Arc::clone(&read);
    let reading = std::thread::spawn(move || {
        let mut part = [0; 64 * 1024];
        while let Ok(length @ 1..) = reader.read(&mut part) {
            page.lock().unwrap().extend_from_slice(&part[..length]);
        }
    });
    let log = || String::from_utf8_lossy(&read.lock().unwrap()).into_owned();
    let [first, last] = [first, last].map(|token| id_of(&token));
    assert!(wait_until(
        || told(&log(), &last).contains(&"admitted".to_owned())
    ));
    for token_id in [first, last] {
        let told = told(&log(), &token_id);
        let changes = ["registered", "claimed", "admitted"].map(str::to_owned);
        assert!(
            changes.iter().all(|change| told.contains(change)),
            "{told:?}"
        );
    }
    assert!(wait_until(
        || log().contains("lines of the log before this one")
    ));
    assert!(wait_until(
        || metric(&server, "jointoken_log_writable ") == "1"
    ));
    assert!(server.terminate().0.success());
    reading.join().unwrap();
}

#[test]
fn who_is_not_read_stops_nevertheless_and_the_next_start_tells_the_audit() {
    let place = Standalone::new();
    let mut setup = place.setup();
    setup.arguments.push("--log=trace".to_owned());
    let (_reader, writer) = io::pipe().unwrap();
    let mut server = setup.spawn_saying_to(writer);
    server.until_ready();
    let key = place.export("edge-*", "1h");
    // Until the pipe is full.
    let mut tokens = Vec::new();
    while metric(&server, "jointoken_log_writable ") == "1" {
        let token = create(&key, &format!("edge-{}", tokens.len()));
        Machine::new().join(&token).ok();
        tokens.push(token);
    }
    let (status, took) = server.terminate();
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(20), "{took:?}");

    let server = place.setup().start();
    let last = id_of(tokens.last().expect("one"));
    assert!(wait_until(
        || told(&server.log(), &last).contains(&"admitted".to_owned())
    ));
    assert!(server.terminate().0.success());
}
