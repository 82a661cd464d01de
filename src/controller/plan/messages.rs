//! What conditions and events say in words: what is, and what to do.

use kube::ResourceExt;

use crate::api::{JoinTokenStatus, MAX_INTEGER};
use crate::lifecycle::record::Bar;
use crate::lifecycle::{Phase, Reason};

use super::super::former::is_import;
use super::super::standing::InForce;
use super::super::view::View;
use super::reissue_at_ms;
use super::status::time;

/// Where the token in force is in its life, and what can be done about it.
pub(super) fn state(view: &View<'_>, in_force: &InForce) -> String {
    match in_force.phase {
        Phase::Issued => format!(
            "the token is in the Secret {} and may be used{}",
            view.resource.secret_name(),
            in_force
                .record
                .as_ref()
                .map(|record| format!(" until {}", when_seconds(record.expires_at_ms)))
                .unwrap_or_default()
        ),
        Phase::InFlight => {
            let claim = in_force
                .record
                .as_ref()
                .and_then(|record| record.claim.as_ref());
            let until = claim
                .map(|claim| format!("; its claim lapses at {}", when_seconds(claim.deadline_ms)))
                .unwrap_or_default();
            format!("a machine has claimed the token and its certificate is being made{until}")
        }
        Phase::Consumed => consumed(in_force),
        Phase::Expired => format!(
            "nobody used the token in time{}: {}",
            ended(in_force),
            what_next(view)
        ),
        Phase::Aborted => {
            let status = view.status();
            let is_of = status.token_id.as_deref() == Some(&*in_force.token_id.to_string());
            let told = (is_of || is_import(view, in_force)).then(|| told_of_use(&status));
            format!("{}: {}", end(in_force, told.flatten()), what_next(view))
        }
    }
}

/// How the token before the one in force ended.
pub(super) fn former_end(former: &InForce) -> String {
    let what = match former.phase {
        Phase::Issued | Phase::InFlight => "the token may be used",
        Phase::Consumed => "a machine was admitted",
        Phase::Expired => "nobody used the token in time",
        Phase::Aborted => return format!("revision {}: {}", former.revision, end(former, None)),
    };
    format!("revision {}: {what}{}", former.revision, ended(former))
}

/// How a token was aborted; `told` tells of its use by the former store.
fn end(in_force: &InForce, told: Option<String>) -> String {
    let reason = in_force.aborted.unwrap_or(Reason::Operator);
    let ended = ended(in_force);
    match (reason, told) {
        (Reason::Restored, Some(used)) => format!(
            "the token {used}, and the store was restored, set back to an older copy or founded anew since, and ended it{ended}"
        ),
        (Reason::Restored, None) => format!(
            "{}{ended}; whether it had been used cannot be known",
            aborted(reason)
        ),
        (reason, _) => format!("{}{ended}", aborted(reason)),
    }
}

/// What the status tells of the token's use, which the store has forgotten.
pub(super) fn told_of_use(status: &JoinTokenStatus) -> Option<String> {
    let at = status.consumed_at.as_ref()?;
    let joiner = status.joiner.as_ref();
    let key = joiner.and_then(|joiner| joiner.public_key_sha256.as_ref());
    let by = key
        .map(|key| format!(" by the key {key}"))
        .unwrap_or_default();
    Some(format!("was used at {}{by}, as the status tells", at.0))
}

fn consumed(in_force: &InForce) -> String {
    let admission = in_force
        .record
        .as_ref()
        .and_then(|record| record.admission.as_ref());
    let from = admission
        .filter(|_| !in_force.namespace_differs)
        .and_then(|admission| admission.address)
        .map(|address| format!(" from {address}"))
        .unwrap_or_default();
    let barred = match admission.and_then(|admission| admission.barred) {
        Some(Bar { reason, at_ms }) => format!(
            "; it was barred at {} ({}) and gets no further certificate",
            when_seconds(at_ms),
            reason.as_str()
        ),
        None => String::new(),
    };
    format!("a machine was admitted{}{from}{barred}", ended(in_force))
}

/// Of an adopted issuance: what had happened under this name before, and what to do.
pub(super) fn adopted(view: &View<'_>, in_force: &InForce) -> String {
    let revision = in_force.revision;
    match in_force.phase {
        Phase::Issued | Phase::InFlight => format!(
            "revision {revision} was issued before this resource was created; its token is still usable and \
             was taken over"
        ),
        Phase::Consumed => format!(
            "revision {revision} was used{} before this resource was created, so no token is issued for it: {}",
            ended(in_force),
            new_token(view)
        ),
        Phase::Aborted if in_force.aborted == Some(Reason::Restored) => format!(
            "revision {revision} was issued before this resource was created, by a store that was restored, set back \
             or founded anew since, and whether its token was used cannot be known: {}",
            new_token(view)
        ),
        Phase::Expired | Phase::Aborted => format!(
            "the token of revision {revision} ended unused{} before this resource was created: {}",
            ended(in_force),
            what_next(view)
        ),
    }
}

/// The spec asks for less than is in force.
pub(super) fn too_low(view: &View<'_>, in_force: &InForce) -> String {
    format!(
        "spec.revision {} is lower than {}, which is in force, and is ignored ({}): set it to {} to keep what \
         is in force, or {}",
        view.resource.spec.revision,
        in_force.revision,
        state(view, in_force),
        in_force.revision,
        new_token(view)
    )
}

/// The event of a deletion.
pub(super) fn aborted_by_deletion() -> String {
    aborted(Reason::Deleted).to_owned()
}

const fn aborted(reason: Reason) -> &'static str {
    match reason {
        Reason::Revoked => "the token was revoked",
        Reason::Deleted => "the token was ended unused because its resource was deleted",
        Reason::Superseded => "a later token took the place of this one",
        Reason::Attempts => {
            "the token was ended because more keys claimed it than admission.maxClaims allows"
        }
        Reason::Restored => {
            "the store was restored, set back to an older copy or founded anew after the token was issued, and ended it"
        }
        Reason::Operator => "the token was ended by an operator by hand",
    }
}

fn ended(in_force: &InForce) -> String {
    in_force
        .ended_at_ms
        .map(|at_ms| format!(" at {}", when_seconds(at_ms)))
        .unwrap_or_default()
}

fn what_next(view: &View<'_>) -> String {
    match reissue_at_ms(view) {
        Some(at_ms) => format!("it will be issued again at {}", when_seconds(at_ms)),
        None => new_token(view),
    }
}

/// How to have a new token.
pub(super) fn new_token(view: &View<'_>) -> String {
    let in_force = view
        .standing
        .in_force
        .as_ref()
        .map_or(0, |in_force| in_force.revision);
    set_revision(view, in_force.max(view.resource.spec.revision) + 1)
}

/// How to set the revision by hand.
pub(super) fn set_revision(view: &View<'_>, revision: u64) -> String {
    if revision > MAX_INTEGER {
        return "no revision is left for this name: create a JoinToken of another name".to_owned();
    }
    format!(
        "set spec.revision to {revision} for a new token (kubectl -n {namespace} patch jointoken {name} \
         --type=merge -p '{{\"spec\":{{\"revision\":{revision}}}}}')",
        namespace = view.resource.namespace().unwrap_or_default(),
        name = view.resource.name_any(),
    )
}

/// RFC 3339, to the second.
pub(super) fn when_seconds(ms: u64) -> String {
    time(ms).map_or_else(|| format!("{ms} ms"), |time| time.0.to_string())
}
