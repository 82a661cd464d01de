//! The API server goes at the very moment when an operator asks it whether the data folder was set back.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::json;

use crate::cluster::variable;
use crate::copies::{Copied, With, copy_folder, set_back};
use crate::kubeconfig;
use crate::place::Place;
use crate::program::{Machine, text};
use crate::server::{Setup, wait_until};

/// How the API server goes when JoinTokens are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goes {
    Before,
    /// In the midst of its answer.
    During,
}

/// `kubectl proxy`, whose connections can be read, and a relay before it.
struct Gate {
    proxy: Child,
    port: u16,
    state: Arc<Mutex<State>>,
}

/// The list by which JoinTokens are looked at for a witness is the first one after the keys were read.
struct State {
    goes: Option<Goes>,
    has_read_keys: bool,
    is_gone: bool,
}

impl Gate {
    fn that_goes(goes: Goes) -> Self {
        let mut proxy = Command::new(variable("JOINTOKEN_TEST_KUBECTL"))
            .env("KUBECONFIG", variable("JOINTOKEN_TEST_KUBECONFIG"))
            .args(["proxy", "--address=127.0.0.1", "--port=0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("starting kubectl proxy");
        let mut line = String::new();
        let mut stdout = BufReader::new(proxy.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let to: SocketAddr = line.rsplit(' ').next().unwrap().trim().parse().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State {
            goes: Some(goes),
            has_read_keys: false,
            is_gone: false,
        }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                relay(client, to, &shared);
            }
        });
        Self { proxy, port, state }
    }

    fn comes_back(&self) {
        let mut state = self.state.lock().unwrap();
        (state.goes, state.is_gone) = (None, false);
    }

    /// The operator, whose way to the API server leads through this.
    fn through(&self, place: &Place) -> Setup {
        let path = place.path("through");
        kubeconfig::write(&path, &format!("http://127.0.0.1:{}", self.port));
        let mut setup = place.setup();
        setup.environment.retain(|(name, _)| name != "KUBECONFIG");
        let kubeconfig = ("KUBECONFIG".to_owned(), text(&path).to_owned());
        setup.environment.push(kubeconfig);
        setup
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.proxy.kill();
        let _ = self.proxy.wait();
    }
}

fn relay(client: TcpStream, to: SocketAddr, state: &Arc<Mutex<State>>) {
    let Ok(server) = TcpStream::connect(to) else {
        return;
    };
    // This connection's answer is cut off.
    let is_cut = Arc::new(Mutex::new(false));
    let both = [client.try_clone().unwrap(), server.try_clone().unwrap()];
    let (of_state, of_cut) = (Arc::clone(state), Arc::clone(&is_cut));
    thread::spawn(move || ask(both, &of_state, &of_cut));
    thread::spawn(move || answer([server, client], &is_cut));
}

/// From the operator to the API server.
fn ask([mut from, mut to]: [TcpStream; 2], state: &Mutex<State>, is_cut: &Mutex<bool>) {
    let mut buffer = [0; 65536];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let asked = String::from_utf8_lossy(&buffer[..length]);
        let mut state = state.lock().unwrap();
        state.has_read_keys |= asked.contains("/secrets/jointoken-");
        if state.has_read_keys && asked.contains("/jointokens") && !state.is_gone {
            state.is_gone = state.goes.is_some();
            if state.goes == Some(Goes::During) {
                *is_cut.lock().unwrap() = true;
                let _ = to.write_all(&buffer[..length]);
                continue;
            }
        }
        if state.is_gone || to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    shut([&from, &to]);
}

fn answer([mut from, mut to]: [TcpStream; 2], is_cut: &Mutex<bool>) {
    let mut buffer = [0; 65536];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let mut passed = length;
        if *is_cut.lock().unwrap() {
            let head = String::from_utf8_lossy(&buffer[..length]).find("\r\n\r\n");
            let begin = head.map_or(0, |head| head + 4);
            // All of the head, and half of what follows.
            passed = begin + (length - begin) / 2;
        }
        if to.write_all(&buffer[..passed]).is_err() || passed < length {
            break;
        }
    }
    shut([&from, &to]);
}

fn shut(streams: [&TcpStream; 2]) {
    for stream in streams {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

#[tokio::test]
async fn a_store_is_not_opened_before_the_statuses_could_be_read() {
    let place = Place::new("witnesses-away").await;
    let operator = place.start();
    let used = place.issue("used", json!({})).await;
    assert!(operator.terminate().0.success());
    let copy = place.path("copy");
    copy_folder(&place.data(), &copy);
    let copied = Copied::of(&place).await;
    let operator = place.start();
    Machine::new().join(&used).ok();
    place.wait_for_phase("used", "Consumed").await;
    assert!(operator.terminate().0.success());
    // Only the status still tells of it.
    set_back(&place.data(), &copy);
    With::Object.set_back(&place, &copied).await;

    for goes in [Goes::Before, Goes::During] {
        eprintln!("{goes:?}");
        let gate = Gate::that_goes(goes);
        let mut operator = gate.through(&place).spawn();
        operator.wait_for_log("waiting to start: the JoinTokens");
        // It may take long.
        assert!(wait_until(|| operator
            .get("/livez")
            .is_some_and(|(code, _)| code == 200)));
        assert_eq!(operator.get("/readyz").unwrap().0, 503);
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, place.door_port)).is_err());
        assert!(operator.is_running());
        gate.comes_back();
        let status = format!("the status of JoinToken {}/used", place.tokens.namespace);
        let ended = operator.end();
        ended.fails(1, &["was set back to an older copy", &status]);
    }
    place.remove().await;
}
