//! What the commands have in common that ask a running replica over its Unix socket.

use std::path::PathBuf;

use super::exit::{Exit, Failure};
use crate::admin::{AdminClient, ClientError};

/// Which replica is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Replica {
    /// The replica's Unix socket
    #[arg(
        long,
        value_name = "PATH",
        env = "JOINTOKEN_ADMIN_SOCKET",
        default_value = "/var/lib/jointoken/admin.sock"
    )]
    admin_socket: PathBuf,
}

impl Replica {
    /// Asks it.
    pub(super) fn client(&self) -> AdminClient {
        AdminClient::new(&self.admin_socket)
    }
}

/// How a command ends that got no answer, or a refusal.
pub(super) fn failure(error: ClientError) -> Failure {
    let exit = match &error {
        ClientError::Unreachable { .. } => Exit::Usage,
        ClientError::Write(_) => Exit::Failed,
        ClientError::BrokenOff(_) => Exit::TryAgain,
        ClientError::Refused(problem) if problem.retry => Exit::TryAgain,
        ClientError::Refused(_) => Exit::Refused,
    };
    Failure::new(exit, error)
}
