//! What the class of a request allows on connections to its backend.

use std::time::Duration;

use ingress_core::settings;
use ingress_core::upstream::outlier::OutlierPolicy;

/// The bounds of one class. Classes that share an endpoint share its connections; each request keeps to its own bounds.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub(super) connect_timeout: Duration,
    pub(super) requests_per_endpoint: usize,
    pub(super) max_ejected_percent: u8,
    pub(super) policy: OutlierPolicy,
    /// How many idle connections to an endpoint are kept.
    pub(super) idle_connections: usize,
    /// For how long.
    pub(super) idle_timeout: Duration,
}

impl Bounds {
    /// As the settings of a class have them.
    pub fn new(upstream: &settings::Upstream, connect_timeout: Duration) -> Self {
        Self {
            connect_timeout,
            requests_per_endpoint: upstream.requests_per_endpoint,
            max_ejected_percent: upstream.outlier_max_percent,
            policy: OutlierPolicy {
                failures: upstream.outlier_failures,
                ejection: upstream.outlier_ejection,
            },
            idle_connections: upstream.idle_per_endpoint,
            idle_timeout: upstream.idle_timeout,
        }
    }
}
