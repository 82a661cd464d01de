//! Raising the rules that the state goes by, once every member knows later ones.
//!
//! Until then a group of two releases goes by the earlier rules, and a release can be taken back. Afterwards it cannot.

use std::collections::BTreeSet;
use std::sync::Mutex;

use openraft::AsyncRuntime;

use crate::lifecycle::State;
use crate::lifecycle::command::RaiseRules;
use crate::lifecycle::outcome::RaiseRulesOutcome;

use super::duties::submit;
use super::group::PRESENT_MS;
use super::inner::{Inner, lock_of};
use super::peers::{Ask, Reply};
use super::token_store::StoreError;

/// After every member has known later rules for so long, they are put in force without being asked for.
const SETTLED_MS: u64 = 24 * 60 * 60 * 1000;

/// Since when, on the clock that nobody sets, every member knows rules later than those in force.
#[derive(Default)]
pub(crate) struct Readiness(Mutex<Option<u64>>);

/// Which rules a replica's state goes by, and which are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    pub in_force: u32,
    /// The latest that every member knows that was heard of a moment ago.
    pub known_to_all: u32,
    /// Members of which it is not known: they were not heard of a moment ago.
    pub unheard: BTreeSet<u64>,
}

/// Why later rules were not put in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeError {
    #[error("every member must say that it knows the later rules, and of some nothing is heard: {}", ids(.0))]
    Unheard(BTreeSet<u64>),
    #[error(
        "rules {0} are in force, and not every member knows later ones: upgrade all replicas first"
    )]
    NothingLater(u32),
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn ids(of: &BTreeSet<u64>) -> String {
    let each: Vec<_> = of.iter().map(|node| format!("{node:016x}")).collect();
    each.join(", ")
}

impl<Rt: AsyncRuntime> Inner<Rt> {
    /// Which rules are in force and known, as far as this replica has heard.
    pub(crate) fn rules(&self) -> Rules {
        let me = self.identity().node_id;
        let boot_ms = self.clocks().readings().boot_ms;
        let heard = self.group().map(|group| group.heard(boot_ms, PRESENT_MS));
        let heard = heard.unwrap_or_default();
        let mut rules = Rules {
            in_force: self.live().read().rules_version(),
            known_to_all: State::newest_rules(),
            unheard: BTreeSet::new(),
        };
        for (node, _) in self.membership().nodes().filter(|(node, _)| **node != me) {
            match heard.get(node) {
                Some(heard) => rules.known_to_all = rules.known_to_all.min(heard.pulse.rules),
                None => {
                    rules.unheard.insert(*node);
                }
            }
        }
        rules
    }

    /// Puts the latest rules in force that every member knows, or has the leader do so. Which they are.
    pub(crate) async fn finalize_upgrade(&self) -> Result<u32, UpgradeError> {
        if self.leads() {
            return self.finalize_here().await;
        }
        match self.ask_leader(Ask::Finalize).await? {
            Reply::Finalized(result) => result,
            _ => Err(StoreError::Unknown.into()),
        }
    }

    /// As the leader.
    pub(crate) async fn finalize_here(&self) -> Result<u32, UpgradeError> {
        let rules = self.rules();
        if !rules.unheard.is_empty() {
            return Err(UpgradeError::Unheard(rules.unheard));
        }
        if rules.known_to_all <= rules.in_force {
            return Err(UpgradeError::NothingLater(rules.in_force));
        }
        let to = rules.known_to_all;
        match submit(self, RaiseRules { to }).await? {
            RaiseRulesOutcome::Raised | RaiseRulesOutcome::Known => Ok(to),
            RaiseRulesOutcome::Unknown => Err(UpgradeError::NothingLater(rules.in_force)),
        }
    }

    /// The leader's: after a day in which every member knew later rules.
    pub(crate) async fn finalize_if_settled(&self) {
        let rules = self.rules();
        let is_ready = rules.unheard.is_empty() && rules.known_to_all > rules.in_force;
        let boot_ms = self.clocks().readings().boot_ms;
        let since = {
            let mut since = lock_of(&self.readiness().0);
            *since = is_ready.then(|| since.unwrap_or(boot_ms));
            *since
        };
        if since.is_some_and(|since| boot_ms.saturating_sub(since) >= SETTLED_MS) {
            match self.finalize_here().await {
                Ok(to) => tracing::info!(
                    to,
                    "every replica has known later rules for a day: they are in force"
                ),
                Err(error) => tracing::debug!(%error, "later rules have to wait"),
            }
        }
    }
}
