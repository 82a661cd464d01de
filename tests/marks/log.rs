//! What is logged in the process of the tests, for harnesses that run no program: as the program logs by default.

use std::io::{self, Write};
use std::sync::{Mutex, Once, PoisonError};

use tracing_subscriber::EnvFilter;

use crate::marks;

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Line;

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
        log.extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// From the first call on it is written down.
pub fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let filter = EnvFilter::new("info,openraft=off,kube=off");
        let log = tracing_subscriber::fmt().with_env_filter(filter);
        log.with_ansi(false).with_writer(|| Line).init();
    });
}

/// Fails for a mark in what was logged since the last call, by whichever test.
#[track_caller]
pub fn check() {
    listen();
    let log = std::mem::take(&mut *LOG.lock().unwrap_or_else(PoisonError::into_inner));
    marks::check(&String::from_utf8_lossy(&log));
}
