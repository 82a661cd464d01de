//! Whether a status tells of more than the store knows, though it is of this very store: the store's data were set back
//! to an older copy, or somebody edited the status.
//!
//! What is compared is the record of the token that the status names, and never how far the log has come: a store that
//! was set back outruns what it has lost within seconds.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kube::ResourceExt;
use tokio::time::Instant;

use crate::api::{JoinToken, Phase};
use crate::token::TokenId;

use super::former::is_import_of;
use super::standing::Standing;

/// Of what this replica has applied: a replica that is behind says the same, and has to catch up first.
pub(super) fn is_ahead(
    resource: &JoinToken,
    standing: &Standing,
    (epoch, reached): (u64, u64),
    changed_at: impl FnOnce(&TokenId) -> Option<u64>,
) -> bool {
    let Some(status) = &resource.status else {
        return false;
    };
    let (told_epoch, told) = (
        status.store_epoch.unwrap_or(0),
        status.store_index.unwrap_or(0),
    );
    if told_epoch > epoch {
        return true;
    }
    let token_id = status.token_id.as_deref().map(str::parse::<TokenId>);
    let Some(in_force) = &standing.in_force else {
        return match token_id {
            // The name is forgotten some time after the token has ended, never before. That nothing is issued again for
            // the same revision is seen to elsewhere.
            Some(_) => told > reached || !status.phase.is_some_and(Phase::is_terminal),
            None => told > 0 && status.phase != Some(Phase::Pending),
        };
    };
    let changed_at_index = match token_id {
        None => in_force.changed_at_index,
        Some(Ok(token_id)) if token_id == in_force.token_id => in_force.changed_at_index,
        Some(_) if is_import_of(resource, in_force) => in_force.changed_at_index,
        Some(Ok(token_id)) => match changed_at(&token_id) {
            Some(changed_at_index) => changed_at_index,
            // It was followed by another, and forgotten. Otherwise the store should know it.
            None => {
                let named = (
                    status.revision.unwrap_or(resource.spec.revision),
                    status.reissues.unwrap_or(0),
                );
                if named >= (in_force.revision, in_force.reissue) {
                    return true;
                }
                in_force.changed_at_index
            }
        },
        Some(Err(_)) => return true,
    };
    told > changed_at_index
}

/// How often a resource may have the store make sure that it knows all that was committed, which is a commit.
const SELDOM: Duration = Duration::from_secs(60);
/// From so many on, those whose time is over are looked for.
const MANY: usize = 256;

/// For which resources the store was asked to make sure, since their status was ahead of it, after which nothing was left to do:
/// each edit of the status asks again.
#[derive(Debug, Default)]
pub(super) struct Asked(Mutex<HashMap<String, Instant>>);

impl Asked {
    /// The store has made sure for this resource, and all was done.
    pub fn note(&self, resource: &JoinToken) {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.len() >= MANY {
            asked.retain(|_, at| at.elapsed() < SELDOM);
        }
        asked.insert(resource.uid().unwrap_or_default(), Instant::now());
    }

    /// How long it is until it may be asked again; `None`: it may be now.
    pub fn pause(&self, resource: &JoinToken) -> Option<Duration> {
        let asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = asked.get(&resource.uid().unwrap_or_default())?;
        let pause = SELDOM.saturating_sub(at.elapsed());
        (!pause.is_zero()).then_some(pause)
    }
}

/// For the log: who reads it has to know which folder is meant.
pub(super) fn warn(resource: &JoinToken) {
    let status = resource.status.as_ref();
    tracing::warn!(
        namespace = resource.namespace(),
        name = resource.name_any(),
        token_id = status.and_then(|status| status.token_id.as_deref()),
        store_index = status.and_then(|status| status.store_index),
        "the status of a JoinToken tells of more than this store knows: the store's data folder was set back to an older copy, \
         or somebody edited the status. Its token is ended, since nobody knows whether it was used"
    );
}
