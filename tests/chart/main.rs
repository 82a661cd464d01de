//! What a user installs, by the chart or by the kustomization: the real Helm and kubectl render it and a real
//! API server takes it. Pods do not run here; what they would be refused for is (restricted pod security).
//!
//! Run by `cargo xtask test`.

#[path = "../api_rules/cluster.rs"]
mod cluster;
mod installed;
mod labels;
#[path = "../marks/log.rs"]
mod log;
#[path = "../marks/marks.rs"]
mod marks;
mod operator;
mod removal;
mod render;
mod rights;
#[path = "../controller/ground.rs"]
#[expect(dead_code, reason = "what other tests need of it")]
mod scene;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use render::{chart, chart_of_text, chart_refuses, find, folder, kustomization, of_kind};

/// The least that a user has to say.
const DOMAIN: &str = "trustDomain=example.internal";

#[test]
fn the_chart_refuses_wrong_values_by_name() {
    for (values, complaint) in [
        (vec![], "missing property 'trustDomain'"),
        (vec!["trustDomain="], "at '/trustDomain'"),
        (vec!["trustDomain=Example.internal"], "at '/trustDomain'"),
        (
            vec![DOMAIN, "trustdomain=x"],
            "additional properties 'trustdomain' not allowed",
        ),
        (vec![DOMAIN, "service.port=0"], "at '/service/port'"),
        (vec![DOMAIN, "replicas=2"], "at '/replicas'"),
        (vec![DOMAIN, "replicas=7"], "at '/replicas'"),
        (vec![DOMAIN, "replicas=0"], "at '/replicas'"),
        (
            vec![DOMAIN, "service.type=ExternalName"],
            "at '/service/type'",
        ),
        (
            vec![DOMAIN, "advertiseUrls={http://a:1}"],
            "at '/advertiseUrls/0'",
        ),
        // The operator takes a list apart at its commas.
        (
            vec![DOMAIN, "advertiseUrls={https://a\\,b}"],
            "at '/advertiseUrls/0'",
        ),
        (
            vec![
                DOMAIN,
                "advertiseUrls={https://a,https://b,https://c,https://d,https://e}",
            ],
            "at '/advertiseUrls'",
        ),
        (vec![DOMAIN, "className=A.b"], "at '/className'"),
        (vec![DOMAIN, "takeOver={seven}"], "at '/takeOver/0'"),
        (
            vec![DOMAIN, "watchNamespaces={A}"],
            "at '/watchNamespaces/0'",
        ),
        (
            vec![DOMAIN, "watchNamespaces={a,a}"],
            "at '/watchNamespaces'",
        ),
        (
            vec![DOMAIN, "serviceAccount.create=false"],
            "at '/serviceAccount",
        ),
        (
            vec![DOMAIN, "persistence.size=lots"],
            "at '/persistence/size'",
        ),
        (vec![DOMAIN, "extraArgs={operator}"], "at '/extraArgs/0'"),
        // What the operator itself would refuse, or the API server.
        (
            vec!["trustDomain=a123456789b123456789c123456789d123456789e123456789f123456789g123"],
            "at '/trustDomain'",
        ),
        (
            vec![DOMAIN, "advertiseUrls={https://a:99999}"],
            "at '/advertiseUrls/0'",
        ),
        (
            vec![DOMAIN, "advertiseUrls={https://user@h}"],
            "at '/advertiseUrls/0'",
        ),
        (
            vec![DOMAIN, "advertiseUrls={https://h/}"],
            "at '/advertiseUrls/0'",
        ),
        (
            vec![DOMAIN, "persistence.size=0Gi"],
            "at '/persistence/size'",
        ),
        (
            vec![DOMAIN, "serviceAccount.name=Mine"],
            "at '/serviceAccount/name'",
        ),
        (vec![DOMAIN, "image=null"], "missing property 'image'"),
        (vec![DOMAIN, "service=null"], "missing property 'service'"),
        (
            vec![DOMAIN, "persistence=null"],
            "missing property 'persistence'",
        ),
        (
            vec![DOMAIN, "limits.conections=1"],
            "additional properties 'conections' not allowed",
        ),
        (
            vec![DOMAIN, "limits.requestsPerConnection=3"],
            "at '/limits/requestsPerConnection'",
        ),
        (
            vec![DOMAIN, "proxyProtocolFrom={10.0.0.7}"],
            "at '/proxyProtocolFrom/0'",
        ),
        (vec![DOMAIN, "rbac=null"], "missing property 'rbac'"),
        (vec![DOMAIN, "service.port=null"], "missing property 'port'"),
    ] {
        let error = chart_refuses(&values);
        assert!(error.contains(complaint), "{values:?}: {error}");
    }
}

