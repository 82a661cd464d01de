//! A Kubernetes API that is away when an operator starts, or refuses a part of what it asks; and the way to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use crate::cluster::{Ground, said, variable};
use crate::kubeconfig;
use crate::place::Place;
use crate::port;
use crate::program::{Machine, finish, jointoken, text};
use crate::server::{Server, Setup, wait_until};
use crate::standalone::Standalone;

/// The way to the API server, which can be cut: a port of loopback, whose connections go on to the real one's.
struct Way {
    port: u16,
    to: SocketAddr,
    open: Option<Open>,
}

struct Open {
    stop: Arc<Mutex<bool>>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Way {
    fn shut() -> Self {
        let config = kubeconfig();
        let server = config["clusters"][0]["cluster"]["server"].as_str().unwrap();
        let to = server.trim_start_matches("https://").parse().unwrap();
        Self {
            port: port::reserve(),
            to,
            open: None,
        }
    }

    /// A kubeconfig that leads through it.
    fn kubeconfig(&self, place: &Place) -> PathBuf {
        let mut config = kubeconfig();
        config["clusters"][0]["cluster"]["server"] =
            format!("https://127.0.0.1:{}", self.port).into();
        let path = place.path("through");
        std::fs::write(&path, config.to_string()).unwrap();
        path
    }

    fn open(&mut self) {
        let listener = listen(self.port);
        let (stop, streams) = (
            Arc::new(Mutex::new(false)),
            Arc::new(Mutex::new(Vec::new())),
        );
        let open = Open {
            stop: Arc::clone(&stop),
            streams: Arc::clone(&streams),
        };
        let to = self.to;
        thread::spawn(move || {
            for client in listener.incoming() {
                let stopped = stop.lock().unwrap();
                if *stopped {
                    return;
                }
                let client = client.unwrap();
                let server = TcpStream::connect(to).unwrap();
                streams
                    .lock()
                    .unwrap()
                    .extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                pass(&client, &server);
                pass(&server, &client);
            }
        });
        self.open = Some(open);
    }

    fn cut(&mut self) {
        let open = self.open.take().expect("it is open");
        *open.stop.lock().unwrap() = true;
        // The last connection, which nobody passes on.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
        for stream in open.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        assert!(wait_until(|| TcpStream::connect((
            Ipv4Addr::LOCALHOST,
            self.port
        ))
        .is_err()));
    }
}

/// A port of one's own again, whose connections may still be ending.
fn listen(port: u16) -> TcpListener {
    let mut listener = None;
    wait_until(|| {
        listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok();
        listener.is_some()
    });
    listener.expect("the port")
}

fn pass(from: &TcpStream, to: &TcpStream) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
}

