//! The description of the door's paths, generated from the types and handlers.

use std::sync::OnceLock;

use utoipa::OpenApi;

use super::routes;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "jointoken door",
        description = "Where machines join. TLS 1.3; the client shows a self-signed certificate of its own key, and the CSR is of the same key. Trust the door by the pin in the token and the URI jointoken://<trust domain>/door in its certificate, before sending the token.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        routes::post_join,
        routes::post_ack,
        routes::get_ca,
        routes::get_openapi,
    )
)]
struct Description;

/// The OpenAPI document, as served and as checked in (`docs/openapi.json`).
pub fn openapi_json() -> &'static str {
    static JSON: OnceLock<String> = OnceLock::new();
    JSON.get_or_init(|| {
        // Serialising strings and maps cannot fail; an empty document would fail its test.
        let mut json = Description::openapi().to_pretty_json().unwrap_or_default();
        json.push('\n');
        json
    })
}