#[test]
fn limits_of_the_door_become_flags() {
    let flags = |values: &[&str]| {
        let set = find(
            &chart("jointoken", "default", values),
            "StatefulSet",
            "jointoken",
        );
        let args = &set["spec"]["template"]["spec"]["containers"][0]["args"];
        let args = args.as_array().unwrap().iter().filter_map(Value::as_str);
        let limits = args.filter(|arg| arg.starts_with("--max-") || arg.starts_with("--proxy-"));
        limits.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(flags(&[DOMAIN]), [""; 0]);
    assert_eq!(
        flags(&[
            DOMAIN,
            "limits.connections=4096",
            "limits.connectionsPerSource=1024",
            "limits.keptConnectionsPercent=0",
            "limits.concurrentHandshakes=8",
            "limits.requestsPerConnection=8",
            "proxyProtocolFrom={10.0.0.7/32,fd00::/64}",
        ]),
        [
            "--max-connections=4096",
            "--max-connections-per-source=1024",
            "--max-kept-connections-percent=0",
            "--max-concurrent-handshakes=8",
            "--max-requests-per-connection=8",
            "--proxy-protocol-from=10.0.0.7/32,fd00::/64",
        ]
    );
}

/// YAML takes 123 for a number where it is not quoted, and the API server wants text.
#[test]
fn names_that_look_like_numbers_are_text() {
    let objects = chart_of_text(
        "1.2",
        "123",
        &[
            DOMAIN,
            "persistence.storageClassName=123",
            "priorityClassName=true",
            "serviceAccount.name=123",
        ],
    );
    // And a release's name may have dots, which a Service's may not.
    let set = find(&objects, "StatefulSet", "1-2-jointoken");
    let claim = &set["spec"]["volumeClaimTemplates"][0];
    assert_eq!(claim["spec"]["storageClassName"], "123");
    let pod = &set["spec"]["template"];
    assert_eq!(pod["spec"]["priorityClassName"], "true");
    assert_eq!(pod["spec"]["serviceAccountName"], "123");
    assert_eq!(
        pod["metadata"]["labels"]["app.kubernetes.io/instance"],
        "1.2"
    );
    assert_eq!(set["metadata"]["namespace"], "123");
    find(&objects, "ServiceAccount", "123");
    let binding = find(&objects, "ClusterRoleBinding", "jointoken");
    assert_eq!(binding["subjects"][0]["name"], "123");
    assert_eq!(binding["subjects"][0]["namespace"], "123");
}

#[test]
fn every_value_is_in_the_schema_and_in_the_readme() {
    let values: Value = serde_saphyr::from_str(&folder("charts/jointoken/values.yaml")).unwrap();
    let schema: Value =
        serde_json::from_str(&folder("charts/jointoken/values.schema.json")).unwrap();
    let readme = folder("charts/jointoken/README.md");
    let mut names = vec!["trustDomain".to_owned()];
    for (name, value) in values.as_object().unwrap() {
        let known = &schema["properties"][name];
        assert!(known.is_object(), "{name} is not in the schema");
        let inner = value
            .as_object()
            .filter(|_| known["properties"].is_object());
        // Requests and limits are Kubernetes' own, not the chart's.
        match inner.filter(|inner| !inner.is_empty() && name != "resources") {
            Some(inner) => names.extend(inner.keys().map(|key| {
                assert!(
                    known["properties"][key].is_object(),
                    "{name}.{key} is not in the schema"
                );
                format!("{name}.{key}")
            })),
            None => names.push(name.clone()),
        }
    }
    for name in &names {
        assert!(
            readme.contains(&format!("`{name}`")),
            "README.md does not tell of {name}"
        );
    }
    // And the other way round: the schema allows nothing that has no default here.
    let allowed: BTreeSet<&String> = schema["properties"].as_object().unwrap().keys().collect();
    for name in allowed {
        let known =
            values.get(name).is_some() || ["trustDomain", "global"].contains(&name.as_str());
        assert!(known, "values.yaml has no {name}");
    }
}

#[test]
fn values_reach_the_operator() {
    let objects = chart(
        "edge",
        "door",
        &[
            DOMAIN,
            "advertiseUrls={https://door.example,https://192.0.2.7:8443}",
            "watchNamespaces={blue,green}",
            "className=db",
            "namespaceLimits.names=7000000",
            "rememberIssuances=90d",
            &format!("takeOver={{{},unnamed}}", "7".repeat(32)),
            "extraArgs={--log-format=json}",
            "image.repository=example.internal/jointoken",
            "image.tag=1.2.3",
            "service.type=LoadBalancer",
            "replicas=5",
            "persistence.storageClassName=fast",
        ],
    );
    let set = find(&objects, "StatefulSet", "edge-jointoken");
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "example.internal/jointoken:1.2.3");
    let args = json!([
        "operator",
        "--data-dir=/var/lib/jointoken",
        "--listen=[::]:8443",
        "--metrics-listen=[::]:9090",
        "--probe-listen=[::]:8081",
        "--trust-domain=example.internal",
        "--advertise-url=https://door.example",
        "--advertise-url=https://192.0.2.7:8443",
        "--peer-address=$(POD_NAME).edge-jointoken-peers.door.svc:9443",
        "--peer-listen=[::]:9443",
        "--peers=edge-jointoken-0.edge-jointoken-peers.door.svc:9443,edge-jointoken-1.edge-jointoken-peers.door.svc:9443,\
         edge-jointoken-2.edge-jointoken-peers.door.svc:9443,edge-jointoken-3.edge-jointoken-peers.door.svc:9443,\
         edge-jointoken-4.edge-jointoken-peers.door.svc:9443",
        "--stateful-set=edge-jointoken",
        "--namespace=blue,green",
        "--class=db",
        "--max-names-per-namespace=7000000",
        "--remember-issuances=90d",
        format!("--take-over={},unnamed", "7".repeat(32)),
        "--log-format=json",
    ]);
    assert_eq!(container["args"], args);
    assert_eq!(set["spec"]["replicas"], 5);
    let claim = &set["spec"]["volumeClaimTemplates"][0];
    assert_eq!(claim["spec"]["storageClassName"], "fast");
    let door = find(&objects, "Service", "edge-jointoken");
    assert_eq!(door["spec"]["externalTrafficPolicy"], "Local");
}

