//! What keeps a token from being issued or handed over until somebody acts.

use crate::api::{ConditionReason, is_secret_name};
use crate::lifecycle::Phase;
use crate::lifecycle::outcome::{NamespaceBound, Refusal};
use crate::store::StoreError;
use crate::token::{MintError, NodePattern};

use super::super::frozen::FieldError;
use super::super::secret::SecretSeen;
use super::super::standing::{InForce, Relation};
use super::super::view::View;
use super::messages::{new_token, set_revision, told_of_use, when_seconds};

/// One such thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::controller) enum Obstacle {
    /// The frozen fields are not those registered for this revision.
    SpecDiffers,
    /// The status tells of more than the store knows.
    StatusAhead,
    /// The Secret may not have that name.
    SecretName,
    /// A Secret of that name is somebody else's.
    SecretConflict,
    /// The Secret of that name is that of another resource, of this name.
    SecretOfAnother(String),
    /// The Secret is being deleted, and something holds it.
    SecretHeld,
    /// The API server did not let the Secret be made; its word for why.
    SecretRefused(String),
    /// The namespace may not use the node name.
    NameNotAllowed(NodePattern),
    /// The key that minted the token is not at hand, so its Secret cannot be made.
    KeyMissing,
    /// The token cannot be rendered.
    Unrenderable(MintError),
    /// The store refused the registration.
    Refused(Refusal),
    /// A field cannot be taken.
    Field(FieldError),
    /// The store cannot answer at the moment: nobody has to act.
    StoreUnavailable(StoreError),
    /// The status tells of a token that the store does not know: one of an earlier founding, or forgotten.
    StoreReplaced,
    /// It ended unused before the store was restored, and nobody knows whether it was issued again since.
    MayHaveBeenReissued,
}

impl Obstacle {
    /// Only somebody else's leaving makes room: it is not looked for often.
    pub(super) const fn is_full_namespace(&self) -> bool {
        matches!(self, Self::Refused(Refusal::NamespaceFull { .. }))
    }

    pub(super) const KEYS_AMISS: Self = Self::StoreUnavailable(StoreError::KeysAmiss);

    /// The first one that stands in the way of the resource's token.
    pub(super) fn find(view: &View<'_>) -> Option<Self> {
        if view.status_ahead {
            return Some(Self::StatusAhead);
        }
        match view.standing.relation {
            Relation::SpecDiffers => return Some(Self::SpecDiffers),
            Relation::Refused(refusal) => return Some(Self::Refused(refusal)),
            Relation::TooLow => return None,
            Relation::New => {
                if is_from_former_store(view) {
                    return Some(Self::StoreReplaced);
                }
            }
            Relation::Current { .. } => {
                if super::may_have_been_reissued(view) {
                    return Some(Self::MayHaveBeenReissued);
                }
            }
        }
        if view.resource.spec.revoked || !is_token_wanted(view) {
            return None;
        }
        if let Some(pattern) = forbidding_pattern(view) {
            return Some(Self::NameNotAllowed(pattern));
        }
        if !is_secret_name(&view.resource.secret_name()) {
            return Some(Self::SecretName);
        }
        match &view.secret {
            SecretSeen::Others { owner } => return Some(Self::SecretOfAnother(owner.clone())),
            SecretSeen::Foreign => return Some(Self::SecretConflict),
            SecretSeen::Held => return Some(Self::SecretHeld),
            _ => {}
        }
        let in_force = view.standing.in_force.as_ref();
        let is_new = !in_force.is_some_and(InForce::is_live);
        (is_new && !view.keys_in_order).then_some(Self::KEYS_AMISS)
    }

