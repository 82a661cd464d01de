//! How many connections the process has file descriptors for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// File descriptors that connections leave to everything else: the log, snapshots, peers, the API
/// server. A store that cannot open its next file ends the process.
const RESERVED_FILES: u64 = 256;

/// As many connections as there are file descriptors for.
pub(super) fn connections_that_fit(connections: usize) -> usize {
    fit(connections, files_for(connections))
}

/// How many files this process may open. For `connections` the soft limit, 1,024 by custom, is
/// raised as far as the hard one lets it.
fn files_for(connections: usize) -> u64 {
    let wanted = u64::try_from(connections)
        .unwrap_or(u64::MAX)
        .saturating_add(RESERVED_FILES);
    let before = getrlimit(Resource::Nofile);
    let soft = before.current.unwrap_or(u64::MAX);
    let raised = wanted.min(before.maximum.unwrap_or(u64::MAX));
    if soft >= raised {
        return soft;
    }
    let limit = Rlimit {
        current: Some(raised),
        maximum: before.maximum,
    };
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => raised,
        Err(_) => soft,
    }
}

/// As many connections as leave enough of `files` to others.
fn fit(connections: usize, files: u64) -> usize {
    let left = files.saturating_sub(RESERVED_FILES.min(files / 2));
    connections
        .min(usize::try_from(left).unwrap_or(usize::MAX))
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_left_to_the_store() {
        assert_eq!(fit(2_048, u64::MAX), 2_048);
        assert_eq!(fit(2_048, 2_304), 2_048);
        assert_eq!(fit(2_048, 1_024), 768);
        assert_eq!(fit(2_048, 256), 128);
        assert_eq!(fit(2_048, 1), 1);
        assert_eq!(fit(0, 1_024), 1);
    }
}
