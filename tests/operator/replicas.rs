//! Replicas of one operator, each a process of its own, all on one API server.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jointoken::admin::{AdminClient, MembersResponse};
use serde_json::json;

use crate::cluster::{said, variable};
use crate::place::Place;
use crate::port;
use crate::server::{Server, Setup};

/// Far more than anything takes, for a machine that is doing other things as well.
const PATIENCE: Duration = Duration::from_secs(150);
const POLL: Duration = Duration::from_millis(50);
/// An answer of a socket, of one that may be standing still.
const ANSWER: Duration = Duration::from_secs(5);

/// The ports of a replica.
struct Ports {
    door: u16,
    metrics: u16,
    probes: u16,
    peers: u16,
}

/// Replicas are named by their ordinals.
pub struct Replicas {
    /// Before the folder, in which they write until they are gone.
    servers: Vec<Option<Server>>,
    ports: Vec<Ports>,
    pub place: Place,
    /// Further arguments of each.
    more: Vec<String>,
}

impl Replicas {
    /// Addresses for so many, none of which is started.
    pub async fn new(test: &str, size: usize) -> Self {
        let ports = || Ports {
            door: port::reserve(),
            metrics: port::reserve(),
            probes: port::reserve(),
            peers: port::reserve(),
        };
        Self {
            servers: (0..size).map(|_| None).collect(),
            ports: (0..size).map(|_| ports()).collect(),
            place: Place::new(test).await,
            more: Vec::new(),
        }
    }

