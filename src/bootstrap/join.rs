//! One join, from the request to the answer. The order of the steps is the point:
//!
//! verify the token → look at the record → check CSR, key and bindings → `Begin` → sign → `Consume` →
//! answer.
//!
//! Before `Begin` nothing is written; what fails after it gives the claim back. Only after
//! `Consume` is committed does a certificate leave the server.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;

use crate::lifecycle::command::{AdoptKey, Begin, Consume, Failure, OfflineRegistration};
use crate::lifecycle::outcome::{BeginOutcome, ConsumeOutcome, Refusal};
use crate::lifecycle::record::{Origin, Record};
use crate::pki::{
    JoinerCsr, MemberIdentity, NodeName, PkiError, certificate_pem, issue_member,
    not_after_ms_of_cert,
};
use crate::store::{StoreError, submit};
use crate::token::{
    JoinerId, KeyRing, NodePattern, ParseError, Presented, Purpose, Timing, TokenId, Verified,
};

use super::claim::{self, Claim};
use super::observer::Class;
use super::peer::Connection;
use super::places::Stage;
use super::wire::{JoinRequest, JoinResponse};
use super::{Door, DoorError, OpenDoor};

/// Admits the peer of `connection`, or gives it its answer again. `seen` is told the token's id
/// once that is proven.
pub(super) async fn join(
    open: &Arc<OpenDoor>,
    connection: &Connection,
    request: JoinRequest,
    seen: &mut Option<TokenId>,
) -> Result<(Class, JoinResponse), DoorError> {
    let door = &open.door;
    let joiner = connection.peer.require_joiner()?;

    let verified = verify(open, &request, seen)?;
    connection.place.reached(Stage::Proven);
    let token_id = verified.token_id;
    check_key(door, &verified).await?;
    let registration = look(door, &verified).await?;

    let csr = JoinerCsr::parse(request.csr.as_bytes())?;
    if csr.public_key_sha256() != joiner.0 {
        return Err(DoorError::CsrKeyDiffers);
    }
    check_bindings(door, &token_id, connection.address(), &joiner).await?;

    let mut holder = [0; 16];
    getrandom::fill(&mut holder).map_err(|_| DoorError::Internal)?;
    let begin = Begin {
        token_id,
        joiner,
        holder,
        address: Some(connection.address()),
        registration,
    };
    let (begun, claim) = claim::begin(open, begin).await?;
    // Not before: tokens that admit nobody any more lie about everywhere.
    let _kept = match begun {
        BeginOutcome::Granted { .. } | BeginOutcome::Redeliver { .. } => {
            Some(connection.place.keep())
        }
        _ => None,
    };
    let (attempt, now_ms, record) = match begun {
        BeginOutcome::Granted {
            attempt,
            now_ms,
            record,
            ..
        } => (attempt, now_ms, record),
        BeginOutcome::Redeliver { leaf, record } => {
            belongs(&verified, &record)?;
            let answer = answer(door, &verified, &record, &leaf)?;
            return Ok((Class::Redelivered, answer));
        }
        refused => return Err(refusal(door, &verified, refused)),
    };

    let leaf = match sign(door, &verified, &record, &csr, now_ms) {
        Ok(leaf) => leaf,
        Err(error) => {
            claim.give_back(Failure::SigningFailed).await;
            return Err(error);
        }
    };
    let consume = Consume {
        token_id,
        joiner,
        attempt,
        leaf,
    };
    let (leaf, record) = consume_claim(door, claim, consume).await?;
    let answer = answer(door, &verified, &record, &leaf)?;
    Ok((Class::Admitted, answer))
}

/// Parses and verifies the token. Until its MAC is found valid the caller learns nothing but that
/// it is not, whatever the reason.
fn verify(
    open: &OpenDoor,
    request: &JoinRequest,
    seen: &mut Option<TokenId>,
) -> Result<Verified, DoorError> {
    let door = &open.door;
    let founded = door.store.founded().ok_or(DoorError::NotReady)?;
    let audience = founded.store_id.audience();
    let keys: Arc<KeyRing> = Arc::clone(&door.keys.borrow());
    let token = Presented::parse(request.token.expose()).map_err(|error| match error {
        ParseError::Base64 => DoorError::TokenInBase64,
        _ => DoorError::InvalidToken,
    })?;
    let verified = keys.verify(&token, audience, door.clock.now_ms());
    let verified = verified.map_err(DoorError::from);
    if !matches!(verified, Err(DoorError::InvalidToken)) {
        let token_id = token.unverified_token_id();
        *seen = Some(token_id);
        open.limiters.used(token_id)?;
    }
    verified
}

