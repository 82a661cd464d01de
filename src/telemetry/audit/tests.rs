use std::io;
use std::sync::Mutex;

use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::bootstrap::wire::Code;
use crate::bootstrap::{Class, Route};
use crate::lifecycle::Issuance;
use crate::store::audit_trail;
use crate::token::{JoinerId, KeyId, Purpose, TokenId};

/// Collects what a subscriber writes.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl io::Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Page {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// The JSON lines that `work` logs, without the logger's own time.
fn logged(work: impl Future<Output = ()>) -> Vec<Value> {
    let page = Page::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .without_time()
        .with_writer(page.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(work);
    });
    let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn change(index: u64, transitions: Vec<Transition>) -> Arc<Change> {
    Arc::new(Change {
        index,
        now_ms: 1_700_000_000_000,
        transitions,
        house: None,
    })
}

fn transition(from: Option<Phase>, to: Option<Phase>, cause: Cause) -> Transition {
    Transition {
        token_id: TokenId([0xab; 16]),
        issuance: Some(Issuance {
            namespace: "edge".to_owned(),
            name: "n1".to_owned(),
        }),
        from,
        to,
        cause,
        joiner: None,
        address: None,
    }
}

#[test]
fn a_line_for_each_change_in_order_then_the_end() {
    let (sink, trail) = audit_trail();
    let told = sink.tell(change(
        7,
        vec![
            transition(
                Some(Phase::Issued),
                Some(Phase::Aborted),
                Cause::Aborted(Reason::Superseded),
            ),
            Transition {
                issuance: None,
                ..transition(None, Some(Phase::Issued), Cause::Registered)
            },
            Transition {
                issuance: None,
                joiner: Some(JoinerId([0xcd; 32])),
                address: Some([192, 0, 2, 7].into()),
                ..transition(
                    Some(Phase::InFlight),
                    Some(Phase::Consumed),
                    Cause::Admitted,
                )
            },
        ],
    ));
    // The store is still there, shutdown has come: what was told before it is written all the same.
    let lines = logged(async {
        told.await;
        follow(trail, std::future::ready(())).await;
    });
    let line = |value: Value| {
        let mut line = json!({
            "level": "INFO", "target": "audit", "message": "token", "index": 7,
            "at": "2023-11-14T22:13:20Z", "token_id": "abababababababababababababababab",
        });
        let (Value::Object(line), Value::Object(more)) = (&mut line, value) else {
            unreachable!()
        };
        line.extend(more);
        Value::Object(line.clone())
    };
    assert_eq!(
        lines,
        [
            line(json!({
                "position": 0, "namespace": "edge", "name": "n1", "from": "issued",
                "to": "aborted", "action": "aborted", "reason": "superseded",
            })),
            line(json!({ "position": 1, "to": "issued", "action": "registered" })),
            line(json!({
                "position": 2, "from": "in_flight", "to": "consumed", "action": "admitted",
                "joiner": "cd".repeat(32), "address": "192.0.2.7",
            })),
        ]
    );
}

/// Who may mint is as much worth knowing as who has joined.
#[test]
fn what_concerns_the_whole_store_is_written_too() {
    let (sink, trail) = audit_trail();
    let key_id = KeyId([0xab; 8]);
    let purpose = Purpose::Offline;
    let change = Arc::new(Change {
        index: 7,
        now_ms: 1_700_000_000_000,
        transitions: Vec::new(),
        house: Some(HouseChange::KeyAdopted { key_id, purpose }),
    });
    let lines = logged(async {
        sink.tell(change).await;
        follow(trail, std::future::ready(())).await;
    });
    assert_eq!(
        lines,
        [json!({
            "level": "INFO", "target": "audit", "message": "store", "index": 7, "position": 0,
            "at": "2023-11-14T22:13:20Z", "action": "key_adopted", "key_id": "abababababababab",
            "purpose": "offline",
        })]
    );
}

/// More than ever wait in between: nothing is lost, and the store is told how far it came.
#[test]
fn a_burst_is_written_whole_and_marked() {
    const CHANGES: u64 = 40_000;
    let (sink, trail) = audit_trail();
    let lines = logged(async {
        let burst = async {
            for index in 1..=CHANGES {
                let forgotten = transition(Some(Phase::Expired), None, Cause::Forgotten);
                sink.tell(change(index, vec![forgotten])).await;
            }
        };
        follow(trail, burst).await;
    });
    let indexes = lines.iter().map(|line| line["index"].as_u64().unwrap());
    assert!(indexes.eq(1..=CHANGES));
    assert_eq!(sink.marked(), CHANGES);
}

#[test]
fn a_refusal_at_the_door_is_written_at_once() {
    let refusal = Refused {
        route: Route::Join,
        code: Code::TokenUsed,
        class: Class::Refused,
        address: [192, 0, 2, 7].into(),
        joiner: None,
        token_id: Some(TokenId([0xab; 16])),
    };
    let lines = logged(async { refused(&refusal) });
    assert_eq!(
        lines,
        [json!({
            "level": "WARN", "target": "audit", "message": "refused", "route": "join",
            "code": "token_used", "class": "refused", "address": "192.0.2.7",
            "token_id": "abababababababababababababababab",
        })]
    );
}
