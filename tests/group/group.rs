//! Replicas of one group, each a process of its own; the keys are shared.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jointoken::admin::{AdminClient, MembersResponse};
use jointoken::clock::{Clock as _, SystemClock};
use jointoken::token::{OfflineKeyFile, TokenId};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::port;
use crate::program::{Ran, run, text};
use crate::server::{Server, Setup};
use crate::wrong_clock;

/// Far more than anything takes, for a machine that is doing other things as well.
const PATIENCE: Duration = Duration::from_secs(150);
const POLL: Duration = Duration::from_millis(50);
/// An answer of a socket, of one that may be standing still.
const ANSWER: Duration = Duration::from_secs(5);

/// The ports of a replica.
pub struct Ports {
    pub door: u16,
    pub metrics: u16,
    pub probes: u16,
    pub peers: u16,
}

/// Replicas are named by their places in the list of members, from 0.
pub struct Group {
    /// Before the folder, in which they write until they are gone.
    servers: Vec<Option<Server>>,
    pub ports: Vec<Ports>,
    /// Whom each one's configuration lists.
    listed: Vec<Vec<usize>>,
    /// How many seconds the clock of each one's machine is ahead.
    clocks: Vec<i64>,
    /// Each has keys of its own to lose.
    has_own_keys: bool,
    folder: TempDir,
}

