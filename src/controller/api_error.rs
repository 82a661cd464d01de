//! What the API server said, or why it said nothing, in words for whoever runs the operator.
//!
//! kube writes down whole answers as Rust does, and an answer that does not parse may be a Secret: neither is shown.

use std::error::Error as StdError;
use std::io;

use kube::core::Status;
use kube::runtime::watcher;

use crate::net::{io_words, tls_words};

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
            causes(error)
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

fn refused(status: &Status) -> String {
    let message = status.message.trim().replace('\n', " ");
    let reason = match (&*status.reason, status.code) {
        // kube's own word for an answer that is no Status, such as that of a path that is not served.
        ("" | "Failed to parse error data", code) => format!("code {code}"),
        (reason, 0) => reason.to_owned(),
        (reason, code) => format!("{code} {reason}"),
    };
    match (&*message, status.code) {
        (_, 401) => format!("the API server does not accept the credentials ({reason})"),
        ("", _) => format!("the API server refused ({reason})"),
        _ => format!("{message} ({reason})"),
    }
}

fn unreachable(error: &(dyn StdError + 'static)) -> String {
    format!("the API server does not answer: {}", causes(error))
}

/// What is behind an error, each cause once, without the names that libraries give to their layers.
fn causes(error: &(dyn StdError + 'static)) -> String {
    let mut said: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(words) = connection_words(error) {
            said.push(words);
            break;
        }
        next = error.source();
        let text = error.to_string().replace('\n', " ");
        let is_layer = text.starts_with("client error (") || text.starts_with("ServiceError");
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
                "the API server does not accept the credentials (401 Unauthorized)",
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
    fn who_is_away_may_be_back() {
        assert!(is_away(&status("overloaded", "", 503)));
        assert!(is_away(&kube::Error::Service("refused".into())));
        assert!(!is_away(&status("", "Forbidden", 403)));
        assert!(!is_away(&status("", "NotFound", 404)));
    }
}
