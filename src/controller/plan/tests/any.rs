//! Whatever is looked at: a plan comes to an end, and nothing is done that must never be.

use proptest::prelude::*;

use super::*;

/// What the world may look like around one resource.
#[derive(Debug, Clone)]
struct Any {
    spec: Value,
    phase: Option<Phase>,
    reason: Reason,
    is_forgotten: bool,
    spec_differs: bool,
    revision_in_force: u64,
    is_former_namespace: bool,
    secret: u8,
    former_secret: u8,
    status: Value,
    status_ahead: bool,
    keys_in_order: bool,
    has_finalizer: bool,
    is_deleted: bool,
    minutes_later: u64,
}

fn secret(kind: u8) -> SecretSeen {
    let uid = "secret-9".to_owned();
    match kind {
        0 => SecretSeen::Absent,
        1 => SecretSeen::Former { uid },
        2 => SecretSeen::Held,
        3 => SecretSeen::Others {
            owner: "n2".to_owned(),
        },
        _ => SecretSeen::Foreign,
    }
}

fn any_spec() -> impl Strategy<Value = Value> {
    (
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        prop_oneof![
            Just(None),
            Just(Some("other-join-token")),
            Just(Some("other"))
        ],
        1..3u64,
    )
        .prop_map(|(revoked, reissue, keep, secret_name, revision)| {
            let mut spec = json!({
                "revoked": revoked,
                "reissuePolicy": if reissue { "WhenUnused" } else { "Never" },
                "secretRetention": if keep { "Keep" } else { "Scrub" },
                "revision": revision,
            });
            if let Some(name) = secret_name {
                spec["secretName"] = json!(name);
            }
            spec
        })
}

/// As the operator writes it, as nobody has written it, and as somebody might have.
fn any_status() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        Just("n1-join-token"),
        Just("former-join-token"),
        Just("../../x/secrets/n1-join-token")
    ];
    let token = prop_oneof![
        Just(ID_TEXT.to_owned()),
        Just("cd".repeat(16)),
        Just("?".to_owned())
    ];
    prop_oneof![
        Just(json!(null)),
        (name, token, 1..4u64, 0..3u64, 0..40u64, any::<bool>()).prop_map(
            |(name, token, revision, epoch, index, is_named)| {
                let mut status = json!({
                    "observedGeneration": 3, "phase": "Issued", "revision": revision, "tokenId": token,
                    "secretName": name, "storeEpoch": epoch, "storeIndex": index,
                });
                // One of a later epoch that does not say whose it is would be another store's.
                if is_named || epoch > 1 {
                    status["storeId"] = json!(STORE.to_string());
                }
                status
            }
        )
    ]
}

prop_compose! {
    fn any_look()(
        spec in any_spec(),
        phase in prop_oneof![
            Just(None), Just(Some(Phase::Issued)), Just(Some(Phase::InFlight)), Just(Some(Phase::Consumed)),
            Just(Some(Phase::Expired)), Just(Some(Phase::Aborted)),
        ],
        reason in prop_oneof![
            Just(Reason::Revoked), Just(Reason::Deleted), Just(Reason::Attempts), Just(Reason::Restored),
            Just(Reason::Operator), Just(Reason::Superseded),
        ],
        (is_forgotten, spec_differs, is_former_namespace) in any::<(bool, bool, bool)>(),
        revision_in_force in 1..3u64,
        (secret, former_secret) in (0..5u8, 0..5u8),
        status in any_status(),
        (status_ahead, keys_in_order, has_finalizer, is_deleted) in any::<(bool, bool, bool, bool)>(),
        minutes_later in 0..90u64,
    ) -> Any {
        Any {
            spec, phase, reason, is_forgotten, spec_differs, revision_in_force, is_former_namespace, secret,
            former_secret, status, status_ahead, keys_in_order, has_finalizer, is_deleted, minutes_later,
        }
    }
}

impl Any {
    fn scene(&self) -> Scene {
        let mut scene = Scene::issued(self.spec.clone());
        match self.phase {
            None => (scene.entry, scene.record) = (None, None),
            Some(Phase::Issued) => {}
            Some(Phase::InFlight) => scene.claimed(11),
            Some(Phase::Consumed) => scene.consumed(11),
            Some(Phase::Aborted) => scene.aborted(self.reason, 11),
            Some(phase) => scene.becomes(phase, 11, |_| {}),
        }
        if let Some(entry) = &mut scene.entry {
            entry.revision = self.revision_in_force;
            if self.spec_differs {
                entry.spec_hash = [0; 32];
            }
            if self.is_former_namespace {
                entry.namespace_uid = "ns-0".to_owned();
            }
            if self.is_forgotten && entry.phase.is_terminal() {
                scene.record = None;
            }
        }
        scene.secret = secret(self.secret);
        scene.former_secret = secret(self.former_secret);
        scene.resource.status = serde_json::from_value(self.status.clone()).unwrap();
        scene.status_ahead = self.status_ahead;
        scene.keys_in_order = self.keys_in_order;
        if self.has_finalizer {
            scene.add_finalizer();
        }
        if self.is_deleted {
            let at = super::super::status::time(NOW_MS);
            scene.resource.metadata.deletion_timestamp = at;
        }
        scene.now_ms += self.minutes_later * MINUTE_MS;
        scene
    }
}

