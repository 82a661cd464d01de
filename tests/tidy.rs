//! The walls between the rooms, checked by reading the sources: who may import whom, and which
//! room alone names which library. `docs/architecture.md` says why.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room and the rooms that it may import.
const ROOMS: &[(&str, &[&str])] = &[
    ("faults", &[]),
    ("token", &[]),
    ("lifecycle", &["token", "faults"]),
    ("store", &["token", "lifecycle", "clock", "faults"]),
    ("pki", &[]),
    ("net", &[]),
    ("peers", &["store", "pki", "clock", "net"]),
    ("founding", &["token", "lifecycle", "store", "pki", "clock"]),
    (
        "bootstrap",
        &["token", "lifecycle", "store", "pki", "clock", "net"],
    ),
    ("joiner", &["token", "pki", "bootstrap", "clock", "net"]),
    ("api", &[]),
    (
        "controller",
        &[
            "token",
            "lifecycle",
            "store",
            "pki",
            "founding",
            "api",
            "telemetry",
            "clock",
            "net",
        ],
    ),
    (
        "telemetry",
        &["token", "lifecycle", "store", "bootstrap", "clock"],
    ),
    ("clock", &[]),
    (
        "admin",
        &["token", "lifecycle", "store", "founding", "clock", "net"],
    ),
    (
        "cli",
        &[
            "token",
            "lifecycle",
            "store",
            "pki",
            "peers",
            "founding",
            "bootstrap",
            "joiner",
            "api",
            "controller",
            "telemetry",
            "clock",
            "admin",
            "net",
        ],
    ),
];

/// Libraries that only some rooms may name, and these rooms.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("openraft", &["store"]),
    ("openraft_rt_sim", &["store"]),
    ("kube", &["api", "controller", "cli"]),
    ("k8s_openapi", &["api", "controller", "cli"]),
    ("clap", &["cli"]),
    ("axum", &["bootstrap", "telemetry", "admin"]),
    ("prometheus_client", &["telemetry"]),
    ("rcgen", &["pki"]),
    ("x509_parser", &["pki"]),
    ("hmac", &["token"]),
];

/// The rooms that decide: nothing in them waits, tells the time, reaches for the world or logs. Keys and names are drawn at
/// random in `token` and `pki`, and nowhere else among them.
const PURE: &[&str] = &["token", "lifecycle", "api", "pki"];
const LOTS: &[&str] = &["rand", "getrandom"];
const MAY_DRAW_LOTS: &[&str] = &["token", "pki"];
const EFFECTS: &[&str] = &[
    "tokio",
    "tracing",
    "SystemTime",
    "Instant",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "thread",
    "fs",
    "env",
    "println",
    "eprintln",
];

#[test]
fn rooms_import_only_what_they_may() {
    let mut broken = Vec::new();
    for source in sources() {
        let (_, allowed) = ROOMS
            .iter()
            .find(|(room, _)| *room == source.room)
            .unwrap_or_else(|| panic!("the room {} is not in the list of rooms", source.room));
        for import in source.imports() {
            if import != source.room && !allowed.contains(&import.as_str()) {
                broken.push(format!(
                    "{}: {} must not import {import}",
                    source.path.display(),
                    source.room
                ));
            }
        }
    }
    assert_none(&broken);
}

/// Whoever climbs out of a room by `super` does not say where to.
#[test]
fn nobody_leaves_a_room_by_super() {
    let mut broken = Vec::new();
    for source in sources() {
        let climbs = source.longest_climb();
        if climbs > source.depth {
            broken.push(format!(
                "{}: `super::` {climbs} times leads out of the room; write crate::<room>",
                source.path.display()
            ));
        }
    }
    assert_none(&broken);
}

#[test]
fn libraries_stay_in_their_rooms() {
    let mut broken = Vec::new();
    for source in sources() {
        for (library, rooms) in LIBRARIES {
            if !rooms.contains(&source.room.as_str()) && source.names(library) {
                broken.push(format!(
                    "{}: only {} may name {library}",
                    source.path.display(),
                    rooms.join(", ")
                ));
            }
        }
    }
    assert_none(&broken);
}

