//! The rules of the `JoinToken` resource on a real API server: each refuses what breaks it with a
//! message that says what to do, changes nothing, and lets pass what keeps it.
//!
//! Run by `cargo xtask test`.

mod cluster;
mod table;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jointoken::api::{JoinToken, JoinTokenSpec, JoinTokenStatus, MAX_INTEGER, RULES};
use kube::api::{ApiResource, DeleteParams, DynamicObject, PostParams};
use kube::core::response::StatusCause;
use kube::{Api, Resource, ResourceExt};
use serde_json::{Value, json};

use cluster::{Ground, said};
use table::Case;

#[test]
fn the_table_has_every_rule() {
    let tested: BTreeSet<&str> = table::cases().iter().map(|case| case.rule).collect();
    let untested: Vec<&str> = RULES.iter().map(|rule| rule.name).collect();
    let untested: Vec<&str> = untested
        .into_iter()
        .filter(|n| !tested.contains(n))
        .collect();
    assert_eq!(untested, Vec::<&str>::new(), "rules that no case breaks");
}

#[tokio::test]
async fn every_rule_lets_pass_what_keeps_it_and_refuses_what_breaks_it() {
    let ground = Ground::new("api-rules").await;
    let mut faults = Vec::new();
    for case in table::cases() {
        if let Err(fault) = play(&ground, &case).await {
            faults.push(format!("{}: {fault}\n  bad: {}", case.rule, case.bad));
        }
    }
    ground.remove().await;
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

async fn play(ground: &Ground, case: &Case) -> Result<(), String> {
    let good = write(ground, case.before.as_ref(), &case.good).await?;
    if let Err(causes) = good.written {
        return Err(format!("what keeps the rule was refused: {causes:?}"));
    }
    let bad = write(ground, case.before.as_ref(), &case.bad).await?;
    let Err(causes) = bad.written else {
        return Err("what breaks the rule was accepted".to_owned());
    };
    let expected =
        |cause: &StatusCause| cause.field == case.field && cause.message.contains(case.message);
    // The API server adds a note without a field when other errors kept it from evaluating CEL.
    let said: Vec<&StatusCause> = causes.iter().filter(|c| c.field != "<nil>").collect();
    match said.as_slice() {
        [only] if expected(only) => {}
        _ => return Err(format!("it says {said:?}")),
    }
    if bad.before != bad.after {
        return Err(format!("the refusal changed it: {:?}", bad.after));
    }
    Ok(())
}

/// What came of one write to the API server.
struct Write {
    written: Result<(), Vec<StatusCause>>,
    before: Option<DynamicObject>,
    after: Option<DynamicObject>,
}

/// Creates `manifest`, or with `before` creates that and replaces it; a status through the status
/// subresource. Whatever came of it is removed again.
async fn write(ground: &Ground, before: Option<&Value>, manifest: &Value) -> Result<Write, String> {
    let api = dynamic(ground);
    let params = PostParams::default();
    let object = object(manifest);
    let name = object.name_any();
    let explain = |error: kube::Error| format!("unexpected answer: {error}");

    let mut stored = None;
    let outcome = match before {
        None => api.create(&params, &object).await,
        Some(before) => {
            let first = self::object(before);
            let mut current = api.create(&params, &first).await.map_err(explain)?;
            if let Some(status) = first.data.get("status") {
                current.data["status"] = status.clone();
                let replaced = api.replace_status(&name, &params, &current).await;
                current = replaced.map_err(explain)?;
            }
            stored = Some(current.clone());
            let mut next = object;
            next.metadata.resource_version = current.resource_version();
            if next.data.get("status").is_some() {
                api.replace_status(&name, &params, &next).await
            } else {
                api.replace(&name, &params, &next).await
            }
        }
    };
    let written = match outcome {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 422 => Err(status
            .details
            .map(|details| details.causes)
            .unwrap_or_default()),
        Err(error) => return Err(explain(error)),
    };
    let after = api.get_opt(&name).await.map_err(explain)?;
    if after.is_some() {
        let deleted = api.delete(&name, &DeleteParams::default()).await;
        deleted.map_err(explain)?;
    }
    Ok(Write {
        written,
        before: stored,
        after,
    })
}

fn object(manifest: &Value) -> DynamicObject {
    let name = manifest["name"].as_str().unwrap_or("edge-1");
    let mut object = DynamicObject::new(name, &ApiResource::erase::<JoinToken>(&()));
    object.data = manifest.clone();
    object.data.as_object_mut().unwrap().remove("name");
    object
}

fn dynamic(ground: &Ground) -> Api<DynamicObject> {
    let kind = ApiResource::erase::<JoinToken>(&());
    Api::namespaced_with(ground.client.clone(), &ground.namespace, &kind)
}

#[tokio::test]
async fn no_spec_is_as_good_as_an_empty_one() {
    let ground = Ground::new("api-defaults").await;
    let untyped = dynamic(&ground);
    let typed: Api<JoinToken> = Api::namespaced(ground.client.clone(), &ground.namespace);
    for (name, manifest) in [
        ("none", json!({"name": "none"})),
        ("empty", json!({"name": "empty", "spec": {}})),
        ("null", json!({"name": "null", "spec": null})),
        (
            "nulls",
            json!({"name": "nulls", "spec": {"ttlSeconds": null, "admission": null}}),
        ),
    ] {
        let created = untyped
            .create(&PostParams::default(), &object(&manifest))
            .await;
        created.unwrap_or_else(|error| panic!("{name}: {error}"));
        let resource = typed.get(name).await.unwrap();
        assert_eq!(resource.spec, JoinTokenSpec::default(), "{name}");
        assert_eq!(resource.status, Some(JoinTokenStatus::default()), "{name}");
        assert_eq!(resource.node_name(), name);
        assert_eq!(resource.secret_name(), format!("{name}-join-token"));
    }
    ground.remove().await;
}

/// One object that the operator cannot read would stop its watch on all of them.
#[tokio::test]
async fn whatever_is_accepted_can_be_read() {
    let ground = Ground::new("api-extremes").await;
    let untyped = dynamic(&ground);
    let spec = json!({
        "ttlSeconds": 604_800.0,
        "revision": 9.007199254740991e15,
        "admission": {"maxClaims": 1e6, "inFlightTimeoutSeconds": 604_800},
    });
    let manifest = json!({"name": "extreme", "spec": spec});
    let mut created = untyped
        .create(&PostParams::default(), &object(&manifest))
        .await
        .unwrap();
    created.data["status"] = json!({
        "revision": MAX_INTEGER, "storeEpoch": MAX_INTEGER, "storeIndex": MAX_INTEGER,
        "attempts": u32::MAX, "reissues": u32::MAX, "issuedAt": "2031-02-03T04:05:06.789Z",
    });
    let replaced = untyped
        .replace_status("extreme", &PostParams::default(), &created)
        .await;
    replaced.unwrap();

    let typed: Api<JoinToken> = Api::namespaced(ground.client.clone(), &ground.namespace);
    let resource = typed.get("extreme").await.unwrap();
    assert_eq!(resource.spec.revision, MAX_INTEGER);
    assert_eq!(resource.spec.ttl_seconds, 604_800);
    assert_eq!(resource.spec.admission.max_claims, Some(1_000_000));
    let status = resource.status.unwrap();
    assert_eq!(status.attempts, Some(u32::MAX));
    assert_eq!(status.store_index, Some(MAX_INTEGER));
    ground.remove().await;
}

#[tokio::test]
async fn kubectl_shows_where_a_token_is_in_its_life() {
    let ground = Ground::new("api-columns").await;
    let untyped = dynamic(&ground);
    let mut resource = untyped
        .create(&PostParams::default(), &object(&json!({"name": "edge-1"})))
        .await
        .unwrap();
    resource.data["status"] = json!({
        "observedGeneration": 1, "phase": "Consumed", "revision": 4, "tokenId": "cafe",
        "expiresAt": "2031-02-03T04:05:06Z", "consumedAt": "2021-02-03T04:05:06Z",
        "secretName": "edge-1-join-token",
        "joiner": {"nodeName": "machine-7", "address": "192.0.2.7"},
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "Consumed", "message": "",
            "lastTransitionTime": "2021-02-03T04:05:06Z",
        }],
    });
    let written = untyped
        .replace_status("edge-1", &PostParams::default(), &resource)
        .await;
    written.unwrap();

    let columns = |args: &[&str]| -> Vec<Vec<String>> {
        let output = ground.kubectl(args, "");
        let text = said(&output);
        assert!(output.status.success(), "{text}");
        // Columns are two or more blanks apart, a heading may have one within.
        let cells = |line: &str| line.split("  ").map(str::trim).map(str::to_owned).collect();
        let rows = text.lines().map(cells);
        let rows = rows.map(|row: Vec<String>| row.into_iter().filter(|c| !c.is_empty()).collect());
        rows.collect()
    };
    let narrow = columns(&["get", "jt"]);
    assert_eq!(narrow[0], ["NAME", "PHASE", "NODE", "EXPIRES", "AGE"]);
    let expected = ["edge-1", "Consumed", "machine-7", "2031-02-03T04:05:06Z"];
    assert_eq!(narrow[1][..4], expected);

    let wide = columns(&["get", "jointokens", "-o", "wide"]);
    let headings = [
        "NAME", "PHASE", "NODE", "EXPIRES", "REASON", "JOINER", "CONSUMED", "TOKEN ID", "REVISION",
        "SECRET", "AGE",
    ];
    assert_eq!(wide[0], headings);
    assert_eq!(wide[1][4..6], ["Consumed", "192.0.2.7"]);
    assert_eq!(wide[1][7..10], ["cafe", "4", "edge-1-join-token"]);

    let chosen = [
        "get",
        "jt",
        "--field-selector",
        "status.phase=Consumed",
        "-o",
        "name",
    ];
    assert_eq!(
        said(&ground.kubectl(&chosen, "")),
        "jointoken.jointoken.io/edge-1\n"
    );
    let waited = [
        "wait",
        "jt/edge-1",
        "--for=condition=Ready",
        "--timeout=10s",
    ];
    assert!(ground.kubectl(&waited, "").status.success());
    ground.remove().await;
}

#[tokio::test]
async fn kubectl_explains_and_refuses_a_typing_error() {
    let ground = Ground::new("api-kubectl").await;
    // The API server publishes a new resource's explanation a moment after it serves the resource.
    let deadline = Instant::now() + Duration::from_secs(60);
    let explained = loop {
        let output = ground.kubectl(&["explain", "jointoken.spec.ttlSeconds"], "");
        if output.status.success() || Instant::now() > deadline {
            break said(&output);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let words: Vec<&str> = explained.split_whitespace().collect();
    assert!(
        words
            .join(" ")
            .contains("in seconds: 60 (one minute) to 604800 (seven days)"),
        "{explained}"
    );

    let api_version = JoinToken::api_version(&());
    let manifest = json!({
        "apiVersion": api_version, "kind": "JoinToken",
        "metadata": {"name": "typo"}, "spec": {"ttl": 60},
    });
    let refused = ground.kubectl(&["apply", "-f", "-"], &manifest.to_string());
    assert!(!refused.status.success());
    assert!(
        said(&refused).contains("unknown field \"spec.ttl\""),
        "{}",
        said(&refused)
    );
    ground.remove().await;
}
