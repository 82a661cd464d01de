//! Which records somebody wants to see, a page at a time.

use std::collections::BTreeMap;

use crate::lifecycle::record::Origin;
use crate::lifecycle::{Phase, Record};
use crate::token::{KeyId, TokenId};

use super::live::{Live, PART};

/// Which records are wanted. What is `None` does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordQuery {
    pub phase: Option<Phase>,
    pub namespace: Option<String>,
    /// The name of the resource.
    pub name: Option<String>,
    pub node_name: Option<String>,
    pub key_id: Option<KeyId>,
    /// Only those that come later, in order of their ids: where the former page ended.
    pub after: Option<TokenId>,
    /// At most so many, the first in order of their ids.
    pub limit: usize,
}

/// Some records, in order of their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordPage {
    pub records: Vec<Record>,
    /// There are later ones as well.
    pub more: bool,
}

impl RecordQuery {
    fn wants(&self, record: &Record) -> bool {
        let (issuance, node_name, key_id) = match &record.origin {
            Origin::Resource {
                issuance,
                node_name,
                key_id,
                ..
            } => (Some(issuance), Some(node_name), Some(key_id)),
            Origin::Offline { key_id, node_name } => (None, node_name.as_ref(), Some(key_id)),
            Origin::Tombstone => (None, None, None),
        };
        is(self.phase.as_ref(), Some(&record.phase))
            && is(self.namespace.as_ref(), issuance.map(|of| &of.namespace))
            && is(self.name.as_ref(), issuance.map(|of| &of.name))
            && is(self.node_name.as_ref(), node_name)
            && is(self.key_id.as_ref(), key_id)
    }

    /// The page as applied here. The state may change while it is made: each record is as it was at some moment of that.
    pub(super) fn page(&self, live: &Live) -> RecordPage {
        let mut first: BTreeMap<TokenId, Record> = BTreeMap::new();
        let mut from = 0;
        loop {
            let state = live.read();
            let end = state.places();
            if from >= end {
                break;
            }
            let part = from..end.min(from.saturating_add(PART));
            from = part.end;
            let after = |id: &TokenId| self.after.is_none_or(|after| *id > after);
            for record in state.records_in(part, after) {
                // One more than is asked for tells whether there are more.
                let is_among_first = first.len() <= self.limit
                    || first
                        .last_key_value()
                        .is_some_and(|(last, _)| record.token_id < *last);
                if is_among_first && self.wants(&record) {
                    first.insert(record.token_id, record);
                    if first.len() > self.limit.saturating_add(1) {
                        first.pop_last();
                    }
                }
            }
        }
        let more = first.len() > self.limit;
        RecordPage {
            records: first.into_values().take(self.limit).collect(),
            more,
        }
    }
}

fn is<T: PartialEq>(wanted: Option<&T>, found: Option<&T>) -> bool {
    wanted.is_none() || wanted == found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::command::{
        Abort, AdoptKey, Begin, Founded, OfflineRegistration, RaiseRules, Sweep,
    };
    use crate::lifecycle::{Command, Operation, Reason, State};
    use crate::token::{Fingerprint, JoinerId, Purpose, StoreId};

    fn live(ids: impl Iterator<Item = u8>) -> Live {
        let live = Live::new(State::new());
        for (index, id) in (1..).zip(ids) {
            let abort = Abort {
                token_id: TokenId([id; 16]),
                reason: Reason::Operator,
                keep_until_ms: None,
            };
            let command = Command {
                at_ms: 1_800_000_000_000,
                operation: abort.into(),
            };
            live.apply(index, &command);
        }
        live
    }

    fn ids(page: &RecordPage) -> Vec<u8> {
        page.records.iter().map(|r| r.token_id.0[0]).collect()
    }

    #[test]
    fn pages_follow_each_other_until_there_is_no_more() {
        let live = live([7, 3, 9, 1, 5].into_iter());
        let mut query = RecordQuery {
            limit: 2,
            ..RecordQuery::default()
        };
        let mut seen = Vec::new();
        loop {
            let page = query.page(&live);
            seen.extend(ids(&page));
            if !page.more {
                break;
            }
            query.after = page.records.last().map(|record| record.token_id);
        }
        assert_eq!(seen, [1, 3, 5, 7, 9]);
    }

    /// A token minted offline, in the hands of a machine of this name.
    #[test]
    fn machines_of_exported_keys_are_found_by_their_names() {
        let live = Live::new(State::new());
        let key_id = KeyId([3; 8]);
        let begin = |id: u8, node: &str| Begin {
            token_id: TokenId([id; 16]),
            joiner: JoinerId([7; 32]),
            holder: [1; 16],
            address: None,
            registration: Some(OfflineRegistration {
                key_id,
                issued_at_ms: Some(1),
                expires_at_ms: 60_000,
                node_name: Some(node.into()),
            }),
        };
        let operations: [Operation; 5] = [
            RaiseRules { to: 2 }.into(),
            Founded {
                store_id: StoreId([1; 16]),
                epoch: 1,
                trust_domain: "example.org".into(),
                fingerprints: vec![],
            }
            .into(),
            AdoptKey {
                key_id,
                purpose: Purpose::Offline,
                fingerprint: Fingerprint([3; 32]),
                max_ttl_ms: None,
                node_pattern: None,
            }
            .into(),
            begin(1, "edge-7").into(),
            begin(2, "edge-8").into(),
        ];
        for (index, operation) in (1..).zip(operations) {
            let at_ms = 1_000;
            live.apply(index, &Command { at_ms, operation });
        }
        let of = |node: &str| RecordQuery {
            node_name: Some(node.into()),
            limit: 10,
            ..RecordQuery::default()
        };
        assert_eq!(ids(&of("edge-7").page(&live)), [1]);
        assert_eq!(ids(&of("edge-8").page(&live)), [2]);
        assert_eq!(ids(&of("edge").page(&live)), [0; 0]);
    }

    #[test]
    fn only_what_is_wanted_is_counted() {
        let live = live(1..=200);
        let all = RecordQuery {
            limit: 200,
            ..RecordQuery::default()
        };
        let page = all.page(&live);
        assert_eq!((page.records.len(), page.more), (200, false));
        let none = RecordQuery {
            phase: Some(Phase::Issued),
            ..all.clone()
        };
        assert_eq!(none.page(&live).records, []);
        let resources = RecordQuery {
            namespace: Some("a".into()),
            ..all.clone()
        };
        assert_eq!(resources.page(&live).records, []);
        // Forgotten records leave places without a record.
        let sweep = Command {
            at_ms: 1_900_000_000_000,
            operation: Sweep { limit: 100 }.into(),
        };
        live.apply(201, &sweep);
        assert_eq!(all.page(&live).records.len(), 100);
    }
}