impl Group {
    pub fn new(size: usize) -> Self {
        let ports = || Ports {
            door: port::reserve(),
            metrics: port::reserve(),
            probes: port::reserve(),
            peers: port::reserve(),
        };
        Self {
            servers: (0..size).map(|_| None).collect(),
            ports: (0..size).map(|_| ports()).collect(),
            listed: vec![(0..size).collect(); size],
            clocks: vec![0; size],
            has_own_keys: false,
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    /// A group of three that is there.
    pub fn of_three() -> Self {
        let mut group = Self::new(3);
        group.found();
        group
    }

    /// Starts all, the first with leave to found, and waits until they are one group.
    #[track_caller]
    pub fn found(&mut self) {
        self.found_as(None);
    }

    /// As another build of the program, or as the one that is tested.
    #[track_caller]
    pub fn found_as(&mut self, program: Option<&Path>) {
        let mut founder = self.founder();
        founder.program = program.map(Path::to_path_buf);
        self.servers[0] = Some(founder.spawn());
        for replica in 1..self.size() {
            self.start_as(replica, program);
        }
        self.until_whole();
    }

    pub fn size(&self) -> usize {
        self.ports.len()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn data(&self, replica: usize) -> PathBuf {
        self.path(&format!("data-{replica}"))
    }

    pub fn keys(&self) -> PathBuf {
        self.path("keys")
    }

    /// From its next start on each replica has the keys in a folder of its own.
    pub fn part_keys(&mut self) {
        self.has_own_keys = true;
        for replica in 0..self.size() {
            copy_folder(&self.keys(), &self.keys_of(replica));
        }
    }

    pub fn keys_of(&self, replica: usize) -> PathBuf {
        match self.has_own_keys {
            true => self.path(&format!("keys-{replica}")),
            false => self.keys(),
        }
    }

    pub fn socket(&self, replica: usize) -> PathBuf {
        self.data(replica).join("admin.sock")
    }

    pub fn peer_address(&self, replica: usize) -> String {
        format!("127.0.0.1:{}", self.ports[replica].peers)
    }

    pub fn door_url(&self, replica: usize) -> String {
        format!("https://127.0.0.1:{}", self.ports[replica].door)
    }

    pub fn doors(&self) -> Vec<u16> {
        self.ports.iter().map(|ports| ports.door).collect()
    }

    /// What `members` of the configuration says, unless that was changed.
    pub fn list(&self) -> String {
        self.list_of(&(0..self.size()).collect::<Vec<_>>())
    }

    fn list_of(&self, replicas: &[usize]) -> String {
        let addresses = replicas
            .iter()
            .map(|of| format!("{:?}", self.peer_address(*of)));
        addresses.collect::<Vec<_>>().join(", ")
    }

    /// From its next start on it is told that these are the group.
    pub fn set_list(&mut self, replica: usize, listed: &[usize]) {
        self.listed[replica] = listed.to_vec();
    }

    /// Stops it and starts it with this list, and waits until it is ready again.
    #[track_caller]
    pub fn restart_with_list(&mut self, replica: usize, listed: &[usize]) {
        self.set_list(replica, listed);
        self.terminate(replica);
        self.start(replica);
        self.until("it is back", |group| group.is_ready(replica));
    }

    /// From its next start on the clock of its machine is so many seconds ahead.
    pub fn set_clock(&mut self, replica: usize, ahead_seconds: i64) {
        self.clocks[replica] = ahead_seconds;
    }

    pub fn clock(&self, replica: usize) -> i64 {
        self.clocks[replica]
    }

    /// The environment of programs on the machine of this replica.
    pub fn environment(&self, replica: usize) -> Vec<(String, String)> {
        match self.clocks[replica] {
            0 => Vec::new(),
            ahead_seconds => wrong_clock::environment(self.folder.path(), ahead_seconds),
        }
    }

    pub fn config(&self, replica: usize) -> String {
        let ports = &self.ports[replica];
        let Ports { door, metrics, .. } = ports;
        let address = self.peer_address(replica);
        // A token has room for a few.
        let urls = (0..self.size().min(3)).map(|of| format!("{:?}", self.door_url(of)));
        format!(
            "dataDir: {}\nkeysDir: {}\ntrustDomain: edge.example\nadvertiseUrls: [{}]\n\
             listen: 127.0.0.1:{door}\nmetricsListen: 127.0.0.1:{metrics}\nprobeListen: 127.0.0.1:{}\n\
             peers: {{listen: \"{address}\", address: \"{address}\", members: [{}]}}\n",
            self.data(replica).display(),
            self.keys_of(replica).display(),
            urls.collect::<Vec<_>>().join(", "),
            ports.probes,
            self.list_of(&self.listed[replica]),
        )
    }

    pub fn setup(&self, replica: usize) -> Setup {
        self.setup_of(replica, &self.config(replica))
    }

    /// With another configuration.
    pub fn setup_of(&self, replica: usize, config: &str) -> Setup {
        let file = self.path(&format!("serve-{replica}.yaml"));
        fs::write(&file, config).expect("writing the configuration");
        let arguments = ["serve", "--config", text(&file)];
        Setup {
            arguments: arguments.map(str::to_owned).into(),
            environment: self.environment(replica),
            metrics_port: self.ports[replica].metrics,
            probe_port: self.ports[replica].probes,
            log: self.path(&format!("log-{replica}")),
            program: None,
        }
    }

    /// As the first of the list that may found.
    pub fn founder(&self) -> Setup {
        let mut setup = self.setup(0);
        setup.arguments.push("--new-group".into());
        setup
    }

    pub fn start_founder(&mut self) {
        self.servers[0] = Some(self.founder().spawn());
    }

    /// Starts it and does not wait.
    pub fn start(&mut self, replica: usize) {
        self.start_as(replica, None);
    }

    /// As another build of the program, or as the one that is tested.
    pub fn start_as(&mut self, replica: usize, program: Option<&Path>) {
        let mut setup = self.setup(replica);
        setup.program = program.map(Path::to_path_buf);
        self.servers[replica] = Some(setup.spawn());
    }

    #[track_caller]
    pub fn server(&self, replica: usize) -> &Server {
        self.servers[replica].as_ref().expect("it was started")
    }

    /// From now on the caller looks after it.
    #[track_caller]
    pub fn take(&mut self, replica: usize) -> Server {
        self.servers[replica].take().expect("it was started")
    }

    /// kill -9.
    #[track_caller]
    pub fn kill(&mut self, replica: usize) {
        self.take(replica).kill();
    }

    #[track_caller]
    pub fn terminate(&mut self, replica: usize) {
        let server = self.take(replica);
        let log = self.path(&format!("log-{replica}"));
        let (status, _) = server.terminate();
        assert!(status.success(), "{status}: {}", log.display());
    }

    pub fn terminate_all(&mut self) {
        for replica in self.running() {
            self.terminate(replica);
        }
    }

    /// It stands still: it neither answers nor hangs up.
    #[track_caller]
    pub fn freeze(&self, replica: usize) {
        self.server(replica).signal(Signal::STOP);
    }

    #[track_caller]
    pub fn thaw(&self, replica: usize) {
        self.server(replica).signal(Signal::CONT);
    }

    /// All that it had on its disk is lost.
    pub fn wipe(&self, replica: usize) {
        fs::remove_dir_all(self.data(replica)).expect("removing the data folder");
    }

    pub fn running(&self) -> Vec<usize> {
        let replicas = 0..self.size();
        replicas.filter(|of| self.servers[*of].is_some()).collect()
    }

    #[track_caller]
    pub fn none_has_ended(&mut self) {
        for (replica, server) in self.servers.iter_mut().enumerate() {
            if let Some(server) = server {
                assert!(server.is_running(), "{replica} has ended by itself");
            }
        }
    }

    /// Waits for something that is looked for again and again; meanwhile none of the servers may end.
    #[track_caller]
    pub fn until(&mut self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let started = Instant::now();
        while !is_so(self) {
            self.none_has_ended();
            if started.elapsed() > PATIENCE {
                let seen: Vec<_> = (self.running().iter())
                    .map(|replica| self.try_members(*replica))
                    .collect();
                panic!("it never came that {what}; members as each sees them: {seen:#?}");
            }
            std::thread::sleep(POLL);
        }
    }

    /// Waits until all running replicas are ready and see a group of the full size in which all is well.
    #[track_caller]
    pub fn until_whole(&mut self) {
        self.until("the group is whole", |group| {
            let running = group.running();
            (running.iter())
                .all(|replica| group.is_ready(*replica) && group.sees_all_well(*replica))
        });
    }

    pub fn is_ready(&self, replica: usize) -> bool {
        (self.server(replica).get("/readyz")).is_some_and(|(code, _)| code == 200)
    }

    fn sees_all_well(&self, replica: usize) -> bool {
        let Some(seen) = self.try_members(replica) else {
            return false;
        };
        let count = |role| seen.members.iter().filter(|of| of.role == role).count();
        // Who has moved is served at its new address a moment before all know that address for its own.
        let is_listed = |address| seen.members.iter().any(|of| of.address == address);
        (count("leader"), count("voter")) == (1, self.size() - 1)
            && seen.members.len() == self.size()
            && (0..self.size()).all(|place| is_listed(self.peer_address(place)))
            && seen.members.iter().all(|of| of.health == "ok")
    }

    /// The members as this replica sees them, if it answers.
    pub fn try_members(&self, replica: usize) -> Option<MembersResponse> {
        let client = AdminClient::new(&self.socket(replica));
        let asked = async { tokio::time::timeout(ANSWER, client.members()).await };
        runtime().block_on(asked).ok()?.ok()
    }

    #[track_caller]
    pub fn members(&self, replica: usize) -> MembersResponse {
        self.try_members(replica).expect("an answer of the socket")
    }

    /// Node ids in the order of the list of members, as this replica sees them.
    #[track_caller]
    pub fn node_ids(&self, replica: usize) -> Vec<String> {
        let seen = self.members(replica).members;
        let of = |address| seen.iter().find(|member| member.address == address);
        (0..self.size())
            .map(|place| {
                of(self.peer_address(place))
                    .expect("a member")
                    .node_id
                    .clone()
            })
            .collect()
    }

    /// Its own node id.
    #[track_caller]
    pub fn node_id(&self, replica: usize) -> String {
        let seen = self.members(replica).members;
        let itself = seen.into_iter().find(|member| member.is_asked);
        itself.expect("a member").node_id
    }

    /// Who leads, as one of the running replicas says that itself does.
    #[track_caller]
    pub fn leader(&mut self) -> usize {
        let mut found = None;
        self.until("somebody leads", |group| {
            let says_so = |replica: &usize| {
                let seen = group.try_members(*replica);
                let mut members = seen.iter().flat_map(|seen| &seen.members);
                members.any(|of| of.is_asked && of.role == "leader")
            };
            found = group.running().into_iter().find(says_so);
            found.is_some()
        });
        found.expect("just seen")
    }

    /// A replica that does not lead.
    #[track_caller]
    pub fn follower(&mut self) -> usize {
        let leader = self.leader();
        (leader + 1) % self.size()
    }

    /// `jointoken` with a command for the socket of this replica.
    pub fn ask(&self, replica: usize, command: &[&str]) -> Ran {
        let socket = self.socket(replica);
        run(&[command, &["--admin-socket", text(&socket)]].concat())
    }

    /// A key to mint tokens with, from this replica.
    #[track_caller]
    pub fn minter(&self, replica: usize) -> Minter {
        let export = ["key", "export", "--pattern", "edge-*", "--max-ttl", "1h"];
        let ran = self.ask(replica, &[&export[..], &["--output", "json"]].concat());
        let said: serde_json::Value = serde_json::from_str(&ran.ok().stdout).expect("JSON");
        let key = said["key"].as_str().expect("a key");
        Minter(OfflineKeyFile::parse(key).expect("a key"))
    }
}

/// Makes tokens that carry the URLs of all doors.
pub struct Minter(OfflineKeyFile);

impl Minter {
    pub fn token(&self) -> String {
        self.token_of(SystemClock.now_ms(), 3_600_000)
    }

    /// With another time and life, in milliseconds.
    pub fn token_of(&self, issued_at_ms: u64, ttl_ms: u64) -> String {
        let id = TokenId::random().expect("random numbers");
        let minted = (self.0).mint(id, "edge-1", issued_at_ms, ttl_ms);
        minted.expect("a token").expose().to_owned()
    }
}

/// Copies a folder, with the modes that a data folder must have.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &to),
            false => {
                fs::copy(entry.path(), &to).unwrap();
                fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).unwrap();
            }
        }
    }
}

/// For a call of a library in a test that waits with its thread.
pub fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}
