//! What the API server said, or why it said nothing, in words for whoever runs the operator.
//!
//! kube writes down whole answers as Rust does, and an answer that does not parse may be a Secret: neither is shown.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use kube::client::AuthError;
use kube::core::Status;
use kube::runtime::watcher;

use super::through_proxy::ThroughProxy;
use crate::net::{file_words, io_words, tls_words};

/// Whether the API server was not there, or not able to answer: the same request may succeed later.
pub fn is_away(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 429 || status.code >= 500,
        kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_) => true,
        _ => false,
    }
}

/// What went wrong, in one line without a next step, which depends on what was asked.
pub fn told(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => refused(status),
        kube::Error::SerdeError(_) => "the API server's answer makes no sense".to_owned(),
        kube::Error::HyperError(error) => unreachable(error),
        kube::Error::Service(error) => unreachable(&**error),
        kube::Error::ReadEvents(error) => {
            format!("the API server broke off its answer: {}", io_words(error))
        },
        kube::Error::Auth(error) => format!(
            "the credentials for the API server cannot be had: {}",
            told_of_credentials(error)
        ),
        kube::Error::RustlsTls(error) => {
            format!("the API server cannot be asked over TLS: {}", causes(error))
        }
        kube::Error::ProxyProtocolUnsupported { .. } => {
            "the proxy before the API server is not spoken to in a way that is known: give http://, https:// or socks5:// as proxy-url in the kubeconfig, or as HTTPS_PROXY".to_owned()
        }
        kube::Error::InferConfig(error) => causes(error),
        kube::Error::InferKubeconfig(error) => causes(error),
        error => causes(error),
    }
}

/// What went wrong with a watch.
pub(super) fn told_of_watch(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => told(error),
        watcher::Error::WatchError(status) => refused(status),
        error => causes(error),
    }
}

/// Why there are no credentials. What a program printed that should give some is not shown: they may be in it.
pub fn told_of_credentials(error: &AuthError) -> String {
    match error {
        AuthError::AuthExecStart(error) => format!(
            "the credential plug-in cannot be started, {}: install it, or put its folder into PATH",
            file_words(error)
        ),
        AuthError::AuthExecRun { out, .. } => format!(
            "the credential plug-in failed ({}): run it by hand to see why, you may have to log in again",
            out.status
        ),
        AuthError::AuthExecParse(_) | AuthError::ExecPluginFailed => {
            "what the credential plug-in prints is no credential: run it by hand to see what it says".to_owned()
        }
        AuthError::MissingCommand => {
            "the kubeconfig does not say which command gives them: add it to `exec`".to_owned()
        }
        AuthError::ReadTokenFile(error, path) => format!(
            "the token file {} cannot be read: {}",
            path.display(),
            file_words(error)
        ),
        AuthError::InvalidBearerToken(_) | AuthError::InvalidBasicAuth(_) => {
            "they have characters that no credentials have: get the kubeconfig anew".to_owned()
        }
        AuthError::UnrefreshableTokenResponse | AuthError::MalformedTokenExpirationDate(_) => {
            "they have expired or do not say when they will, and cannot be renewed: log in again".to_owned()
        }
        error => format!("log in again, or use another context ({})", causes(error)),
    }
}

fn refused(status: &Status) -> String {
    let message = status.message.trim().replace('\n', " ");
    let reason = match (&*status.reason, status.code) {
        // kube's own word for an answer that is no Status, such as that of a path that is not served.
        ("" | "Failed to parse error data", code) => format!("code {code}"),
        (reason, 0) => reason.to_owned(),
        (reason, code) => format!("{code} {reason}"),
    };
    if let Some(namespace) = missing_namespace(status) {
        return format!(
            "namespace {namespace} does not exist: create it with `kubectl create namespace {namespace}`, or install with Helm's --create-namespace ({reason})"
        );
    }
    match (&*message, status.code) {
        (_, 401) => format!(
            "the API server does not accept the credentials, which may have expired or be another cluster's: log in again, or renew those of the kubeconfig's current context ({reason})"
        ),
        (message, 403) if let Some(right) = MissingRight::of(message) => {
            format!("{right} ({reason})")
        }
        ("", _) => format!("the API server refused ({reason})"),
        _ => format!("{message} ({reason})"),
    }
}

/// The namespace in which something was to be created, and which is not there.
fn missing_namespace(status: &Status) -> Option<&str> {
    let details = status.details.as_ref()?;
    let is_it = status.code == 404 && details.kind == "namespaces" && !details.name.is_empty();
    is_it.then_some(&*details.name)
}

/// What the API server's own authorization says is missing. Its words have been the same in all releases; others are shown as they are.
struct MissingRight<'a> {
    user: &'a str,
    verb: &'a str,
    resource: String,
    /// `None`: of the cluster.
    namespace: Option<&'a str>,
}

impl<'a> MissingRight<'a> {
    fn of(message: &'a str) -> Option<Self> {
        let (_, rest) = message.split_once("is forbidden: User \"")?;
        let (user, rest) = rest.split_once("\" cannot ")?;
        let (verb, rest) = rest.split_once(" resource \"")?;
        let (resource, rest) = rest.split_once("\" in API group \"")?;
        let (group, rest) = rest.split_once('"')?;
        let namespace = match rest.strip_prefix(" in the namespace \"") {
            Some(rest) => Some(rest.split_once('"')?.0),
            None => rest.starts_with(" at the cluster scope").then_some(None)?,
        };
        let resource = match (group, resource.split_once('/')) {
            ("", _) => resource.to_owned(),
            (group, None) => format!("{resource}.{group}"),
            (group, Some((resource, part))) => format!("{resource}.{group}/{part}"),
        };
        Some(Self {
            user,
            verb,
            resource,
            namespace,
        })
    }
}

