//! A server of the program, `operator` or `serve`, as a process of its own.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::marks;
use crate::program::{Ran, jointoken, jointoken_at};

/// Far more than a start or a stop takes, for a machine that is doing other things as well.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// How a server is started.
#[derive(Clone)]
pub struct Setup {
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub metrics_port: u16,
    /// The port of `/livez` and `/readyz`.
    pub probe_port: u16,
    /// Where it logs.
    pub log: PathBuf,
    /// Another release of the program; `None`: the one that is tested.
    pub program: Option<PathBuf>,
}

/// A running server. Dropping it kills it; if the test has failed, its log is shown.
pub struct Server {
    child: Child,
    setup: Setup,
    /// Where its own part of the log begins: servers of one place log to one file.
    log_from: usize,
}

impl Setup {
    /// Starts it and waits until it calls itself ready.
    #[track_caller]
    pub fn start(&self) -> Server {
        let mut server = self.spawn();
        server.until_ready();
        server
    }

    /// Starts it and does not wait.
    pub fn spawn(&self) -> Server {
        let log = File::options().create(true).append(true).open(&self.log);
        self.spawn_saying_to(log.expect("opening the log"))
    }

    /// Starts it with another standard error than its log.
    pub fn spawn_saying_to(&self, stderr: impl Into<Stdio>) -> Server {
        let log_from = read(&self.log).len();
        let child = self.command().stderr(stderr).spawn();
        Server {
            child: child.expect("starting the program"),
            setup: self.clone(),
            log_from,
        }
    }

    /// Runs it to its end, which must come by itself.
    #[track_caller]
    pub fn run(&self) -> Ran {
        let mut server = self.spawn();
        let mut status = None;
        wait_until(|| {
            status = server.child.try_wait().expect("looking after the child");
            status.is_some()
        });
        let Some(status) = status else {
            panic!("it did not end by itself");
        };
        Ran {
            code: status.code(),
            stdout: String::new(),
            stderr: server.log(),
        }
    }

    fn command(&self) -> Command {
        let mut command = match &self.program {
            None => jointoken(),
            Some(program) => jointoken_at(program),
        };
        let environment = self.environment.iter().map(|(name, value)| (name, value));
        command.args(&self.arguments).envs(environment);
        command
    }
}

impl Server {
    /// Waits until it calls itself ready.
    #[track_caller]
    pub fn until_ready(&mut self) {
        let ready = wait_until(|| {
            if let Some(status) = self.child.try_wait().expect("looking after the child") {
                panic!("it ended with {status}:\n{}", self.log());
            }
            self.get("/readyz").is_some_and(|(code, _)| code == 200)
        });
        assert!(ready, "it did not become ready:\n{}", self.log());
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        read(&self.setup.log)[self.log_from..].to_owned()
    }

    /// Status code and body of one of the plain paths, if anybody answers.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        let port = match path {
            "/metrics" => self.setup.metrics_port,
            _ => self.setup.probe_port,
        };
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let code = answer.split(' ').nth(1)?.parse().ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        Some((code, body.to_owned()))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        let ended = self.child.try_wait().expect("looking after the child");
        ended.is_none()
    }

    /// Waits until the log says this.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) {
        let said = wait_until(|| self.log().contains(text));
        assert!(said, "the log never said {text:?}");
    }

    /// Stops it as Kubernetes does. How it ended, and how long that took.
    #[track_caller]
    pub fn terminate(mut self) -> (ExitStatus, Duration) {
        let started = Instant::now();
        self.signal(Signal::TERM);
        let mut status = None;
        wait_until(|| {
            status = self.child.try_wait().expect("looking after the child");
            status.is_some()
        });
        let status = status.expect("it did not end after SIGTERM");
        (status, started.elapsed())
    }

    /// Waits for its end, which must come by itself. What it logged is in the result.
    #[track_caller]
    pub fn end(mut self) -> Ran {
        let mut status = None;
        wait_until(|| {
            status = self.child.try_wait().expect("looking after the child");
            status.is_some()
        });
        let status = status.expect("it did not end by itself");
        Ran {
            code: status.code(),
            stdout: String::new(),
            stderr: self.log(),
        }
    }

    /// kill -9, as a crash or the kernel's out-of-memory killer would.
    pub fn kill(mut self) {
        self.child.kill().expect("killing it");
        self.child.wait().expect("waiting for it");
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), signal).expect("signalling it");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!(
                "--- {} logged:\n{}---",
                self.setup.log.display(),
                self.log()
            );
        }
        marks::check(&self.log());
    }
}

/// Waits for something that is looked for again and again; whether it came.
pub fn wait_until(mut is_so: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    while !is_so() {
        if started.elapsed() > PATIENCE {
            return false;
        }
        std::thread::sleep(POLL);
    }
    true
}

fn read(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
