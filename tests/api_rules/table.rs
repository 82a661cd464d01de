//! For each rule a manifest that keeps it and one that breaks it.
//!
//! A manifest is `{name, spec, status}`; a missing name is `edge-1`.

use serde_json::{Value, json};

/// One rule, kept and broken.
pub struct Case {
    /// A name in `api::RULES`, or of a bound that the schema sets.
    pub rule: &'static str,
    /// What the resource was before; `None`: it is created.
    pub before: Option<Value>,
    pub good: Value,
    pub bad: Value,
    /// Which field the error names.
    pub field: &'static str,
    /// What the error says to do.
    pub message: &'static str,
}

fn create(
    rule: &'static str,
    good: Value,
    bad: Value,
    field: &'static str,
    message: &'static str,
) -> Case {
    Case {
        rule,
        before: None,
        good,
        bad,
        field,
        message,
    }
}

fn update(
    rule: &'static str,
    [before, good, bad]: [Value; 3],
    field: &'static str,
    message: &'static str,
) -> Case {
    Case {
        rule,
        before: Some(before),
        good,
        bad,
        field,
        message,
    }
}

fn spec(spec: Value) -> Value {
    json!({ "spec": spec })
}

fn admission(admission: Value) -> Value {
    spec(json!({ "admission": admission }))
}

fn cidrs(list: &[&str]) -> Value {
    admission(json!({ "sourceCIDRs": list }))
}

fn status(status: Value) -> Value {
    json!({"spec": {}, "status": status})
}

fn at(epoch: u64, index: u64) -> Value {
    status(json!({"storeEpoch": epoch, "storeIndex": index}))
}

/// Everything that the API server refuses.
pub fn cases() -> Vec<Case> {
    let mut cases = names();
    cases.extend(numbers());
    cases.extend(admissions());
    cases.extend(frozen());
    cases.extend(statuses());
    cases
}

fn names() -> Vec<Case> {
    let label = "use only a-z, 0-9 and '-', beginning and ending with a letter or a digit";
    let subdomain = "use only a-z, 0-9, '-' and '.', each part between dots beginning and ending";
    let long = "a".repeat(63);
    let dotted = vec!["b".repeat(61); 4].join(".");
    vec![
        create(
            "the resource's name can name the machine",
            json!({"name": "edge-1.example", "spec": {"nodeName": "edge-1"}}),
            json!({"name": "edge-1.example"}),
            "spec.nodeName",
            "set spec.nodeName to the machine's name",
        ),
        create(
            "the resource's name can name the machine",
            json!({"name": long}),
            json!({"name": format!("{long}a")}),
            "spec.nodeName",
            "set spec.nodeName to the machine's name",
        ),
        create(
            "the default name of the Secret fits",
            json!({"name": dotted[..242], "spec": {"nodeName": "edge-1"}}),
            json!({"name": dotted[..243], "spec": {"nodeName": "edge-1"}}),
            "spec.secretName",
            "longer than the 253 characters that a Secret's name may have: set spec.secretName",
        ),
        create(
            "className is a label",
            spec(json!({"className": "blue-7"})),
            spec(json!({"className": "Blue"})),
            "spec.className",
            label,
        ),
        create(
            "length of className",
            spec(json!({"className": long})),
            spec(json!({"className": format!("{long}a")})),
            "spec.className",
            "may not be more than 63",
        ),
        create(
            "nodeName is a label",
            spec(json!({"nodeName": "7"})),
            spec(json!({"nodeName": ""})),
            "spec.nodeName",
            label,
        ),
        create(
            "nodeName is a label",
            spec(json!({"nodeName": "edge-7"})),
            spec(json!({"nodeName": "Edge-7"})),
            "spec.nodeName",
            label,
        ),
        create(
            "nodeName is a label",
            spec(json!({"nodeName": "edge-7"})),
            spec(json!({"nodeName": "edge-7\n"})),
            "spec.nodeName",
            label,
        ),
        create(
            "length of nodeName",
            spec(json!({"nodeName": long})),
            spec(json!({"nodeName": format!("{long}a")})),
            "spec.nodeName",
            "may not be more than 63",
        ),
        create(
            "secretName can name a Secret",
            spec(json!({"secretName": "a.b-c.7-join-token"})),
            spec(json!({"secretName": "a..b-join-token"})),
            "spec.secretName",
            subdomain,
        ),
        create(
            "secretName can name a Secret",
            spec(json!({"secretName": "a-join-token"})),
            spec(json!({"secretName": "-a-join-token"})),
            "spec.secretName",
            subdomain,
        ),
        // Nobody may have the operator make a Secret that something else takes for its own.
        create(
            "secretName says what it is",
            spec(json!({"secretName": "argocd-join-token"})),
            spec(json!({"secretName": "argocd-secret"})),
            "spec.secretName",
            "let the name end in -join-token",
        ),
        create(
            "secretName says what it is",
            spec(json!({"secretName": "7-join-token"})),
            spec(json!({"secretName": "join-token.example"})),
            "spec.secretName",
            "let the name end in -join-token",
        ),
        create(
            "length of secretName",
            spec(json!({"secretName": format!("{}-join-token", "a".repeat(242))})),
            spec(json!({"secretName": format!("{}-join-token", "a".repeat(243))})),
            "spec.secretName",
            "may not be more than 253",
        ),
    ]
}

