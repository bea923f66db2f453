//! Time is a trait (`Clock`), so that tests set it instead of sleeping.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Monotonic time for bounds, wall-clock time for certificates and logs.
pub trait Clock: Send + Sync {
    /// Monotonic time.
    fn now(&self) -> Instant;
    /// Time since 1970-01-01T00:00:00Z.
    fn since_epoch(&self) -> Duration;
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    fn since_epoch(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}
