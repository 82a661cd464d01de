//! What the operator says about itself: logs, audit lines, metrics, health.
//!
//! This room must not know business rules: it counts and writes down what others decided. No token,
//! key or secret is handed to it; should one be in a text of somebody else's, such as an error, it is taken out. Token ids are
//! public.

pub mod audit;
mod health;
pub mod logs;
pub mod metrics;
mod probes;
mod redact;
mod server;
mod standard_error;

pub use health::Readiness;
pub use probes::serve_probes;
pub use redact::redact;
pub use server::serve_metrics;
