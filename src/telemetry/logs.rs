//! Logs: to standard error, as text for people or as JSON for collectors.

use std::any::Any;
use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{FilterFn, filter_fn};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::audit;
use super::standard_error::{self, StandardError};

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The filter is not of the form `level` or `target=level,…`.
    #[error(
        "the log filter {filter:?} is not valid ({source}): use a level such as info, or target=level pairs such as jointoken=debug,info"
    )]
    Filter {
        filter: String,
        source: tracing_subscriber::filter::ParseError,
    },
    /// There is nobody to write it.
    #[error("the thread that writes the log cannot be started: {0}")]
    Thread(#[from] io::Error),
    /// The process logs elsewhere already.
    #[error("logging was set up before: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Starts the log of the process. Call once, before anything that may have something to say.
///
/// # Errors
/// If the filter does not parse, there is no thread to be had, or the process has a log already.
pub fn init(format: Format, filter: &str) -> Result<(), LogsError> {
    let ansi = io::stderr().is_terminal();
    let filter = parse(filter)?;
    standard_error::open(format)?;
    // What cannot be written is the writer's business: told of by the library, it would end in a panic.
    let builder = fmt()
        .with_env_filter(filter)
        .with_writer(StandardError)
        .log_internal_errors(false);
    match format {
        Format::Text => builder
            .with_ansi(ansi)
            .finish()
            .with(harmless())
            .try_init()?,
        Format::Json => builder
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .finish()
            .with(harmless())
            .try_init()?,
    }
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(tracing::field::display);
        let what = reason(panic.payload());
        tracing::error!(place, "a fault of the program: {what}; please report it");
    }));
    Ok(())
}

/// Why it panicked, if that is a text of the program's own. One that was put together may hold anything: a token as well.
fn reason(payload: &(dyn Any + Send)) -> &'static str {
    let own = payload.downcast_ref::<&'static str>();
    own.copied()
        .unwrap_or("its reason may hold data and is not written down")
}

/// Puts a line behind those of the log; `false` if there is no log, and whoever has something to say says it himself.
pub fn say(line: &str) -> bool {
    standard_error::say(line)
}

/// Logs what the process ends with: it is written though too much wait to be written.
pub fn last_words(log: impl FnOnce()) {
    standard_error::last_words(log);
}

/// Dropped when the process ends: waits until all is written, in bounded time.
#[derive(Debug)]
pub struct UntilWritten;

impl Drop for UntilWritten {
    fn drop(&mut self) {
        standard_error::flush();
    }
}

/// What may never be logged, whatever the filter says: this module of kube's writes down answers of
/// the API server that it cannot read, and an answer may be a Secret. Its errors reach us all the same.
const NEVER: &str = "kube_client::client";

/// All but [`NEVER`]. A filter of its own: a directive beside the user's would be overruled by one
/// for a span, such as `[reconcile]=trace`.
fn harmless() -> FilterFn {
    filter_fn(|metadata| metadata.target() != NEVER)
}

/// The filter as it is written, and the audit whatever it says: a quiet log must not lose the audit
/// unless somebody names it.
fn parse(filter: &str) -> Result<EnvFilter, LogsError> {
    let target = |directive: &str| {
        let end = directive.find(['=', '[']).unwrap_or(directive.len());
        directive[..end].trim().to_owned()
    };
    let names_audit = filter.split(',').any(|one| target(one) == audit::TARGET);
    let directives = if names_audit {
        filter.to_owned()
    } else {
        format!("{filter},{}=info", audit::TARGET)
    };
    EnvFilter::try_new(&directives).map_err(|source| LogsError::Filter {
        filter: filter.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::Context;

    use super::*;

    #[test]
    fn the_audit_stays_unless_it_is_named() {
        for quiet in ["warn", "off", "auditd=off", "my::audit=off"] {
            let filter = parse(quiet).unwrap().to_string();
            assert!(
                filter.contains(",audit=info") || filter.starts_with("audit=info"),
                "{filter}"
            );
        }
        assert!(
            !parse("warn,audit=off")
                .unwrap()
                .to_string()
                .contains("audit=info")
        );
    }

    #[test]
    fn what_a_panic_holds_is_not_written_down() {
        let token = "jt1_secret".to_owned();
        let hidden = reason(&token);
        assert!(!hidden.contains("jt1_"), "{hidden}");
        assert_eq!(reason(&"a text of its own"), "a text of its own");
    }

    /// kube warns of an answer that it cannot read by writing it down, the token in a Secret included.
    #[test]
    fn answers_of_the_api_server_are_not_written_down() {
        let filters = [
            "trace",
            "kube_client=trace",
            "kube_client::client=trace",
            "[reconcile]=trace",
            "kube_client::client[reconcile]=trace",
        ];
        for filter in filters {
            let written = Arc::new(AtomicUsize::new(0));
            let counter = written.clone();
            let subscriber = tracing_subscriber::registry()
                .with(parse(filter).unwrap())
                .with(harmless())
                .with(Count(counter));
            tracing::subscriber::with_default(subscriber, || {
                let _span = tracing::error_span!("reconcile").entered();
                tracing::warn!(target: "kube_client::client", "{}", "a Secret");
                tracing::error!(target: "kube_client::client", "{}", "a Secret");
            });
            assert_eq!(written.load(Ordering::SeqCst), 0, "{filter}");
        }
    }

    struct Count(Arc<AtomicUsize>);

    impl<S: tracing::Subscriber> Layer<S> for Count {
        fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_filter_that_makes_no_sense_is_refused_with_a_way_out() {
        let error = parse("jointoken=loud").unwrap_err().to_string();
        assert!(error.contains("\"jointoken=loud\""), "{error}");
        assert!(error.contains("info"), "{error}");
    }
}
