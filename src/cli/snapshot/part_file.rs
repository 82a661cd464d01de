//! A file that gets its name only when it is whole.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// A file beside its place, which its owner alone can read. Unless it is put in its place it goes away again.
pub(super) struct PartFile {
    file: File,
    path: PathBuf,
    target: PathBuf,
}

impl PartFile {
    /// Begins the file that is to be called `target`.
    pub fn create(target: &Path) -> io::Result<Self> {
        let mut name = OsString::from(".");
        name.push(target.file_name().ok_or(io::ErrorKind::InvalidInput)?);
        name.push(format!(".{}.part", std::process::id()));
        let path = folder(target).join(name);
        // Of a process that had this number and was killed.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Self {
            file,
            path,
            target: target.to_path_buf(),
        })
    }

    /// Makes what was written last through a loss of power.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Where it lies until it has its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name. Unless `replace`, another file of that name stays, and it is an error.
    pub fn put(self, replace: bool) -> io::Result<()> {
        if replace {
            fs::rename(&self.path, &self.target)?;
        } else {
            // Unlike a rename, a link fails if the name is taken.
            fs::hard_link(&self.path, &self.target)?;
            fs::remove_file(&self.path)?;
        }
        File::open(folder(&self.target))?.sync_all()
    }
}

impl Write for PartFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        // Most often it has its name by now.
        let _ = fs::remove_file(&self.path);
    }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
