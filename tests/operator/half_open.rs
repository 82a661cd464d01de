//! A way to the API server on which nothing comes through any more, though no connection is closed: as when a firewall or a
//! load balancer forgets them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::api_away::{kubeconfig, through};
use crate::place::Place;
use crate::server::wait_until;

#[derive(Clone)]
struct Way {
    /// Whether connections that are made now are silent, and those that were made since that was said.
    is_silent: Arc<Mutex<Arc<AtomicBool>>>,
    /// All that were ever made: none is closed because nobody has it any more.
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Way {
    /// A way that is open, and a kubeconfig that leads through it.
    fn new(place: &Place) -> (Self, PathBuf) {
        let mut config = kubeconfig();
        let server = config["clusters"][0]["cluster"]["server"].as_str().unwrap();
        let to = server.trim_start_matches("https://").parse().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let here = format!("https://{}", listener.local_addr().unwrap());
        config["clusters"][0]["cluster"]["server"] = here.into();
        let path = place.path("through");
        std::fs::write(&path, config.to_string()).unwrap();
        let way = Self {
            is_silent: Arc::default(),
            streams: Arc::default(),
        };
        let taking = way.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                taking.take(client.unwrap(), to);
            }
        });
        (way, path)
    }

    fn take(&self, client: TcpStream, to: SocketAddr) {
        let is_silent = Arc::clone(&self.is_silent.lock().unwrap());
        let server = TcpStream::connect(to).unwrap();
        for (from, to) in [(&client, &server), (&server, &client)] {
            let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            let is_silent = Arc::clone(&is_silent);
            thread::spawn(move || {
                let mut part = [0; 16 << 10];
                loop {
                    let read = from.read(&mut part).unwrap_or(0);
                    if is_silent.load(Ordering::SeqCst) {
                        return;
                    }
                    if read == 0 || to.write_all(&part[..read]).is_err() {
                        let _ = to.shutdown(Shutdown::Both);
                        return;
                    }
                }
            });
        }
        self.streams.lock().unwrap().extend([client, server]);
    }

    /// From now on nothing comes through, on old connections and new ones.
    fn go_silent(&self) {
        self.is_silent.lock().unwrap().store(true, Ordering::SeqCst);
    }

    /// New connections are as they should be; the old ones stay as they are.
    fn go_on(&self) {
        *self.is_silent.lock().unwrap() = Arc::default();
    }
}

#[tokio::test]
async fn a_way_that_goes_silent_is_told_of_and_gone_again_when_it_is_open() {
    let place = Place::new("silent").await;
    let (way, kubeconfig) = Way::new(&place);
    let operator = through(&place.setup(), &kubeconfig).start();
    place.issue("before", json!({})).await;
    let unseen = |is: bool| {
        let (_, text) = operator.get("/metrics").unwrap();
        text.contains("jointoken_keys_unseen_seconds 0\n") != is
    };
    assert!(unseen(false));

    way.go_silent();
    let since = Instant::now();
    operator.wait_for_log("the keys cannot be looked at");
    assert!(since.elapsed() < Duration::from_secs(30));
    assert!(wait_until(|| unseen(true)));
    place.create("meanwhile", json!({})).await;

    way.go_on();
    place.wait_for_phase("meanwhile", "Issued").await;
    operator.wait_for_log("the keys can be looked at again");
    assert!(wait_until(|| unseen(false)));
    place.issue("after", json!({})).await;
    assert_eq!(
        operator
            .log()
            .matches("the keys cannot be looked at")
            .count(),
        1
    );
    assert!(operator.terminate().0.success());
    place.remove().await;
}
