//! What an effect's failure means for the resource that it was for.

use kube::core::Status;

use super::effect::Effect;
use super::error::Error;
use super::namespaces::is_because_namespace_ends;
use super::plan::{secret_refused, unavailable};
use super::view::View;

/// The Secret was refused since its namespace is being deleted.
pub(super) fn is_refused_with_namespace(error: &Error) -> bool {
    matches!(error, Error::CreateSecret { source, .. } if is_because_namespace_ends(source))
}

/// What the resource says of an effect that failed.
pub(super) fn told_of(view: &View<'_>, error: &Error) -> Vec<Effect> {
    match error {
        Error::Store(error) => unavailable(view, *error),
        Error::CreateSecret {
            source: kube::Error::Api(status),
            ..
        } if is_refusal(status.code) => secret_refused(view, why(status)),
        _ => Vec::new(),
    }
}

/// The API server's own words, which name the quota or the policy.
fn why(status: &Status) -> &str {
    match status.message.as_str() {
        "" => &status.reason,
        message => message,
    }
}

/// The API server understood and will not; the next time will be no different by itself.
const fn is_refusal(code: u16) -> bool {
    matches!(code, 400 | 403 | 413 | 422)
}
