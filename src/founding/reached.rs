//! How far a store's log has been, remembered outside of the data folder, so that an older copy of that is known for one.
//!
//! In Kubernetes it is remembered in the founding object, elsewhere in a file beside the keys.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::{BoxFuture, ready};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio::sync::watch;

use super::folder_vault::{at, make_folder, sync_folder, write_synced};
use super::identity::Identity;
use super::vault::VaultError;
use crate::store::Reached;
use crate::token::StoreId;

/// What is remembered of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remembered {
    /// How far its log has been; `None`: nothing is remembered of this store.
    pub reached: Option<Reached>,
    /// Which object remembers it: one that is made in its place has another name. `None`: it is no object.
    pub object: Option<String>,
    /// Somebody has told the object that the data folders are those in use last.
    pub folders_are_current: bool,
    pub written_for: WrittenFor,
}

/// Which object that was written for which remembers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum WrittenFor {
    /// It does not say: it was made by hand or by an earlier release, or is no object.
    #[default]
    Untold,
    Itself,
    /// Another one, of which it is a copy: `<namespace>/<name>`. Its store may live on there.
    Another(String),
}

/// Remembers outside of the data folder how far the log has been.
pub trait ReachedMark: Send + Sync {
    /// What it remembers of this store.
    fn remembered(&self, of: StoreId) -> BoxFuture<'_, Result<Remembered, VaultError>>;

    /// Has it remember this, unless it remembers more. Returns what it remembers now, durably.
    fn remember(
        &self,
        of: StoreId,
        reached: Reached,
    ) -> BoxFuture<'_, Result<Remembered, VaultError>>;

    /// What was seen of it last, whoever looked; `None`: nobody else writes it.
    fn seen(&self) -> Option<watch::Receiver<Option<Remembered>>>;

    /// Where it is, for messages.
    fn place(&self) -> String;

    /// All replicas have the same one, and the leader writes it.
    fn is_shared(&self) -> bool {
        self.seen().is_some()
    }
}

const FIRST_LINE: &str = "jointoken reached 1";

/// What to do about a file that does not say it.
const NO_MARK: &str = "does not say how far the log of the store has been, it was damaged or edited. If the data folder is the one that was in use last, remove this file and start again, \
    it is written anew; if it is an older copy, or you do not know, make a new store: `jointoken store recover` of it, or `jointoken store snapshot restore`";

/// How soon a lock that another replica has is tried again.
const AGAIN: Duration = Duration::from_millis(10);

/// The file `reached` in the folder of the keys, of one replica or of all that share this folder, on whatever machines.
#[derive(Debug, Clone)]
pub struct ReachedFile {
    folder: PathBuf,
}

impl ReachedFile {
    /// The file in this folder, which is there when a store is.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.join("reached")
    }

    fn load(&self, of: StoreId) -> Result<Remembered, VaultError> {
        let path = self.path();
        let Some(text) = read_if_there(&path)? else {
            return Ok(Remembered::default());
        };
        let (store_id, reached) =
            parse(&text).ok_or_else(|| VaultError::unfit(path.display().to_string(), NO_MARK))?;
        Ok(Remembered {
            // Another store's is of no use any more.
            reached: (store_id == of).then_some(reached),
            ..Remembered::default()
        })
    }

    /// Waits for other replicas that write it; whoever calls bounds that.
    async fn save(&self, of: StoreId, reached: Reached) -> Result<Remembered, VaultError> {
        if let Some(further) = self.further(of, reached)? {
            return Ok(further);
        }
        make_folder(&self.folder)?;
        let _lock = self.lock().await?;
        // Another may have written it meanwhile.
        if let Some(further) = self.further(of, reached)? {
            return Ok(further);
        }
        let text = format!("{FIRST_LINE}\nstore-id {of}\nreached {reached}\n");
        let beside = format!(".reached.{:016x}", random()?);
        replace(&self.folder, "reached", &beside, &text)?;
        Ok(Remembered {
            reached: Some(reached),
            ..Remembered::default()
        })
    }

    /// What it remembers, durably, if that is as much or more.
    fn further(&self, of: StoreId, than: Reached) -> Result<Option<Remembered>, VaultError> {
        let there = self.load(of)?;
        if there.reached < Some(than) {
            return Ok(None);
        }
        // It may have been put there by a process that was stopped before it could sync.
        sync_folder(&self.folder)?;
        Ok(Some(there))
    }

    /// Nobody else puts a lower mark over a higher one while this is kept. `None`: files cannot be locked there.
    async fn lock(&self) -> Result<Option<File>, VaultError> {
        let path = self.folder.join(".reached.lock");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(at(&path))?;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(file)),
                Err(Errno::WOULDBLOCK | Errno::INTR) => tokio::time::sleep(AGAIN).await,
                // Some network file systems. A slower replica may then set the mark back, until it is next written.
                Err(Errno::NOLCK | Errno::NOTSUP | Errno::NOSYS) => return Ok(None),
                Err(errno) => return Err(at(&path)(errno.into())),
            }
        }
    }
}

