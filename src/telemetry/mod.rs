//! What the operator says about itself: logs, audit lines, metrics, health.
//!
//! This room must not know business rules: it counts and writes down what others decided. No token,
//! key or secret is handed to it, so none can leave by it; token ids are public.

pub mod audit;
mod health;
pub mod logs;
pub mod metrics;
mod probes;
mod server;
mod standard_error;

pub use health::Readiness;
pub use probes::serve_probes;
pub use server::serve_metrics;
