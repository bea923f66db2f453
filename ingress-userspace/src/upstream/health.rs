//! What one worker knows of one endpoint's health: its queue, its latency, its failures.

use std::cell::Cell;
use std::time::{Duration, Instant};

use ingress_core::upstream::balance::{Candidate, PeakEwma};
use ingress_core::upstream::outlier::{Outlier, OutlierPolicy};

/// The health of one endpoint.
#[derive(Debug, Default)]
pub(super) struct Health {
    outstanding: Cell<u32>,
    latency: Cell<Option<PeakEwma>>,
    outlier: Cell<Outlier>,
}

impl Health {
    /// What the balancer compares.
    pub(super) fn candidate(&self, limit: usize, tried: bool, now: Instant) -> Candidate {
        let outstanding = self.outstanding.get();
        Candidate {
            outstanding,
            latency: self.latency.get().map(|latency| latency.read(now)),
            ejected: self.outlier.get().is_ejected(now),
            busy: outstanding as usize >= limit,
            tried,
        }
    }

    pub(super) fn outstanding(&self) -> u32 {
        self.outstanding.get()
    }

    pub(super) fn is_ejected(&self, now: Instant) -> bool {
        self.outlier.get().is_ejected(now)
    }

    pub(super) fn begin(&self) {
        self.outstanding.set(self.outstanding.get().saturating_add(1));
    }

    pub(super) fn end(&self) {
        self.outstanding.set(self.outstanding.get().saturating_sub(1));
    }

    /// A response: its latency counts, and earlier failures are forgotten.
    pub(super) fn success(&self, first_byte: Duration, now: Instant) {
        let latency = match self.latency.get() {
            None => PeakEwma::new(first_byte, now),
            Some(mut latency) => {
                latency.observe(first_byte, now);
                latency
            }
        };
        self.latency.set(Some(latency));
        self.outlier.set(Outlier::default());
    }

    /// A failure of the endpoint; true if it is now ejected.
    pub(super) fn failure(&self, policy: OutlierPolicy, now: Instant) -> bool {
        let mut outlier = self.outlier.get();
        let ejected = outlier.failure(policy, now);
        self.outlier.set(outlier);
        ejected
    }
}