/// A URL that nobody set must be one that exists: the Service of the same release.
#[test]
fn without_urls_the_service_is_advertised() {
    let objects = chart("jointoken", "somewhere", &[DOMAIN, "service.port=443"]);
    let set = find(&objects, "StatefulSet", "jointoken");
    let args = &set["spec"]["template"]["spec"]["containers"][0]["args"];
    let url = json!("--advertise-url=https://jointoken.somewhere.svc:443");
    assert!(args.as_array().unwrap().contains(&url), "{args}");
    let door = find(&objects, "Service", "jointoken");
    assert_eq!(door["spec"]["ports"][0]["port"], 443);
}

/// The pod listens where probes, Services and the policy say, and a policy without them would cut it off.
#[test]
fn the_network_policy_lets_in_every_port_of_the_pod_but_that_of_the_probes() {
    let objects = chart("jointoken", "home", &[DOMAIN]);
    let set = find(&objects, "StatefulSet", "jointoken");
    let ports = &set["spec"]["template"]["spec"]["containers"][0]["ports"];
    // Whoever could fill the probes' port would have the pod restarted. The kubelet needs no leave.
    let ports = ports.as_array().unwrap().iter();
    let listens = ports.filter(|port| port["name"] != "probes");
    let listens: Vec<&Value> = listens.map(|port| &port["containerPort"]).collect();
    let policy = find(&objects, "NetworkPolicy", "jointoken");
    let rules = policy["spec"]["ingress"].as_array().unwrap();
    let ports = rules
        .iter()
        .flat_map(|rule| rule["ports"].as_array().unwrap());
    let let_in: Vec<&Value> = ports.map(|port| &port["port"]).collect();
    assert_eq!(listens, let_in);
    // The replicas' own port is for replicas alone.
    let replicas = json!({"matchLabels": set["spec"]["selector"]["matchLabels"]});
    assert_eq!(rules[0]["from"], Value::Null);
    let labelled = json!({"matchLabels": {"metrics": "enabled"}});
    assert_eq!(rules[1]["from"], json!([{"namespaceSelector": labelled}]));
    assert_eq!(rules[2]["from"], json!([{"podSelector": replicas}]));
    assert_eq!(rules[2]["ports"], json!([{"port": 9443}]));
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress"]));
    let selected = &policy["spec"]["podSelector"]["matchLabels"];
    assert_eq!(*selected, set["spec"]["selector"]["matchLabels"]);

    let none = chart("jointoken", "home", &[DOMAIN, "networkPolicy.create=false"]);
    assert_eq!(of_kind(&none, "NetworkPolicy"), Vec::<&Value>::new());

    let nobody = chart(
        "jointoken",
        "home",
        &[DOMAIN, "networkPolicy.metricsFrom=null"],
    );
    let policy = find(&nobody, "NetworkPolicy", "jointoken");
    let nobody = policy["spec"]["ingress"].to_string();
    assert!(!nobody.contains("9090"), "{nobody}");
}

