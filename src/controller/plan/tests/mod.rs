//! Plans, whole: what is expected is compared with everything that came out, so that a write nobody
//! expected fails a test.

mod adoption;
mod any;
mod end;
mod issue;
mod notices;
mod restored;
mod rows;
mod secrets;
mod set_back;

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::config::{ControllerConfig, Minting};
use super::super::frozen;
use super::super::ownership::{CLAIM, FormerStores, claim};
use super::super::secret::{SecretContent, SecretSeen};
use super::super::standing::{InForce, Standing};
use super::super::view::{FINALIZER, StoreFacts, View};
use super::*;
use crate::api::{JoinToken, JoinTokenStatus};
use crate::lifecycle::command::{Bindings, Founded};
use crate::lifecycle::outcome::RegisterOutcome;
use crate::lifecycle::record::{Admission, Claim, IssuanceEntry, Origin};
use crate::lifecycle::{Issuance, Record};
use crate::token::{Delivery, JoinerId, KeyId, Purpose, SigningKey, StoreId, TokenId};

/// 2027-01-15T08:00:00Z
const NOW_MS: u64 = 1_800_000_000_000;
const NAMESPACE_UID: &str = "ns-1";
const STORE: StoreId = StoreId([9; 16]);
const ID: TokenId = TokenId([0xab; 16]);
const ID_TEXT: &str = "abababababababababababababababab";
const SECRET: &str = "n1-join-token";

/// Everything around one resource.
struct Scene {
    config: ControllerConfig,
    minting: Minting,
    resource: JoinToken,
    entry: Option<IssuanceEntry>,
    record: Option<Record>,
    former: Option<InForce>,
    secret: SecretSeen,
    former_secret: SecretSeen,
    store_id: StoreId,
    epoch: u64,
    former_stores: FormerStores,
    restored_at: Option<u64>,
    now_ms: u64,
    status_ahead: bool,
    keys_in_order: bool,
}

impl Scene {
    /// A fresh resource with this spec; nothing is known of it.
    fn new(spec: Value) -> Self {
        let resource = json!({
            "apiVersion": "jointoken.io/v1alpha1", "kind": "JoinToken",
            "metadata": {
                "namespace": "edge", "name": "n1", "uid": "uid-1", "generation": 3, "resourceVersion": "7",
            },
            "spec": spec,
        });
        Self {
            config: ControllerConfig::default(),
            minting: Minting {
                key: Arc::new(SigningKey::from_bytes(
                    Purpose::Resource,
                    KeyId([1; 8]),
                    &[2; 32],
                )),
                delivery: Delivery {
                    door_pin: [3; 32],
                    urls: vec!["https://door:8443".to_owned()],
                },
                door_ca_pem: "PEM".to_owned(),
            },
            resource: serde_json::from_value(resource).unwrap(),
            entry: None,
            record: None,
            former: None,
            secret: SecretSeen::Absent,
            former_secret: SecretSeen::NotLookedAt,
            store_id: STORE,
            epoch: 1,
            former_stores: FormerStores::default(),
            restored_at: None,
            now_ms: NOW_MS,
            status_ahead: false,
            keys_in_order: true,
        }
    }

    /// The same, with its first token recorded as issued now for an hour.
    fn issued(spec: Value) -> Self {
        let mut scene = Self::new(spec);
        scene.entry = Some(IssuanceEntry {
            issuance: Issuance {
                namespace: "edge".to_owned(),
                name: "n1".to_owned(),
            },
            namespace_uid: NAMESPACE_UID.to_owned(),
            revision: scene.resource.spec.revision,
            reissue: 0,
            spec_hash: frozen::spec_hash(&scene.resource),
            token_id: ID,
            phase: Phase::Issued,
            aborted: None,
            at_ms: NOW_MS,
            last_admission: None,
            changed_at_index: 10,
        });
        scene.record = Some(Record {
            token_id: ID,
            phase: Phase::Issued,
            origin: Origin::Resource {
                issuance: scene.entry.as_ref().unwrap().issuance.clone(),
                revision: scene.resource.spec.revision,
                reissue: 0,
                key_id: scene.minting.key.id(),
                node_name: "n1".to_owned(),
            },
            issued_at_ms: NOW_MS,
            expires_at_ms: NOW_MS + 60 * MINUTE_MS,
            attempts: 0,
            bindings: Bindings::default(),
            claim: None,
            admission: None,
            aborted: None,
            terminal_at_ms: None,
            contested: false,
            last_failure: None,
            changed_at_index: 10,
        });
        scene
    }

