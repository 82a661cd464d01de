//! Commands as they are stored in the log.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::lifecycle::command::{
    Abort, Acknowledge, AdoptKey, Begin, Bindings, Command, Consume, Failure, Forget, Founded,
    OfflineRegistration, Operation, RaiseRules, Register, Revert, Revoke, Settings, Sweep,
};
use crate::lifecycle::{Issuance, NamespaceLimits, Reason, State};
use crate::token::{Fingerprint, JoinerId, KeyId, Purpose, StoreId, TokenId};

use super::{Malformed, Reader, Writer};

// On disk for ever.
const REGISTER: u64 = 1;
const BEGIN: u64 = 2;
const CONSUME: u64 = 3;
const ACKNOWLEDGE: u64 = 4;
const REVERT: u64 = 5;
const ABORT: u64 = 6;
const REVOKE: u64 = 7;
const SWEEP: u64 = 8;
const FORGET: u64 = 9;
const CONFIGURE: u64 = 10;
const ADOPT_KEY: u64 = 11;
const FOUNDED: u64 = 12;
const RAISE_RULES: u64 = 13;

pub(crate) fn encode(command: &Command, w: &mut Writer) {
    w.array(3).number(command.at_ms);
    match &command.operation {
        Operation::Register(o) => {
            w.number(REGISTER).array(13);
            issuance(w, &o.issuance);
            w.text(&o.namespace_uid)
                .number(o.revision)
                .bytes(&o.spec_hash)
                .bool(o.revoked)
                .bool(o.reissue_if_unused)
                .bytes(&o.token_id.0)
                .bytes(&o.key_id.0)
                .text(&o.node_name)
                .number(o.ttl_ms)
                .option(o.in_flight_timeout_ms, put_number)
                .option(o.max_claims.map(u64::from), put_number);
            bindings(w, &o.bindings);
        }
        Operation::Begin(o) => {
            w.number(BEGIN)
                .array(5)
                .bytes(&o.token_id.0)
                .bytes(&o.joiner.0)
                .bytes(&o.holder)
                .option(o.address, address)
                .option(o.registration.as_ref(), |w, registration| {
                    // The fourth field is there if it says something: without it every release can read this.
                    w.array(3 + u64::from(registration.node_name.is_some()))
                        .bytes(&registration.key_id.0)
                        .option(registration.issued_at_ms, put_number)
                        .number(registration.expires_at_ms);
                    if let Some(node_name) = &registration.node_name {
                        w.text(node_name);
                    }
                });
        }
        Operation::Consume(o) => {
            w.number(CONSUME)
                .array(4)
                .bytes(&o.token_id.0)
                .bytes(&o.joiner.0)
                .number(o.attempt.into())
                .bytes(&o.leaf);
        }
        Operation::Acknowledge(o) => {
            w.number(ACKNOWLEDGE)
                .array(2)
                .bytes(&o.token_id.0)
                .bytes(&o.joiner.0);
        }
        Operation::Revert(o) => {
            w.number(REVERT)
                .array(4)
                .bytes(&o.token_id.0)
                .number(o.attempt.into())
                .bytes(&o.holder)
                .number(o.failure as u64);
        }
        Operation::Abort(o) => {
            w.number(ABORT)
                .array(3)
                .bytes(&o.token_id.0)
                .number(o.reason as u64)
                .option(o.keep_until_ms, put_number);
        }
        Operation::Revoke(o) => {
            w.number(REVOKE)
                .array(3)
                .bytes(&o.token_id.0)
                .number(o.reason as u64)
                .option(o.keep_until_ms, put_number);
        }
        Operation::Sweep(o) => {
            w.number(SWEEP).array(1).number(o.limit.into());
        }
        Operation::Forget(o) => {
            w.number(FORGET).array(1);
            issuance(w, &o.issuance);
        }
        Operation::Configure(o) => {
            // The last two are there if they say something: without them every release can read this.
            w.number(CONFIGURE)
                .array(if o.namespaces.is_some() { 11 } else { 9 })
                .number(o.max_token_ttl_ms)
                .number(o.max_clock_skew_ms)
                .number(o.in_flight_timeout_ms)
                .number(o.redelivery_window_ms)
                .number(o.retention_ms)
                .number(o.longest_certificate_lifetime_ms)
                .number(o.reissue_interval_ms)
                .bool(o.supersede)
                .option(o.remember_issuances_ms, put_number);
            if let Some(limits) = o.namespaces {
                w.number(limits.live_tokens.into())
                    .number(limits.names.into());
            }
        }
        Operation::AdoptKey(o) => {
            w.number(ADOPT_KEY)
                .array(5)
                .bytes(&o.key_id.0)
                .number(o.purpose as u64)
                .bytes(&o.fingerprint.0)
                .option(o.max_ttl_ms, put_number)
                .option(o.node_pattern.as_deref(), put_text);
        }
        Operation::RaiseRules(o) => {
            w.number(RAISE_RULES).array(1).number(o.to.into());
        }
        Operation::Founded(o) => {
            w.number(FOUNDED)
                .array(4)
                .bytes(&o.store_id.0)
                .number(o.epoch)
                .text(&o.trust_domain)
                .list(o.fingerprints.iter(), |w, (role, fingerprint)| {
                    w.array(2).text(role).bytes(&fingerprint.0);
                });
        }
    }
}