/// The key that made the token must be one that the store has adopted, and may make such tokens.
async fn check_key(door: &Door, verified: &Verified) -> Result<(), DoorError> {
    let adopted = || door.store.key(&verified.key_id);
    let mut key = adopted();
    if key.is_none() {
        // It may have been adopted a moment ago, elsewhere.
        door.store.barrier().await?;
        key = adopted();
    }
    let unknown = || DoorError::Unrecordable(Refusal::UnknownKey(verified.key_id));
    let key = key.ok_or_else(unknown)?;
    let ring = Arc::clone(&door.keys.borrow());
    let held = ring.get(verified.key_id).ok_or_else(unknown)?;
    if key.fingerprint != held.fingerprint() || key.purpose != verified.purpose {
        return Err(unknown());
    }
    allows(&key, verified)
}

/// What the store recorded of an offline or NodeDB key when it adopted it.
fn allows(key: &AdoptKey, verified: &Verified) -> Result<(), DoorError> {
    if verified.purpose == Purpose::Resource {
        return Ok(());
    }
    let pattern = match &key.node_pattern {
        Some(pattern) => Some(pattern.parse::<NodePattern>()),
        None if key.purpose == Purpose::NodeDb => None,
        None => return Err(DoorError::NodeName),
    };
    if let Some(pattern) = pattern {
        let fits = pattern.is_ok_and(|pattern| pattern.matches(&verified.node_name));
        if !fits {
            return Err(DoorError::NodeName);
        }
    }
    // Of a token that does not say when it was issued the store judges, by its own time.
    if let (Some(limit_ms), Some(issued_at_ms)) = (key.max_ttl_ms, verified.issued_at_ms)
        && verified.expires_at_ms.saturating_sub(issued_at_ms) > limit_ms
    {
        return Err(DoorError::TtlTooLong { limit_ms });
    }
    Ok(())
}

/// Looks at the record, as this replica knows it: it may let the request go on, and it decides
/// what `Begin` may record. A token past its expiry never makes a record, but where there is one
/// the store's own time decides, and who was admitted in time has its answer again.
async fn look(door: &Door, verified: &Verified) -> Result<Option<OfflineRegistration>, DoorError> {
    let mut record = door.store.record(&verified.token_id);
    let expired = verified.timing == Timing::Expired;
    if expired && record.is_none() {
        door.store.barrier().await?;
        record = door.store.record(&verified.token_id);
        if record.is_none() {
            return Err(DoorError::TokenExpired);
        }
    }
    if let Some(record) = record.filter(Record::is_live) {
        // Neither changes in a record's life, so these refusals need no outcome of the store's.
        belongs(verified, &record)?;
        name(door, verified, &record)?;
    }
    // It goes along also where there is a record: the store, too, compares the key.
    let offline = matches!(verified.purpose, Purpose::Offline | Purpose::NodeDb);
    Ok(offline.then_some(OfflineRegistration {
        key_id: verified.key_id,
        issued_at_ms: verified.issued_at_ms,
        expires_at_ms: verified.expires_at_ms,
        node_name: Some(verified.node_name.clone()),
    }))
}

/// Address and key that the token is bound to. `Begin` looks at them too; here a caller whom they
/// keep out writes nothing.
async fn check_bindings(
    door: &Door,
    token_id: &TokenId,
    address: IpAddr,
    joiner: &JoinerId,
) -> Result<(), DoorError> {
    let broken = || {
        let record = door.store.record(token_id).filter(Record::is_live)?;
        record.bindings.broken(Some(address), joiner)
    };
    if broken().is_none() {
        return Ok(());
    }
    // It may have been admitted a moment ago, elsewhere: then it has its answer again from anywhere.
    door.store.barrier().await?;
    broken().map_or(Ok(()), |binding| Err(DoorError::NotAllowed(binding)))
}

/// A record is used by tokens of the key that it was made for alone. Token ids are public, and
/// whoever holds an offline key can put any id into a token: without this, that of a resource.
fn belongs(verified: &Verified, record: &Record) -> Result<(), DoorError> {
    let belongs = match &record.origin {
        Origin::Resource { key_id, .. } => {
            verified.purpose == Purpose::Resource && *key_id == verified.key_id
        }
        Origin::Offline { key_id, .. } => {
            verified.purpose != Purpose::Resource && *key_id == verified.key_id
        }
        // It admits nobody, whoever asks.
        Origin::Tombstone => true,
    };
    if belongs {
        Ok(())
    } else {
        Err(DoorError::Unrecordable(Refusal::IdInUse))
    }
}

