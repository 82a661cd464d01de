//! Keys that everybody on the machine can read.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use crate::program::text;
use crate::standalone::Standalone;

#[test]
fn keys_that_everybody_can_read_are_not_used_and_the_remedy_is_named() {
    let place = Standalone::new();
    assert!(place.setup().start().terminate().0.success());
    let keys = place.data().join("keys");
    for (key, mode) in [
        ("door-ca/tls.key", 0o604),
        ("resource-key/key", 0o644),
        ("offline-master/key", 0o602),
    ] {
        let key = keys.join(key);
        fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
        let ran = place.setup().run();
        let line = ran.fails(1, &[text(&key), "chmod -R go-rwx", text(&keys)]);
        assert!(!line.contains("keys: keys"), "{line}");
        fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    }
    // As a copy without `cp -p` leaves them; what the message says is done to the letter.
    let chmod = std::process::Command::new("chmod")
        .args(["-R", "a+rX", text(&keys)])
        .status();
    assert!(chmod.unwrap().success());
    let ran = place.setup().run();
    let line = ran.fails(1, &["chmod -R go-rwx"]);
    let (_, command) = line.split_once("run `").unwrap();
    let (command, _) = command.split_once('`').unwrap();
    let done = std::process::Command::new("sh")
        .args(["-c", command])
        .status();
    assert!(done.unwrap().success(), "{command}");
    let server = place.setup().start();
    assert!(server.terminate().0.success());
    // A group is let in on purpose, as the owner of a volume is.
    let key = keys.join("door-ca/tls.key");
    fs::set_permissions(&key, Permissions::from_mode(0o640)).unwrap();
    assert!(place.setup().start().terminate().0.success());
}
