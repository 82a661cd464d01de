//! The other end of the socket.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::net::file_words;
use crate::token::TokenId;

use super::wire::{
    AcceptClockResponse, EndRequest, EndResponse, ExportKeyRequest, ExportKeyResponse,
    ForgetRequest, ForgetResponse, KeysResponse, MembersResponse, Problem, RemoveMembersRequest,
    RemoveMembersResponse, RulesResponse, TokenView, TokensQuery, TokensResponse,
};

/// No answer of the socket but a snapshot is longer, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// Asks a replica on this machine.
#[derive(Debug, Clone)]
pub struct AdminClient {
    socket: PathBuf,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(
        "cannot reach a replica at {}: {}{}",
        socket.display(),
        file_words(source),
        hint(source)
    )]
    Unreachable { socket: PathBuf, source: io::Error },
    #[error("the replica broke off its answer, see its log: {0}")]
    BrokenOff(String),
    #[error("{}", .0.message)]
    Refused(Problem),
    #[error("the answer cannot be written, is there room for it? {}", file_words(.0))]
    Write(io::Error),
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; run this as the user that the replica runs as",
        _ => "; is it running, and is this its --admin-socket?",
    }
}

impl AdminClient {
    /// A client of the replica that listens on `socket`.
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_path_buf(),
        }
    }

    /// Asks for a new offline key.
    ///
    /// # Errors
    /// When the replica cannot be reached, or says why not.
    pub async fn export_key(
        &self,
        request: &ExportKeyRequest,
    ) -> Result<ExportKeyResponse, ClientError> {
        self.call(Method::POST, "/v1/keys", Some(request)).await
    }

    /// Asks which keys the store knows.
    ///
    /// # Errors
    /// When the replica cannot be reached, or says why not.
    pub async fn keys(&self) -> Result<KeysResponse, ClientError> {
        self.call(Method::GET, "/v1/keys", None::<&()>).await
    }

    /// A page of the tokens that the store knows.
    ///
    /// # Errors
    /// When the replica cannot be reached, or says why not.
    pub async fn tokens(&self, query: &TokensQuery) -> Result<TokensResponse, ClientError> {
        self.call(Method::POST, "/v1/tokens", Some(query)).await
    }

    /// What the store knows of one token.
    ///
    /// # Errors
    /// When the replica cannot be reached, or says why not.
    pub async fn token(&self, token_id: TokenId) -> Result<TokenView, ClientError> {
        self.call(Method::GET, &format!("/v1/tokens/{token_id}"), None::<&()>)
            .await
    }

    /// Ends a token unless it was used; a token never seen can be ended, too.
    ///
    /// # Errors
    /// When the replica cannot be reached, or says why not.
    pub async fn abort(
        &self,
        token_id: TokenId,
        request: &EndRequest,
    ) -> Result<EndResponse, ClientError> {
        let path = format!("/v1/tokens/{token_id}/abort");
        self.call(Method::POST, &path, Some(request)).await
    }

    /// Ends a token, or bars the machine that it admitted.
    ///
    /// # Errors
    /// When the replica cannot be reached, or says why not.
    pub async fn revoke(
        &self,
        token_id: TokenId,
        request: &EndRequest,
    ) -> Result<EndResponse, ClientError> {
        let path = format!("/v1/tokens/{token_id}/revoke");
        self.call(Method::POST, &path, Some(request)).await
    }

    /// Has the store forget what became of a JoinToken.
    ///
    /// # Errors
    /// When the replica cannot be reached, or says why not.
    pub async fn forget(&self, request: &ForgetRequest) -> Result<ForgetResponse, ClientError> {
        self.call(Method::POST, "/v1/forget", Some(request)).await
    }

    /// Has the replica follow its machine's clock.
    ///
    /// # Errors
    /// When the replica cannot be reached.
    pub async fn accept_clock(&self) -> Result<AcceptClockResponse, ClientError> {
        self.call(Method::POST, "/v1/clock/accept", None::<&()>)
            .await
    }

    /// What the replica knows of its group.
    ///
    /// # Errors
    /// When the replica cannot be reached.
    pub async fn members(&self) -> Result<MembersResponse, ClientError> {
        self.call(Method::GET, "/v1/members", None::<&()>).await
    }

    /// Which rules the store goes by.
    ///
    /// # Errors
    /// When the replica cannot be reached.
    pub async fn rules(&self) -> Result<RulesResponse, ClientError> {
        self.call(Method::GET, "/v1/rules", None::<&()>).await
    }

    /// Puts the latest rules in force that every replica knows.
    ///
    /// # Errors
    /// When the replica cannot be reached, or says why not.
    pub async fn finalize_upgrade(&self) -> Result<RulesResponse, ClientError> {
        self.call(Method::POST, "/v1/rules/finalize", None::<&()>)
            .await
    }

    /// Removes members of the group for good.
    ///
    /// # Errors
    /// When the replica cannot be reached, or says why not.
    pub async fn remove_members(
        &self,
        request: &RemoveMembersRequest,
    ) -> Result<RemoveMembersResponse, ClientError> {
        self.call(Method::POST, "/v1/members/remove", Some(request))
            .await
    }

    /// Writes a snapshot of the store, as a backup file, to `out`. Tells how many bytes it has.
    ///
    /// # Errors
    /// When the replica cannot be reached, or says why not, or `out` fails. Then `out` has a part of it, or nothing.
    pub async fn snapshot(&self, out: &mut (dyn Write + Send)) -> Result<u64, ClientError> {
        let answer = self.send(Method::GET, "/v1/snapshot", None::<&()>).await?;
        if !answer.status().is_success() {
            let (status, bytes) = read(answer).await?;
            return Err(refused(status, &bytes));
        }
        let mut body = answer.into_body();
        let mut written = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| broken(&error))?;
            if let Some(bytes) = frame.data_ref() {
                out.write_all(bytes).map_err(ClientError::Write)?;
                written += bytes.len() as u64;
            }
        }
        Ok(written)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        let (status, bytes) = read(self.send(method, path, body).await?).await?;
        if status.is_success() {
            serde_json::from_slice(&bytes).map_err(|error| broken(&error))
        } else {
            Err(refused(status, &bytes))
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream =
            UnixStream::connect(&self.socket)
                .await
                .map_err(|source| ClientError::Unreachable {
                    socket: self.socket.clone(),
                    source,
                })?;
        let body = match body {
            Some(body) => Bytes::from(serde_json::to_vec(body).map_err(|error| broken(&error))?),
            None => Bytes::new(),
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(&error))?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|error| broken(&error))?;
        sender
            .send_request(request)
            .await
            .map_err(|error| broken(&error))
    }
}

fn broken(error: &dyn std::fmt::Display) -> ClientError {
    ClientError::BrokenOff(error.to_string())
}

/// A short answer, whole.
async fn read(answer: Response<Incoming>) -> Result<(StatusCode, Bytes), ClientError> {
    let status = answer.status();
    let bytes = Limited::new(answer.into_body(), MAX_ANSWER)
        .collect()
        .await
        .map_err(|error| broken(&error))?
        .to_bytes();
    Ok((status, bytes))
}

fn refused(status: StatusCode, answer: &[u8]) -> ClientError {
    match serde_json::from_slice(answer) {
        Ok(problem) => ClientError::Refused(problem),
        Err(_) => ClientError::BrokenOff(format!("{status}: {}", String::from_utf8_lossy(answer))),
    }
}
