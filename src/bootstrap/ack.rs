//! An admitted machine has its answer.

use std::time::Duration;

use tokio::time::timeout;

use crate::lifecycle::command::Acknowledge;
use crate::lifecycle::outcome::AcknowledgeOutcome;
use crate::store::submit;
use crate::token::{JoinerId, TokenId};

use super::observer::Class;
use super::peer::Connection;
use super::wire::{AckRequest, AckResponse};
use super::{DoorError, OpenDoor};

/// How far a replica may be behind the one that admitted the machine.
const LAG: Duration = Duration::from_millis(500);

pub(super) async fn acknowledge(
    open: &OpenDoor,
    connection: &Connection,
    request: AckRequest,
    seen: &mut Option<TokenId>,
) -> Result<(Class, AckResponse), DoorError> {
    let joiner = connection.peer.require_joiner()?;
    let Ok(token_id) = request.token_id.parse::<TokenId>() else {
        // Counted, as every other id that admitted nobody: refusals are audited, and whoever
        // reaches the port must not fill the audit.
        open.limiters.failed(connection.address())?;
        return Err(DoorError::NotAdmitted);
    };
    *seen = Some(token_id);
    // A token id is no secret, so this is looked at before anything is proposed: only an admitted
    // machine may make the log longer.
    if !was_admitted(open, token_id, joiner) {
        if let Err(limited) = open.limiters.failed(connection.address()) {
            // Others of its address may have used up what is allowed, and this replica may only lag
            // behind: the machine does not pay for that, and a stranger waits.
            return match becomes_admitted(open, token_id, joiner).await {
                true => finish(open, connection, token_id, joiner).await,
                false => Err(limited),
            };
        }
        open.door.store.barrier().await?;
        if !was_admitted(open, token_id, joiner) {
            return Err(DoorError::NotAdmitted);
        }
    }
    finish(open, connection, token_id, joiner).await
}

/// Ends the redelivery of an admitted machine's answer.
async fn finish(
    open: &OpenDoor,
    connection: &Connection,
    token_id: TokenId,
    joiner: JoinerId,
) -> Result<(Class, AckResponse), DoorError> {
    open.limiters.used(token_id)?;
    let _kept = connection.place.keep();
    match submit(&*open.door.store, Acknowledge { token_id, joiner }).await? {
        AcknowledgeOutcome::Done => Ok((
            Class::Acknowledged,
            AckResponse {
                token_id: token_id.to_string(),
            },
        )),
        AcknowledgeOutcome::NotAdmitted | AcknowledgeOutcome::NotFound => {
            Err(DoorError::NotAdmitted)
        }
    }
}

/// Whether this replica hears in a moment that the machine was admitted.
async fn becomes_admitted(open: &OpenDoor, token_id: TokenId, joiner: JoinerId) -> bool {
    let mut health = open.door.store.health();
    let applied = async {
        while !was_admitted(open, token_id, joiner) {
            if health.changed().await.is_err() {
                return false;
            }
        }
        true
    };
    timeout(LAG, applied).await.unwrap_or(false)
}

fn was_admitted(open: &OpenDoor, token_id: TokenId, joiner: JoinerId) -> bool {
    let record = open.door.store.record(&token_id);
    record
        .and_then(|record| record.admission)
        .is_some_and(|admission| admission.joiner == joiner)
}