pub fn kubeconfig() -> Value {
    let text = std::fs::read_to_string(variable("JOINTOKEN_TEST_KUBECONFIG")).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

pub fn through(setup: &Setup, kubeconfig: &Path) -> Setup {
    let mut setup = setup.clone();
    setup.environment.retain(|(name, _)| name != "KUBECONFIG");
    setup
        .environment
        .push(("KUBECONFIG".to_owned(), text(kubeconfig).to_owned()));
    setup
}

fn is_alive(server: &Server) -> bool {
    server.get("/livez").is_some_and(|(code, _)| code == 200)
}

#[tokio::test]
async fn an_operator_waits_for_an_api_server_that_is_away_and_is_alive_meanwhile() {
    let place = Place::new("away").await;
    let mut way = Way::shut();
    let setup = through(&place.setup(), &way.kubeconfig(&place));
    for _first_and_again in 0..2 {
        let mut operator = setup.spawn();
        operator.wait_for_log("waiting to start: JoinTokens cannot be listed");
        operator.wait_for_log("is the Kubernetes API running");
        assert!(wait_until(|| is_alive(&operator)));
        assert_eq!(operator.get("/readyz").unwrap().0, 503);
        way.open();
        operator.until_ready();
        operator.wait_for_log("what was waited for is there");
        assert!(operator.terminate().0.success());
        way.cut();
    }
    let operator = setup.spawn();
    operator.wait_for_log("waiting to start");
    let (status, _) = operator.terminate();
    assert!(status.success(), "{status}");
    place.remove().await;
}

/// The API server goes while another replica's keys are waited for.
#[tokio::test]
async fn an_api_server_that_goes_in_the_middle_of_a_start_is_waited_for() {
    let place = Place::new("goes").await;
    let mut way = Way::shut();
    let address = format!("127.0.0.1:{}", port::reserve());
    let peers = format!("127.0.0.1:1,{address},127.0.0.1:2");
    let setup = place.setup_with(&[
        "--peers",
        &peers,
        "--peer-address",
        &address,
        "--peer-listen",
        &address,
    ]);
    let setup = through(&setup, &way.kubeconfig(&place));
    way.open();
    let mut operator = setup.spawn();
    let waits = "waiting for the first of the group to make its keys";
    operator.wait_for_log(waits);
    way.cut();
    operator.wait_for_log("waiting to start: Secret");
    way.open();
    assert!(
        wait_until(|| operator.log().matches(waits).count() == 2),
        "{}",
        operator.log()
    );
    assert!(operator.is_running());
    assert!(operator.terminate().0.success());
    place.remove().await;
}

/// Lets somebody do everything in this namespace.
fn let_in(namespace: &Ground) {
    let metadata = json!({"name": "restricted"});
    let of = "rbac.authorization.k8s.io";
    let version = format!("{of}/v1");
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": version, "kind": "Role", "metadata": metadata,
            "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]},
        {"apiVersion": version, "kind": "RoleBinding", "metadata": metadata,
            "subjects": [{"kind": "User", "name": "restricted", "apiGroup": of}],
            "roleRef": {"kind": "Role", "name": "restricted", "apiGroup": of}},
    ]});
    let applied = namespace.kubectl(&["apply", "-f", "-"], &list.to_string());
    assert!(applied.status.success(), "{}", said(&applied));
}

#[tokio::test]
async fn one_namespace_without_rights_stops_nobody_else() {
    let place = Place::new("watched").await;
    let other = Ground::new("unwatched").await;
    let both = format!("{},{}", place.tokens.namespace, other.namespace);
    let mut setup = place.setup();
    let at = setup
        .arguments
        .iter()
        .position(|of| of == "--namespace")
        .unwrap();
    setup.arguments[at + 1] = both;
    for namespace in [&place.tokens, &place.system] {
        let_in(namespace);
    }
    let mut config = kubeconfig();
    config["users"][0]["user"]["as"] = "restricted".into();
    let path = place.path("restricted");
    std::fs::write(&path, config.to_string()).unwrap();
    let setup = through(&setup, &path);

    // A store that is to be founded has to be above every status: it waits for the right to read them.
    let mut operator = setup.spawn();
    let says = format!(
        "JoinTokens cannot be listed in namespace {}",
        other.namespace
    );
    operator.wait_for_log(&format!("waiting to start: {says}"));
    assert!(wait_until(|| is_alive(&operator)));
    let_in(&other);
    operator.until_ready();
    assert!(operator.terminate().0.success());

    // One that is there serves everybody else.
    let gone = other.kubectl(&["delete", "rolebinding", "restricted"], "");
    assert!(gone.status.success(), "{}", said(&gone));
    let operator = setup.start();
    operator.wait_for_log(&format!("{says}: user restricted may not list"));
    let failing = || {
        let (_, text) = operator.get("/metrics").unwrap();
        text.contains("jointoken_controller_watches 2\n")
            && text.contains("jointoken_controller_watches_failing 1\n")
    };
    assert!(wait_until(failing));
    let token = place.issue("edge-1", json!({})).await;
    Machine::new().join(&token).ok();
    assert!(operator.terminate().0.success());
    other.remove().await;
    place.remove().await;
}