fn numbers() -> Vec<Case> {
    let at_least_60 = "should be greater than or equal to 60";
    let at_most_a_week = "should be less than or equal to 604800";
    vec![
        create(
            "shortest life",
            spec(json!({"ttlSeconds": 60})),
            spec(json!({"ttlSeconds": 59})),
            "spec.ttlSeconds",
            at_least_60,
        ),
        create(
            "longest life",
            spec(json!({"ttlSeconds": 604_800})),
            spec(json!({"ttlSeconds": 604_801})),
            "spec.ttlSeconds",
            at_most_a_week,
        ),
        create(
            "revisions begin at 1",
            spec(json!({"revision": 1})),
            spec(json!({"revision": 0})),
            "spec.revision",
            "should be greater than or equal to 1",
        ),
        create(
            "revisions are exact in every JSON reader",
            spec(json!({"revision": 9_007_199_254_740_991u64})),
            spec(json!({"revision": 9_007_199_254_740_992u64})),
            "spec.revision",
            "should be less than or equal to 9007199254740991",
        ),
        create(
            "shortest claim",
            admission(json!({"inFlightTimeoutSeconds": 60})),
            admission(json!({"inFlightTimeoutSeconds": 59})),
            "spec.admission.inFlightTimeoutSeconds",
            at_least_60,
        ),
        create(
            "longest claim",
            admission(json!({"inFlightTimeoutSeconds": 604_800})),
            admission(json!({"inFlightTimeoutSeconds": 604_801})),
            "spec.admission.inFlightTimeoutSeconds",
            at_most_a_week,
        ),
        create(
            "fewest claims",
            admission(json!({"maxClaims": 1})),
            admission(json!({"maxClaims": 0})),
            "spec.admission.maxClaims",
            "should be greater than or equal to 1",
        ),
        create(
            "most claims",
            admission(json!({"maxClaims": 1_000_000})),
            admission(json!({"maxClaims": 1_000_001})),
            "spec.admission.maxClaims",
            "should be less than or equal to 1000000",
        ),
        create(
            "known policies of re-issue",
            spec(json!({"reissuePolicy": "WhenUnused"})),
            spec(json!({"reissuePolicy": "Always"})),
            "spec.reissuePolicy",
            "supported values: \"Never\", \"WhenUnused\"",
        ),
        create(
            "known retentions",
            spec(json!({"secretRetention": "Keep"})),
            spec(json!({"secretRetention": "Delete"})),
            "spec.secretRetention",
            "supported values: \"Scrub\", \"Keep\"",
        ),
    ]
}