/// What an outcome of `Begin` that grants nothing means to the caller.
fn refusal(door: &Door, verified: &Verified, outcome: BeginOutcome) -> DoorError {
    match outcome {
        BeginOutcome::ClaimConflict { until_ms } => DoorError::ClaimConflict {
            for_ms: until_ms.saturating_sub(door.clock.now_ms()),
        },
        BeginOutcome::AlreadyConsumed => DoorError::TokenUsed,
        BeginOutcome::Revoked => DoorError::TokenRevoked,
        BeginOutcome::Expired => DoorError::TokenExpired,
        BeginOutcome::Aborted(reason) => reason.into(),
        BeginOutcome::NotFound if verified.timing == Timing::Expired => DoorError::TokenExpired,
        BeginOutcome::NotFound => DoorError::TokenUnknown,
        BeginOutcome::NotAllowed(binding) => DoorError::NotAllowed(binding),
        BeginOutcome::Refused(refusal) => refusal.into(),
        // Not a refusal; the caller has taken these.
        BeginOutcome::Granted { .. } | BeginOutcome::Redeliver { .. } => DoorError::Internal,
    }
}

/// Makes the certificate: names from the admission alone, dates from the store's time.
fn sign(
    door: &Door,
    verified: &Verified,
    record: &Record,
    csr: &JoinerCsr,
    now_ms: u64,
) -> Result<Vec<u8>, DoorError> {
    belongs(verified, record)?;
    let identity = name(door, verified, record)?;
    let longest = door.store.settings().longest_certificate_lifetime_ms;
    let lifetime_ms = door.certificate_lifetime_ms.min(longest);
    issue_member(&door.members, &identity, csr, now_ms, lifetime_ms).map_err(|error| {
        let token_id = verified.token_id;
        tracing::error!(%token_id, %error, "a certificate could not be signed");
        DoorError::SigningFailed
    })
}

fn name(door: &Door, verified: &Verified, record: &Record) -> Result<MemberIdentity, DoorError> {
    let token_id = verified.token_id.to_string();
    let node = |name: &str| NodeName::parse(name).map_err(|_| DoorError::NodeName);
    let identity = match &record.origin {
        Origin::Resource {
            issuance,
            node_name,
            ..
        } => {
            let pattern = door.bare_names.get(&issuance.namespace);
            if pattern.is_some_and(|pattern| !pattern.matches(node_name)) {
                return Err(DoorError::NodeName);
            }
            MemberIdentity::resource(
                &door.trust_domain,
                &issuance.namespace,
                &node(node_name)?,
                &token_id,
                pattern.is_some(),
            )
        }
        Origin::Offline { key_id, .. } => MemberIdentity::offline(
            &door.trust_domain,
            &key_id.to_string(),
            &node(&verified.node_name)?,
            &token_id,
        ),
        Origin::Tombstone => return Err(DoorError::TokenUnknown),
    };
    identity.map_err(|_| DoorError::NodeName)
}

/// Turns the claim into an admission. The certificate to deliver is the one that the store kept.
async fn consume_claim(
    door: &Door,
    claim: Claim,
    consume: Consume,
) -> Result<(Vec<u8>, Box<Record>), DoorError> {
    match submit(&*door.store, consume).await {
        Ok(outcome) => {
            claim.settle();
            match outcome {
                ConsumeOutcome::Admitted { leaf, record } => Ok((leaf, record)),
                ConsumeOutcome::StaleClaim => Err(DoorError::ClaimLost),
                ConsumeOutcome::AlreadyConsumed => Err(DoorError::TokenUsed),
                ConsumeOutcome::Revoked => Err(DoorError::TokenRevoked),
                ConsumeOutcome::Expired => Err(DoorError::TokenExpired),
                ConsumeOutcome::Aborted(reason) => Err(reason.into()),
                ConsumeOutcome::NotFound => Err(DoorError::TokenUnknown),
            }
        }
        Err(StoreError::Unknown) => {
            // Perhaps it is an admission. The same key finds out; if it was none, its claim
            // is renewed, or lapses.
            claim.settle();
            Err(StoreError::Unknown.into())
        }
        // Nothing was proposed: dropped, the claim is given back when the store can be reached.
        Err(error) => Err(error.into()),
    }
}

fn answer(
    door: &Door,
    verified: &Verified,
    record: &Record,
    leaf: &[u8],
) -> Result<JoinResponse, DoorError> {
    let node_name = match &record.origin {
        Origin::Resource { node_name, .. } => node_name,
        Origin::Offline { .. } | Origin::Tombstone => &verified.node_name,
    };
    let not_after = not_after_ms_of_cert(leaf)
        .and_then(|ms| i64::try_from(ms).map_err(|_| PkiError::Time))
        .and_then(|ms| Timestamp::from_second(ms / 1000).map_err(|_| PkiError::Time))
        .map_err(|_| DoorError::Internal)?;
    Ok(JoinResponse {
        token_id: verified.token_id.to_string(),
        node_name: node_name.clone(),
        certificate: certificate_pem(leaf),
        ca: door.members.cert_pem(),
        trust_domain: door.trust_domain.to_string(),
        not_after: not_after.to_string(),
        files: BTreeMap::new(),
    })
}
