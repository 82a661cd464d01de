//! A disk that loses power: what was not synced may be gone, torn at any sector, or come in any
//! order; names that were not synced, too. It can be full, and it can fail.
//!
//! A sector of 512 bytes is written at once or not at all. Contents and names are lost on their
//! own: a synced file may lose its name, a name may come before its contents.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use jointoken::store::disk::{Disk, DiskFile, DiskLock};
use rand::rngs::SmallRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

const SECTOR: usize = 512;

/// All clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

/// What a disk held at some moment.
pub struct DiskCopy(State);

type FileId = u64;

#[derive(Clone)]
struct State {
    rng: SmallRng,
    next_file: FileId,
    files: BTreeMap<FileId, File>,
    /// As the running process sees them.
    names: BTreeMap<PathBuf, FileId>,
    /// As a loss of power would leave them at least, and the changes that it may undo.
    synced_names: BTreeMap<PathBuf, FileId>,
    unsynced: Vec<NameChange>,
    /// A process sees only what happens while it runs.
    process: u64,
    locks: BTreeSet<PathBuf>,
    /// So many more changes until the power is lost; `None`: it stays.
    changes_left: Option<u64>,
    /// So many more bytes fit.
    space: Option<u64>,
    /// So many more syncs succeed.
    syncs_left: Option<u64>,
}

/// What the page cache holds, what the disk holds, and which sectors differ.
#[derive(Clone, Default)]
struct File {
    cached: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

#[derive(Clone)]
enum NameChange {
    Link(PathBuf, FileId),
    Rename(PathBuf, PathBuf, FileId),
    Remove(PathBuf),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, FileId>) {
        match self {
            Self::Link(path, file) => {
                names.insert(path.clone(), *file);
            }
            Self::Rename(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
            Self::Remove(path) => {
                names.remove(path);
            }
        }
    }

    fn paths(&self) -> Vec<&PathBuf> {
        match self {
            Self::Link(path, _) | Self::Remove(path) => vec![path],
            Self::Rename(from, to, _) => vec![from, to],
        }
    }
}

impl File {
    fn append(&mut self, bytes: &[u8]) {
        let from = self.cached.len() / SECTOR;
        self.cached.extend_from_slice(bytes);
        self.dirty.extend(from..self.cached.len().div_ceil(SECTOR));
    }

    fn sync(&mut self) {
        self.durable
            .clone_from(&self.cached_where(|_| true, self.cached.len()));
        self.dirty.clear();
    }

    /// What is durable, with some of the dirty sectors, `len` bytes of it.
    fn cached_where(&self, mut kept: impl FnMut(usize) -> bool, len: usize) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        bytes.resize(len.max(self.durable.len()), 0);
        for sector in self.dirty.iter().copied().filter(|sector| kept(*sector)) {
            let from = sector * SECTOR;
            let to = (from + SECTOR).min(self.cached.len()).min(bytes.len());
            if from < to {
                bytes[from..to].copy_from_slice(&self.cached[from..to]);
            }
        }
        bytes
    }

    fn lose_power(&mut self, rng: &mut SmallRng) {
        let len = match rng.random_range(0..3) {
            0 => self.durable.len(),
            1 => self.cached.len(),
            _ => rng.random_range(self.durable.len()..=self.cached.len()),
        };
        // Mostly some, often none, often all.
        let share = [0.0, 0.5, 0.9, 1.0][rng.random_range(0..4)];
        self.durable = self.cached_where(|_| rng.random_bool(share), len);
        self.cached.clone_from(&self.durable);
        self.dirty.clear();
    }
}

fn power_lost() -> io::Error {
    io::Error::other("the power is lost")
}

