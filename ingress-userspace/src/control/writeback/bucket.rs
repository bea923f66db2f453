//! A token bucket: bursts up to its size, and a steady rate beyond.

use std::time::{Duration, Instant};

/// Tokens that come back with time.
pub(super) struct TokenBucket {
    /// The time that one token takes to come back.
    interval: Duration,
    /// The time that all tokens take to come back.
    capacity: Duration,
    /// When the bucket is full again.
    full: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub(super) fn new(interval: Duration, size: u32, now: Instant) -> Self {
        Self { interval, capacity: interval * size, full: now }
    }

    /// When the next token is there; now or earlier if there is one.
    pub(super) fn ready(&self) -> Instant {
        // A token is there as long as the bucket with one token less would be full within its capacity.
        (self.full + self.interval).checked_sub(self.capacity).unwrap_or(self.full)
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let there = self.ready() <= now;
        if there {
            self.full = self.full.max(now) + self.interval;
        }
        there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_holds() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut bucket = TokenBucket::new(second, 3, start);
        let taken = |bucket: &mut TokenBucket, at| (0..10).filter(|_| bucket.take(at)).count();
        assert_eq!(taken(&mut bucket, start), 3);
        assert_eq!(bucket.ready(), start + second);
        assert_eq!(taken(&mut bucket, start + second), 1);
        assert_eq!(taken(&mut bucket, start + second * 3), 2);
        assert_eq!(taken(&mut bucket, start + second * 100), 3);
    }
}
