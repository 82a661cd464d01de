//! An admitted machine has its answer.

use crate::lifecycle::command::Acknowledge;
use crate::lifecycle::outcome::AcknowledgeOutcome;
use crate::store::submit;
use crate::token::{JoinerId, TokenId};

use super::observer::Class;
use super::peer::Connection;
use super::wire::{AckRequest, AckResponse};
use super::{DoorError, OpenDoor};

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
        open.limiters.failed(connection.address())?;
        open.door.store.barrier().await?;
        if !was_admitted(open, token_id, joiner) {
            return Err(DoorError::NotAdmitted);
        }
    }
    connection.place.keep();
    open.limiters.used(token_id)?;
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

fn was_admitted(open: &OpenDoor, token_id: TokenId, joiner: JoinerId) -> bool {
    let record = open.door.store.record(&token_id);
    record
        .and_then(|record| record.admission)
        .is_some_and(|admission| admission.joiner == joiner)
}