impl State {
    /// Counts a change. The one at which the power is lost may or may not happen.
    fn change(&mut self) -> io::Result<()> {
        match &mut self.changes_left {
            None => Ok(()),
            Some(0) => Err(power_lost()),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    fn is_dead(&self) -> bool {
        self.changes_left == Some(0)
    }

    /// Fails what was begun when the power went.
    fn done(&self) -> io::Result<()> {
        if self.is_dead() {
            Err(power_lost())
        } else {
            Ok(())
        }
    }

    fn find(&self, path: &Path) -> io::Result<FileId> {
        let file = self.names.get(path).copied();
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&mut self, change: NameChange) -> io::Result<()> {
        self.change()?;
        change.apply(&mut self.names);
        self.unsynced.push(change);
        self.done()
    }
}

impl SimDisk {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            rng: SmallRng::seed_from_u64(seed),
            next_file: 0,
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            synced_names: BTreeMap::new(),
            unsynced: Vec::new(),
            process: 0,
            locks: BTreeSet::new(),
            changes_left: None,
            space: None,
            syncs_left: None,
        })))
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// The power will be lost after so many changes more.
    pub fn lose_power_after(&self, changes: u64) {
        self.lock_state().changes_left = Some(changes);
    }

    /// Only so many bytes fit from now on; `None`: as many as you like.
    pub fn set_space(&self, bytes: Option<u64>) {
        self.lock_state().space = bytes;
    }

    /// The sync after so many fails, once, and what it should have written never is.
    pub fn fail_sync_after(&self, syncs: u64) {
        self.lock_state().syncs_left = Some(syncs);
    }

    /// As the process sees it that runs now.
    pub fn session(&self) -> Session {
        Session {
            disk: self.clone(),
            process: self.lock_state().process,
        }
    }

    /// An empty disk in the place of this one.
    pub fn wipe(&self) {
        self.kill();
        let mut state = self.lock_state();
        state.files.clear();
        state.names.clear();
        state.synced_names.clear();
        state.unsynced.clear();
    }

    /// The process is gone, the machine goes on: nothing that was written is lost.
    pub fn kill(&self) {
        let mut state = self.lock_state();
        state.process += 1;
        state.locks.clear();
        state.syncs_left = None;
        state.changes_left = None;
    }

    /// The machine was without power, and is on again.
    pub fn lose_power(&self) {
        self.kill();
        let mut state = self.lock_state();
        let state = &mut *state;
        for file in state.files.values_mut() {
            file.lose_power(&mut state.rng);
        }
        // A change that is lost takes those with it that build on its names.
        let mut lost: BTreeSet<PathBuf> = BTreeSet::new();
        let share = [0.0, 0.5, 1.0][state.rng.random_range(0..3)];
        for change in std::mem::take(&mut state.unsynced) {
            let depends = change.paths().into_iter().any(|path| lost.contains(path));
            if !depends && state.rng.random_bool(share) {
                change.apply(&mut state.synced_names);
            } else {
                lost.extend(change.paths().into_iter().cloned());
            }
        }
        state.names.clone_from(&state.synced_names);
    }

    /// All that is there, as when a volume's snapshot is taken while it is in use.
    pub fn copy(&self) -> DiskCopy {
        DiskCopy(self.lock_state().clone())
    }

    /// The disk holds again what it held when the copy was taken, as a loss of power then would have left it.
    pub fn set_back(&self, to: &DiskCopy) {
        let DiskCopy(then) = to;
        let mut state = self.lock_state();
        // It may have been another disk.
        state.next_file = state.next_file.max(then.next_file);
        state.files.clone_from(&then.files);
        state.names.clone_from(&then.names);
        state.synced_names.clone_from(&then.synced_names);
        state.unsynced.clone_from(&then.unsynced);
        drop(state);
        self.lose_power();
    }

    /// The names and contents in a folder, its own folders included.
    pub fn contents(&self, dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.lock_state();
        let names = state.names.iter().filter(|(path, _)| path.starts_with(dir));
        names
            .map(|(path, file)| (path.clone(), state.files[file].cached.clone()))
            .collect()
    }
}

impl SimDisk {
    /// What would be there at least if the power were lost now.
    pub fn durable(&self) -> Durable {
        Durable(self.clone())
    }
}

/// The disk without anything that a loss of power may take; to be read only.
pub struct Durable(SimDisk);

