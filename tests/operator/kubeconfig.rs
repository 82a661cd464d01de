//! A kubeconfig of a test's own.

use std::fs;
use std::path::Path;

use serde_json::json;

/// Writes one that names this server, without credentials.
pub fn write(path: &Path, server: &str) {
    let content = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{"name": "it", "cluster": {"server": server}}],
        "users": [{"name": "it", "user": {}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    });
    fs::write(path, content.to_string()).unwrap();
}