fn random() -> Result<u64, VaultError> {
    getrandom::u64().map_err(|error| VaultError::new("the random numbers of the system", error))
}

fn parse(text: &str) -> Option<(StoreId, Reached)> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    (lines.next()? == FIRST_LINE).then_some(())?;
    let store_id = lines.next()?.strip_prefix("store-id ")?.parse().ok()?;
    let reached = lines.next()?.strip_prefix("reached ")?.parse().ok()?;
    lines.next().is_none().then_some((store_id, reached))
}

impl ReachedMark for ReachedFile {
    fn remembered(&self, of: StoreId) -> BoxFuture<'_, Result<Remembered, VaultError>> {
        Box::pin(ready(self.load(of)))
    }

    fn remember(
        &self,
        of: StoreId,
        reached: Reached,
    ) -> BoxFuture<'_, Result<Remembered, VaultError>> {
        Box::pin(self.save(of, reached))
    }

    fn seen(&self) -> Option<watch::Receiver<Option<Remembered>>> {
        None
    }

    fn place(&self) -> String {
        self.path().display().to_string()
    }
}

/// Which founding object a data folder has seen: the file `founding-object` in it.
#[derive(Debug, Clone)]
pub struct SeenObject {
    folder: PathBuf,
    /// Another replica's that was in this folder says nothing of this one.
    node_id: u64,
}

impl SeenObject {
    /// That of this replica, whose data folder this is.
    pub fn of(identity: &Identity, data: impl Into<PathBuf>) -> Self {
        Self {
            folder: data.into(),
            node_id: identity.node_id,
        }
    }

    /// Which one it has seen, if any.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn load(&self) -> Result<Option<String>, VaultError> {
        let text = read_if_there(&self.folder.join("founding-object"))?;
        let node = format!("node-id {:016x}", self.node_id);
        Ok(text.and_then(|text| {
            let (first, second) = text.trim_end().split_once('\n')?;
            let uid = second.strip_prefix("uid ")?;
            (first == node).then(|| uid.to_owned())
        }))
    }

    /// Keeps that it has seen this one; durable when it returns.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, uid: &str) -> Result<(), VaultError> {
        let text = format!("node-id {:016x}\nuid {uid}\n", self.node_id);
        // Nobody else writes in the folder of a replica that runs: what one that was killed has left is written over.
        let beside = ".founding-object.new";
        match fs::remove_file(self.folder.join(beside)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(at(&self.folder.join(beside))(error));
            }
            _ => {}
        }
        replace(&self.folder, "founding-object", beside, &text)
    }
}

fn read_if_there(path: &Path) -> Result<Option<String>, VaultError> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // What is no text is like no text of ours.
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) => Err(at(path)(error)),
    }
}

