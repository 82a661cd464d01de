use std::collections::BTreeSet;
use std::path::Path;

use kube_cel::Validator;
use serde_json::{Value, json};

use super::super::{Admission, JoinTokenSpec, JoinTokenStatus, MAX_INTEGER, Phase};
use super::*;

/// What is generated, where it is checked in. Every place that installs the resource has the same bytes.
const CHECKED_IN: [&str; 2] = [
    "crds/jointoken.yaml",
    "charts/jointoken/crds/jointoken.yaml",
];

#[test]
fn what_is_generated_is_what_is_checked_in() {
    let generated = crd_yaml();
    for file in CHECKED_IN {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            checked_in == generated,
            "{file} is not what src/api/ generates: run `cargo xtask generate`"
        );
    }
}

#[test]
fn the_document_says_what_the_definition_says() {
    let yaml: CustomResourceDefinition = serde_saphyr::from_str(&crd_yaml()).unwrap();
    assert_eq!(yaml, crd());
    assert_eq!(crd_yaml(), crd_yaml());
    assert!(
        !crd_yaml().contains(".0\n"),
        "bounds are written as integers"
    );
}

#[test]
fn every_rule_is_in_the_schema_at_its_place() {
    let schema = schema();
    let mut found = BTreeSet::new();
    collect_rules(&schema, &mut found);
    let expected: BTreeSet<String> = RULES.iter().map(|rule| rule.rule.to_owned()).collect();
    assert_eq!(found, expected);

    let names: BTreeSet<&str> = RULES.iter().map(|rule| rule.name).collect();
    assert_eq!(names.len(), RULES.len(), "names of rules are unique");
}

#[test]
fn nothing_is_nullable_and_every_number_is_bounded() {
    walk(&schema(), "", &mut |path, schema| {
        assert!(schema.get("nullable").is_none(), "{path} is nullable");
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            assert!(!values.contains(&Value::Null), "{path} allows null");
        }
        // Written by the operator itself, and i64 in Rust too.
        let is_generation = path.ends_with(".observedGeneration");
        if schema.get("type") == Some(&json!("integer")) && !is_generation {
            assert!(schema["minimum"].is_number(), "{path} has no minimum");
            assert!(schema["maximum"].is_number(), "{path} has no maximum");
        }
    });
}

#[test]
fn every_field_is_explained() {
    walk(&schema(), "", &mut |path, schema| {
        let is_field = !path.is_empty() && !path.ends_with(".items");
        // The API server explains these itself.
        let is_standard = [".apiVersion", ".kind", ".metadata"].contains(&path);
        if is_field && !is_standard {
            let words = schema["description"].as_str().unwrap_or_default();
            assert!(words.len() > 4, "{path} has no description");
        }
    });
}

#[test]
fn an_empty_spec_and_none_at_all_get_the_defaults() {
    for manifest in [
        json!({"metadata": {"name": "edge-1"}}),
        json!({"metadata": {"name": "edge-1"}, "spec": {}}),
        json!({"metadata": {"name": "edge-1"}, "spec": {"admission": {}}}),
    ] {
        let defaulted = kube_cel::apply_defaults(&schema(), &manifest);
        let resource: JoinToken = serde_json::from_value(defaulted.clone()).unwrap();
        assert_eq!(resource.spec, JoinTokenSpec::default());
        assert_eq!(resource.node_name(), "edge-1");
        assert_eq!(resource.secret_name(), "edge-1-join-token");
        assert_eq!(resource.status, Some(JoinTokenStatus::default()));
        assert_eq!(defaulted["status"], json!({"observedGeneration": -1}));
        assert_eq!(validate(&manifest, None), Vec::<String>::new());
    }
    let spec = JoinTokenSpec::default();
    assert_eq!(spec.ttl_seconds, 3600);
    assert_eq!(spec.revision, 1);
    assert_eq!(spec.admission.in_flight_timeout_seconds, 300);
}