    /// Three that are a group.
    pub async fn of_three(test: &str) -> Self {
        let mut replicas = Self::new(test, 3).await;
        for ordinal in 0..3 {
            replicas.start(ordinal);
        }
        replicas.until_whole(3).await;
        replicas
    }

    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned());
        self.more.extend(arguments);
        self
    }

    pub fn data(&self, ordinal: usize) -> PathBuf {
        self.place.path(&format!("data-{ordinal}"))
    }

    pub fn door_url(&self, ordinal: usize) -> String {
        format!("https://127.0.0.1:{}", self.ports[ordinal].door)
    }

    pub fn address(&self, ordinal: usize) -> String {
        format!("127.0.0.1:{}", self.ports[ordinal].peers)
    }

    /// Its name, as it signs events.
    pub fn name(ordinal: usize) -> String {
        format!("jointoken-{ordinal}")
    }

    fn list(&self, of: impl Fn(usize) -> String, most: usize) -> String {
        let all: Vec<_> = (0..self.ports.len().min(most)).map(of).collect();
        all.join(",")
    }

    pub fn setup(&self, ordinal: usize) -> Setup {
        let ports = &self.ports[ordinal];
        let Ports { door, metrics, .. } = ports;
        let address = self.address(ordinal);
        let flags = [
            ("--data-dir", self.data(ordinal).display().to_string()),
            ("--namespace", self.place.tokens.namespace.clone()),
            ("--system-namespace", self.place.system.namespace.clone()),
            ("--trust-domain", "prod.example".to_owned()),
            ("--listen", format!("127.0.0.1:{door}")),
            // A token has room for a few.
            ("--advertise-url", self.list(|of| self.door_url(of), 3)),
            ("--metrics-listen", format!("127.0.0.1:{metrics}")),
            ("--probe-listen", format!("127.0.0.1:{}", ports.probes)),
            ("--peer-address", address.clone()),
            ("--peer-listen", address),
            ("--peers", self.list(|of| self.address(of), usize::MAX)),
        ];
        let flags = flags.map(|(flag, value)| format!("{flag}={value}"));
        let environment = [
            ("KUBECONFIG", variable("JOINTOKEN_TEST_KUBECONFIG")),
            ("POD_NAME", Self::name(ordinal)),
        ];
        Setup {
            program: None,
            arguments: ["operator".to_owned()]
                .into_iter()
                .chain(flags)
                .chain(self.more.iter().cloned())
                .collect(),
            environment: environment
                .map(|(name, value)| (name.to_owned(), value))
                .into(),
            metrics_port: *metrics,
            probe_port: ports.probes,
            log: self.place.path(&format!("log-{ordinal}")),
        }
    }

    /// Starts it and does not wait.
    pub fn start(&mut self, ordinal: usize) {
        self.servers[ordinal] = Some(self.setup(ordinal).spawn());
    }

    #[track_caller]
    pub fn server(&self, ordinal: usize) -> &Server {
        self.servers[ordinal].as_ref().expect("it was started")
    }

    /// From now on the caller looks after it.
    #[track_caller]
    pub fn take(&mut self, ordinal: usize) -> Server {
        self.servers[ordinal].take().expect("it was started")
    }

    /// It is looked after here again.
    pub fn give_back(&mut self, ordinal: usize, server: Server) {
        self.servers[ordinal] = Some(server);
    }

    /// kill -9.
    #[track_caller]
    pub fn kill(&mut self, ordinal: usize) {
        self.take(ordinal).kill();
    }

    /// All that it had on its disk is lost.
    pub fn wipe(&self, ordinal: usize) {
        fs::remove_dir_all(self.data(ordinal)).expect("removing the data folder");
    }

    pub fn running(&self) -> Vec<usize> {
        let all = 0..self.servers.len();
        all.filter(|of| self.servers[*of].is_some()).collect()
    }

    /// Waits for something that is looked for again and again; meanwhile none of the servers may end.
    pub async fn until(&mut self, what: &str, mut is_so: impl AsyncFnMut(&Self) -> bool) {
        let started = Instant::now();
        while !is_so(self).await {
            for (ordinal, server) in self.servers.iter_mut().enumerate() {
                let goes_on = server.as_mut().is_none_or(Server::is_running);
                assert!(goes_on, "{ordinal} has ended by itself");
            }
            if started.elapsed() > PATIENCE {
                let mut seen = Vec::new();
                for ordinal in self.running() {
                    seen.push((ordinal, self.members(ordinal).await));
                }
                panic!("it never came that {what}; members as each sees them: {seen:#?}");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until the first so many are all of the group, and each is ready and sees that all are well.
    pub async fn until_whole(&mut self, size: usize) {
        let what = format!("the first {size} are the group");
        self.until(&what, async |replicas| {
            for ordinal in 0..size {
                if replicas.servers[ordinal].is_none()
                    || !replicas.is_ready(ordinal)
                    || !replicas.sees_all_well(ordinal, size).await
                {
                    return false;
                }
            }
            true
        })
        .await;
    }

    pub fn is_ready(&self, ordinal: usize) -> bool {
        self.answers(ordinal, "/readyz", 200)
    }

    pub fn answers(&self, ordinal: usize, path: &str, code: u16) -> bool {
        (self.server(ordinal).get(path)).is_some_and(|(answer, _)| answer == code)
    }

    async fn sees_all_well(&self, ordinal: usize, size: usize) -> bool {
        let Some(seen) = self.members(ordinal).await else {
            return false;
        };
        let count = |role| seen.members.iter().filter(|of| of.role == role).count();
        let addresses = (0..size).map(|of| self.address(of));
        (count("leader"), count("voter")) == (1, size - 1)
            && seen.members.len() == size
            && addresses
                .into_iter()
                .all(|at| seen.members.iter().any(|of| of.address == at))
            && seen.members.iter().all(|of| of.health == "ok")
    }

    /// The members as this replica sees them, if it answers.
    pub async fn members(&self, ordinal: usize) -> Option<MembersResponse> {
        let client = AdminClient::new(&self.data(ordinal).join("admin.sock"));
        let asked = tokio::time::timeout(ANSWER, client.members()).await;
        asked.ok()?.ok()
    }

    /// The id of the member at this ordinal's address, as another sees it.
    pub async fn node_id(&self, seen_by: usize, ordinal: usize) -> Option<String> {
        let seen = self.members(seen_by).await?.members;
        let address = self.address(ordinal);
        let found = seen.into_iter().find(|member| member.address == address);
        found.map(|member| member.node_id)
    }

    /// The ids of all members, as one sees them.
    pub async fn node_ids(&self, seen_by: usize) -> Vec<String> {
        let seen = self.members(seen_by).await.expect("it answers");
        seen.members.into_iter().map(|of| of.node_id).collect()
    }

    /// Who leads, as one of those that are asked says that itself does.
    pub async fn leader_among(&mut self, asked: &[usize]) -> usize {
        let mut found = None;
        self.until("somebody leads", async |replicas| {
            for ordinal in asked {
                let seen = replicas.members(*ordinal).await;
                let mut members = seen.iter().flat_map(|seen| &seen.members);
                if members.any(|of| of.is_asked && of.role == "leader") {
                    found = Some(*ordinal);
                }
            }
            found.is_some()
        })
        .await;
        found.expect("just seen")
    }

    pub async fn leader(&mut self) -> usize {
        let running = self.running();
        self.leader_among(&running).await
    }

    /// How many writes and proposals this one's controller has made.
    pub fn effects(&self, ordinal: usize) -> u64 {
        let (_, text) = self.server(ordinal).get("/metrics").expect("metrics");
        let counted = text
            .lines()
            .filter(|line| line.starts_with("jointoken_controller_effects_total{"));
        counted
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    }

    /// Stops all that run, and gives the namespaces back.
    pub async fn remove(mut self) {
        for ordinal in self.running() {
            let (status, _) = self.take(ordinal).terminate();
            assert!(status.success(), "{ordinal}: {status}");
        }
        self.place.remove().await;
    }
}

/// Applies the StatefulSet `jointoken` in the operator's namespace. Pods come of it, and nobody runs them.
#[track_caller]
pub fn apply_stateful_set(place: &Place, replicas: usize) {
    let labels = json!({"app": "jointoken"});
    let stateful_set = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "jointoken"},
        "spec": {
            "replicas": replicas, "serviceName": "jointoken-peers", "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "jointoken", "image": "jointoken"}]},
            },
        },
    });
    let apply = ["apply", "-f", "-"];
    let applied = place.system.kubectl(&apply, &stateful_set.to_string());
    assert!(applied.status.success(), "{}", said(&applied));
}
