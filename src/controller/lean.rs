//! Reads an object of the API server and leaves out what nobody here reads, before it takes any room.
//!
//! Whoever may create a JoinToken chooses its labels, annotations, owners and finalizers: more than a megabyte of small
//! strings, several times that in memory, of each object and in each replica.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::ownership::CLAIM;
use super::view::FINALIZER;

/// Stands in a list of finalizers for those that were left out. No finalizer is called so.
pub(super) const MORE: &str = "";
/// So many finalizers are kept: that they need not be read again before ours is added or removed.
const MANY: usize = 8;
/// The longest annotation or finalizer that is kept, in bytes. Ours are shorter, and no finalizer may be longer.
const LONG: usize = 320;

/// A part of an object. Whatever JSON it is, it can be read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    Object,
    Metadata,
    Annotations,
    Finalizers,
    /// A text that may be too long, and is empty then.
    Text,
    /// Everything: the schema says how large it can be.
    Whole,
}

impl Part {
    /// What is kept of a field; `None`: nothing.
    fn of(self, field: &str) -> Option<Self> {
        match (self, field) {
            (Self::Whole, _)
            | (Self::Object, "apiVersion" | "kind" | "spec" | "status")
            | (
                Self::Metadata,
                "name" | "namespace" | "uid" | "resourceVersion" | "generation"
                | "creationTimestamp" | "deletionTimestamp",
            ) => Some(Self::Whole),
            (Self::Object, "metadata") => Some(Self::Metadata),
            (Self::Metadata, "annotations") => Some(Self::Annotations),
            (Self::Metadata, "finalizers") => Some(Self::Finalizers),
            (Self::Annotations, CLAIM) => Some(Self::Text),
            _ => None,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Part {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Part {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        let is_too_long = matches!(self, Self::Text) && value.len() > LONG;
        Ok(if is_too_long { "" } else { value }.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        match self {
            Self::Whole => {
                let mut whole = Vec::new();
                while let Some(element) = elements.next_element_seed(Self::Whole)? {
                    whole.push(element);
                }
                Ok(whole.into())
            }
            Self::Finalizers => finalizers(elements),
            _ => {
                while elements.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Value::Array(Vec::new()))
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut kept = Map::new();
        while let Some(field) = fields.next_key::<String>()? {
            match self.of(&field) {
                Some(part) => {
                    let value = fields.next_value_seed(part)?;
                    kept.insert(field, value);
                }
                None => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(kept.into())
    }
}

/// All of them if they are few; else ours, if it is among them, and [`MORE`].
fn finalizers<'de, A: SeqAccess<'de>>(mut elements: A) -> Result<Value, A::Error> {
    let mut kept: Vec<Value> = Vec::new();
    let (mut is_ours_there, mut are_left_out) = (false, false);
    while let Some(element) = elements.next_element_seed(Part::Text)? {
        is_ours_there |= element == FINALIZER;
        are_left_out |= element == MORE || kept.len() == MANY;
        if !are_left_out {
            kept.push(element);
        }
    }
    if are_left_out {
        kept = vec![MORE.into()];
        kept.extend(is_ours_there.then(|| FINALIZER.into()));
    }
    Ok(kept.into())
}
