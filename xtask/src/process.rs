//! Child processes that never outlive us, and the Ctrl-C that ends everything in order.
//!
//! A *tool* (cargo, go, kubectl) runs to its end in a process group of its own; when the user interrupts, the group is ended.
//! A *server* is a [`Server`]: killed and waited for by its own handle when that is dropped, and by the kernel should
//! this process be killed before it can do so.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, getppid, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

const POLL: Duration = Duration::from_millis(10);
/// How long an interrupted tool may take to end by itself.
const GRACE: Duration = Duration::from_secs(5);

/// The user asked to stop: Ctrl-C, SIGTERM or SIGHUP.
#[derive(Clone)]
pub struct Interrupt(Arc<AtomicBool>);

/// The error that an interruption becomes; the command then ends with 130, as shells do.
#[derive(Debug)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

impl Interrupt {
    /// Takes the signals over. The first one is noted here and acted on by whoever waits; a second one ends the process
    /// at once (the servers then end by their death signal).
    pub fn install() -> Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // the order matters: the shutdown must see the flag as it was before this signal
            signal_hook::flag::register_conditional_shutdown(signal, 130, flag.clone())
                .and_then(|_| signal_hook::flag::register(signal, flag.clone()))
                .context("taking over the signals")?;
        }
        Ok(Interrupt(flag))
    }

    pub fn requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    pub fn check(&self) -> Result<()> {
        if self.requested() {
            return Err(Interrupted.into());
        }
        Ok(())
    }

    /// For tests: nobody asks.
    #[cfg(test)]
    pub fn never() -> Self {
        Interrupt(Arc::default())
    }
}

/// Waits for a condition; gives up after `limit`, or at once when interrupted or when `ready` fails.
pub fn wait_until(
    what: &str,
    limit: Duration,
    interrupt: &Interrupt,
    mut ready: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let started = Instant::now();
    while !ready()? {
        interrupt.check()?;
        if started.elapsed() > limit {
            bail!("{what} took longer than {} s", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// An output of a tool. Those that are not read go where ours go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pipe {
    Stdout,
    Stderr,
}

/// Runs a tool to its end, without input.
pub fn run(command: Command, interrupt: &Interrupt) -> Result<ExitStatus> {
    run_reading(command, &[], interrupt, |_, _| ())
}

/// Runs a tool to its end, without input, and hands over the lines of some of its outputs as they come.
pub fn run_reading(
    mut command: Command,
    pipes: &[Pipe],
    interrupt: &Interrupt,
    mut on_line: impl FnMut(Pipe, &str),
) -> Result<ExitStatus> {
    interrupt.check()?;
    command.stdin(Stdio::null()).process_group(0);
    if pipes.contains(&Pipe::Stdout) {
        command.stdout(Stdio::piped());
    }
    if pipes.contains(&Pipe::Stderr) {
        command.stderr(Stdio::piped());
    }
    let mut child = command
        .spawn()
        .with_context(|| format!("starting {}", name(&command)))?;
    let (sender, lines) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        send_lines(stdout, Pipe::Stdout, sender.clone());
    }
    if let Some(stderr) = child.stderr.take() {
        send_lines(stderr, Pipe::Stderr, sender.clone());
    }
    drop(sender);
    let mut open = true;
    let mut ended: Option<(ExitStatus, Instant)> = None;
    loop {
        match lines.recv_timeout(POLL) {
            Ok((pipe, line)) => on_line(pipe, &line),
            Err(RecvTimeoutError::Timeout) => (),
            Err(RecvTimeoutError::Disconnected) => {
                open = false;
                std::thread::sleep(POLL);
            }
        }
        if ended.is_none() {
            if interrupt.requested() {
                end_group(&mut child)?;
                return Err(Interrupted.into());
            }
            ended = child.try_wait()?.map(|status| (status, Instant::now()));
        }
        if let Some((status, since)) = ended {
            // a process that the tool left behind may hold the pipe open: don't wait for it
            if !open || since.elapsed() > GRACE {
                return Ok(status);
            }
        }
    }
}

fn send_lines(from: impl Read + Send + 'static, pipe: Pipe, to: Sender<(Pipe, String)>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            // a test may print any bytes
            let line = String::from_utf8_lossy(&line).into_owned();
            if to.send((pipe, line)).is_err() {
                return;
            }
        }
    });
}

/// Ends a tool and what it started: asked first, forced after a grace period.
fn end_group(child: &mut Child) -> Result<()> {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let group = group.context("a child without a process id")?;
    // an error means that the group is gone already
    let _ = kill_process_group(group, Signal::TERM);
    let asked = Instant::now();
    while child.try_wait()?.is_none() && asked.elapsed() < GRACE {
        std::thread::sleep(POLL);
    }
    let _ = kill_process_group(group, Signal::KILL);
    child.wait()?;
    Ok(())
}

fn name(command: &Command) -> String {
    Path::new(command.get_program()).display().to_string()
}

/// A running server. Dropping it ends it and waits until it is gone.
pub struct Server {
    name: &'static str,
    log: PathBuf,
    child: Child,
}

impl Server {
    /// Starts a server with its output in `<folder>/<name>.log`, in `folder`, so that whatever it writes lands there.
    pub fn start<A: AsRef<OsStr>>(
        name: &'static str,
        program: &Path,
        folder: &Path,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        // By way of `xtask guard`, see `guard`. Own group: a Ctrl-C in the terminal reaches us alone, and we stop the
        // servers in order.
        let child = Command::new(own_binary()?)
            .arg("guard")
            .arg(std::process::id().to_string())
            .arg(program)
            .args(args)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {name} ({})", program.display()))?;
        Ok(Server { name, log, child })
    }

    /// Fails with the end of its log when the server has ended by itself.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!(
                "{} ended by itself ({status}); its log ends:\n{}",
                self.name,
                self.log_tail(15)
            );
        }
        Ok(())
    }

    /// The last lines of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Asks it to end as an orchestrator would (SIGTERM) and returns its status, killing it after `limit`.
    pub fn terminate(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // the child is not reaped yet, so the id is still its own
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
        let asked = Instant::now();
        while asked.elapsed() < limit {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            std::thread::sleep(POLL);
        }
        Ok(None)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Killed, not asked: nothing that the servers hold is to be kept.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This program, also when cargo has replaced its file in the meantime.
fn own_binary() -> Result<PathBuf> {
    let link = Path::new("/proc/self/exe");
    if link.exists() {
        return Ok(link.to_path_buf());
    }
    std::env::current_exe().context("where is xtask itself?")
}

/// What `xtask guard PARENT PROGRAM ARGS…` does: asks the kernel to kill this process when its parent is gone, then becomes the
/// program. So a server ends even if xtask is killed with SIGKILL. The wish outlives `exec`; setting it after `fork` in the
/// standard library would need unsafe code.
pub fn guard(parent: u32, program: &Path, args: &[std::ffi::OsString]) -> Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // the parent may have gone before the line above: then nobody would ever end the server
    let now = getppid().map(Pid::as_raw_nonzero).map(|p| p.get());
    if now != i32::try_from(parent).ok() {
        bail!("xtask is gone");
    }
    Err(Command::new(program).args(args).exec()).with_context(|| program.display().to_string())
}