pub(crate) fn decode(r: &mut Reader<'_>) -> Result<Command, Malformed> {
    r.array(3)?;
    let at_ms = r.number()?;
    let operation = match r.number()? {
        REGISTER => {
            r.array(13)?;
            Operation::Register(Register {
                issuance: get_issuance(r)?,
                namespace_uid: r.text()?,
                revision: r.number()?,
                spec_hash: r.fixed()?,
                revoked: r.bool()?,
                reissue_if_unused: r.bool()?,
                token_id: TokenId(r.fixed()?),
                key_id: KeyId(r.fixed()?),
                node_name: r.text()?,
                ttl_ms: r.number()?,
                in_flight_timeout_ms: r.option(Reader::number)?,
                max_claims: r.option(Reader::number_u32)?,
                bindings: get_bindings(r)?,
            })
        }
        BEGIN => {
            r.array(5)?;
            Operation::Begin(Begin {
                token_id: TokenId(r.fixed()?),
                joiner: JoinerId(r.fixed()?),
                holder: r.fixed()?,
                address: r.option(get_address)?,
                registration: r.option(get_registration)?,
            })
        }
        CONSUME => {
            r.array(4)?;
            Operation::Consume(Consume {
                token_id: TokenId(r.fixed()?),
                joiner: JoinerId(r.fixed()?),
                attempt: r.number_u32()?,
                leaf: r.bytes()?.to_vec(),
            })
        }
        ACKNOWLEDGE => {
            r.array(2)?;
            Operation::Acknowledge(Acknowledge {
                token_id: TokenId(r.fixed()?),
                joiner: JoinerId(r.fixed()?),
            })
        }
        REVERT => {
            r.array(4)?;
            Operation::Revert(Revert {
                token_id: TokenId(r.fixed()?),
                attempt: r.number_u32()?,
                holder: r.fixed()?,
                failure: failure(r.number_u8()?)?,
            })
        }
        ABORT => {
            r.array(3)?;
            Operation::Abort(Abort {
                token_id: TokenId(r.fixed()?),
                reason: reason(r.number_u8()?)?,
                keep_until_ms: r.option(Reader::number)?,
            })
        }
        REVOKE => {
            r.array(3)?;
            Operation::Revoke(Revoke {
                token_id: TokenId(r.fixed()?),
                reason: reason(r.number_u8()?)?,
                keep_until_ms: r.option(Reader::number)?,
            })
        }
        SWEEP => {
            r.array(1)?;
            Operation::Sweep(Sweep {
                limit: r.number_u32()?,
            })
        }
        FORGET => {
            r.array(1)?;
            Operation::Forget(Forget {
                issuance: get_issuance(r)?,
            })
        }
        CONFIGURE => {
            let has_limits = match r.array_len()? {
                9 => false,
                11 if State::newest_rules() >= 3 => true,
                other => {
                    return Err(Malformed::new(format!("{other} fields instead of 9 or 11")));
                }
            };
            Operation::Configure(Settings {
                max_token_ttl_ms: r.number()?,
                max_clock_skew_ms: r.number()?,
                in_flight_timeout_ms: r.number()?,
                redelivery_window_ms: r.number()?,
                retention_ms: r.number()?,
                longest_certificate_lifetime_ms: r.number()?,
                reissue_interval_ms: r.number()?,
                supersede: r.bool()?,
                remember_issuances_ms: r.option(Reader::number)?,
                namespaces: match has_limits {
                    true => Some(NamespaceLimits {
                        live_tokens: r.number_u32()?,
                        names: r.number_u32()?,
                    }),
                    false => None,
                },
            })
        }
        ADOPT_KEY => {
            r.array(5)?;
            Operation::AdoptKey(AdoptKey {
                key_id: KeyId(r.fixed()?),
                purpose: purpose(r.number_u8()?)?,
                fingerprint: Fingerprint(r.fixed()?),
                max_ttl_ms: r.option(Reader::number)?,
                node_pattern: r.option(Reader::text)?,
            })
        }
        RAISE_RULES => {
            r.array(1)?;
            Operation::RaiseRules(RaiseRules {
                to: r.number_u32()?,
            })
        }
        FOUNDED => {
            r.array(4)?;
            Operation::Founded(Founded {
                store_id: StoreId(r.fixed()?),
                epoch: r.number()?,
                trust_domain: r.text()?,
                fingerprints: r.list(|r| {
                    r.array(2)?;
                    Ok((r.text()?, Fingerprint(r.fixed()?)))
                })?,
            })
        }
        other => return Err(Malformed::new(format!("unknown operation {other}"))),
    };
    Ok(Command { at_ms, operation })
}