/// A proxy that makes tunnels to anywhere (CONNECT). How many it has made.
fn proxy() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let tunnels = Arc::new(AtomicUsize::new(0));
    let made = Arc::clone(&tunnels);
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut head = BufReader::new(client.try_clone().unwrap());
            let mut request = String::new();
            head.read_line(&mut request).unwrap();
            let mut line = String::new();
            while head.read_line(&mut line).unwrap() > 2 {
                line.clear();
            }
            let to = request.split(' ').nth(1).unwrap();
            let server = TcpStream::connect(to).unwrap();
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            made.fetch_add(1, Ordering::SeqCst);
            pass(&client, &server);
            pass(&server, &client);
        }
    });
    (address, tunnels)
}

#[tokio::test]
async fn the_api_server_is_reached_through_a_proxy_unless_no_proxy_names_it() {
    let place = Place::new("proxy").await;
    let (address, tunnels) = proxy();
    let mut setup = place.setup();
    setup
        .environment
        .push(("HTTPS_PROXY".to_owned(), format!("http://{address}")));
    assert!(setup.start().terminate().0.success());
    let made = tunnels.load(Ordering::SeqCst);
    assert!(made > 0);
    setup
        .environment
        .push(("NO_PROXY".to_owned(), "127.0.0.0/8".to_owned()));
    assert!(setup.start().terminate().0.success());
    assert_eq!(tunnels.load(Ordering::SeqCst), made);
    place.remove().await;
}

/// An API server that answers everything alike, in plain HTTP.
fn answers(answer: &'static str) -> (SocketAddr, Arc<Mutex<String>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(String::new()));
    let heard = Arc::clone(&asked);
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut request = [0; 4096];
            let read = client.read(&mut request).unwrap();
            heard
                .lock()
                .unwrap()
                .push_str(&String::from_utf8_lossy(&request[..read]));
            let _ = client.write_all(answer.as_bytes());
        }
    });
    (address, asked)
}

#[test]
fn what_the_api_server_says_is_told_as_prose() {
    let place = Standalone::new();
    let kubeconfig = place.path("kubeconfig");
    let write = |server: &str| kubeconfig::write(&kubeconfig, server);
    let data = place.data();
    let found = |environment: &[(&str, &str)]| {
        let mut command = jointoken();
        command.args([
            "store",
            "found",
            "--replace-lost",
            &"ab".repeat(16),
            "--data-dir",
            text(&data),
        ]);
        command.args([
            "--trust-domain",
            "edge.example",
            "--system-namespace",
            "default",
            "--yes",
        ]);
        command.args(["--kubeconfig", text(&kubeconfig)]);
        finish(command.envs(environment.iter().copied()))
    };
    for (answer, says) in [
        (
            "HTTP/1.1 404 Not Found\r\ncontent-length: 19\r\nconnection: close\r\n\r\n404 page not found\n",
            ["jointoken crd | kubectl apply", "404 page not found"],
        ),
        (
            "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            ["log in again", "does not accept the credentials"],
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}",
            ["JoinTokens cannot be listed", "makes no sense"],
        ),
    ] {
        let (address, asked) = answers(answer);
        write(&format!("http://{address}"));
        found(&[]).fails(1, &says);
        let asked = asked.lock().unwrap().to_lowercase();
        let agent = format!("user-agent: jointoken/{}", env!("CARGO_PKG_VERSION"));
        assert!(asked.contains(&agent), "{asked}");
    }
    write("https://127.0.0.1:1");
    found(&[]).fails(1, &["is the Kubernetes API running", "connection refused"]);
    let odd = [("HTTPS_PROXY", "ftp://127.0.0.1:1")];
    found(&odd).fails(2, &["HTTPS_PROXY is not the URL of a proxy"]);
    std::fs::write(&kubeconfig, "{").unwrap();
    found(&[]).fails(2, &["the kubeconfig", "is not valid"]);
    std::fs::remove_file(&kubeconfig).unwrap();
    found(&[]).fails(2, &["the kubeconfig", "cannot be read", "there is no file"]);
}
