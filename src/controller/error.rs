//! What can go wrong in a reconciliation, by what was being done.

use super::api_error::told;
use crate::store::StoreError;
use crate::token::RandomError;

/// A reconciliation that has to be tried again later.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the resource could not be read: {}", told(.0))]
    ReadResource(#[source] kube::Error),
    #[error("the namespace could not be read: {}", told(.0))]
    ReadNamespace(#[source] kube::Error),
    #[error("the Secret {name} could not be read: {}", told(source))]
    ReadSecret { name: String, source: kube::Error },
    #[error("the Secret {name} could not be created: {}", told(source))]
    CreateSecret { name: String, source: kube::Error },
    #[error("the Secret {name} could not be deleted: {}", told(source))]
    DeleteSecret { name: String, source: kube::Error },
    #[error("the finalizer could not be changed: {}", told(.0))]
    WriteFinalizer(#[source] kube::Error),
    #[error("the status could not be written: {}", told(.0))]
    WriteStatus(#[source] kube::Error),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("the store is not founded yet")]
    NotFounded,
    #[error(transparent)]
    Random(#[from] RandomError),
    #[error("the resource changes faster than it can be looked at")]
    Unsettled,
    #[error("the resource makes no sense ({0}): mend it, or delete it")]
    Unreadable(String),
    /// Nothing more may be done: the process is about to end.
    #[error("the controller is stopping")]
    Stopping,
}

impl Error {
    /// The class of the error, for a metric's label.
    pub const fn category(&self) -> &'static str {
        match self {
            Self::ReadResource(_) => "read_resource",
            Self::ReadNamespace(_) => "read_namespace",
            Self::ReadSecret { .. } => "read_secret",
            Self::CreateSecret { .. } => "create_secret",
            Self::DeleteSecret { .. } => "delete_secret",
            Self::WriteFinalizer(_) => "write_finalizer",
            Self::WriteStatus(_) => "write_status",
            Self::Store(StoreError::NoLeader) => "store_no_leader",
            Self::Store(StoreError::Unknown) => "store_unknown",
            Self::Store(StoreError::Clock) => "store_clock",
            Self::Store(StoreError::KeysAmiss) => "store_keys_amiss",
            Self::Store(StoreError::Stopped) => "store_stopped",
            Self::NotFounded => "not_founded",
            Self::Random(_) => "random",
            Self::Unsettled => "unsettled",
            Self::Unreadable(_) => "unreadable",
            Self::Stopping => "stopping",
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Secret;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_error_does_not_quote_a_secret() {
        let answer =
            json!({"apiVersion": "v1", "kind": "Secret", "data": {"token": "jt1_not!base64"}});
        let source = serde_json::from_value::<Secret>(answer).unwrap_err();
        let error = Error::ReadSecret {
            name: "s".to_owned(),
            source: kube::Error::SerdeError(source),
        };
        let text = error.to_string();
        assert_eq!(
            text,
            "the Secret s could not be read: the API server's answer makes no sense"
        );
    }
}
