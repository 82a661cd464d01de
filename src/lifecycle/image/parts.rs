//! Records and issuance entries as bytes. The numbers here are on disk.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::lifecycle::command::{Bindings, Failure};
use crate::lifecycle::record::{Bar, Issuance, IssuanceEntry, LastFailure, Phase, Reason};
use crate::lifecycle::state::{
    Admitted, Claimed, Claims, Hold, NO_KEY, Resource, Side, Slot, Source,
};
use crate::token::{JoinerId, TokenId};

use super::Put;
use super::read::{ImageError, Reader};

type Read<T> = Result<T, ImageError>;

const TOMBSTONE: u8 = 0;
const OFFLINE: u8 = 1;
const RESOURCE: u8 = 2;
/// An offline one with its node's name: only in images of rules that keep it.
const OFFLINE_WITH_NODE: u8 = 3;
/// A resource's with a predecessor or claims that count: only in images of rules that keep them.
const RESOURCE_WITH_PAST: u8 = 4;

/// A record takes at least so many bytes.
pub(super) const LEAST_RECORD: usize = 16 + 1 + 1 + 3 * 8;
/// An issuance entry takes at least so many bytes.
pub(super) const LEAST_ENTRY: usize = 3 * 4 + 8 + 4 + 32 + 16 + 1 + 1 + 8 + 1 + 8;

pub(in crate::lifecycle) fn put_record(out: &mut Vec<u8>, slot: &Slot, side: Option<&Side>) {
    out.bytes(slot.token_id.as_bytes());
    out.u8(slot.phase as u8);
    let source = side.map_or(&Source::Nothing, |side| &side.source);
    out.u8(match source {
        Source::Resource { resource, .. } if has_past(resource) => RESOURCE_WITH_PAST,
        Source::Resource { .. } => RESOURCE,
        Source::Offline(_) => OFFLINE_WITH_NODE,
        Source::Nothing if slot.key == NO_KEY => TOMBSTONE,
        Source::Nothing => OFFLINE,
    });
    if slot.key != NO_KEY {
        out.u16(slot.key);
    }
    out.u64(slot.issued_at_ms);
    out.u64(slot.expires_at_ms);
    out.u64(slot.changed_at_index);
    match source {
        Source::Resource {
            resource,
            last_failure,
        } => {
            put_resource(out, resource);
            out.option(*last_failure, |out, last| {
                out.u8(last.failure as u8);
                out.u64(last.at_ms);
            });
            if has_past(resource) {
                put_past(out, resource);
            }
        }
        Source::Offline(node) => out.text(node),
        Source::Nothing => {}
    }
    if slot.key != NO_KEY {
        out.u32(slot.attempts);
    }
    if slot.phase != Phase::Issued {
        out.u64(slot.at_ms);
    }
    if slot.phase == Phase::Aborted {
        out.u8(slot.aborted.map_or(0, |reason| reason as u8));
    }
    match side.map(|side| &side.hold) {
        Some(Hold::Claimed(claimed)) => {
            out.bytes(claimed.joiner.as_bytes());
            out.bytes(&claimed.holder);
            put_address(out, claimed.address);
        }
        Some(Hold::Admitted(admitted)) => {
            out.bytes(admitted.joiner.as_bytes());
            put_address(out, admitted.address);
            out.u64(admitted.redeliver_until_ms);
            out.option(admitted.leaf.as_deref(), Put::long);
            out.option(admitted.barred, |out, bar| {
                out.u8(bar.reason as u8);
                out.u64(bar.at_ms);
            });
            out.u8(admitted.contested.into());
        }
        Some(Hold::Nobody) | None => {}
    }
}

