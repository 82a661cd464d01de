//! What is stored, as bytes. CBOR (RFC 8949) written by hand, with explicit numbers: neither a
//! renamed field nor a new version of openraft can change what is on a disk.
//!
//! Decoding is strict: every array has exactly the fields of its format, every number is a known
//! one, nothing follows. Whatever is added later gets a number or a field of its own and raises the format of
//! the segments that may hold it: an older release then refuses them by name, not as damaged.

mod command;
mod record;
#[cfg(test)]
pub(crate) mod samples;

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};

pub(crate) use command::{decode as decode_command, encode as encode_command};
pub(crate) use record::{Base, Record};

use super::types::{LeaderId, LogId, Member, Membership, StoredMembership, Vote};

/// Bytes that do not say what they should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(String);

impl Malformed {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl From<minicbor::decode::Error> for Malformed {
    fn from(error: minicbor::decode::Error) -> Self {
        Self(error.to_string())
    }
}

/// Writes items one after another.
pub(crate) struct Writer(Encoder<Vec<u8>>);

// A vector takes everything: the errors of `Encoder` cannot happen.
impl Writer {
    pub(crate) fn new() -> Self {
        Self(Encoder::new(Vec::new()))
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0.into_writer()
    }

    pub(crate) fn array(&mut self, len: u64) -> &mut Self {
        let _ = self.0.array(len);
        self
    }

    pub(crate) fn number(&mut self, value: u64) -> &mut Self {
        let _ = self.0.u64(value);
        self
    }

    pub(crate) fn bool(&mut self, value: bool) -> &mut Self {
        let _ = self.0.bool(value);
        self
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        let _ = self.0.bytes(value);
        self
    }

    pub(crate) fn text(&mut self, value: &str) -> &mut Self {
        let _ = self.0.str(value);
        self
    }

    /// The value, or null.
    pub(crate) fn option<T>(
        &mut self,
        value: Option<T>,
        put: impl FnOnce(&mut Self, T),
    ) -> &mut Self {
        match value {
            Some(value) => put(self, value),
            None => {
                let _ = self.0.null();
            }
        }
        self
    }

    /// An array of the values.
    pub(crate) fn list<T>(
        &mut self,
        values: impl ExactSizeIterator<Item = T>,
        mut put: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.array(values.len() as u64);
        for value in values {
            put(self, value);
        }
        self
    }

    pub(crate) fn log_id(&mut self, id: LogId) {
        self.array(3)
            .number(id.leader_id.term)
            .number(id.leader_id.node_id)
            .number(id.index);
    }

    pub(crate) fn vote(&mut self, vote: Vote) {
        self.array(3)
            .number(vote.leader_id.term)
            .number(vote.leader_id.node_id)
            .bool(vote.committed);
    }

    pub(crate) fn membership(&mut self, membership: &Membership) {
        self.array(2);
        self.list(membership.get_joint_config().iter(), |w, voters| {
            w.list(voters.iter(), |w, id| {
                w.number(*id);
            });
        });
        let nodes: Vec<_> = membership.nodes().collect();
        self.list(nodes.into_iter(), |w, (id, member)| {
            w.array(2).number(*id).text(&member.address);
        });
    }

    pub(crate) fn stored_membership(&mut self, stored: &StoredMembership) {
        self.array(2).option(*stored.log_id(), Self::log_id);
        self.membership(stored.membership());
    }
}

/// Reads items one after another.
pub(crate) struct Reader<'b>(Decoder<'b>);

impl<'b> Reader<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Self {
        Self(Decoder::new(bytes))
    }

    /// Everything was read.
    pub(crate) fn at_end(&self) -> bool {
        self.0.position() == self.0.input().len()
    }

    /// The length of an array, which says it beforehand.
    pub(crate) fn array_len(&mut self) -> Result<u64, Malformed> {
        self.0
            .array()?
            .ok_or_else(|| Malformed::new("an array does not say its length"))
    }

    /// An array of exactly so many fields.
    pub(crate) fn array(&mut self, len: u64) -> Result<(), Malformed> {
        let found = self.array_len()?;
        if found == len {
            Ok(())
        } else {
            Err(Malformed(format!("{found} fields instead of {len}")))
        }
    }

    pub(crate) fn number(&mut self) -> Result<u64, Malformed> {
        Ok(self.0.u64()?)
    }

    pub(crate) fn number_u32(&mut self) -> Result<u32, Malformed> {
        Ok(self.0.u32()?)
    }

    pub(crate) fn number_u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.0.u8()?)
    }

    pub(crate) fn bool(&mut self) -> Result<bool, Malformed> {
        Ok(self.0.bool()?)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'b [u8], Malformed> {
        Ok(self.0.bytes()?)
    }

    pub(crate) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let bytes = self.bytes()?;
        bytes
            .try_into()
            .map_err(|_| Malformed(format!("{} bytes instead of {N}", bytes.len())))
    }

    pub(crate) fn text(&mut self) -> Result<String, Malformed> {
        Ok(self.0.str()?.to_owned())
    }

    pub(crate) fn option<T>(
        &mut self,
        get: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        if self.0.datatype()? == Type::Null {
            self.0.null()?;
            return Ok(None);
        }
        get(self).map(Some)
    }

    pub(crate) fn list<T>(
        &mut self,
        get: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        self.list_of(usize::MAX, get)
    }

    /// As [`Reader::list`], of so many values at most.
    pub(crate) fn list_of<T>(
        &mut self,
        most: usize,
        mut get: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let len = self.array_len()?;
        if len > most as u64 {
            return Err(Malformed::new(format!("a list of {len}, more than {most}")));
        }
        let mut values = Vec::new();
        for _ in 0..len {
            values.push(get(self)?);
        }
        Ok(values)
    }

    pub(crate) fn log_id(&mut self) -> Result<LogId, Malformed> {
        self.array(3)?;
        let leader_id = LeaderId {
            term: self.number()?,
            node_id: self.number()?,
        };
        Ok(LogId::new(leader_id, self.number()?))
    }

    pub(crate) fn vote(&mut self) -> Result<Vote, Malformed> {
        self.array(3)?;
        Ok(Vote {
            leader_id: LeaderId {
                term: self.number()?,
                node_id: self.number()?,
            },
            committed: self.bool()?,
        })
    }

    pub(crate) fn membership(&mut self) -> Result<Membership, Malformed> {
        self.array(2)?;
        let config = self.list(|r| Ok(r.list(Self::number)?.into_iter().collect()))?;
        let nodes = self.list(|r| {
            r.array(2)?;
            let id = r.number()?;
            let address = r.text()?;
            Ok((id, Member { address }))
        })?;
        let nodes: std::collections::BTreeMap<_, _> = nodes.into_iter().collect();
        Membership::new(config, nodes).map_err(|error| Malformed(error.to_string()))
    }

    pub(crate) fn stored_membership(&mut self) -> Result<StoredMembership, Malformed> {
        self.array(2)?;
        let log_id = self.option(Self::log_id)?;
        Ok(StoredMembership::new(log_id, self.membership()?))
    }
}
