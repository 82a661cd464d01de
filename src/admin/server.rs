//! The socket and its routes.

use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use tokio::net::UnixListener;

use crate::token::OfflinePolicy;

use super::export::KeyExporter;
use super::wire::{ExportKeyRequest, ExportKeyResponse, Problem};

/// Answers on one Unix socket.
pub struct AdminServer {
    listener: UnixListener,
    path: PathBuf,
}

/// The socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("the admin socket {} cannot be opened: {source}", path.display())]
pub struct BindError {
    path: PathBuf,
    source: io::Error,
}

impl AdminServer {
    /// Opens the socket at `path`, for its owner alone. A socket that a former process left there is
    /// replaced: whoever calls this holds the lock of the data folder, so nobody else answers on it.
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        let open = || {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let listener = UnixListener::bind(path)?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
            Ok(listener)
        };
        let listener = open().map_err(|source| BindError {
            path: path.to_path_buf(),
            source,
        })?;
        Ok(Self {
            listener,
            path: path.to_path_buf(),
        })
    }

    /// Answers until `shutdown` is done, then takes the socket away.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn run(
        self,
        exporter: Arc<KeyExporter>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let routes = Router::new()
            .route("/v1/keys", post(export_key))
            .with_state(exporter);
        let served = axum::serve(self.listener, routes)
            .with_graceful_shutdown(shutdown)
            .await;
        let _ = std::fs::remove_file(&self.path);
        served
    }
}

async fn export_key(
    State(exporter): State<Arc<KeyExporter>>,
    Json(request): Json<ExportKeyRequest>,
) -> Result<Json<ExportKeyResponse>, (StatusCode, Json<Problem>)> {
    let node_pattern = request.node_pattern.parse().map_err(|error| {
        refusal(
            StatusCode::BAD_REQUEST,
            format!("the node pattern cannot be used: {error}"),
            false,
        )
    })?;
    let policy = OfflinePolicy {
        node_pattern,
        max_ttl_ms: request.max_ttl_seconds.saturating_mul(1000),
    };
    match exporter.export(policy).await {
        Ok(file) => {
            tracing::info!(key_id = %file.key().id(), "exported an offline key");
            Ok(Json(ExportKeyResponse {
                key_id: file.key().id().to_string(),
                key_file: file.render().to_string(),
            }))
        }
        Err(error) if error.is_transient() => Err(refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            error.to_string(),
            true,
        )),
        Err(error) => Err(refusal(StatusCode::BAD_REQUEST, error.to_string(), false)),
    }
}

fn refusal(status: StatusCode, message: String, retry: bool) -> (StatusCode, Json<Problem>) {
    (status, Json(Problem { message, retry }))
}
