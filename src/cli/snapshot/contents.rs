//! What a snapshot holds, in numbers.

use std::fmt;

use serde::Serialize;

use crate::cli::time;
use crate::clock::{Clock as _, SystemClock};
use crate::lifecycle::{Phase, State};
use crate::store::Backup;

/// What a snapshot is and holds. Fields are kept from release to release.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Contents {
    store_id: String,
    epoch: u64,
    trust_domain: String,
    /// The place in the log of the last command that is in it.
    index: u64,
    taken_at: Option<String>,
    rules_version: u32,
    tokens: Tokens,
    /// Names of JoinTokens, whose records may be forgotten.
    remembered_names: usize,
    /// CAs and signing keys: what they are, and their SHA-256.
    keys: Vec<Key>,
    /// Those of former stores, which are refused for good.
    retired_keys: usize,
    /// The store that this one was restored from.
    restored_from: Option<String>,
    sha256: String,
    /// For people alone.
    #[serde(skip)]
    age: String,
}

/// How many tokens there are in each phase.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tokens {
    pub issued: usize,
    pub in_flight: usize,
    pub consumed: usize,
    pub expired: usize,
    pub aborted: usize,
}

/// A CA or a signing key.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Key {
    pub name: String,
    pub fingerprint: String,
}

impl Tokens {
    pub fn of(state: &State) -> Self {
        let mut tokens = Self::default();
        for record in state.records_in(0..state.places(), |_| true) {
            *match record.phase {
                Phase::Issued => &mut tokens.issued,
                Phase::InFlight => &mut tokens.in_flight,
                Phase::Consumed => &mut tokens.consumed,
                Phase::Expired => &mut tokens.expired,
                Phase::Aborted => &mut tokens.aborted,
            } += 1;
        }
        tokens
    }

    pub const fn live(&self) -> usize {
        self.issued + self.in_flight
    }
}

impl Contents {
    pub fn of(backup: &Backup, sha256: String) -> Self {
        let (state, founded) = (backup.state(), backup.founded());
        let made = founded.fingerprints.iter().map(|(role, print)| Key {
            name: role.clone(),
            fingerprint: print.to_string(),
        });
        Self {
            store_id: founded.store_id.to_string(),
            epoch: founded.epoch,
            trust_domain: founded.trust_domain.clone(),
            index: backup.index(),
            taken_at: time::rfc3339(backup.taken_at_ms()),
            rules_version: state.rules_version(),
            tokens: Tokens::of(state),
            remembered_names: state.issuances().count(),
            keys: made.chain(signing_keys(state)).collect(),
            retired_keys: state.retired_keys().len(),
            restored_from: state
                .restored()
                .map(|restored| restored.former_store_id.to_string()),
            sha256,
            age: age(backup),
        }
    }
}

/// The keys that mint, as far as the store has adopted them.
pub(super) fn signing_keys(state: &State) -> impl Iterator<Item = Key> {
    state.keys().into_iter().map(|key| Key {
        name: format!("{} key {}", key.purpose.as_str(), key.key_id),
        fingerprint: key.fingerprint.to_string(),
    })
}

/// How long ago it was taken.
pub(super) fn age(backup: &Backup) -> String {
    time::distance(backup.taken_at_ms(), SystemClock.now_ms())
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: &str| writeln!(f, "{name:<14}{value}");
        let taken_at = self.taken_at.as_deref().unwrap_or("at an odd time");
        line("store", &self.store_id)?;
        line("epoch", &self.epoch.to_string())?;
        line("trust domain", &self.trust_domain)?;
        line("taken", &format!("{taken_at} ({})", self.age))?;
        line("log entry", &self.index.to_string())?;
        line("rules", &self.rules_version.to_string())?;
        let Tokens {
            issued,
            in_flight,
            consumed,
            expired,
            aborted,
        } = self.tokens;
        line(
            "tokens",
            &format!(
                "{issued} issued, {in_flight} in flight, {consumed} consumed, {expired} expired, {aborted} aborted"
            ),
        )?;
        line("names", &self.remembered_names.to_string())?;
        for key in &self.keys {
            line("key", &format!("{} {}", key.fingerprint, key.name))?;
        }
        if self.retired_keys > 0 {
            line("retired keys", &self.retired_keys.to_string())?;
        }
        if let Some(former) = &self.restored_from {
            line("restored from", former)?;
        }
        line("sha256", &self.sha256)?;
        f.write_str("whole: format, checksum and contents are in order")
    }
}