/// Puts a whole file in the place of what has this name. It is made beside it, where nothing is left of it if that fails.
fn replace(folder: &Path, name: &str, beside: &str, text: &str) -> Result<(), VaultError> {
    let (path, beside) = (folder.join(name), folder.join(beside));
    let put = write_synced(&beside, text.as_bytes())
        .and_then(|()| fs::rename(&beside, &path).map_err(at(&path)));
    if put.is_err() {
        // What failed says more than this could.
        let _ = fs::remove_file(&beside);
    }
    put?;
    sync_folder(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::TrustDomain;

    const fn at_entry(term: u64, index: u64) -> Reached {
        let node = 0xab;
        Reached { term, node, index }
    }

    #[tokio::test]
    async fn a_file_remembers_the_furthest_of_its_store() {
        let folder = tempfile::tempdir().unwrap();
        let file = ReachedFile::new(folder.path().join("keys"));
        let (one, two) = (StoreId([1; 16]), StoreId([2; 16]));
        assert_eq!(file.load(one).unwrap(), Remembered::default());
        for (of, reached, remembered) in [
            (one, at_entry(1, 9), at_entry(1, 9)),
            (one, at_entry(1, 7), at_entry(1, 9)),
            (one, at_entry(2, 3), at_entry(2, 3)),
            (two, at_entry(1, 1), at_entry(1, 1)),
        ] {
            let saved = file.save(of, reached).await.unwrap();
            assert_eq!(saved.reached, Some(remembered));
            assert_eq!(file.load(of).unwrap(), saved);
        }
        assert_eq!(file.load(one).unwrap().reached, None);
        assert_eq!(names(&file), [".reached.lock", "reached"]);
        for odd in [
            &b""[..],
            b"jointoken reached 1\n",
            b"jointoken reached 1\nstore-id x\nreached 1.00000000000000ab.1\n",
            b"\x80",
        ] {
            fs::write(file.path(), odd).unwrap();
            let error = file.load(one).unwrap_err();
            assert!(error.is_unfit, "{odd:?}");
            let said = error.to_string();
            for says in [
                "keys/reached: does not say",
                "remove this file and start again",
                "store recover",
            ] {
                assert!(said.contains(says), "{says}: {said}");
            }
            let saved = file.save(one, at_entry(9, 9)).await;
            assert!(saved.is_err(), "{odd:?}");
        }
    }

    fn names(file: &ReachedFile) -> Vec<String> {
        let entries = fs::read_dir(&file.folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// In containers each replica may have the same process id.
    #[test]
    fn replicas_that_share_a_file_never_set_it_back_nor_hinder_each_other() {
        const REPLICAS: u64 = 4;
        const ENTRIES: u64 = 50;
        let folder = tempfile::tempdir().unwrap();
        let file = ReachedFile::new(folder.path().join("keys"));
        let of = StoreId([1; 16]);
        let replica = |of_all| {
            let file = file.clone();
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread();
                let runtime = { runtime }.enable_time().build().unwrap();
                for entry in 1..=ENTRIES {
                    let reached = at_entry(1, entry * REPLICAS + of_all);
                    let saved = runtime.block_on(file.save(of, reached)).unwrap();
                    assert!(saved.reached >= Some(reached));
                    assert!(file.load(of).unwrap().reached >= saved.reached);
                }
            }
        };
        std::thread::scope(|scope| {
            let replicas: Vec<_> = (0..REPLICAS).map(|of| scope.spawn(replica(of))).collect();
            let mut seen = None;
            while replicas.iter().any(|replica| !replica.is_finished()) {
                let now = file.load(of).unwrap().reached;
                assert!(now >= seen, "{now:?} after {seen:?}");
                seen = now;
            }
        });
        let last = at_entry(1, ENTRIES * REPLICAS + REPLICAS - 1);
        assert_eq!(file.load(of).unwrap().reached, Some(last));
        assert_eq!(names(&file), [".reached.lock", "reached"]);
    }

    /// Whoever calls gives up after a while, and nothing is written.
    #[tokio::test(start_paused = true)]
    async fn a_file_that_another_writes_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let file = ReachedFile::new(folder.path());
        let of = StoreId([1; 16]);
        let lock = file.lock().await.unwrap();
        let saving = file.save(of, at_entry(1, 1));
        let patience = Duration::from_secs(5);
        tokio::time::timeout(patience, saving).await.unwrap_err();
        assert_eq!(names(&file), [".reached.lock"]);
        drop(lock);
        file.save(of, at_entry(1, 1)).await.unwrap();
    }

    #[test]
    fn nothing_is_left_of_a_write_that_failed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("reached")).unwrap();
        replace(folder.path(), "reached", ".reached.1", "text").unwrap_err();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_keeps_which_object_its_replica_has_seen() {
        let folder = tempfile::tempdir().unwrap();
        let domain = TrustDomain::parse("prod.example.com").unwrap();
        let [one, two] = [1, 2].map(|_| Identity::draw(domain.clone(), 1).unwrap());
        let seen = SeenObject::of(&one, folder.path());
        assert_eq!(seen.load().unwrap(), None);
        // As one leaves it that was killed.
        fs::write(folder.path().join(".founding-object.new"), "x").unwrap();
        for uid in ["a-b", "c-d"] {
            seen.save(uid).unwrap();
            assert_eq!(seen.load().unwrap().as_deref(), Some(uid));
        }
        assert_eq!(SeenObject::of(&two, folder.path()).load().unwrap(), None);
    }
}