    /// The same, all of it in place: Secret, status, finalizer.
    fn settled(spec: Value) -> Self {
        let mut scene = Self::issued(spec);
        scene.add_finalizer();
        scene.play();
        let plan = scene.plan();
        assert_eq!(plan.effects, [], "a settled scene is settled");
        scene
    }

    fn record(&mut self) -> &mut Record {
        self.record.as_mut().expect("there is a record")
    }

    /// The token gets into a phase at this index, entry and record alike.
    fn becomes(&mut self, phase: Phase, at_index: u64, change: impl FnOnce(&mut Record)) {
        let now_ms = self.now_ms;
        let record = self.record();
        record.phase = phase;
        record.changed_at_index = at_index;
        record.terminal_at_ms = phase.is_terminal().then_some(now_ms);
        change(record);
        let aborted = record.aborted;
        let entry = self.entry.as_mut().expect("there is an entry");
        entry.phase = phase;
        entry.aborted = aborted;
        entry.at_ms = now_ms;
        entry.changed_at_index = at_index;
    }

    fn claimed(&mut self, at_index: u64) {
        let deadline_ms = self.now_ms + 5 * MINUTE_MS;
        self.becomes(Phase::InFlight, at_index, |record| {
            record.attempts = 1;
            record.claim = Some(Claim {
                joiner: JoinerId([5; 32]),
                attempt: 1,
                holder: [6; 16],
                address: Some([192, 0, 2, 5].into()),
                deadline_ms,
            });
        });
    }

    fn consumed(&mut self, at_index: u64) {
        let at_ms = self.now_ms;
        self.becomes(Phase::Consumed, at_index, |record| {
            record.attempts = 1;
            record.claim = None;
            record.admission = Some(Admission {
                joiner: JoinerId([5; 32]),
                attempt: 1,
                address: Some([192, 0, 2, 5].into()),
                at_ms,
                redeliver_until_ms: at_ms + 1,
                leaf: None,
                barred: None,
            });
        });
    }

    fn aborted(&mut self, reason: Reason, at_index: u64) {
        self.becomes(Phase::Aborted, at_index, |record| {
            record.aborted = Some(reason)
        });
    }

    fn add_finalizer(&mut self) {
        self.resource.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    }

    fn status(&mut self) -> &mut JoinTokenStatus {
        self.resource.status.as_mut().expect("there is a status")
    }

    fn standing(&self) -> Standing {
        let entry = self.entry.as_ref();
        Standing::of_entry(
            entry.map(|entry| InForce::of_entry(entry, self.record.clone(), NAMESPACE_UID)),
            entry.map(|entry| entry.spec_hash),
            self.resource.spec.revision,
            frozen::spec_hash(&self.resource),
        )
    }