    /// As the conditions name it.
    pub(super) const fn reason(&self) -> ConditionReason {
        match self {
            Self::SpecDiffers => ConditionReason::SpecDiffers,
            Self::StatusAhead => ConditionReason::StatusAhead,
            Self::SecretConflict | Self::SecretOfAnother(_) | Self::SecretHeld => {
                ConditionReason::SecretConflict
            }
            Self::SecretRefused(_) => ConditionReason::SecretRefused,
            Self::NameNotAllowed(_) => ConditionReason::NameNotAllowed,
            Self::KeyMissing => ConditionReason::KeyUnavailable,
            Self::StoreReplaced | Self::MayHaveBeenReissued => ConditionReason::Restored,
            Self::StoreUnavailable(StoreError::KeysAmiss) => ConditionReason::KeyUnavailable,
            Self::StoreUnavailable(_) => ConditionReason::StoreUnavailable,
            Self::SecretName | Self::Unrenderable(_) | Self::Field(_) => ConditionReason::Refused,
            Self::Refused(refusal) => match refusal {
                Refusal::UnknownKey(_) | Refusal::KeyPurpose(_) => ConditionReason::KeyUnavailable,
                Refusal::TtlTooLong { .. } => ConditionReason::TtlTooLong,
                Refusal::NotFounded => ConditionReason::StoreUnavailable,
                Refusal::NamespaceFull { .. } => ConditionReason::NamespaceLimit,
                _ => ConditionReason::Refused,
            },
        }
    }

    /// What it is, and what to do.
    pub(super) fn message(&self, view: &View<'_>) -> String {
        let spec = &view.resource.spec;
        match self {
            Self::SpecDiffers => {
                let in_force = view.standing.in_force.as_ref();
                let since = in_force
                    .and_then(|in_force| in_force.record.as_ref())
                    .map(|record| format!(" at {}", when_seconds(record.issued_at_ms)))
                    .unwrap_or_default();
                let ends = match in_force.is_some_and(InForce::is_live) {
                    true => ", which ends its token,",
                    false => "",
                };
                format!(
                    "revision {} was registered{since} with another nodeName, ttlSeconds, admission or \
                     secretName: delete this resource{ends} and apply it with what was registered, or {}",
                    spec.revision,
                    new_token(view),
                )
            }
            Self::SecretConflict => format!(
                "a Secret named {name} exists that the operator did not make, and it is not touched: delete \
                 it, or raise spec.revision and set another spec.secretName",
                name = view.resource.secret_name(),
            ),
            Self::SecretOfAnother(owner) => format!(
                "the Secret {name} belongs to JoinToken {owner}: set another spec.secretName, for which spec.revision \
                 has to be raised",
                name = view.resource.secret_name(),
            ),
            Self::StatusAhead => status_ahead(view),
            Self::SecretName => {
                "spec.secretName must end in -join-token: raise spec.revision and mend it"
                    .to_owned()
            }
            Self::SecretHeld => format!(
                "the Secret {name} is being deleted and something holds it: take the finalizers off it (kubectl -n \
                 {namespace} edit secret {name})",
                name = view.resource.secret_name(),
                namespace = view
                    .resource
                    .metadata
                    .namespace
                    .as_deref()
                    .unwrap_or_default(),
            ),
            Self::SecretRefused(reason) => format!(
                "the API server does not take the Secret {name} ({reason}): look at the namespace's quotas and \
                 policies and at the operator's rights; it is tried again",
                name = view.resource.secret_name(),
            ),
            Self::NameNotAllowed(pattern) => format!(
                "this namespace may only use node names like {pattern}, and {name} is none: raise \
                 spec.revision and set another spec.nodeName, or have the operator's configuration changed",
                name = view.resource.node_name(),
            ),
            Self::KeyMissing => {
                "the signing key that the token was registered with is not at hand, so its \
                 Secret cannot be made: restore the operator's key Secret, or raise spec.revision"
                    .to_owned()
            }
            Self::Unrenderable(error) => format!(
                "the token cannot be rendered, {error}: have the operator's URLs for joiners changed"
            ),
            Self::Field(error) => format!("{error}: raise spec.revision and mend it"),
            Self::StoreUnavailable(StoreError::KeysAmiss) => StoreError::KeysAmiss.to_string(),
            Self::StoreUnavailable(error) => format!("{error}: the registration is tried again"),
            Self::StoreReplaced => format!(
                "the store does not know the token that was issued (it was set back to an older copy or founded anew, or has forgotten it), and {}: {}",
                told_of_use(&view.status()).map_or_else(
                    || "whether it was used cannot be known".to_owned(),
                    |used| format!("the token {used}"),
                ),
                set_revision(view, view.status().revision.unwrap_or(1).saturating_add(1)),
            ),
            Self::MayHaveBeenReissued => format!(
                "the store was restored from a snapshot in which the token had ended unused; whether it was issued \
                 again after that, and used, cannot be known, so it is not issued again by itself: {}",
                new_token(view),
            ),
            Self::Refused(refusal) => match refusal {
                Refusal::UnknownKey(key) => format!(
                    "the store does not know the operator's signing key {key}: restore the key Secret that \
                     belongs to the store"
                ),
                Refusal::KeyPurpose(key) => {
                    format!(
                        "the operator's signing key {key} is not meant for resources: restore the right one"
                    )
                }
                Refusal::TtlTooLong { limit_ms } => format!(
                    "spec.ttlSeconds is more than the {} seconds that the store allows: raise spec.revision \
                     and set less",
                    limit_ms / 1_000
                ),
                Refusal::NotFounded => "the store is not founded yet".to_owned(),
                Refusal::FieldTooLong => {
                    "a field is longer than the store keeps: raise spec.revision and \
                     shorten nodeName or admission"
                        .to_owned()
                }
                Refusal::NamespaceFull { of, limit } => namespace_full(*of, *limit),
                Refusal::IssuedInFuture | Refusal::Empty | Refusal::IdInUse => {
                    "the store refused the registration; it is tried again".to_owned()
                }
            },
        }
    }
}

