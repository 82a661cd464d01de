//! What an operator makes of namespaces whose JoinTokens it cannot list: it goes on, waits, or ends.

use std::fmt;
use std::time::Duration;

use super::exit::{Exit, Failure};
use super::patience::Patience;
use super::statuses::Statuses;
use crate::controller::told;
use crate::founding::FoundingObject;
use crate::telemetry::metrics::ControllerMetrics;

/// How often it is looked whether JoinTokens can be listed everywhere.
const LOOK: Duration = Duration::from_secs(60);

/// A watched namespace, or the cluster, whose JoinTokens cannot be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// `None`: of all namespaces.
    namespace: Option<String>,
    why: Why,
    /// With what to do, unless [`Why`] says it.
    told: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// The API server does not answer, or cannot now.
    Away,
    /// The CustomResourceDefinition is missing.
    NotDefined,
    /// A right is missing, or the credentials are not accepted.
    Forbidden,
    Other,
}

/// What is done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The watches are tried again by themselves: only they wait.
    GoOn,
    /// Nothing can be done before this is mended, which may be soon.
    Wait(Unreadable),
    /// Somebody has to mend this first.
    End(Unreadable),
}

impl Unreadable {
    pub fn new(namespace: Option<&str>, error: &kube::Error) -> Self {
        let why = match error {
            error if crate::controller::is_away(error) => Why::Away,
            kube::Error::Api(status) if status.code == 404 => Why::NotDefined,
            kube::Error::Api(status) if matches!(status.code, 401 | 403) => Why::Forbidden,
            _ => Why::Other,
        };
        Self {
            namespace: namespace.map(str::to_owned),
            why,
            told: told(error),
        }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinTokens cannot be listed")?;
        if let Some(namespace) = &self.namespace {
            write!(f, " in namespace {namespace}")?;
        }
        let hint = match self.why {
            Why::Forbidden => return write!(f, ": {}", self.told),
            Why::Away => "is the Kubernetes API running, and is this the right kubeconfig?",
            Why::NotDefined => {
                "install their definition first (jointoken crd | kubectl apply --server-side -f -)"
            }
            Why::Other => "is that the Kubernetes API at all? See `kubectl get jointokens`",
        };
        write!(f, ": {hint} ({})", self.told)
    }
}

/// Decides for an operator that starts. `places`: in how many JoinTokens are listed. `is_founded`: there is a store, so
/// that nobody has to know every status to found one above them.
pub fn judge(unreadable: &[Unreadable], places: usize, is_founded: bool) -> Verdict {
    let Some(first) = unreadable.first() else {
        return Verdict::GoOn;
    };
    if let Some(away) = unreadable.iter().find(|one| one.why == Why::Away) {
        return Verdict::Wait(away.clone());
    }
    if is_founded {
        return Verdict::GoOn;
    }
    let forbidden = unreadable.iter().filter(|one| one.why == Why::Forbidden);
    match forbidden.count() == places {
        true => Verdict::End(first.clone()),
        false => Verdict::Wait(first.clone()),
    }
}

/// Whether it is so because the API server does not answer.
pub fn is_away(unreadable: &[Unreadable]) -> bool {
    unreadable.iter().any(|one| one.why == Why::Away)
}

/// Waits until as many JoinTokens can be listed as a start takes.
///
/// # Errors
/// One line: somebody has to mend something first.
pub async fn wait_until(
    statuses: &Statuses,
    object: &dyn FoundingObject,
    patience: &mut Patience,
) -> Result<(), Failure> {
    loop {
        let unreadable = statuses.unreadable().await;
        let is_founded = match unreadable.is_empty() {
            true => true,
            false => matches!(object.load().await, Ok(Some(_))),
        };
        match judge(&unreadable, statuses.count(), is_founded) {
            Verdict::GoOn => return Ok(()),
            Verdict::Wait(one) => patience.wait(&one).await,
            Verdict::End(one) => return Err(Failure::new(Exit::Failed, one)),
        }
    }
}

/// Says where JoinTokens cannot be listed, whenever that changes, and shows how many places these are.
pub async fn watch_over(
    statuses: Statuses,
    metrics: ControllerMetrics,
    stop: impl Future<Output = ()>,
) {
    let watched = async {
        let mut before = Vec::new();
        loop {
            let unreadable = statuses.unreadable().await;
            metrics.watched(statuses.count(), unreadable.len());
            for one in unreadable.iter().filter(|one| !before.contains(*one)) {
                tracing::warn!("{one}; it is tried again, nothing is done there meanwhile");
            }
            if unreadable.is_empty() && !before.is_empty() {
                tracing::info!("JoinTokens can be listed everywhere again");
            }
            before = unreadable;
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = watched => (),
        () = stop => (),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn refused(namespace: &str, code: u16) -> Unreadable {
        let status = Status::failure("no", "").with_code(code);
        Unreadable::new(Some(namespace), &kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn one_namespace_never_keeps_a_founded_store_from_its_start() {
        for code in [401, 403, 404] {
            let refused = [refused("a", code), refused("b", code)];
            assert_eq!(judge(&refused, 2, true), Verdict::GoOn, "{code}");
        }
        assert_eq!(judge(&[], 2, false), Verdict::GoOn);
    }

    #[test]
    fn who_founds_waits_until_every_status_can_be_read() {
        let (missing, forbidden) = (refused("a", 404), refused("b", 403));
        let wait = Verdict::Wait(missing.clone());
        assert_eq!(judge(std::slice::from_ref(&missing), 1, false), wait);
        assert_eq!(judge(&[missing, forbidden.clone()], 2, false), wait);
        let one_of_two = judge(std::slice::from_ref(&forbidden), 2, false);
        assert_eq!(one_of_two, Verdict::Wait(forbidden.clone()));
        let all = judge(std::slice::from_ref(&forbidden), 1, false);
        assert_eq!(all, Verdict::End(forbidden));
    }

    #[test]
    fn an_api_server_that_is_away_is_waited_for() {
        let away = refused("b", 503);
        for is_founded in [true, false] {
            let refused = [refused("a", 403), away.clone()];
            assert_eq!(judge(&refused, 2, is_founded), Verdict::Wait(away.clone()));
        }
        let said = away.to_string();
        assert!(said.contains("in namespace b"), "{said}");
        assert!(said.contains("is the Kubernetes API running"), "{said}");
    }
}
