//! Flags and configuration files that cannot be: one line that says what to do, and nothing is made.

use std::fs;

use crate::kubeconfig;
use crate::place::Place;
use crate::program::{finish, jointoken, run, text};
use crate::standalone::Standalone;

#[test]
fn a_configuration_that_cannot_be_is_refused_by_name_and_makes_nothing() {
    let place = Standalone::new();
    let good = place.config();
    let changed = |from: &str, to: &str| {
        assert!(good.contains(from), "{good}");
        good.replace(from, to)
    };
    for (config, says) in [
        (
            changed("edge.example", ""),
            vec!["the trust domain", "\"\" is not"],
        ),
        (
            changed("edge.example", "Edge.example"),
            vec!["the trust domain"],
        ),
        (
            changed("trustDomain: edge.example\n", ""),
            vec!["trustDomain"],
        ),
        (changed("dataDir", "datadir"), vec!["datadir"]),
        (
            changed("[\"https://127", "[\"http://127"),
            vec!["the advertised URL", "https://host:port"],
        ),
        (
            format!("{good}certificateLifetime: 5 fortnights\n"),
            vec!["5 fortnights", "7d"],
        ),
        (
            format!("{good}maxTokenTtl: 5s\n"),
            vec!["maximum token TTL", "less than a minute"],
        ),
        (
            format!("{good}bareNames: {{databases: \"DB*\"}}\n"),
            vec!["namespace databases"],
        ),
        (
            format!("{good}nodedb: {{maxTtl: 1h}}\n"),
            vec!["secretFile"],
        ),
        (format!("{good}listen: everywhere\n"), vec!["listen"]),
        ("dataDir: [".to_owned(), vec!["not valid"]),
        (String::new(), vec!["not valid"]),
    ] {
        let ran = place.setup_of(&config).run();
        let line = ran.fails(2, &says);
        assert!(line.contains(text(&place.path("serve.yaml"))), "{line}");
        assert!(!place.data().exists(), "{config}");
    }
    run(&["serve", "--config", "/no/such/file"]).fails(2, &["/no/such/file", "cannot be read"]);
    let no_secret = format!("{good}nodedb: {{secretFile: /no/such/file, maxTtl: 1h}}\n");
    place
        .setup_of(&no_secret)
        .run()
        .fails(2, &["cannot read the NodeDB secret", "/no/such/file"]);
    let short = place.path("short.secret");
    fs::write(&short, "1234").unwrap();
    let no_secret = format!(
        "{good}nodedb: {{secretFile: {}, maxTtl: 1h}}\n",
        short.display()
    );
    place
        .setup_of(&no_secret)
        .run()
        .fails(3, &["NodeDB secret"]);
    assert!(!place.data().exists());
}

#[test]
fn a_folder_or_port_that_cannot_be_had_is_named() {
    let place = Standalone::new();
    let file = place.path("a-file");
    fs::write(&file, "").unwrap();
    let config = place.config();
    let in_a_file = config.replace(text(&place.data()), &format!("{}/data", text(&file)));
    place.setup_of(&in_a_file).run().fails(1, &[text(&file)]);

    let other = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let taken = other.local_addr().unwrap();
    let config = config.replace(
        &format!("listen: 127.0.0.1:{}", place.door_port),
        &format!("listen: {taken}"),
    );
    place.setup_of(&config).run().fails(
        1,
        &[
            "cannot listen on",
            &taken.to_string(),
            "give another listen in the configuration file",
        ],
    );
    // Nothing was founded: a name that was mistyped as well could still be mended.
    assert!(!place.data().join("identity").exists());
    drop(place.setup().start());
    place.setup_of(&config).run().fails(
        1,
        &[
            "cannot listen on",
            &taken.to_string(),
            "give another listen in the configuration file",
        ],
    );
    drop(place.setup().start());
}

