//! What the door says to anybody: its description and its CA.

use std::path::Path;

use hyper::StatusCode;
use jointoken::bootstrap::openapi_json;
use jointoken::bootstrap::wire::CaResponse;
use serde_json::Value;

use crate::caller::Caller;
use crate::world::{MINUTE, START, World};

/// Set this variable to write the file anew.
const UPDATE: &str = "JOINTOKEN_UPDATE_DOCS";

#[test]
fn the_description_checked_in_is_the_one_generated() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, openapi_json()).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        checked_in == openapi_json(),
        "{} is out of date: run {UPDATE}=1 cargo test --test door",
        path.display()
    );
}

#[tokio::test]
async fn the_description_is_served_and_tells_every_path_and_code() {
    let world = World::open().await;
    let mut caller = Caller::connect(&world, None).await;
    let said = caller.get("/openapi.json").await;
    assert_eq!(said.status, StatusCode::OK);
    assert_eq!(said.headers["content-type"], "application/json");
    assert_eq!(said.body, openapi_json());
    let document: Value = said.json();
    let paths: Vec<_> = document["paths"].as_object().unwrap().keys().collect();
    assert_eq!(paths, ["/openapi.json", "/v1/ack", "/v1/ca", "/v1/join"]);
    let schemas = &document["components"]["schemas"];
    for schema in [
        "JoinRequest",
        "JoinResponse",
        "AckRequest",
        "AckResponse",
        "CaResponse",
        "ErrorBody",
        "Code",
    ] {
        assert!(schemas[schema].is_object(), "{schema}");
    }
    let codes = schemas["Code"].to_string();
    for code in ["invalid_token", "claim_conflict", "not_allowed_here"] {
        assert!(codes.contains(code), "{code}");
    }
}

#[tokio::test]
async fn anybody_may_have_the_ca_and_the_time() {
    let world = World::open().await;
    world.clock.advance(MINUTE);
    let mut caller = Caller::connect(&world, None).await;
    let said = caller.get("/v1/ca").await;
    let answer: CaResponse = said.json();
    assert_eq!(answer.ca, world.members.cert_pem());
    assert_eq!(answer.trust_domain, "prod.example.com");
    let date = said.headers["date"].to_str().unwrap();
    let time = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(date)
        .unwrap();
    assert_eq!(time.as_millisecond().unsigned_abs(), START + MINUTE);
}
