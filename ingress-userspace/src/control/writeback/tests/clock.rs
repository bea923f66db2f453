//! A clock that goes with the paused time of the runtime, at its own rate, and shows another wall time.

use std::time::{Duration, Instant};

use crate::sys::clock::Clock;

/// The wall clocks of the simulations begin about here.
pub(super) const EPOCH: Duration = Duration::from_hours(500_000);

pub(super) struct SimClock {
    start: tokio::time::Instant,
    base: Instant,
    rate: f64,
    wall: Duration,
}

impl SimClock {
    pub(super) fn new() -> Self {
        Self::skewed(1.0, EPOCH)
    }

    pub(super) fn skewed(rate: f64, wall: Duration) -> Self {
        // An hour of past, as machines have it.
        let start = tokio::time::Instant::now();
        Self { start, base: start.into_std() + Duration::from_hours(1), rate, wall }
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed().mul_f64(self.rate)
    }
}

impl Clock for SimClock {
    fn now(&self) -> Instant {
        self.base + self.elapsed()
    }

    fn since_epoch(&self) -> Duration {
        self.wall + self.elapsed()
    }
}
