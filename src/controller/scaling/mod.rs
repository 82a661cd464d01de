//! The group of replicas follows the number of replicas of its StatefulSet.

mod leaving;
mod places;
mod run;
mod stateful_set;

pub use leaving::Leaving;
pub use places::Places;
pub use run::Scaling;