/// Whoever appends flags to those of a chart can change any.
#[test]
fn of_an_operators_flag_that_is_given_twice_the_last_counts() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let mut flags = vec!["operator", "--trust-domain=edge.example"];
    flags.extend(["--advertise-url=https://127.0.0.1:1", "--listen=[::]:8443"]);
    flags.extend(["--trust-domain", "Odd", "--data-dir", "/no/such"]);
    run(&flags).fails(2, &["the trust domain", "\"Odd\""]);
    let twice = [
        "--listen",
        &taken,
        "--kubeconfig",
        "/a",
        "--kubeconfig",
        "/b",
        "--trust-domain=a.example",
    ];
    run(&[&flags[..], &twice].concat()).fails(2, &["the kubeconfig /b"]);
    // For whoever mints or joins the second is a mistake.
    let twice = run(&["create", "--node", "a", "--node", "b"]);
    assert_eq!(twice.code, Some(2));
    assert!(
        twice.stderr.contains("cannot be used multiple times"),
        "{twice:?}"
    );
}

#[tokio::test]
async fn the_operator_says_what_is_wrong_with_its_flags() {
    let place = Place::new("flags").await;
    let setup = place.setup();
    let with = |flag: &str, value: &str| {
        let mut setup = setup.clone();
        let at = setup.arguments.iter().position(|argument| argument == flag);
        setup.arguments[at.expect(flag) + 1] = value.to_owned();
        setup
    };
    for (setup, says) in [
        (with("--trust-domain", ""), vec!["the trust domain"]),
        (with("--trust-domain", "a b"), vec!["the trust domain"]),
        (
            with("--advertise-url", "http://a"),
            vec!["the advertised URL"],
        ),
        (
            place.setup_with(&["--kubeconfig", "/no/such/file"]),
            vec!["/no/such/file"],
        ),
        (
            place.setup_with(&["--log", "jointoken=shout"]),
            vec!["the log filter", "jointoken=debug,info"],
        ),
        (
            place.setup_with(&["--bare-names", "a=x-*", "--bare-names", "a=y-*"]),
            vec!["--bare-names names a namespace twice"],
        ),
        (
            place.setup_with(&["--nodedb-secret-file", "/no/such/file"]),
            vec!["cannot read the NodeDB secret"],
        ),
        (
            place.setup_with(&["--max-token-ttl", "91d"]),
            vec!["the maximum token TTL, 91d, is more than 90d"],
        ),
        (
            place.setup_with(&["--nodedb-secret-file", "/s", "--nodedb-max-ttl", "8d"]),
            vec!["the maximum TTL of NodeDB tokens"],
        ),
        (
            place.setup_with(&["--namespace", &place.tokens.namespace]),
            vec!["--namespace names a namespace twice"],
        ),
        (
            place.setup_with(&["--namespace", ""]),
            vec!["is not the name of a namespace: --namespace takes"],
        ),
        (
            place.setup_with(&["--system-namespace", "No"]),
            vec!["is not the name of a namespace: --system-namespace takes"],
        ),
    ] {
        setup.run().fails(2, &says);
        assert!(!place.data().exists());
    }
    let mut unreachable = place.setup();
    let kubeconfig = place.path("kubeconfig");
    kubeconfig::write(&kubeconfig, "http://127.0.0.1:9");
    unreachable.environment = vec![("KUBECONFIG".to_owned(), text(&kubeconfig).to_owned())];
    let waiting = unreachable.spawn();
    waiting.wait_for_log("is the Kubernetes API running");
    assert!(waiting.log().contains("connection refused"));
    assert!(waiting.terminate().0.success());
    let mut nowhere = place.setup();
    nowhere.environment.clear();
    nowhere
        .run()
        .fails(2, &["there is no way to a Kubernetes API", "--kubeconfig"]);

    // These clap refuses, with its own words and the usage.
    for (arguments, says) in [
        (vec!["operator"], "--trust-domain"),
        (vec!["operator", "--trust-domain", "a"], "--advertise-url"),
        (vec!["operator", "--listen", "here"], "--listen"),
        (vec!["operate"], "operator"),
        (vec![], "Usage"),
    ] {
        let ran = finish(jointoken().args(&arguments));
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains(says), "{ran:?}");
    }
    assert_eq!(
        place
            .keys()
            .list(&Default::default())
            .await
            .unwrap()
            .items
            .len(),
        0
    );
    place.remove().await;
}
