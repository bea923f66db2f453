//! How long to wait before trying again.

use std::time::Duration;

use tokio::time::Instant;

use crate::sys::rng::{Rng as _, SplitMix64};

/// The first wait. An API server that restarts is away for seconds, and all of its clients come back at once: waits are
/// drawn at random between half and the whole, and doubled.
const FIRST: Duration = Duration::from_millis(250);
/// The longest wait: a thousand replicas with five watches each then ask some 400 times a second.
const LONGEST: Duration = Duration::from_secs(15);

/// Exponential waits with jitter.
pub(super) struct Pace {
    rng: SplitMix64,
    next: Duration,
    until: Option<Instant>,
}

impl Pace {
    pub(super) fn new(rng: SplitMix64) -> Self {
        Self { rng, next: FIRST, until: None }
    }

    /// Something failed: the next try has to wait.
    pub(super) fn failed(&mut self) {
        let wait = self.jitter(self.next);
        self.until = Some(Instant::now() + wait);
        self.next = (self.next * 2).min(LONGEST);
    }

    /// Things have been well for a while.
    pub(super) fn reset(&mut self) {
        self.next = FIRST;
        self.until = None;
    }

    /// When to try again, if not at once.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until.filter(|until| *until > Instant::now())
    }

    /// Waits until it is time to try again.
    pub(super) async fn wait(&mut self) {
        if let Some(until) = self.until.take() {
            tokio::time::sleep_until(until).await;
        }
    }

    /// A time between half of it and all of it, in whole milliseconds, which is what timers keep.
    pub(super) fn jitter(&self, time: Duration) -> Duration {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(millis / 2 + self.rng.next_u64() % (millis / 2 + 1))
    }
}
