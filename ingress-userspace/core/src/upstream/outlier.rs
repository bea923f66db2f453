//! Passive outlier ejection: an endpoint that fails several times in a row rests for a while.
//!
//! ```text
//!              failures in a row                      time is up
//!  Serving ────────────────────────► Ejected ────────────────────────► on probation
//!     ▲                                 │ success (it was still in use)      │    │ one failure: Ejected,
//!     └─────────────────────────────────┴────────────────────────────────────┘    │ twice as long
//!                                                      success                    └──►
//! ```

use std::time::{Duration, Instant};

/// Ejections grow by doubling up to this many times the first.
const LONGEST: u32 = 10;

/// When and for how long an endpoint is ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutlierPolicy {
    /// Failures in a row that eject. 0 is never.
    pub failures: u32,
    /// The first ejection.
    pub ejection: Duration,
}

/// What an endpoint's failures add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outlier {
    /// Failures since the last success or ejection.
    failures: u32,
    /// Ejections since the last success.
    ejections: u32,
    until: Option<Instant>,
}

impl Outlier {
    /// Whether the endpoint rests.
    pub fn is_ejected(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Counts a failure; true if it ejects the endpoint.
    pub fn failure(&mut self, policy: OutlierPolicy, now: Instant) -> bool {
        // Requests that were in flight when the endpoint was ejected fail together: that is one ejection.
        if policy.failures == 0 || self.is_ejected(now) {
            return false;
        }
        self.failures = self.failures.saturating_add(1);
        // On probation (ejected before, no success since) one failure is enough: the endpoint is still down.
        if self.ejections == 0 && self.failures < policy.failures {
            return false;
        }
        let factor = 1_u32.checked_shl(self.ejections).unwrap_or(LONGEST).min(LONGEST);
        self.until = now.checked_add(policy.ejection.saturating_mul(factor));
        self.ejections = self.ejections.saturating_add(1);
        self.failures = 0;
        true
    }

    /// A response arrived: all is forgotten.
    pub fn success(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: OutlierPolicy = OutlierPolicy { failures: 3, ejection: Duration::from_secs(10) };

    /// Fails until ejected and returns how long the ejection lasts.
    fn eject(outlier: &mut Outlier, now: Instant) -> Duration {
        while !outlier.failure(POLICY, now) {}
        (1..1_000).map(Duration::from_secs).find(|d| !outlier.is_ejected(now + *d)).unwrap()
    }

    #[test]
    fn failures_in_a_row_eject_until_the_time_is_up() {
        let (mut outlier, now) = (Outlier::default(), Instant::now());
        assert!(!outlier.failure(POLICY, now));
        assert!(!outlier.failure(POLICY, now));
        assert!(!outlier.is_ejected(now));
        assert!(outlier.failure(POLICY, now));
        assert!(outlier.is_ejected(now + Duration::from_millis(9_999)));
        assert!(!outlier.is_ejected(now + Duration::from_secs(10)));
    }

    #[test]
    fn a_success_between_failures_forgives_them() {
        let (mut outlier, now) = (Outlier::default(), Instant::now());
        for _ in 0..10 {
            assert!(!outlier.failure(POLICY, now));
            assert!(!outlier.failure(POLICY, now));
            outlier.success();
        }
    }

    #[test]
    fn each_ejection_is_twice_as_long_up_to_ten_times() {
        let (mut outlier, mut now) = (Outlier::default(), Instant::now());
        let mut lengths = Vec::new();
        for _ in 0..40 {
            let length = eject(&mut outlier, now);
            lengths.push(length.as_secs());
            now += length;
        }
        assert_eq!(lengths[..6], [10, 20, 40, 80, 100, 100]);
        assert!(lengths[6..].iter().all(|l| *l == 100));
        outlier.success();
        assert_eq!(eject(&mut outlier, now), Duration::from_secs(10));
    }

    #[test]
    fn on_probation_one_failure_ejects_again() {
        let (mut outlier, now) = (Outlier::default(), Instant::now());
        let later = now + eject(&mut outlier, now);
        assert!(outlier.failure(POLICY, later));
    }

    #[test]
    fn failures_while_ejected_do_not_lengthen_it() {
        let (mut outlier, now) = (Outlier::default(), Instant::now());
        while !outlier.failure(POLICY, now) {}
        for _ in 0..100 {
            assert!(!outlier.failure(POLICY, now + Duration::from_secs(5)));
        }
        assert!(!outlier.is_ejected(now + Duration::from_secs(10)));
    }

    #[test]
    fn zero_failures_is_never() {
        let policy = OutlierPolicy { failures: 0, ..POLICY };
        let (mut outlier, now) = (Outlier::default(), Instant::now());
        assert!((0..1_000).all(|_| !outlier.failure(policy, now)));
    }

    proptest! {
        /// Any history: never ejected longer than the bound, never without enough failures in a row.
        #[test]
        fn bounds_hold(steps in proptest::collection::vec((any::<bool>(), 0_u64..60), 0..200)) {
            let (mut outlier, mut now) = (Outlier::default(), Instant::now());
            let mut in_a_row = 0;
            for (ok, pause) in steps {
                now += Duration::from_secs(pause);
                if ok {
                    outlier.success();
                    in_a_row = 0;
                    prop_assert!(!outlier.is_ejected(now));
                } else {
                    in_a_row += 1;
                    outlier.failure(POLICY, now);
                }
                prop_assert!(!outlier.is_ejected(now) || in_a_row >= POLICY.failures);
                prop_assert!(!outlier.is_ejected(now + POLICY.ejection * LONGEST));
            }
        }
    }
}