fn namespace_full(of: NamespaceBound, limit: u32) -> String {
    match of {
        NamespaceBound::LiveTokens => format!(
            "the namespace has {limit} tokens that may still be used, the most that the store lets it have: delete JoinTokens \
             that are not needed, or have the limit raised (--max-live-tokens-per-namespace); it is tried again"
        ),
        NamespaceBound::Names => format!(
            "the store remembers {limit} JoinTokens of this namespace, the most that it may, deleted ones too: use names again \
             with a higher spec.revision, have names forgotten (jointoken token forget, --remember-issuances), or have the limit \
             raised (--max-names-per-namespace); it is tried again"
        ),
    }
}

fn status_ahead(view: &View<'_>) -> String {
    let status = view.status();
    let in_force = view.standing.in_force.as_ref();
    let revisions = [
        in_force.map_or(0, |in_force| in_force.revision),
        status.revision.unwrap_or(0),
        view.resource.spec.revision,
    ];
    let next = revisions.into_iter().max().unwrap_or(0).saturating_add(1);
    let known = match (
        in_force.map(|in_force| in_force.phase),
        told_of_use(&status),
    ) {
        (Some(Phase::Consumed), _) => "The token was used, as far as the store knows".to_owned(),
        (_, Some(used)) => format!("The token {used}, so it is ended"),
        _ => "Whether the token was used cannot be known, so it is ended".to_owned(),
    };
    format!(
        "the status was written at epoch {}, index {} of the store, which knows of nothing there: its data folder was \
         set back to an older copy, or somebody edited the status. {known}: to have a new one, delete this JoinToken and \
         create it again, with spec.revision {next}",
        status.store_epoch.unwrap_or(0),
        status.store_index.unwrap_or(0),
    )
}

/// The resource has a token, or is to have one.
fn is_token_wanted(view: &View<'_>) -> bool {
    matches!(view.standing.relation, Relation::New)
        || view
            .standing
            .in_force
            .as_ref()
            .is_some_and(InForce::is_live)
        || super::reissue_at_ms(view).is_some()
}

fn forbidding_pattern(view: &View<'_>) -> Option<NodePattern> {
    let namespace = view.resource.metadata.namespace.as_deref()?;
    let pattern = view.config.node_names.get(namespace)?;
    (!pattern.matches(&view.resource.node_name())).then(|| pattern.clone())
}

/// Issuing again what was issued and is not known any more would let in a second machine by one revision.
fn is_from_former_store(view: &View<'_>) -> bool {
    let status = view.status();
    status.token_id.is_some()
        && status
            .revision
            .is_some_and(|revision| revision >= view.resource.spec.revision)
        && view.standing.in_force.is_none()
}