fn get_registration(r: &mut Reader<'_>) -> Result<OfflineRegistration, Malformed> {
    let has_node = match r.array_len()? {
        3 => false,
        // A release that does not know the rules which keep the name does not know the field either.
        4 if State::newest_rules() >= 2 => true,
        other => {
            return Err(Malformed::new(format!("{other} fields instead of 3 or 4")));
        }
    };
    Ok(OfflineRegistration {
        key_id: KeyId(r.fixed()?),
        issued_at_ms: r.option(Reader::number)?,
        expires_at_ms: r.number()?,
        node_name: has_node.then(|| r.text()).transpose()?,
    })
}

fn put_number(w: &mut Writer, value: u64) {
    w.number(value);
}

fn put_text(w: &mut Writer, value: &str) {
    w.text(value);
}

fn issuance(w: &mut Writer, issuance: &Issuance) {
    w.array(2).text(&issuance.namespace).text(&issuance.name);
}

fn get_issuance(r: &mut Reader<'_>) -> Result<Issuance, Malformed> {
    r.array(2)?;
    Ok(Issuance {
        namespace: r.text()?,
        name: r.text()?,
    })
}

fn bindings(w: &mut Writer, bindings: &Bindings) {
    w.array(2)
        .list(bindings.source_cidrs.iter(), |w, cidr| {
            w.array(2);
            address(w, cidr.addr());
            w.number(cidr.prefix_len().into());
        })
        .option(bindings.joiner.as_ref(), |w, joiner| {
            w.bytes(&joiner.0);
        });
}

fn get_bindings(r: &mut Reader<'_>) -> Result<Bindings, Malformed> {
    r.array(2)?;
    Ok(Bindings {
        source_cidrs: r.list(|r| {
            r.array(2)?;
            let address = get_address(r)?;
            let prefix = r.number_u8()?;
            IpNet::new(address, prefix).map_err(|error| Malformed::new(error.to_string()))
        })?,
        joiner: r.option(|r| Ok(JoinerId(r.fixed()?)))?,
    })
}

