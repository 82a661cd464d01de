//! The whole image: what there is once, then the issuances, then the records, then the hash.

use crate::faults::{self, Fault};
use crate::lifecycle::command::{AdoptKey, Founded, NamespaceLimits, Settings};
use crate::lifecycle::hash::StateHash;
use crate::lifecycle::restored::Restored;
use crate::lifecycle::state::{RulesVersion, State};
use crate::token::{Fingerprint, KeyId, Purpose, StoreId};

use super::parts::{LEAST_ENTRY, LEAST_RECORD, read_entry, read_record};
use super::read::{ImageError, Reader};
use super::{MAGIC, Put, RESTORED_VERSION, VERSION, put_entry, put_record};

type Read<T> = Result<T, ImageError>;

impl State {
    /// The image of the state: the same log always gives the same bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_image(&mut out);
        out
    }

    /// Appends the image of the state.
    pub fn write_image(&self, out: &mut Vec<u8>) {
        out.bytes(&MAGIC);
        out.u16(match self.restored {
            None => VERSION,
            Some(_) => RESTORED_VERSION,
        });
        put_globals(out, self);
        let entries = self.issuances.sorted();
        out.length(entries.len());
        for at in entries {
            put_entry(out, &self.issuances.view(at));
        }
        let records = self.records.sorted();
        out.length(records.len());
        for at in records {
            let (slot, side) = self.records.parts(at);
            put_record(out, slot, side);
        }
        out.bytes(&self.hash().0);
    }

    /// The state of an image, its indices made anew.
    ///
    /// # Errors
    /// When the bytes are not exactly what [`State::encode`] writes for a state that can be.
    pub fn decode(bytes: &[u8]) -> Result<Self, ImageError> {
        let mut from = Reader::new(bytes);
        if from.array().map_err(|_| ImageError::NotAnImage)? != MAGIC {
            return Err(ImageError::NotAnImage);
        }
        let is_restored = match from.u16()? {
            VERSION => false,
            RESTORED_VERSION => true,
            other => return Err(ImageError::UnknownVersion(other)),
        };
        let mut state = read_globals(&mut from)?;
        if is_restored {
            let retired = usize::try_from(from.u32()?).map_err(|_| ImageError::Truncated)?;
            (state.keys.restore_retired(retired)).ok_or(ImageError::Malformed(
                "more keys are retired than there are",
            ))?;
            state.restored = Some(read_restored(&mut from)?);
        }
        for _ in 0..from.count(LEAST_ENTRY)? {
            state
                .issuances
                .restore(&read_entry(&mut from)?)
                .ok_or(ImageError::Malformed("issuances are not in order"))?;
        }
        for _ in 0..from.count(LEAST_RECORD)? {
            let (slot, side) = read_record(&mut from)?;
            state
                .records
                .restore(slot, side)
                .ok_or(ImageError::Malformed("records are not in order"))?;
        }
        let hash = StateHash(from.array()?);
        if from.left() > 0 {
            return Err(ImageError::Trailing);
        }
        if faults::is_on(Fault::SnapshotWithoutDueTimes) {
            return Ok(state);
        }
        state.rebuild_schedules();
        if state.hash() != hash {
            return Err(ImageError::HashMismatch);
        }
        state.check_invariants()?;
        Ok(state)
    }
}

/// Appends what there is once in a state.
pub(in crate::lifecycle) fn put_globals(out: &mut Vec<u8>, state: &State) {
    out.u32(state.rules_version());
    out.u64(state.now_ms());
    put_settings(out, state.settings());
    out.option(state.founded(), put_founded);
    let keys = state.keys.in_order_of_adoption();
    out.length(keys.len());
    for key in keys {
        put_key(out, key);
    }
    if let Some(restored) = state.restored() {
        out.length(state.retired_keys().len());
        put_restored(out, restored);
    }
}

