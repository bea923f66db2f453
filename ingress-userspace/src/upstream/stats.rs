//! What a worker did towards backends: written by its thread alone, read by the metrics endpoint.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number with one writer; readers may be on any thread.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    // One writer: a plain load and store, without the cost of an atomic read-modify-write.
    pub(super) fn add(&self, n: u64) {
        self.0.store(self.get().wrapping_add(n), Ordering::Relaxed);
    }

    pub(super) fn sub(&self, n: u64) {
        self.0.store(self.get().wrapping_sub(n), Ordering::Relaxed);
    }
}

/// Counters and gauges of one worker's upstream side.
#[derive(Debug, Default)]
pub struct UpstreamStats {
    /// Connections opened.
    pub connects: Counter,
    /// Connects that the endpoint refused.
    pub connect_refused: Counter,
    /// Connects that took longer than the bound.
    pub connect_timeout: Counter,
    /// Connects that failed otherwise.
    pub connect_failed: Counter,
    /// Requests sent on a connection from the pool.
    pub reused: Counter,
    /// Idle connections closed because the backend closed them, or sent bytes that nobody asked for.
    pub idle_broken: Counter,
    /// Idle connections closed because they were idle for too long, or their endpoint is gone.
    pub idle_expired: Counter,
    /// Connections closed after a response because the pool of their endpoint was full.
    pub idle_overflow: Counter,
    /// Reused connections that turned out closed after a request was sent.
    pub stale: Counter,
    /// Endpoints ejected.
    pub ejections: Counter,
    /// Retries granted.
    pub retries: Counter,
    /// Retries refused because the budget was used up.
    pub retries_refused: Counter,
    /// Requests refused because the backend had no endpoint.
    pub no_endpoints: Counter,
    /// Requests refused because every endpoint was at its limit or ejected.
    pub unavailable: Counter,
    /// Gauge: idle connections in the pools.
    pub idle: Counter,
    /// Gauge: requests in flight, connecting included.
    pub active: Counter,
}
