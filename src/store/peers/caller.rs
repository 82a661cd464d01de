//! Asks a replica something, whatever it is.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft::AsyncRuntime;

use crate::store::contradiction::Contradiction;
use crate::store::types::NodeId;
use crate::token::StoreId;

use super::message::{ANYBODY, Answer, Ask, Refusal, Reply, Request};
use super::transport::{CallError, PeerAddress, Transport};

/// Why there is no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AskError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("{by:016x} refused: {}", why.as_str())]
    Refused { by: NodeId, why: Refusal },
}

impl AskError {
    pub(super) fn no_answer(why: impl ToString) -> Self {
        Self::Call(CallError::NoAnswer(why.to_string()))
    }
}

/// Who asks, and by what way.
#[derive(Clone)]
pub(crate) struct Caller {
    pub store_id: StoreId,
    pub node_id: NodeId,
    pub transport: Arc<dyn Transport>,
    /// What others last said of two pasts.
    pub claim: Claim,
}

/// Who has said that this store has two pasts, and what of them.
pub(crate) type Claim = Arc<Mutex<Option<(NodeId, Contradiction)>>>;

impl Caller {
    /// Asks; the request is sent when the call returns. Returns who answered, and what.
    pub(crate) fn ask<Rt: AsyncRuntime>(
        &self,
        address: &PeerAddress,
        to: NodeId,
        ask: Ask,
        patience: Duration,
    ) -> impl Future<Output = Result<(NodeId, Reply), AskError>> + Send + use<Rt> {
        let request = Request {
            store_id: self.store_id,
            from: self.node_id,
            to,
            ask,
        };
        let call = self.transport.call(address, request.encode());
        let claim = self.claim.clone();
        async move {
            let called = Rt::timeout(patience, call).await;
            let bytes = called.map_err(|_| AskError::no_answer("it took too long"))??;
            let Answer { from, reply } = Answer::decode(&bytes).map_err(AskError::no_answer)?;
            match reply {
                Reply::Refused(why) => Err(AskError::Refused { by: from, why }),
                _ if to != ANYBODY && from != to => {
                    Err(AskError::no_answer("another replica answered"))
                }
                Reply::Contradicted(it) => {
                    *claim.lock().unwrap_or_else(PoisonError::into_inner) = Some((from, it));
                    Err(AskError::no_answer("it says that the group has two pasts"))
                }
                reply => Ok((from, reply)),
            }
        }
    }
}