    fn view(&self) -> View<'_> {
        View {
            config: &self.config,
            minting: &self.minting,
            founded: Founded {
                store_id: self.store_id,
                epoch: self.epoch,
                trust_domain: "example.org".to_owned(),
                fingerprints: Vec::new(),
            },
            former_stores: self.former_stores.clone(),
            store: StoreFacts {
                reissue_interval_ms: 10 * MINUTE_MS,
                max_token_ttl_ms: 7 * 24 * 60 * MINUTE_MS,
                restored_at: self.restored_at,
            },
            now_ms: self.now_ms,
            fresh_token_id: TokenId([0xfe; 16]),
            namespace_uid: NAMESPACE_UID.to_owned(),
            namespace_ends: false,
            resource: self.resource.clone(),
            standing: self.standing(),
            former: self.former.clone(),
            secret: self.secret.clone(),
            former_secret: self.former_secret.clone(),
            status_ahead: self.status_ahead,
            keys_in_order: self.keys_in_order,
            registered: false,
            created: false,
        }
    }

    fn plan(&self) -> Plan {
        plan(&self.view())
    }

    /// The plan after the store has answered the registration.
    fn plan_after(&self, outcome: RegisterOutcome) -> Plan {
        let mut view = self.view();
        view.registered = true;
        view.created = matches!(outcome, RegisterOutcome::Created(_));
        view.standing = view.standing.clone().of_outcome(
            outcome,
            NAMESPACE_UID,
            view.resource.spec.revision,
            |_| self.record.clone(),
        );
        plan(&view)
    }

    /// Does what the plan says to resource and Secret; says it as text, an effect a line.
    fn play(&mut self) -> Vec<String> {
        let plan = self.plan();
        for effect in &plan.effects {
            self.take(effect);
        }
        said(&plan)
    }

    /// Does what comes before the proposal that ends the plan.
    fn play_until_proposal(&mut self) -> Vec<String> {
        let plan = self.plan();
        assert_eq!(plan.then, Then::PlanAgain);
        let before = plan.effects.len() - 1;
        for effect in &plan.effects[..before] {
            self.take(effect);
        }
        said(&plan)
    }

    fn take(&mut self, effect: &Effect) {
        match effect {
            Effect::AddFinalizer => {
                self.add_finalizer();
                let claim = claim(&self.resource, self.store_id);
                let annotations = &mut self.resource.metadata.annotations;
                annotations
                    .get_or_insert_default()
                    .insert(CLAIM.to_owned(), claim);
            }
            Effect::RemoveFinalizer => self.resource.metadata.finalizers = None,
            Effect::CreateSecret { name, content } => self.secret = self.seen(name, content),
            Effect::DeleteSecret { name, .. } if *name == self.resource.secret_name() => {
                self.secret = SecretSeen::Absent;
            }
            Effect::DeleteSecret { .. } => self.former_secret = SecretSeen::Absent,
            Effect::WriteStatus(status) => self.resource.status = Some((**status).clone()),
            Effect::Publish(_) => {}
            Effect::Register(_) | Effect::Import(_) | Effect::Abort(..) | Effect::Revoke(..) => {
                panic!("a scene has no store that could answer {effect:?}")
            }
        }
    }

    /// What a look finds where this was created.
    fn seen(&self, name: &str, content: &SecretContent) -> SecretSeen {
        let mut secret = content.secret(&self.resource, name).unwrap();
        secret.metadata.uid = Some("secret-1".to_owned());
        SecretSeen::of(Some(&secret), &self.resource)
    }
}

/// A plan as text: each effect by its name and what matters of it, then what follows.
fn said(plan: &Plan) -> Vec<String> {
    let mut said: Vec<String> = plan.effects.iter().map(say).collect();
    said.push(match plan.then {
        Then::PlanAgain => "plan again".to_owned(),
        Then::Rest(None) => "rest".to_owned(),
        Then::Rest(Some(ms)) => format!("rest {} s", ms / SECOND_MS),
    });
    said
}

fn say(effect: &Effect) -> String {
    match effect {
        Effect::AddFinalizer => "add finalizer".to_owned(),
        Effect::RemoveFinalizer => "remove finalizer".to_owned(),
        Effect::Register(register) => format!("register revision {}", register.revision),
        Effect::Import(register) => format!("import revision {}", register.revision),
        Effect::Abort(id, reason) => format!("abort {id} {}", reason.as_str()),
        Effect::Revoke(id, reason) => format!("revoke {id} {}", reason.as_str()),
        Effect::CreateSecret { name, .. } => format!("create Secret {name}"),
        Effect::DeleteSecret { name, uid } => format!("delete Secret {name} if {uid}"),
        Effect::WriteStatus(status) => {
            let phase = status.phase.map_or("no phase", crate::api::Phase::as_str);
            format!("status {phase}: {}", conditions(status).join(", "))
        }
        Effect::Publish(notice) => format!("event {}", notice.reason),
    }
}

/// Conditions as `type=status/reason`.
fn conditions(status: &JoinTokenStatus) -> Vec<String> {
    let conditions = status.conditions.iter();
    conditions
        .map(|c| format!("{}={}/{}", c.type_, c.status, c.reason))
        .collect()
}

/// The message of a condition in what the plan writes.
fn message(plan: &Plan, kind: &str) -> String {
    let status = written(plan);
    let found = status.conditions.into_iter().find(|c| c.type_ == kind);
    found.unwrap_or_else(|| panic!("no {kind}")).message
}

fn written(plan: &Plan) -> JoinTokenStatus {
    let mut written = plan.effects.iter().filter_map(|effect| match effect {
        Effect::WriteStatus(status) => Some((**status).clone()),
        _ => None,
    });
    let status = written.next().expect("a status is written");
    assert!(written.next().is_none(), "and only one");
    status
}