fn admissions() -> Vec<Case> {
    let digest = "0123456789abcdef".repeat(4);
    let how_to_hash = "give 64 lowercase hexadecimal digits and nothing else, as `openssl pkey";
    let network = "give a network such as 192.0.2.0/24 or 2001:db8::/32";
    let key = |text: &str| admission(json!({ "publicKeySha256": text }));
    let sixteen: Vec<String> = (0..16).map(|i| format!("10.{i}.0.0/16")).collect();
    let seventeen: Vec<String> = (0..17).map(|i| format!("10.{i}.0.0/16")).collect();
    let list = |list: &[String]| cidrs(&list.iter().map(String::as_str).collect::<Vec<_>>());
    let source = "spec.admission.sourceCIDRs[0]";
    vec![
        create(
            "publicKeySha256 is a SHA-256",
            key(&digest),
            key(&format!("sha256:{digest}")),
            "spec.admission.publicKeySha256",
            how_to_hash,
        ),
        create(
            "publicKeySha256 is a SHA-256",
            key(&digest),
            key(&digest.to_uppercase()),
            "spec.admission.publicKeySha256",
            how_to_hash,
        ),
        create(
            "a source is a CIDR",
            cidrs(&["192.0.2.0/24", "2001:db8::/32", "0.0.0.0/0"]),
            cidrs(&["192.0.2.7"]),
            source,
            network,
        ),
        create(
            "a source is a CIDR",
            cidrs(&["192.0.2.7/32"]),
            cidrs(&["gateway.example/24"]),
            source,
            network,
        ),
        create(
            "a source is a network",
            cidrs(&["10.0.0.0/8"]),
            cidrs(&["10.1.2.3/8"]),
            source,
            "write 10.0.0.0/8 for the network, or 10.1.2.3/32 for one machine",
        ),
        create(
            "a source is a network",
            cidrs(&["2001:db8::7/128"]),
            cidrs(&["2001:db8::7/32"]),
            source,
            "write 2001:db8::/32 for the network, or 2001:db8::7/128 for one machine",
        ),
        create(
            "most sources",
            list(&sixteen),
            list(&seventeen),
            "spec.admission.sourceCIDRs",
            "must have at most 16 items",
        ),
        // An empty list could mean nobody or everybody.
        create(
            "fewest sources",
            admission(json!({})),
            cidrs(&[]),
            "spec.admission.sourceCIDRs",
            "should have at least 1 items",
        ),
    ]
}