impl fmt::Display for MissingRight<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            user,
            verb,
            resource,
            namespace,
        } = self;
        if *user == "system:anonymous" {
            return f.write_str(
                "the API server was given no credentials: add a user to the kubeconfig's current context, or log in",
            );
        }
        write!(f, "user {user} may not {verb} {resource}")?;
        match namespace {
            Some(namespace) => write!(
                f,
                " in namespace {namespace}: a RoleBinding there has to give that right"
            )?,
            None => {
                f.write_str(" in the whole cluster: a ClusterRoleBinding has to give that right")?
            }
        }
        match user.starts_with("system:serviceaccount:") {
            true => f.write_str("; the operator's are in deploy/rbac.yaml and in the chart"),
            false => Ok(()),
        }
    }
}

fn unreachable(error: &(dyn StdError + 'static)) -> String {
    match error.downcast_ref::<ThroughProxy>() {
        Some(error) => error.to_string(),
        None => format!("the API server does not answer: {}", causes(error)),
    }
}

/// How texts begin that say nothing but which layer of which library it was.
const LAYERS: [&str; 6] = [
    "client error (",
    "ServiceError",
    "tcp connect error",
    "dns error",
    "tunnel error: failed to create underlying connection",
    "SOCKS error: failed to create underlying connection",
];

/// What is behind an error, each cause once, without the names that libraries give to their layers.
pub(super) fn causes(error: &(dyn StdError + 'static)) -> String {
    let mut said: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(words) = connection_words(error) {
            said.push(words);
            break;
        }
        next = error.source();
        let text = error.to_string().replace('\n', " ");
        let is_layer = LAYERS.iter().any(|layer| text.starts_with(layer));
        // Some repeat what is behind them.
        let repeats = next.is_some_and(|behind| text.contains(&behind.to_string()));
        if (!is_layer && !repeats) || (next.is_none() && said.is_empty()) {
            said.push(text);
        }
    }
    said.join(": ")
}

fn connection_words(error: &(dyn StdError + 'static)) -> Option<String> {
    let tls = error.downcast_ref().map(tls_words);
    tls.or_else(|| error.downcast_ref::<io::Error>().map(io_words))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn status(message: &str, reason: &str, code: u16) -> kube::Error {
        kube::Error::Api(Box::new(Status::failure(message, reason).with_code(code)))
    }

    #[test]
    fn an_answer_of_the_api_server_is_told_without_rusts_own_form() {
        for (error, says) in [
            (
                status("jointokens is forbidden", "Forbidden", 403),
                "jointokens is forbidden (403 Forbidden)",
            ),
            (
                status("404 page not found", "", 404),
                "404 page not found (code 404)",
            ),
            (
                status("404 page not found", "Failed to parse error data", 404),
                "404 page not found (code 404)",
            ),
            (
                status("Unauthorized", "Unauthorized", 401),
                "the API server does not accept the credentials, which may have expired or be another cluster's: log in again, or renew those of the kubeconfig's current context (401 Unauthorized)",
            ),
            (
                kube::Error::Service(Box::new(io::Error::other("connection refused"))),
                "the API server does not answer: connection refused",
            ),
        ] {
            assert_eq!(told(&error), says);
        }
        let failed = watcher::Error::InitialListFailed(status("no", "Forbidden", 403));
        assert_eq!(told_of_watch(&failed), "no (403 Forbidden)");
    }

    #[test]
    fn a_missing_right_is_told_with_what_gives_it() {
        let forbidden = |user: &str, what: &str, place: &str| {
            let message = format!("x is forbidden: User \"{user}\" cannot {what} {place}");
            told(&status(&message, "Forbidden", 403))
        };
        let tokens = "resource \"jointokens/status\" in API group \"jointoken.io\"";
        assert_eq!(
            forbidden(
                "alice",
                &format!("patch {tokens}"),
                "in the namespace \"edge\""
            ),
            "user alice may not patch jointokens.jointoken.io/status in namespace edge: a RoleBinding there has to give that right (403 Forbidden)"
        );
        let secrets = "resource \"secrets\" in API group \"\"";
        let said = forbidden(
            "system:serviceaccount:a:b",
            &format!("get {secrets}"),
            "at the cluster scope: RBAC: role not found",
        );
        let parts = [
            "may not get secrets in the whole cluster: a ClusterRoleBinding",
            "deploy/rbac.yaml",
        ];
        for says in parts {
            assert!(said.contains(says), "{says}: {said}");
        }
        let said = forbidden(
            "system:anonymous",
            &format!("get {secrets}"),
            "at the cluster scope",
        );
        assert!(
            said.starts_with("the API server was given no credentials"),
            "{said}"
        );
        // A policy's own words stay.
        let said = forbidden("alice", "do this", "");
        assert!(said.contains("cannot do this"), "{said}");
    }

    #[test]
    fn a_namespace_that_is_missing_comes_with_the_command_that_makes_it() {
        let answer = serde_json::json!({
            "code": 404, "reason": "NotFound", "message": "namespaces \"a\" not found",
            "details": {"kind": "namespaces", "name": "a"},
        });
        let error = kube::Error::Api(serde_json::from_value(answer).unwrap());
        let said = told(&error);
        for says in [
            "namespace a does not exist",
            "kubectl create namespace a",
            "--create-namespace",
        ] {
            assert!(said.contains(says), "{says}: {said}");
        }
    }

    #[test]
    fn who_is_away_may_be_back() {
        assert!(is_away(&status("overloaded", "", 503)));
        assert!(is_away(&kube::Error::Service("refused".into())));
        assert!(!is_away(&status("", "Forbidden", 403)));
        assert!(!is_away(&status("", "NotFound", 404)));
    }
}