#[test]
fn what_is_written_is_what_is_read() {
    let mut resource = JoinToken::new(
        "edge-1",
        JoinTokenSpec {
            node_name: Some("machine-7".to_owned()),
            ttl_seconds: 60,
            revision: MAX_INTEGER,
            revoked: true,
            admission: Admission {
                max_claims: Some(3),
                in_flight_timeout_seconds: 60,
                source_cidrs: Some(vec!["192.0.2.0/24".to_owned()]),
                public_key_sha256: Some("ab".repeat(32)),
            },
            secret_name: Some("paper".to_owned()),
            ..JoinTokenSpec::default()
        },
    );
    resource.status = Some(JoinTokenStatus {
        phase: Some(Phase::InFlight),
        store_index: Some(MAX_INTEGER),
        ..JoinTokenStatus::default()
    });
    let written = serde_json::to_value(&resource).unwrap();
    assert_eq!(
        written["spec"],
        json!({
            "nodeName": "machine-7",
            "ttlSeconds": 60,
            "revision": 9007199254740991u64,
            "reissuePolicy": "Never",
            "revoked": true,
            "admission": {
                "maxClaims": 3,
                "inFlightTimeoutSeconds": 60,
                "sourceCIDRs": ["192.0.2.0/24"],
                "publicKeySha256": "ab".repeat(32),
            },
            "secretName": "paper",
            "secretRetention": "Scrub",
        })
    );
    assert_eq!(written["status"]["phase"], "InFlight");
    assert_eq!(
        serde_json::from_value::<JoinToken>(written).unwrap(),
        resource
    );
    assert_eq!(resource.node_name(), "machine-7");
    assert_eq!(resource.secret_name(), "paper");
}

#[test]
fn messages_name_the_revision_and_the_value_to_go_back_to() {
    let old = manifest(json!({"revision": 4, "nodeName": "a"}));
    assert_eq!(
        validate(
            &manifest(json!({"revision": 4, "nodeName": "b"})),
            Some(&old)
        ),
        [
            "nodeName is fixed within a revision: set it back to a, or raise spec.revision to 5 to have a new token"
        ]
    );
    // Another revision, higher or lower, may say something else; a lower one is ignored by the operator.
    for revision in [3, 5] {
        let new = manifest(json!({"revision": revision, "nodeName": "b", "ttlSeconds": 60}));
        assert_eq!(validate(&new, Some(&old)), Vec::<String>::new());
    }
    // Saying what was left unsaid changes nothing.
    let silent = manifest(json!({}));
    let explicit = manifest(json!({"nodeName": "edge-1", "secretName": "edge-1-join-token"}));
    assert_eq!(validate(&explicit, Some(&silent)), Vec::<String>::new());
    assert_eq!(validate(&silent, Some(&explicit)), Vec::<String>::new());
}

#[test]
fn an_older_status_is_refused() {
    let status = |epoch: u64, index: u64| {
        let mut manifest = manifest(json!({}));
        manifest["status"] = json!({"storeEpoch": epoch, "storeIndex": index});
        manifest
    };
    let refused = |old: &Value, new: &Value| !validate(new, Some(old)).is_empty();
    let old = status(2, 100);
    for newer in [status(2, 100), status(2, 101), status(3, 1)] {
        assert!(!refused(&old, &newer), "{newer}");
    }
    for older in [status(2, 99), status(1, 1000), manifest(json!({}))] {
        assert!(refused(&old, &older), "{older}");
    }
}

/// Whoever may write a status would choose how much memory it takes and what is logged of it.
#[test]
fn every_text_is_bounded() {
    walk(&schema(), "", &mut |path, node| {
        let is_of_object = ["", ".metadata", ".apiVersion", ".kind"].contains(&path);
        if node["type"] == "string" && !is_of_object {
            let bounds = ["maxLength", "pattern", "enum", "format"];
            let is_bounded = bounds.iter().any(|bound| !node[bound].is_null());
            assert!(is_bounded, "{path}: {node}");
        }
        if node["type"] == "array" {
            assert!(!node["maxItems"].is_null(), "{path}");
        }
    });
}

fn manifest(spec: Value) -> Value {
    json!({"metadata": {"name": "edge-1"}, "spec": spec})
}

/// The messages of the rules that are broken. It evaluates CEL as the API server does, without one.
fn validate(new: &Value, old: Option<&Value>) -> Vec<String> {
    let result = Validator::new().validate_with_defaults(&schema(), new, old);
    let errors = result.err().map(|errors| errors.into_vec());
    let mut messages: Vec<String> = errors
        .unwrap_or_default()
        .into_iter()
        .map(|error| error.message)
        .collect();
    messages.sort();
    messages
}

fn schema() -> Value {
    let crd = serde_json::to_value(crd()).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Visits every schema node with the path that leads to it.
fn walk(schema: &Value, path: &str, visit: &mut dyn FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(property, &format!("{path}.{name}"), visit);
    }
    if schema["items"].is_object() {
        walk(&schema["items"], &format!("{path}.items"), visit);
    }
}

fn collect_rules(schema: &Value, into: &mut BTreeSet<String>) {
    walk(schema, "", &mut |_, node| {
        let rules = node["x-kubernetes-validations"].as_array();
        into.extend(rules.into_iter().flatten().map(|rule| {
            let text = rule["rule"].as_str();
            text.unwrap_or_default().to_owned()
        }));
    });
}
