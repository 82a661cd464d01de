//! The socket and its routes.

use std::fs::DirBuilder;
use std::future::Future;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::{FromRef, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use tokio::net::UnixListener;

use crate::lifecycle::command::AdoptKey;
use crate::store::{RaftStore, file_trouble};
use crate::token::OfflinePolicy;

use super::export::KeyExporter;
use super::members;
use super::snapshot;
use super::tokens;
use super::wire::{
    AcceptClockResponse, ExportKeyRequest, ExportKeyResponse, KeysResponse, KnownKey, Problem,
};

/// Answers on one Unix socket.
pub struct AdminServer {
    listener: UnixListener,
    file: SocketFile,
}

/// Is taken away when nobody answers any more.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It may have been taken away already.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What is offered on the socket.
pub struct Offered {
    pub exporter: KeyExporter,
    pub store: RaftStore,
}

impl FromRef<Arc<Offered>> for RaftStore {
    fn from_ref(offered: &Arc<Offered>) -> Self {
        offered.store.clone()
    }
}

/// The socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("the admin socket {} cannot be opened: {}", path.display(), trouble(source, path))]
pub struct BindError {
    path: PathBuf,
    source: io::Error,
}

/// What is found out here says itself what to do.
fn trouble(error: &io::Error, path: &Path) -> String {
    match error.raw_os_error() {
        Some(_) => file_trouble(error, path),
        None => error.to_string(),
    }
}

impl AdminServer {
    /// Opens the socket at `path`, for its owner alone. A socket that a former process left there is
    /// replaced; anything else that is there stays, as does a socket on which somebody answers.
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        let error = |source| BindError {
            path: path.to_path_buf(),
            source,
        };
        match std::fs::symlink_metadata(path) {
            Ok(there) if !there.file_type().is_socket() => {
                let what = "something else than a socket is there: remove it, or give another path";
                return Err(error(io::Error::new(io::ErrorKind::AlreadyExists, what)));
            }
            Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
                let what = "another process answers on it: stop that one, or give another path";
                return Err(error(io::Error::new(io::ErrorKind::AddrInUse, what)));
            }
            _ => {}
        }
        let listener = bind_private(path).map_err(error)?;
        Ok(Self {
            listener,
            file: SocketFile(path.to_path_buf()),
        })
    }

    /// Answers until `shutdown` is done, then takes the socket away.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn run(
        self,
        offered: Offered,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let routes = Router::new()
            .route("/v1/keys", post(export_key).get(list_keys))
            .route("/v1/clock/accept", post(accept_clock))
            .merge(tokens::routes())
            .merge(members::routes())
            .merge(snapshot::routes())
            .with_state(Arc::new(offered));
        let Self { listener, file } = self;
        let served = axum::serve(listener, routes).with_graceful_shutdown(shutdown);
        let ended = served.await;
        drop(file);
        ended
    }

    /// Answers what is asked about the group, for a replica that waits for it. Until it is dropped.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn run_while_waiting(self, store: RaftStore) -> io::Result<()> {
        let Self { listener, file } = self;
        let routes = members::routes().fallback(waits).with_state(store);
        let ended = axum::serve(listener, routes).await;
        drop(file);
        ended
    }
}

/// A socket that nobody but its owner could ever open: it is made in a folder that nobody else can enter, and
/// then moved to its place.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Short, since what a socket may be called is limited.
    let folder = parent.join(".s");
    let remove = || match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    remove()?;
    DirBuilder::new().mode(0o700).create(&folder)?;
    let beside = folder.join("s");
    let listener = UnixListener::bind(&beside)?;
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&beside, path)?;
    remove()?;
    Ok(listener)
}

async fn accept_clock(
    State(offered): State<Arc<Offered>>,
) -> Result<Json<AcceptClockResponse>, Refusal> {
    if offered.store.members().members.len() > 1 {
        let message = "this replica is of a group, which goes by the median of its replicas' clocks: set the clock of its machine right";
        return Err(refusal(StatusCode::CONFLICT, message.to_owned(), false));
    }
    let step_ms = offered.store.accept_clock();
    if let Some(step_ms) = step_ms {
        tracing::warn!(step_ms, "an operator accepted the machine's clock");
    }
    Ok(Json(AcceptClockResponse {
        step_seconds: step_ms.map(|ms| ms / 1000),
        store_ahead_seconds: offered.store.ahead_ms().map(|ms| ms / 1000),
    }))
}

async fn list_keys(State(offered): State<Arc<Offered>>) -> Json<KeysResponse> {
    let known = |key: AdoptKey, retired| KnownKey {
        key_id: key.key_id.to_string(),
        purpose: key.purpose.as_str().to_owned(),
        fingerprint: key.fingerprint.to_string(),
        max_ttl_seconds: key.max_ttl_ms.map(|ms| ms / 1000),
        node_pattern: key.node_pattern,
        retired,
    };
    let in_force = offered.exporter.known().into_iter();
    let retired = offered.store.retired_keys().into_iter();
    let keys = in_force
        .map(|key| known(key, false))
        .chain(retired.map(|key| known(key, true)));
    Json(KeysResponse {
        keys: keys.collect(),
    })
}

async fn export_key(
    State(offered): State<Arc<Offered>>,
    Json(request): Json<ExportKeyRequest>,
) -> Result<Json<ExportKeyResponse>, Refusal> {
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
    match offered.exporter.export(policy).await {
        Ok(file) => {
            tracing::info!(
                key_id = %file.key().id(),
                pattern = %file.policy.node_pattern,
                max_ttl_ms = file.policy.max_ttl_ms,
                "exported an offline key"
            );
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

async fn waits() -> Refusal {
    let message = "this replica waits until a majority of its group is there and has let it in; `jointoken store members` says who is missing";
    refusal(StatusCode::SERVICE_UNAVAILABLE, message.to_owned(), true)
}

/// A refusal as it goes over the socket.
pub(super) type Refusal = (StatusCode, Json<Problem>);

pub(super) fn refusal(status: StatusCode, message: String, retry: bool) -> Refusal {
    (status, Json(Problem { message, retry }))
}