/// Whoever holds all connections to the metrics must not have the pod restarted.
#[test]
fn probes_have_a_port_of_their_own_and_time_to_be_answered() {
    let objects = chart("jointoken", "home", &[DOMAIN]);
    let set = find(&objects, "StatefulSet", "jointoken");
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    for (probe, path) in [
        ("startupProbe", "/livez"),
        ("livenessProbe", "/livez"),
        ("readinessProbe", "/readyz"),
    ] {
        let get = json!({"path": path, "port": "probes"});
        assert_eq!(container[probe]["httpGet"], get);
        assert_eq!(container[probe]["timeoutSeconds"], 5);
    }
    for service in of_kind(&objects, "Service") {
        assert!(!service.to_string().contains("probes"), "{service}");
    }
}

#[test]
fn chart_and_kustomization_install_the_same() {
    let values = [DOMAIN];
    let chart = chart("jointoken", "jointoken-system", &values);
    let kustomization = kustomization();
    let pod = |objects: &[Value]| {
        let set = find(objects, "StatefulSet", "jointoken");
        let mut spec = set["spec"].clone();
        // Where the two differ on purpose: labels, and how settings come in.
        let pod = &mut spec["template"]["spec"];
        let container = pod["containers"][0].as_object_mut().unwrap();
        for field in ["args", "envFrom", "image", "imagePullPolicy"] {
            container.remove(field);
        }
        for constraint in pod["topologySpreadConstraints"].as_array_mut().unwrap() {
            constraint["labelSelector"].take();
        }
        spec["template"]["metadata"].take();
        spec["selector"].take();
        spec
    };
    assert_eq!(pod(&chart), pod(&kustomization));

    let args = |objects: &[Value]| -> Vec<String> {
        let set = find(objects, "StatefulSet", "jointoken");
        let args = set["spec"]["template"]["spec"]["containers"][0]["args"].clone();
        serde_json::from_value(args).unwrap()
    };
    let door = "https://jointoken.jointoken-system.svc:8443";
    let settled: Vec<String> = args(&kustomization)
        .iter()
        .map(|arg| arg.replace("$(TRUST_DOMAIN)", "example.internal"))
        .map(|arg| arg.replace("$(ADVERTISE_URL)", door))
        .collect();
    assert_eq!(args(&chart), settled);
    let settings = of_kind(&kustomization, "ConfigMap");
    assert_eq!(
        settings[0]["data"],
        json!({"TRUST_DOMAIN": "", "ADVERTISE_URL": door})
    );

    let ports =
        |objects: &[Value], name: &str| find(objects, "Service", name)["spec"]["ports"].clone();
    for service in ["jointoken", "jointoken-peers"] {
        assert_eq!(ports(&chart, service), ports(&kustomization, service));
    }
    let policy = |objects: &[Value]| {
        let mut policy = find(objects, "NetworkPolicy", "jointoken")["spec"].clone();
        policy["podSelector"].take();
        policy["ingress"][2]["from"][0]["podSelector"].take();
        policy
    };
    assert_eq!(policy(&chart), policy(&kustomization));
    let budget = |objects: &[Value]| {
        let mut budget = find(objects, "PodDisruptionBudget", "jointoken")["spec"].clone();
        budget["selector"].take();
        budget
    };
    assert_eq!(budget(&chart), budget(&kustomization));
    assert_eq!(budget(&chart)["maxUnavailable"], 1);
    assert_eq!(budget(&chart)["unhealthyPodEvictionPolicy"], "AlwaysAllow");
    for kind in ["", "Binding"] {
        let kind = format!("ValidatingAdmissionPolicy{kind}");
        let spec = |objects: &[Value]| {
            find(objects, &kind, "jointoken.jointoken-system.replicas")["spec"].clone()
        };
        assert_eq!(spec(&chart), spec(&kustomization));
    }
    let kinds = |objects: &[Value]| -> Vec<String> {
        let named = objects.iter().map(|object| {
            let name = object["metadata"]["name"].as_str().unwrap();
            format!("{} {name}", object["kind"].as_str().unwrap())
        });
        // A release brings neither its namespace nor, with arguments instead, settings.
        let mut kinds: Vec<String> = named
            .filter(|name| !name.starts_with("Namespace ") && !name.starts_with("ConfigMap "))
            .collect();
        kinds.sort();
        kinds
    };
    assert_eq!(kinds(&chart), kinds(&kustomization));
    let crd = |objects: &[Value]| {
        find(
            objects,
            "CustomResourceDefinition",
            "jointokens.jointoken.io",
        )
    };
    assert_eq!(crd(&chart), crd(&kustomization));
}

