//! What the system says of a file or a folder, with what to do about it.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Why a file or a folder cannot be used, and the next step, in words that go on after its path.
pub fn file_trouble(error: &io::Error, path: &Path) -> String {
    let text = error.to_string();
    let words = text
        .split_once(" (os error ")
        .map_or(&*text, |(words, _)| words);
    let next = match error.kind() {
        ErrorKind::PermissionDenied => not_ours(path),
        ErrorKind::NotFound => {
            "is the path right, and is what should be mounted there mounted?".to_owned()
        }
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => match in_the_way(path) {
            Some(file) => format!(
                "{} is in the way, which is no folder: move it away, or give another path",
                file.display()
            ),
            None => "something else is in its place: move it away, or give another path".to_owned(),
        },
        ErrorKind::IsADirectory => {
            "there is a folder where a file should be: move it away".to_owned()
        }
        ErrorKind::ReadOnlyFilesystem => {
            "mount it so that it can be written, or give another path".to_owned()
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "make room there, and start again".to_owned()
        }
        ErrorKind::InvalidData => {
            "it is not what it should be: find out what changed it, and put it back".to_owned()
        }
        _ => return format!("{words}: see what the system's log says of this disk"),
    };
    format!("{words}: {next}")
}

/// Who may not work there, and whose it is.
fn not_ours(path: &Path) -> String {
    let user = rustix::process::geteuid().as_raw();
    // What cannot be looked at lies in something that can.
    let mut there = path
        .ancestors()
        .filter(|there| !there.as_os_str().is_empty());
    let there = there.find_map(|there| Some((there, fs::metadata(there).ok()?)));
    let Some((there, found)) = there else {
        return format!(
            "this process runs as user {user}, who may not use it: run it as the user that it belongs to"
        );
    };
    let (owner, mode) = (found.uid(), found.mode() & 0o777);
    let is_it = there == path;
    let (there, path) = (there.display(), path.display());
    match owner == user {
        // What it lies in may be everybody's.
        false if !is_it => format!(
            "this process runs as user {user}, and user {owner} owns {there} (mode {mode:03o}): run it as that user, or have that one make {path} and give it to this one with chown"
        ),
        true => format!(
            "this process runs as user {user}, who owns {there}, and its mode {mode:03o} does not allow this: `chmod -R u+rwX {there}`, if it is not mounted read-only"
        ),
        false => format!(
            "this process runs as user {user}, and user {owner} owns {there} (mode {mode:03o}): run it as that user, or give it to this one with chown -R"
        ),
    }
}

/// The first on the way to it, or itself, that should be a folder.
fn in_the_way(path: &Path) -> Option<&Path> {
    path.ancestors().find(|there| there.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_comes_with_a_next_step() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let below = file.join("keys");
        for (number, says) in [
            (2, vec!["No such file or directory: is the path right"]),
            (
                13,
                vec![
                    "Permission denied: this process runs as user",
                    "chmod -R u+rwX",
                ],
            ),
            (
                20,
                vec!["Not a directory: ", "file is in the way", "move it away"],
            ),
            (28, vec!["No space left on device: make room"]),
            (
                30,
                vec!["Read-only file system: mount it so that it can be written"],
            ),
            (
                5,
                vec!["Input/output error: see what the system's log says"],
            ),
        ] {
            let said = file_trouble(&io::Error::from_raw_os_error(number), &below);
            assert!(!said.contains("os error"), "{said}");
            for part in says {
                assert!(said.contains(part), "{part}: {said}");
            }
        }
    }
}
