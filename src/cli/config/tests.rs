use super::*;
use crate::bootstrap::DoorLimits;

fn parse(yaml: &str) -> Result<ServerConfig, String> {
    let config: ServerConfig = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
    config.check().map_err(|error| error.to_string())?;
    Ok(config)
}

const MINIMAL: &str = "dataDir: /data\ntrustDomain: edge.example\nadvertiseUrls: [\"https://join.example:8443\", \"https://[::1]\"]\n";

#[test]
fn the_least_configuration_has_defaults() {
    let config = parse(MINIMAL).unwrap();
    assert_eq!(config.listen.to_string(), DEFAULT_LISTEN);
    assert_eq!(config.metrics_listen.to_string(), DEFAULT_METRICS_LISTEN);
    assert_eq!(config.probe_listen.to_string(), DEFAULT_PROBE_LISTEN);
    assert_eq!(config.admin_socket(), Path::new("/data/admin.sock"));
    assert_eq!(config.door_hosts(), ["::1", "join.example"]);
    assert_eq!(config.settings(), Settings::default());
}

#[test]
fn a_nodedb_token_lives_an_hour_unless_told_otherwise() {
    let config = parse(&format!("{MINIMAL}nodedb: {{secretFile: /s}}\n")).unwrap();
    assert_eq!(config.nodedb.unwrap().max_ttl.to_string(), "1h");
}

#[test]
fn limits_that_are_left_out_have_their_defaults() {
    let limits = parse(MINIMAL).unwrap().limits.door();
    assert_eq!(limits, DoorLimits::default());
    let some =
        "limits: {connections: 64, connectionsPerSource: 8, proxyProtocolFrom: [\"10.0.0.7/32\"]}";
    let some = parse(&format!("{MINIMAL}{some}\n")).unwrap().limits.door();
    let expected = DoorLimits {
        connections: 64,
        connections_per_address: 8,
        proxy_protocol_from: vec!["10.0.0.7/32".parse().unwrap()],
        ..DoorLimits::default()
    };
    assert_eq!(some, expected);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    for (added, message) in [
        ("listn: 1", "listn"),
        ("certificateLifetime: 5 fortnights", "fortnights"),
        ("certificateLifetime: 5s", "certificate lifetime"),
        ("bareNames: {db: \"A\"}", "namespace db"),
        ("nodedb: {maxTtl: 1h}", "secretFile"),
        ("nodedb: {secretFile: /s, maxTtl: 0s}", "less than a minute"),
        (
            "nodedb: {secretFile: /s, maxTtl: 8d}",
            "than that of any token, 7d",
        ),
        (
            "maxTokenTtl: 91d",
            "maximum token TTL, 91d, is more than 90d",
        ),
        ("maxTokenTtl: 18446744073709551s", "is more than 90d"),
        ("certificateLifetime: 366d", "is more than 365d"),
        ("listen: 8443", "is not an address and a port"),
        ("metricsListen: localhost", "is not an address and a port"),
        ("bareNames: {Db: a}", "not the name of a namespace"),
        ("limits: {connection: 1}", "connection"),
        ("limits: {connections: 0}", "the limit of connections, 0,"),
        (
            "limits: {connections: 8, connectionsPerSource: 9}",
            "is not between 1 and 8",
        ),
        ("limits: {keptConnectionsPercent: 91}", "in percent, 91"),
        (
            "limits: {requestsPerConnection: 3}",
            "requests per connection",
        ),
        ("limits: {proxyProtocolFrom: [10.0.0.0]}", "10.0.0.0"),
        ("probeListen: localhost", "is not an address and a port"),
        ("metricsListen: \"[::]:8443\"", "the door and the metrics"),
        ("probeListen: \"[::]:8443\"", "the door and the probes"),
        (
            "probeListen: 127.0.0.1:9090",
            "the metrics and the probes cannot both listen on 127.0.0.1:9090",
        ),
        (&*format!("adminSocket: /{}", "a".repeat(107)), "107 bytes"),
    ] {
        let error = parse(&format!("{MINIMAL}{added}\n")).unwrap_err();
        assert!(error.contains(message), "{added}: {error}");
    }
    let error = parse("dataDir: /d\ntrustDomain: E_X\nadvertiseUrls: [\"https://a\"]").unwrap_err();
    assert!(error.contains("trust domain"), "{error}");
    let error = parse("dataDir: /d\ntrustDomain: e\nadvertiseUrls: [\"http://a\"]").unwrap_err();
    assert!(error.contains("https://host"), "{error}");
    let one = parse("dataDir: /d\ntrustDomain: e\nadvertiseUrls: https://a").unwrap();
    assert_eq!(one.advertise_urls, ["https://a"]);
    let error = parse("dataDir: /d\ntrustDomain: e\nadvertiseUrls: {a: b}").unwrap_err();
    assert!(error.contains("a list of URLs"), "{error}");
    let label = "a".repeat(60);
    let host = [label.as_str(); 4].join(".");
    let long = format!(
        "[{}]",
        [format!("\"https://{host}\"").as_str(); 3].join(", ")
    );
    let error = parse(&format!(
        "dataDir: /d\ntrustDomain: e\nadvertiseUrls: {long}"
    ))
    .unwrap_err();
    assert!(error.contains("too long for a token"), "{error}");
    let error = parse("dataDir: \"\"\ntrustDomain: e\nadvertiseUrls: [\"https://a\"]").unwrap_err();
    assert!(error.contains("data folder"), "{error}");
    let error = parse("dataDir: /d\ntrustDomain: e\nadvertiseUrls: []").unwrap_err();
    assert!(error.contains("one to 4"), "{error}");
}
