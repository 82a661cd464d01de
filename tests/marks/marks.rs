//! What users read is prose: marks of how Rust writes a value down are looked for in all that the program said.

/// As `derive(Debug)` and the standard library write values.
const MARKS: [&str; 12] = [
    "Some(",
    "Ok(",
    "Err(",
    "None)",
    "None,",
    "Error {",
    "Error(",
    "{ kind:",
    "Custom {",
    "Os {",
    "Status {",
    "Response {",
];

/// Fails for a line of this with a mark in it.
#[track_caller]
pub fn check(said: &str) {
    if std::thread::panicking() {
        return;
    }
    if let Some((line, mark)) = said.lines().find_map(|line| Some((line, mark_in(line)?))) {
        panic!("{mark:?} is how Rust writes a value down, not for people: {line}");
    }
}

fn mark_in(line: &str) -> Option<String> {
    let known = MARKS.into_iter().find(|mark| line.contains(mark));
    known.map(str::to_owned).or_else(|| named_fields(line))
}

/// `Name { field: `, of whatever type.
fn named_fields(line: &str) -> Option<String> {
    line.match_indices(" { ").find_map(|(at, _)| {
        let name = line[..at].rsplit(|c: char| !c.is_alphanumeric()).next()?;
        let field = line[at + 3..]
            .split(|c: char| !(c.is_alphanumeric() || c == '_'))
            .next()?;
        let rest = &line[at + 3 + field.len()..];
        let is_type = name.starts_with(|c: char| c.is_uppercase());
        (is_type && !field.is_empty() && rest.starts_with(": "))
            .then(|| format!("{name} {{ {field}:"))
    })
}

#[test]
fn marks_are_found_and_prose_is_left_alone() {
    for marked in [
        "error: ApiError: no (ErrorResponse { code: 404 })",
        "x: Status { status: Some(Failure), code: 404 }",
        "failed: Os { code: 2, kind: NotFound }",
        "it is RaftError(Fatal)",
        "a Thing { part: 1 }",
    ] {
        assert!(mark_in(marked).is_some(), "{marked}");
    }
    for prose in [
        "error: the door is not there (code 404)",
        "2026-01-01T00:00:00Z  INFO reconcile{namespace=\"a\"}: jointoken: done",
        "{\"error\":\"none\",\"exitCode\":2}",
        "write { \"a\": 1 }",
    ] {
        assert_eq!(mark_in(prose), None, "{prose}");
    }
}