/// What a look finds: Secrets only where it looks.
fn look(scene: &mut Scene) -> Plan {
    let (by_spec, former) = super::super::secrets::to_look_at(&scene.resource, &scene.standing());
    if !by_spec {
        scene.secret = SecretSeen::NotLookedAt;
    }
    if former.is_none() {
        scene.former_secret = SecretSeen::NotLookedAt;
    }
    scene.plan()
}

/// What must hold of any plan.
fn check(scene: &Scene, plan: &Plan) {
    let live = scene
        .entry
        .as_ref()
        .is_some_and(|entry| !entry.phase.is_terminal());
    for effect in &plan.effects {
        match effect {
            Effect::CreateSecret { name, .. } => {
                assert!(live && scene.keys_in_order && !scene.status_ahead);
                assert!(crate::api::is_secret_name(name));
            }
            Effect::DeleteSecret { name, uid } => {
                assert!(crate::api::is_secret_name(name));
                let at = if *name == scene.resource.secret_name() {
                    &scene.secret
                } else {
                    &scene.former_secret
                };
                let (SecretSeen::Ours { uid: seen, .. } | SecretSeen::Former { uid: seen }) = at
                else {
                    panic!("{name} is not the operator's");
                };
                assert_eq!(uid, seen);
            }
            Effect::Abort(..) => assert!(live),
            Effect::Register(_) => assert!(!scene.status_ahead),
            Effect::WriteStatus(status) => check_status(scene, status),
            _ => {}
        }
    }
}

fn check_status(scene: &Scene, status: &JoinTokenStatus) {
    let position = |status: &JoinTokenStatus| {
        (
            status.store_epoch.unwrap_or(0),
            status.store_index.unwrap_or(0),
        )
    };
    let old = scene.resource.status.clone().unwrap_or_default();
    assert!(position(status) >= position(&old), "the position fell");
    let name = status.secret_name.as_deref();
    assert!(name.is_none_or(crate::api::is_secret_name));
    let mut kinds: Vec<&str> = status.conditions.iter().map(|c| &*c.type_).collect();
    assert_eq!(kinds[..3], ["Ready", "Succeeded", "Usable"]);
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds.len(), status.conditions.len(), "one is there twice");
    assert!(!(kinds.contains(&"Stalled") && kinds.contains(&"Reconciling")));
    let is = |kind: &str| status.conditions.iter().find(|c| c.type_ == kind);
    let ready = is("Ready").unwrap();
    match (is("Stalled").is_some(), is("Reconciling").is_some()) {
        (true, _) => assert_eq!(ready.status, "False"),
        (_, true) => assert_eq!(ready.status, "Unknown"),
        _ => assert_eq!(ready.status, "True"),
    }
    for condition in &status.conditions {
        assert!(!condition.message.is_empty() && !condition.reason.is_empty());
    }
    if !scene.config.node_names.is_empty() {
        return;
    }
    let usable = is("Usable").unwrap().status == "True";
    let live = scene
        .entry
        .as_ref()
        .is_some_and(|entry| !entry.phase.is_terminal());
    assert!(!usable || live, "a dead token is said to be usable");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// A plan that does not end would write for ever.
    #[test]
    fn every_plan_is_allowed_and_comes_to_an_end(any in any_look()) {
        let mut scene = any.scene();
        let mut plan = look(&mut scene);
        for _ in 0..3 {
            check(&scene, &plan);
            if plan.then == Then::PlanAgain || plan.effects.is_empty() {
                break;
            }
            for effect in &plan.effects {
                scene.take(effect);
            }
            plan = look(&mut scene);
        }
        if plan.then != Then::PlanAgain {
            prop_assert_eq!(said(&plan).len(), 1, "there is always more to do: {:?}", said(&plan));
            if !any.is_deleted {
                let live = scene.entry.as_ref().is_some_and(|entry| !entry.phase.is_terminal());
                prop_assert_eq!(scene.resource.metadata.finalizers.is_some(), live);
            }
        }
    }
}
