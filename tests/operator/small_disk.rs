//! A disk that is full before long.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::text;

/// A small file system of its own. Dropping it takes it away.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where this is not allowed.
    pub fn mount(at: &Path) -> Option<Self> {
        fs::create_dir(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=3m", "jointoken-test", text(at)]);
        match mount.output() {
            Ok(output) if output.status.success() => Some(Self(at.to_path_buf())),
            Ok(output) => {
                println!("skipped, mount is not allowed: {output:?}");
                None
            }
            Err(error) => {
                println!("skipped, no mount: {error}");
                None
            }
        }
    }

    /// Leaves so many bytes free; the file that takes up the others.
    pub fn fill(&self, left: u64) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = File::create(&path).unwrap();
        while file.write_all(&[0; 1024]).is_ok() {}
        let written = file.metadata().unwrap().len();
        file.set_len(written.saturating_sub(left)).unwrap();
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Also under a server that a failed test has left behind.
        let _ = Command::new("umount").args(["-l", text(&self.0)]).status();
    }
}