pub(super) fn read_record(from: &mut Reader<'_>) -> Read<(Slot, Side)> {
    let token_id = TokenId(from.array()?);
    let phase = phase(from.u8()?)?;
    let origin = from.u8()?;
    if origin > RESOURCE_WITH_PAST {
        return Err(ImageError::Malformed("no such origin"));
    }
    let key = match origin {
        TOMBSTONE => NO_KEY,
        _ => from.u16()?,
    };
    let issued_at_ms = from.u64()?;
    let expires_at_ms = from.u64()?;
    let changed_at_index = from.u64()?;
    let source = match origin {
        RESOURCE | RESOURCE_WITH_PAST => read_source(from, origin)?,
        OFFLINE_WITH_NODE => Source::Offline(from.text()?.into()),
        _ => Source::Nothing,
    };
    let attempts = match origin {
        TOMBSTONE => 0,
        _ => from.u32()?,
    };
    let at_ms = match phase {
        Phase::Issued => 0,
        _ => from.u64()?,
    };
    let aborted = match phase {
        Phase::Aborted => Some(reason(from.u8()?)?),
        _ => None,
    };
    let hold = match phase {
        Phase::InFlight => Hold::Claimed(Claimed {
            joiner: JoinerId(from.array()?),
            holder: from.array()?,
            address: read_address(from)?,
        }),
        Phase::Consumed => Hold::Admitted(Admitted {
            joiner: JoinerId(from.array()?),
            address: read_address(from)?,
            redeliver_until_ms: from.u64()?,
            leaf: from.option(|from| from.long().map(Into::into))?,
            barred: from.option(|from| {
                Ok(Bar {
                    reason: reason(from.u8()?)?,
                    at_ms: from.u64()?,
                })
            })?,
            contested: from.bool()?,
        }),
        Phase::Issued | Phase::Expired | Phase::Aborted => Hold::Nobody,
    };
    let slot = Slot {
        token_id,
        issued_at_ms,
        expires_at_ms,
        at_ms,
        changed_at_index,
        side: 0,
        attempts,
        position: 0,
        key,
        phase,
        aborted,
    };
    Ok((slot, Side { source, hold }))
}

/// Whether there is more to a resource's token than what was registered.
fn has_past(resource: &Resource) -> bool {
    resource.predecessor.is_some() || counted(resource).is_some()
}

/// The claims, if any counts.
fn counted(resource: &Resource) -> Option<&Claims> {
    let claims = resource.claims.as_deref();
    claims.filter(|claims| claims.counted > 0)
}

fn put_past(out: &mut Vec<u8>, resource: &Resource) {
    out.option(resource.predecessor, |out, id| out.bytes(id.as_bytes()));
    out.option(counted(resource), |out, claims| {
        out.u32(claims.counted);
        out.length(claims.joiners.len());
        for joiner in &claims.joiners {
            out.bytes(joiner.as_bytes());
        }
    });
}

fn read_past(from: &mut Reader<'_>, resource: &mut Resource) -> Read<()> {
    resource.predecessor = from.option(|from| from.array().map(TokenId))?;
    if let Some((counted, joiners)) = from.option(|from| {
        let counted = from.u32()?;
        let joiners = (0..from.count(32)?)
            .map(|_| from.array().map(JoinerId))
            .collect::<Read<_>>()?;
        Ok((counted, joiners))
    })? {
        let claims = resource.claims.as_mut();
        let claims = claims.ok_or(ImageError::Malformed("claims that nothing counts"))?;
        (claims.counted, claims.joiners) = (counted, joiners);
    }
    match has_past(resource) {
        true => Ok(()),
        false => Err(ImageError::Malformed("a past in which nothing was")),
    }
}

fn read_source(from: &mut Reader<'_>, origin: u8) -> Read<Source> {
    let mut resource = Box::new(read_resource(from)?);
    let last_failure = from.option(|from| {
        Ok(LastFailure {
            failure: failure(from.u8()?)?,
            at_ms: from.u64()?,
        })
    })?;
    if origin == RESOURCE_WITH_PAST {
        read_past(from, &mut resource)?;
    }
    Ok(Source::Resource {
        resource,
        last_failure,
    })
}