fn read_globals(from: &mut Reader<'_>) -> Read<State> {
    let rules = from.u32()?;
    let rules = RulesVersion::from_number(rules).ok_or(ImageError::UnknownRules(rules))?;
    let now_ms = from.u64()?;
    let settings = read_settings(from, rules)?;
    if !settings.is_acceptable() {
        return Err(ImageError::Malformed("settings that cannot be"));
    }
    let founded = from.option(read_founded)?;
    let mut state = State::with(rules, now_ms, settings, founded);
    for _ in 0..from.count(8 + 1 + 32 + 2)? {
        state
            .keys
            .restore(read_key(from)?)
            .ok_or(ImageError::Malformed("a key that cannot be adopted"))?;
    }
    Ok(state)
}

fn put_settings(out: &mut Vec<u8>, settings: &Settings) {
    out.u64(settings.max_token_ttl_ms);
    out.u64(settings.max_clock_skew_ms);
    out.u64(settings.in_flight_timeout_ms);
    out.u64(settings.redelivery_window_ms);
    out.u64(settings.retention_ms);
    out.u64(settings.longest_certificate_lifetime_ms);
    out.u64(settings.reissue_interval_ms);
    out.u8(settings.supersede.into());
    out.option(settings.remember_issuances_ms, Put::u64);
    // By rules that know them there always are.
    if let Some(limits) = settings.namespaces {
        out.u32(limits.live_tokens);
        out.u32(limits.names);
    }
}

fn read_settings(from: &mut Reader<'_>, rules: RulesVersion) -> Read<Settings> {
    Ok(Settings {
        max_token_ttl_ms: from.u64()?,
        max_clock_skew_ms: from.u64()?,
        in_flight_timeout_ms: from.u64()?,
        redelivery_window_ms: from.u64()?,
        retention_ms: from.u64()?,
        longest_certificate_lifetime_ms: from.u64()?,
        reissue_interval_ms: from.u64()?,
        supersede: from.bool()?,
        remember_issuances_ms: from.option(Reader::u64)?,
        namespaces: match rules.keeps_bounds() {
            true => Some(NamespaceLimits {
                live_tokens: from.u32()?,
                names: from.u32()?,
            }),
            false => None,
        },
    })
}

fn put_founded(out: &mut Vec<u8>, founded: &Founded) {
    out.bytes(founded.store_id.as_bytes());
    out.u64(founded.epoch);
    out.text(&founded.trust_domain);
    out.length(founded.fingerprints.len());
    for (role, fingerprint) in &founded.fingerprints {
        out.text(role);
        out.bytes(fingerprint.as_bytes());
    }
}

fn read_founded(from: &mut Reader<'_>) -> Read<Founded> {
    let founded = Founded {
        store_id: StoreId(from.array()?),
        epoch: from.u64()?,
        trust_domain: from.text()?.to_owned(),
        fingerprints: (0..from.count(4 + 32)?)
            .map(|_| Ok((from.text()?.to_owned(), Fingerprint(from.array()?))))
            .collect::<Read<_>>()?,
    };
    if founded.is_acceptable() {
        Ok(founded)
    } else {
        Err(ImageError::Malformed("a founding that cannot be"))
    }
}

fn put_restored(out: &mut Vec<u8>, restored: &Restored) {
    out.bytes(restored.former_store_id.as_bytes());
    out.u64(restored.former_epoch);
    out.u64(restored.index);
    out.u64(restored.ended);
}

fn read_restored(from: &mut Reader<'_>) -> Read<Restored> {
    Ok(Restored {
        former_store_id: StoreId(from.array()?),
        former_epoch: from.u64()?,
        index: from.u64()?,
        ended: from.u64()?,
    })
}

fn put_key(out: &mut Vec<u8>, key: &AdoptKey) {
    out.bytes(key.key_id.as_bytes());
    out.u8(key.purpose as u8);
    out.bytes(key.fingerprint.as_bytes());
    out.option(key.max_ttl_ms, Put::u64);
    out.option(key.node_pattern.as_deref(), Put::text);
}

fn read_key(from: &mut Reader<'_>) -> Read<AdoptKey> {
    Ok(AdoptKey {
        key_id: KeyId(from.array()?),
        purpose: Purpose::from_number(from.u8()?)
            .ok_or(ImageError::Malformed("no such purpose"))?,
        fingerprint: Fingerprint(from.array()?),
        max_ttl_ms: from.option(Reader::u64)?,
        node_pattern: from.option(|from| from.text().map(str::to_owned))?,
    })
}
