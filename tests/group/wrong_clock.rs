//! A machine whose clock is wrong, as the programs on it see it.

use std::path::Path;
use std::process::Command;

use crate::program::{finish, text};

/// Of a program that is to see a time of day which is so many seconds ahead. What that takes is kept in `folder`.
pub fn environment(folder: &Path, ahead_seconds: i64) -> Vec<(String, String)> {
    let library = folder.join("wrong_clock.so");
    // Never under a program that has it loaded.
    if !library.exists() {
        build(&library);
    }
    vec![
        ("LD_PRELOAD".into(), text(&library).into()),
        ("TEST_CLOCK_AHEAD_SECONDS".into(), ahead_seconds.to_string()),
    ]
}

fn build(library: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/group/wrong_clock.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o", text(library), text(&source)]);
    finish(&mut compiler).ok();
}