pub(in crate::lifecycle) fn put_entry(out: &mut Vec<u8>, entry: &IssuanceEntry) {
    out.text(&entry.issuance.namespace);
    out.text(&entry.issuance.name);
    out.text(&entry.namespace_uid);
    out.u64(entry.revision);
    out.u32(entry.reissue);
    out.bytes(&entry.spec_hash);
    out.bytes(entry.token_id.as_bytes());
    out.u8(entry.phase as u8);
    out.u8(entry.aborted.map_or(0, |reason| reason as u8));
    out.u64(entry.at_ms);
    out.option(entry.last_admission, |out, id| out.bytes(id.as_bytes()));
    out.u64(entry.changed_at_index);
}

pub(super) fn read_entry(from: &mut Reader<'_>) -> Read<IssuanceEntry> {
    Ok(IssuanceEntry {
        issuance: Issuance {
            namespace: from.text()?.to_owned(),
            name: from.text()?.to_owned(),
        },
        namespace_uid: from.text()?.to_owned(),
        revision: from.u64()?,
        reissue: from.u32()?,
        spec_hash: from.array()?,
        token_id: TokenId(from.array()?),
        phase: phase(from.u8()?)?,
        aborted: match from.u8()? {
            0 => None,
            number => Some(reason(number)?),
        },
        at_ms: from.u64()?,
        last_admission: from.option(|from| from.array().map(TokenId))?,
        changed_at_index: from.u64()?,
    })
}

fn put_resource(out: &mut Vec<u8>, resource: &Resource) {
    out.text(&resource.issuance.namespace);
    out.text(&resource.issuance.name);
    out.u64(resource.revision);
    out.u32(resource.reissue);
    out.text(&resource.node_name);
    out.option(resource.in_flight_timeout_ms, Put::u64);
    let max_claims = resource.claims.as_ref().map(|claims| claims.max);
    out.option(max_claims, Put::u32);
    out.length(resource.bindings.source_cidrs.len());
    for cidr in &resource.bindings.source_cidrs {
        put_address(out, Some(cidr.addr()));
        out.u8(cidr.prefix_len());
    }
    out.option(resource.bindings.joiner, |out, joiner| {
        out.bytes(joiner.as_bytes());
    });
}

fn read_resource(from: &mut Reader<'_>) -> Read<Resource> {
    Ok(Resource {
        issuance: Issuance {
            namespace: from.text()?.to_owned(),
            name: from.text()?.to_owned(),
        },
        revision: from.u64()?,
        reissue: from.u32()?,
        node_name: from.text()?.to_owned(),
        in_flight_timeout_ms: from.option(Reader::u64)?,
        predecessor: None,
        claims: from
            .option(Reader::u32)?
            .map(|max| Box::new(Claims::up_to(max))),
        bindings: Bindings {
            source_cidrs: (0..from.count(6)?)
                .map(|_| read_cidr(from))
                .collect::<Read<_>>()?,
            joiner: from.option(|from| from.array().map(JoinerId))?,
        },
    })
}

fn read_cidr(from: &mut Reader<'_>) -> Read<IpNet> {
    let address = read_address(from)?.ok_or(ImageError::Malformed("a range without address"))?;
    IpNet::new(address, from.u8()?).map_err(|_| ImageError::Malformed("no such prefix length"))
}

fn put_address(out: &mut Vec<u8>, address: Option<IpAddr>) {
    match address {
        None => out.u8(0),
        Some(IpAddr::V4(address)) => {
            out.u8(4);
            out.bytes(&address.octets());
        }
        Some(IpAddr::V6(address)) => {
            out.u8(6);
            out.bytes(&address.octets());
        }
    }
}

fn read_address(from: &mut Reader<'_>) -> Read<Option<IpAddr>> {
    match from.u8()? {
        0 => Ok(None),
        4 => Ok(Some(from.array::<4>()?.into())),
        6 => Ok(Some(from.array::<16>()?.into())),
        _ => Err(ImageError::Malformed("no such kind of address")),
    }
}

fn phase(number: u8) -> Read<Phase> {
    Phase::from_number(number).ok_or(ImageError::Malformed("no such phase"))
}

fn reason(number: u8) -> Read<Reason> {
    Reason::from_number(number).ok_or(ImageError::Malformed("no such reason"))
}

fn failure(number: u8) -> Read<Failure> {
    Failure::from_number(number).ok_or(ImageError::Malformed("no such failure"))
}
