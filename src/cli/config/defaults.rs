//! What a setting is if nobody says it.

use std::net::SocketAddr;

use crate::cli::duration::HumanDuration;

/// The default of `listen`.
pub fn default_listen() -> SocketAddr {
    SocketAddr::from(([0_u16; 8], 8443))
}

/// The default of `metricsListen`.
pub fn default_metrics_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9090))
}

/// The default of `probeListen`.
pub fn default_probe_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8081))
}

/// The default of `certificateLifetime`: a week.
pub const fn default_certificate_lifetime() -> HumanDuration {
    HumanDuration::from_days(7)
}

/// The default of `nodedb.maxTtl`: an hour.
pub const fn default_nodedb_max_ttl() -> HumanDuration {
    HumanDuration::from_seconds(3600)
}

/// The default of `maxTokenTtl`: a week.
pub const fn default_max_token_ttl() -> HumanDuration {
    HumanDuration::from_days(7)
}