/// Four or sixteen bytes.
fn address(w: &mut Writer, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => w.bytes(&v4.octets()),
        IpAddr::V6(v6) => w.bytes(&v6.octets()),
    };
}

fn get_address(r: &mut Reader<'_>) -> Result<IpAddr, Malformed> {
    let bytes = r.bytes()?;
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        Ok(Ipv4Addr::from(v4).into())
    } else if let Ok(v6) = <[u8; 16]>::try_from(bytes) {
        Ok(Ipv6Addr::from(v6).into())
    } else {
        Err(Malformed::new("an address of neither 4 nor 16 bytes"))
    }
}

fn purpose(number: u8) -> Result<Purpose, Malformed> {
    Purpose::from_number(number)
        .ok_or_else(|| Malformed::new(format!("unknown purpose {number} of a key")))
}

fn failure(number: u8) -> Result<Failure, Malformed> {
    Failure::from_number(number).ok_or_else(|| Malformed::new(format!("unknown failure {number}")))
}

fn reason(number: u8) -> Result<Reason, Malformed> {
    Reason::from_number(number).ok_or_else(|| Malformed::new(format!("unknown reason {number}")))
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn round_trip(operation: Operation) {
        let command = Command {
            at_ms: 1_750_000_000_123,
            operation,
        };
        let mut w = Writer::new();
        encode(&command, &mut w);
        let bytes = w.into_bytes();
        let mut r = Reader::new(&bytes);
        assert_eq!(decode(&mut r).unwrap(), command);
        assert!(r.at_end());
        // Cut short anywhere it is refused, never taken for something else.
        for len in 0..bytes.len() {
            assert!(decode(&mut Reader::new(&bytes[..len])).is_err());
        }
    }

    #[test]
    fn every_operation_comes_back_as_it_was() {
        let all = [
            samples::operations(),
            samples::operations_of_second_rules(),
            samples::operations_of_third_rules(),
        ];
        for operation in all.into_iter().flatten() {
            round_trip(operation);
        }
    }

    /// What is proposed by the first rules is what the first release can read, byte for byte.
    #[test]
    fn by_the_first_rules_no_later_field_is_written() {
        for operation in samples::operations_of_second_rules() {
            if matches!(operation, Operation::RaiseRules(_)) {
                continue;
            }
            assert_eq!(operation.needs_rules(), Some(2));
            assert_eq!(operation.clone().by_rules(2), operation);
            let operation = operation.by_rules(1);
            assert_eq!(operation.needs_rules(), None);
            let mut w = Writer::new();
            encode(
                &Command {
                    at_ms: 1,
                    operation,
                },
                &mut w,
            );
            let bytes = w.into_bytes();
            // The registration comes last: an array of three, with 9 + 1 + 9 bytes in it.
            assert_eq!(bytes[bytes.len() - 20], 0x83, "{bytes:02x?}");
        }
    }

    /// And what is proposed by the second rules is what the release before can read.
    #[test]
    fn by_the_second_rules_no_limits_of_namespaces_are_written() {
        let configure = samples::operations_of_third_rules().pop().unwrap();
        assert_eq!(configure.needs_rules(), Some(3));
        assert_eq!(configure.clone().by_rules(3), configure);
        let configure = configure.by_rules(2);
        assert_eq!(configure.needs_rules(), None);
        let mut w = Writer::new();
        let at_ms = 1;
        let operation = configure;
        encode(&Command { at_ms, operation }, &mut w);
        // Behind the array of three, the time and the number of the operation: an array of nine.
        assert_eq!(w.into_bytes()[3], 0x89);
    }

    #[test]
    fn unknown_numbers_and_extra_fields_are_refused() {
        let refused = |write: fn(&mut Writer)| {
            let mut w = Writer::new();
            w.array(3).number(1);
            write(&mut w);
            decode(&mut Reader::new(&w.into_bytes()))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            refused(|w| {
                w.number(14).array(0);
            }),
            "unknown operation 14"
        );
        assert_eq!(
            refused(|w| {
                w.number(SWEEP).array(2).number(1).number(1);
            }),
            "2 fields instead of 1"
        );
    }
}