#[test]
fn pure_rooms_have_no_effects() {
    let mut broken = Vec::new();
    for source in sources().filter(|source| PURE.contains(&source.room.as_str())) {
        let lots = LOTS
            .iter()
            .filter(|_| !MAY_DRAW_LOTS.contains(&source.room.as_str()));
        for effect in EFFECTS.iter().chain(lots) {
            if source.names(effect) {
                broken.push(format!(
                    "{}: {} must not know {effect}",
                    source.path.display(),
                    source.room
                ));
            }
        }
    }
    assert_none(&broken);
}

#[test]
fn no_shipped_command_can_select_the_store_in_memory() {
    let broken: Vec<String> = sources()
        .filter(|source| source.room != "store" && source.names("InMemoryStore"))
        .map(|source| format!("{}: names InMemoryStore", source.path.display()))
        .collect();
    assert_none(&broken);
}

/// What is done wrong on purpose is done so in tests alone: a release has no switch for it, and nothing in the program
/// turns one. (That a release's `is_on` is the constant `false` is asserted where it is defined, by the compiler.)
#[test]
fn no_release_has_a_switch_for_faults() {
    let faults = fs::read_to_string(root().join("src/faults/mod.rs")).unwrap();
    let is_guarded = |item: &str| {
        let (before, _) = faults.split_once(item).unwrap();
        before.trim_end().ends_with("#[cfg(debug_assertions)]")
    };
    for item in ["mod switch {", "pub use switch::"] {
        assert!(is_guarded(item), "src/faults: {item} is in a release");
    }
    let broken: Vec<String> = sources()
        .filter(|source| source.room != "faults" && source.names("switch_on"))
        .map(|source| format!("{}: turns on a fault", source.path.display()))
        .collect();
    assert_none(&broken);
}

/// Nor has it what judges a simulation.
#[test]
fn no_release_has_the_judges_view_of_the_store() {
    for (file, item) in [
        ("src/store/log/mod.rs", "mod durable;"),
        ("src/store/log/mod.rs", "pub use self::durable::"),
        ("src/store/peers/mod.rs", "mod promise;"),
        ("src/store/peers/mod.rs", "pub use promise::"),
        ("src/store/raft_store.rs", "pub fn look_at_state"),
    ] {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let (before, _) = text.split_once(item).unwrap();
        let is_guarded = before.trim_end().ends_with("#[cfg(debug_assertions)]");
        assert!(is_guarded, "{file}: {item} is in a release");
    }
}

#[test]
fn a_room_in_the_list_is_a_folder_with_a_door_that_says_what_it_is_for() {
    for (room, _) in ROOMS {
        let door = root().join("src").join(room).join("mod.rs");
        let text = fs::read_to_string(&door).unwrap_or_default();
        assert!(
            text.starts_with("//!"),
            "{}: the first paragraph must say what the room is for",
            door.display()
        );
    }
}

struct Source {
    room: String,
    path: PathBuf,
    /// How many modules lie between this one and the room: 0 of the room's own `mod.rs`.
    depth: usize,
    /// The code up to its tests, without comments.
    code: String,
}

impl Source {
    /// Of all `super::super::…`, the longest.
    fn longest_climb(&self) -> usize {
        let mut rest = self.code.as_str();
        let mut longest = 0;
        while let Some(at) = rest.find("super::") {
            rest = &rest[at..];
            let mut climbs = 0;
            while let Some(further) = rest.strip_prefix("super::") {
                rest = further;
                climbs += 1;
            }
            longest = longest.max(climbs);
        }
        longest
    }

    /// The rooms behind every `crate::…` and `crate::{…}`.
    fn imports(&self) -> BTreeSet<String> {
        let mut rooms = BTreeSet::new();
        for (at, _) in self.code.match_indices("crate::") {
            let rest = &self.code[at + "crate::".len()..];
            match rest.strip_prefix('{') {
                Some(group) => rooms.extend(heads_of_group(group)),
                None => rooms.extend(ident(rest)),
            }
        }
        rooms
    }