fn frozen() -> Vec<Case> {
    let raise = "or raise spec.revision to 3 to have a new token";
    let with = |revision: u64, fields: Value| {
        let mut spec = json!({ "revision": revision });
        let object = spec.as_object_mut().unwrap();
        object.extend(fields.as_object().unwrap().clone());
        json!({ "spec": spec })
    };
    let node = |revision, name: &str| with(revision, json!({ "nodeName": name }));
    vec![
        update(
            "nodeName is fixed within a revision",
            [node(2, "a"), node(3, "b"), node(2, "b")],
            "spec.nodeName",
            "nodeName is fixed within a revision: set it back to a, or raise spec.revision to 3",
        ),
        // What was left unsaid is fixed too, and may be said later.
        update(
            "nodeName is fixed within a revision",
            [with(2, json!({})), node(2, "edge-1"), node(2, "b")],
            "spec.nodeName",
            "set it back to edge-1, or raise",
        ),
        update(
            "nodeName is fixed within a revision",
            [node(2, "a"), with(3, json!({})), with(2, json!({}))],
            "spec.nodeName",
            "set it back to a, or raise",
        ),
        // A lower revision is ignored by the operator, whatever it says.
        update(
            "nodeName is fixed within a revision",
            [node(2, "a"), node(1, "b"), node(2, "b")],
            "spec.nodeName",
            raise,
        ),
        update(
            "ttlSeconds is fixed within a revision",
            [
                with(2, json!({})),
                with(2, json!({"ttlSeconds": 3600})),
                with(2, json!({"ttlSeconds": 3601})),
            ],
            "spec.ttlSeconds",
            "ttlSeconds is fixed within a revision: set it back to 3600, or raise spec.revision to 3",
        ),
        update(
            "admission is fixed within a revision",
            [
                with(2, json!({"admission": {"maxClaims": 3}})),
                with(3, json!({})),
                with(2, json!({})),
            ],
            "spec.admission",
            raise,
        ),
        update(
            "admission is fixed within a revision",
            [
                with(2, json!({})),
                with(2, json!({"admission": {"inFlightTimeoutSeconds": 300}})),
                with(2, json!({"admission": {"sourceCIDRs": ["192.0.2.0/24"]}})),
            ],
            "spec.admission",
            raise,
        ),
        update(
            "secretName is fixed within a revision",
            [
                with(2, json!({})),
                with(2, json!({"secretName": "edge-1-join-token"})),
                with(2, json!({"secretName": "paper-join-token"})),
            ],
            "spec.secretName",
            "set it back to edge-1-join-token, or raise spec.revision to 3",
        ),
        update(
            "a revocation stands within a revision",
            [
                with(2, json!({"revoked": true})),
                with(3, json!({})),
                with(2, json!({"revoked": false})),
            ],
            "spec.revoked",
            "set revoked to true again, or raise spec.revision to 3",
        ),
        update(
            "className is fixed",
            [
                spec(json!({"className": "a"})),
                spec(json!({"className": "a", "secretRetention": "Keep"})),
                spec(json!({"className": "b", "revision": 2})),
            ],
            "spec.className",
            "create it again with the other class",
        ),
        update(
            "className is fixed",
            [
                spec(json!({})),
                spec(json!({"secretRetention": "Keep"})),
                spec(json!({"className": "b"})),
            ],
            "spec.className",
            "create it again with the other class",
        ),
        update(
            "a revocation stands within a revision",
            [
                with(2, json!({"revoked": true})),
                with(2, json!({"revoked": true, "secretRetention": "Keep"})),
                with(2, json!({})),
            ],
            "spec.revoked",
            raise,
        ),
    ]
}

fn statuses() -> Vec<Case> {
    let rule = "the store's epoch and index never fall";
    let message =
        "(storeEpoch, storeIndex) of a store never falls; read the store again before you write";
    let of = |store: &str, epoch: u64, index: u64| {
        let store = store.repeat(32);
        status(json!({"storeId": store, "storeEpoch": epoch, "storeIndex": index}))
    };
    vec![
        // Another store counts for itself; nobody gets there by leaving the store out.
        update(
            rule,
            [of("a", 2, 100), of("b", 1, 1), of("a", 2, 99)],
            "status",
            message,
        ),
        update(
            rule,
            [at(2, 100), of("a", 2, 100), of("a", 1, 101)],
            "status",
            message,
        ),
        update(
            "a status goes on saying whose it is",
            [of("a", 2, 100), of("a", 2, 100), at(2, 100)],
            "status",
            "is not removed",
        ),
        update(
            "storeId is a store's id",
            [
                status(json!({})),
                status(json!({"storeId": "0a".repeat(16)})),
                status(json!({"storeId": "0A".repeat(16)})),
            ],
            "status.storeId",
            "should match",
        ),
        update(rule, [at(2, 100), at(2, 101), at(2, 99)], "status", message),
        update(
            rule,
            [at(2, 100), at(2, 100), at(1, 101)],
            "status",
            message,
        ),
        update(
            rule,
            [at(2, 100), at(3, 1), status(json!({}))],
            "status",
            message,
        ),
        update(
            rule,
            [
                status(json!({"storeEpoch": 2})),
                at(2, 1),
                status(json!({"storeIndex": 7})),
            ],
            "status",
            message,
        ),
        update(
            "known phases",
            [
                status(json!({})),
                status(json!({"phase": "InFlight"})),
                status(json!({"phase": "Burnt"})),
            ],
            "status.phase",
            "supported values: \"Pending\", \"Issued\", \"InFlight\", \"Consumed\", \"Expired\", \"Aborted\"",
        ),
    ]
}