impl Disk for Durable {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.0.lock_state();
        let file = state
            .synced_names
            .get(path)
            .ok_or(io::ErrorKind::NotFound)?;
        Ok(state.files[file].durable.clone())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.0.lock_state();
        let inside = state
            .synced_names
            .keys()
            .filter(|path| path.parent() == Some(dir));
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        Ok(inside.map(name).collect())
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn create(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn open(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn lock(&self, _: &Path) -> io::Result<Result<DiskLock, Option<u32>>> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

/// The disk as one process sees it: after [`SimDisk::kill`] and the like it changes nothing any more.
pub struct Session {
    disk: SimDisk,
    process: u64,
}

impl Session {
    fn disk(&self) -> io::Result<&SimDisk> {
        match self.disk.lock_state().process == self.process {
            true => Ok(&self.disk),
            false => Err(power_lost()),
        }
    }
}

impl Disk for Session {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk()?.create_dir(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.disk()?.create(path)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Disk::open(self.disk()?, path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.disk()?.read(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk()?.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk()?.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk()?.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk()?.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Result<DiskLock, Option<u32>>> {
        self.disk()?.lock(path)
    }
}

struct SimFile {
    disk: SimDisk,
    id: FileId,
    process: u64,
}

impl SimFile {
    /// The disk, unless this handle's process is gone.
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.lock_state();
        if state.process == self.process {
            Ok(state)
        } else {
            Err(power_lost())
        }
    }
}

impl DiskFile for SimFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state()?;
        state.change()?;
        let fits = match &mut state.space {
            None => bytes.len(),
            Some(space) => {
                let fits = usize::try_from(*space).unwrap().min(bytes.len());
                *space -= fits as u64;
                fits
            }
        };
        state
            .files
            .get_mut(&self.id)
            .unwrap()
            .append(&bytes[..fits]);
        state.done()?;
        if fits < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.state()?;
        state.change()?;
        let fails = match &mut state.syncs_left {
            None => false,
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
        };
        let dies_before = state.is_dead() && state.rng.next_u64().is_multiple_of(2);
        let file = state.files.get_mut(&self.id).unwrap();
        if fails {
            // As Linux does: the pages pass for clean from now on.
            file.dirty.clear();
            state.syncs_left = None;
            return Err(io::Error::other("I/O error"));
        }
        if !dies_before {
            file.sync();
        }
        state.done()
    }
}

struct Locked {
    disk: SimDisk,
    path: PathBuf,
    process: u64,
}

impl Drop for Locked {
    fn drop(&mut self) {
        let mut state = self.disk.lock_state();
        if state.process == self.process {
            state.locks.remove(&self.path);
        }
    }
}

impl Disk for SimDisk {
    // Folders are always there.
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        self.lock_state().done()
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.lock_state();
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = state.next_file;
        state.next_file += 1;
        state.files.insert(id, File::default());
        state.rename(NameChange::Link(path.to_path_buf(), id))?;
        let process = state.process;
        drop(state);
        Ok(Box::new(SimFile {
            disk: self.clone(),
            id,
            process,
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let state = self.lock_state();
        state.done()?;
        let id = state.find(path)?;
        let process = state.process;
        drop(state);
        Ok(Box::new(SimFile {
            disk: self.clone(),
            id,
            process,
        }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.lock_state();
        state.done()?;
        let file = state.find(path)?;
        Ok(state.files[&file].cached.clone())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.lock_state();
        state.done()?;
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        Ok(inside.map(name).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        let file = state.find(from)?;
        state.rename(NameChange::Rename(
            from.to_path_buf(),
            to.to_path_buf(),
            file,
        ))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.find(path)?;
        state.rename(NameChange::Remove(path.to_path_buf()))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.change()?;
        let dies_before = state.is_dead() && state.rng.next_u64().is_multiple_of(2);
        if !dies_before {
            let state = &mut *state;
            let (synced, unsynced) = std::mem::take(&mut state.unsynced)
                .into_iter()
                .partition(|change| change.paths()[0].parent() == Some(dir));
            state.unsynced = unsynced;
            let synced: Vec<NameChange> = synced;
            for change in synced {
                change.apply(&mut state.synced_names);
            }
        }
        state.done()
    }

    fn lock(&self, path: &Path) -> io::Result<Result<DiskLock, Option<u32>>> {
        let mut state = self.lock_state();
        state.done()?;
        if !state.locks.insert(path.to_path_buf()) {
            return Ok(Err(Some(1)));
        }
        Ok(Ok(Box::new(Locked {
            disk: self.clone(),
            path: path.to_path_buf(),
            process: state.process,
        })))
    }
}