    /// The code has this name as a whole word (not as the tail of a longer path).
    fn names(&self, name: &str) -> bool {
        self.code.match_indices(name).any(|(at, _)| {
            let before = self.code[..at].chars().next_back();
            let after = self.code[at + name.len()..].chars().next();
            let word = |c: char| {
                c.is_alphanumeric() || c == '_' || c == '"' || c == '-' || c == '.' || c == '/'
            };
            !before.is_some_and(word)
                && !self.code[..at].ends_with("crate::")
                && !after.is_some_and(word)
        })
    }
}

/// The first segment of each path in `a::b, c::{d, e}, f}…`.
fn heads_of_group(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let (mut depth, mut at_head) = (0, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_head = true,
            c if at_head && !c.is_whitespace() => {
                heads.extend(ident(&group[at..]));
                at_head = false;
            }
            _ => {}
        }
    }
    heads
}

fn ident(text: &str) -> Option<String> {
    let ident: String = text
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    let is_room = ident.chars().next().is_some_and(char::is_lowercase);
    (is_room && ident != "self").then_some(ident)
}

fn sources() -> impl Iterator<Item = Source> {
    let src = root().join("src");
    let mut found = Vec::new();
    for (room, _) in ROOMS {
        collect(&src.join(room), room, &mut found);
    }
    assert!(found.len() > ROOMS.len(), "the sources were not found");
    let listed: BTreeSet<&str> = ROOMS.iter().map(|(room, _)| *room).collect();
    for entry in fs::read_dir(&src).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        assert!(
            !entry.path().is_dir() || listed.contains(name.as_str()),
            "src/{name} is a room that the list does not know"
        );
    }
    found.into_iter()
}

fn collect(folder: &Path, room: &str, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, room, found);
        } else if path.extension().is_some_and(|e| e == "rs") && !is_test(&path) {
            let text = fs::read_to_string(&path).unwrap();
            let (code, after) = match text.split_once("#[cfg(test)]\nmod tests {") {
                Some((code, tests)) => (
                    code,
                    tests.split_once("\n}\n").map_or("", |(_, after)| after),
                ),
                None => (text.as_str(), ""),
            };
            assert!(
                after.trim().is_empty(),
                "{}: code after its tests is not looked at: put it before them",
                path.display()
            );
            let path = path.strip_prefix(root()).unwrap().to_path_buf();
            // src/<room>/mod.rs has three parts, src/<room>/a.rs as well, and src/<room>/a/b.rs four.
            let is_mod = path.file_name().is_some_and(|name| name == "mod.rs");
            found.push(Source {
                room: room.to_string(),
                depth: path.components().count() - 2 - usize::from(is_mod),
                path,
                code: without_texts(&without_comments(code)),
            });
        }
    }
}

/// Tests beside the code may use what they like.
fn is_test(path: &Path) -> bool {
    path.components()
        .any(|c| matches!(c.as_os_str().to_str(), Some("tests" | "tests.rs")))
}

fn without_comments(code: &str) -> String {
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| line.split(" // ").next().unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Empties string literals: a log filter may name any library.
fn without_texts(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let (mut in_text, mut escaped) = (false, false);
    for c in code.replace("'\"'", "' '").chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_text => escaped = true,
            '"' => {
                in_text = !in_text;
                kept.push(c);
            }
            _ if in_text => {}
            _ => kept.push(c),
        }
    }
    kept
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn assert_none(broken: &[String]) {
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn the_reader_of_imports_reads_them() {
    let source = Source {
        room: "x".into(),
        path: PathBuf::new(),
        depth: 1,
        code: without_texts(
            "use crate::{a::{b, c}, d, e::F};\nlet x = crate::g::h();\nuse kube::Api; \"openraft \\\" clap\"; clap::x",
        ),
    };
    let imports: Vec<_> = source.imports().into_iter().collect();
    assert_eq!(imports, ["a", "d", "e", "g"]);
    assert!(source.names("kube"));
    assert!(!source.names("openraft"));
    assert!(source.names("clap"));
    let climbing = Source {
        code: "use super::a; use super::super::b; super::c()".into(),
        ..source
    };
    assert_eq!(climbing.longest_climb(), 2);
}
