//! No token and no key in any log line, at any level, whatever happens, nor in any answer.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use jointoken::joiner::join;
use tempfile::TempDir;
use tracing_subscriber::fmt::MakeWriter;

use crate::caller::{ask, ask_text, new_key};
use crate::script::{Play, is_consume};
use crate::world::World;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Log {
    fn text(&self) -> String {
        let log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&log).into_owned()
    }
}

#[tokio::test]
async fn no_secret_is_logged_or_said_back() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    // For the whole process: what other tests log does no harm.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    tracing::info!("the log is listened to");

    let world = World::open().await;
    let token = world.plain_token().await;
    let text = token.text.expose().to_owned();
    let mut said = Vec::new();
    let typo = format!("{}!", &text[..text.len() - 1]);
    said.push(ask_text(&world, &typo, &new_key()).await);
    world.store.play_once(is_consume, Play::Panic);
    said.push(ask(&world, &token, &new_key()).await);
    let folder = TempDir::new().unwrap();
    let mut joining = world.joining(&token.text, folder.path());
    let lines = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&lines);
    joining.waiting = Box::new(move |line| told.lock().unwrap().push(line.to_owned()));
    let joined = join(joining).await.unwrap();
    said.push(ask(&world, &token, &new_key()).await);
    let key = std::fs::read_to_string(folder.path().join("tls.key")).unwrap();

    let mut everything = log.text();
    assert!(everything.contains("the log is listened to"));
    for said in said {
        everything.push_str(&format!("{:?}", said));
        everything.push_str(&String::from_utf8_lossy(&said.body));
    }
    everything.push_str(&format!("{joined:?} {:?}", lines.lock().unwrap()));
    everything.push_str(&format!("{:?}", world.observer.answered()));
    everything.push_str(&format!("{:?}", world.observer.refused()));
    // Any telling part of the token: its MAC and checksum are in the last 48 characters.
    for secret in [&text[..], &typo, &text[text.len() - 40..text.len() - 6]] {
        assert!(!everything.contains(secret));
    }
    for line in key.lines().filter(|line| !line.starts_with('-')) {
        assert!(!everything.contains(line));
    }
}