#[test]
fn chart_and_kustomization_grant_the_same_rights() {
    let chart = rights::granted(&chart("jointoken", "jointoken-system", &[DOMAIN]));
    let kustomization = rights::granted(&kustomization());
    assert_eq!(chart, kustomization);
    assert!(
        chart.contains("jointoken.io/jointokens watch in all namespaces"),
        "{chart:?}"
    );
    let own = "apps/statefulsets jointoken watch in jointoken-system";
    assert!(chart.contains(own), "{chart:?}");
    for forbidden in ["secrets list", "statefulsets list", "secrets watch", "*"] {
        let found: Vec<&String> = chart
            .iter()
            .filter(|right| right.contains(forbidden))
            .collect();
        assert_eq!(found, Vec::<&String>::new());
    }
}

#[test]
fn watched_namespaces_narrow_the_rights_to_these() {
    let all = rights::granted(&chart("jointoken", "home", &[DOMAIN]));
    let some = chart(
        "jointoken",
        "home",
        &[DOMAIN, "watchNamespaces={blue,green}"],
    );
    let some = rights::granted(&some);
    // To let go of JoinTokens in a namespace that is being deleted, whatever goes there first.
    let everywhere = [
        "jointoken.io/jointokens get",
        "jointoken.io/jointokens list",
        "jointoken.io/jointokens watch",
        "jointoken.io/jointokens patch",
        "/namespaces get",
    ];
    let everywhere = everywhere.map(|right| format!("{right} in all namespaces"));
    let (wide, some): (BTreeSet<String>, BTreeSet<String>) = some
        .into_iter()
        .partition(|right| right.ends_with(" in all namespaces"));
    assert_eq!(wide, BTreeSet::from(everywhere));
    let expected: BTreeSet<String> = all
        .iter()
        .flat_map(|right| match right.strip_suffix("all namespaces") {
            Some(right) => vec![format!("{right}blue"), format!("{right}green")],
            None => vec![right.clone()],
        })
        .collect();
    assert_eq!(some, expected);
}

/// Whoever names a replica means the pod that the StatefulSet makes, in whatever namespace and release.
#[test]
fn the_replicas_find_each_other_by_the_names_of_their_pods() {
    let installed = chart("edge", "door", &[DOMAIN]);
    for (objects, name, namespace) in [
        (installed, "edge-jointoken", "door"),
        (kustomization(), "jointoken", "jointoken-system"),
    ] {
        let set = find(&objects, "StatefulSet", name);
        let spec = &set["spec"];
        assert_eq!(spec["replicas"], 3);
        assert_eq!(spec["podManagementPolicy"], "Parallel");
        let service = spec["serviceName"].as_str().unwrap();
        let peers = find(&objects, "Service", service);
        assert_eq!(peers["spec"]["clusterIP"], "None");
        assert_eq!(peers["spec"]["publishNotReadyAddresses"], true);
        let pod = &spec["template"]["spec"];
        assert!(pod["terminationGracePeriodSeconds"].as_u64() >= Some(75));
        let args: Vec<String> =
            serde_json::from_value(pod["containers"][0]["args"].clone()).unwrap();
        let arg = |flag: &str| args.iter().find_map(|arg| arg.strip_prefix(flag)).unwrap();
        let address = |pod: &str| format!("{pod}.{service}.{namespace}.svc:9443");
        assert_eq!(arg("--peer-address="), address("$(POD_NAME)"));
        let all: Vec<String> = (0..5).map(|of| address(&format!("{name}-{of}"))).collect();
        assert_eq!(arg("--peers="), all.join(","));
        assert_eq!(arg("--stateful-set="), name);
    }
}
