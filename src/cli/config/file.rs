//! Reads the file of `serve`: what is wrong with it is said by field, and with what has to stand there.

use serde_saphyr::{Error, Location};

use super::ServerConfig;

/// What has to stand there, as far as the library's words for it are of no use.
const EXPECTED: &[(&str, &str)] = &[
    ("dataDir", "the path of a folder"),
    ("keysDir", "the path of a folder"),
    ("adminSocket", "the path of a Unix socket"),
    ("trustDomain", "a DNS name such as edge.example"),
    ("nodedb.secretFile", "the path of a file"),
    (
        "peers.address",
        "a host and a port, such as a.edge.example:9443",
    ),
    (
        "peers.members",
        "a list of host:port, such as [a.edge.example:9443]",
    ),
    ("limits.connections", "a whole number from 1 to 65536"),
    (
        "limits.connectionsPerSource",
        "a whole number from 1 to limits.connections",
    ),
    (
        "limits.keptConnectionsPercent",
        "a whole number from 0 to 90",
    ),
    (
        "limits.concurrentHandshakes",
        "a whole number from 1 to 65536",
    ),
    (
        "limits.requestsPerConnection",
        "a whole number from 4 to 1000000",
    ),
    (
        "limits.proxyProtocolFrom",
        "a list of networks, such as [10.0.0.0/8]",
    ),
];

/// The configuration in this text, unchecked.
///
/// # Errors
/// One line without the name of the file.
pub(super) fn parse(text: &str) -> Result<ServerConfig, String> {
    // Without the excerpt of the file, which takes several lines.
    let options = serde_saphyr::options! { with_snippet: false };
    let mut field = String::new();
    let parsed = serde_saphyr::with_deserializer_from_str_with_options(text, options, |yaml| {
        serde_path_to_error::deserialize(yaml).map_err(|error| {
            field = error.path().to_string();
            error.into_inner()
        })
    });
    parsed.map_err(|error| said(&field, error.without_snippet()))
}

fn said(field: &str, error: &Error) -> String {
    // What the library calls the root, and a key that it does not know.
    let field = field.trim_end_matches(['.', '?']);
    let is_named = matches!(
        error,
        Error::SerdeUnknownField { .. } | Error::SerdeMissingField { .. }
    );
    // Of an element of a list, the list.
    let list = field.split('[').next().unwrap_or(field);
    let expected = EXPECTED.iter().find(|(name, _)| *name == list);
    match expected {
        Some((_, expected)) if !is_named => {
            let place = error.location().map(place).unwrap_or_default();
            format!("{field} has to be {expected}{place}")
        }
        _ if field.is_empty() => error.to_string(),
        _ => format!("{field}: {error}"),
    }
}

fn place(at: Location) -> String {
    format!(", at line {}, column {}", at.line(), at.column())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_by_field_and_with_what_has_to_be_there() {
        for (added, says) in [
            (
                "limits: {connections: -1}",
                "limits.connections has to be a whole number from 1 to 65536, at line 3, column",
            ),
            (
                "limits: {keptConnectionsPercent: 500}",
                "limits.keptConnectionsPercent has to be a whole number from 0 to 90",
            ),
            (
                "limits: {proxyProtocolFrom: [10.0.0.0/8, x]}",
                "limits.proxyProtocolFrom[1] has to be a list of networks, such as [10.0.0.0/8]",
            ),
            (
                "dataDir: [",
                "dataDir has to be the path of a folder, at line 3",
            ),
            (
                "maxTokenTtl: soon",
                "maxTokenTtl: \"soon\" is not a length of time",
            ),
            (
                "peers: {listen: x}",
                "peers.listen: \"x\" is not an address",
            ),
            ("limits: {connection: 1}", "unknown field `connection`"),
            ("nodedb: {maxTtl: 1h}", "nodedb: missing field `secretFile`"),
        ] {
            let text = format!("trustDomain: e\nadvertiseUrls: https://a\n{added}\n");
            let said = parse(&text).unwrap_err();
            assert!(said.contains(says), "{added}: {said}");
        }
        assert!(parse("listn: 1").unwrap_err().contains("unknown field"));
    }
}
