//! `jointoken operator`, as the demo runs it: one replica, beside the cluster.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::cluster::free_port;
use crate::process::{Interrupt, Interrupted, Server, wait_until};

/// Founding a store, three CAs and their Secrets takes a second or two.
const START_LIMIT: Duration = Duration::from_secs(60);
/// As long as a pod would be given.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// The running operator. Dropping it kills it.
pub struct Operator {
    server: Server,
}

/// The command line, without the program's name.
pub struct Arguments {
    all: Vec<String>,
    probe_port: u16,
}

impl Arguments {
    /// The operator watches `namespace` only, and its door is on loopback.
    pub fn new(namespace: &str) -> Result<Self> {
        let (door_port, metrics_port, probe_port) = (free_port()?, free_port()?, free_port()?);
        let door = format!("127.0.0.1:{door_port}");
        let all = [
            ("--data-dir", "operator-data".to_string()),
            ("--namespace", namespace.to_string()),
            ("--trust-domain", "demo.example".to_string()),
            ("--listen", door.clone()),
            ("--advertise-url", format!("https://{door}")),
            ("--metrics-listen", format!("127.0.0.1:{metrics_port}")),
            ("--probe-listen", format!("127.0.0.1:{probe_port}")),
        ];
        let all = all
            .into_iter()
            .flat_map(|(name, value)| [name.to_string(), value]);
        Ok(Arguments {
            all: ["operator".to_string()].into_iter().chain(all).collect(),
            probe_port,
        })
    }

    /// As one would type it.
    pub fn shown(&self) -> String {
        format!("jointoken {}", self.all.join(" "))
    }
}

impl Operator {
    /// Starts it in `folder` and waits until it calls itself ready.
    pub fn start(
        binary: &Path,
        folder: &Path,
        kubeconfig: &Path,
        arguments: &Arguments,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let kubeconfig = ["--kubeconfig".into(), kubeconfig.as_os_str().to_owned()];
        let all = arguments.all.iter().map(Into::into).chain(kubeconfig);
        let mut server = Server::start("operator", binary, folder, all)?;
        let ready = wait_until(
            "jointoken operator's /readyz",
            START_LIMIT,
            interrupt,
            || {
                server.check()?;
                Ok(is_ready(arguments.probe_port))
            },
        );
        let mut operator = Operator { server };
        if let Err(error) = ready {
            // if it has ended, this says so, with its log
            operator.check()?;
            return Err(operator.explain(error));
        }
        Ok(operator)
    }

    /// Fails when it has ended by itself.
    pub fn check(&mut self) -> Result<()> {
        self.server.check()
    }

    /// Adds the end of the operator's log to an error; an interruption needs no explanation.
    pub fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        if error.is::<Interrupted>() {
            return error;
        }
        anyhow::anyhow!(
            "{error:#}\nThe operator's log ends:\n{}",
            self.server.log_tail(20)
        )
    }

    /// Stops it as Kubernetes would.
    pub fn stop(mut self) -> Result<()> {
        match self.server.terminate(STOP_LIMIT)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => {
                Err(self.explain(anyhow::anyhow!("after SIGTERM it ended with {status}")))
            }
            None => Err(self.explain(anyhow::anyhow!(
                "it did not end within {} s of SIGTERM",
                STOP_LIMIT.as_secs()
            ))),
        }
    }
}

/// Whether `/readyz` answers 200.
fn is_ready(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream
            .write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "))
}
