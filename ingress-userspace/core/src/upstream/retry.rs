//! When a request may be sent a second time.

use std::time::{Duration, Instant};

/// Attempts for one request: the first, and one retry.
const ATTEMPTS: u32 = 2;

/// Whether the method is idempotent (RFC 9110 section 9.2.2). Methods are case-sensitive (section 9.1), and an
/// unknown one is not.
pub fn is_idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
}

/// Whether a request whose last attempt failed may be sent again.
///
/// - `attempt`: how many attempts were made, 1 after the first.
/// - `nothing_sent`: no byte of the request left this process, as when the connect failed. Then it may be repeated
///   whatever it is.
/// - `method_idempotent`: [`is_idempotent`].
/// - `reused_stale`: it was sent on a connection from the pool that the backend closed before the first byte of a
///   response. The backend may have acted on it all the same, so a proxy "MUST NOT automatically retry
///   non-idempotent requests" (RFC 9110 section 9.2.2).
/// - `body_replayable`: the whole body, if there is one, can still be sent from its beginning.
#[expect(clippy::fn_params_excessive_bools, reason = "four independent facts, named at the only caller")]
pub fn may_retry(
    attempt: u32,
    nothing_sent: bool,
    method_idempotent: bool,
    reused_stale: bool,
    body_replayable: bool,
) -> bool {
    attempt < ATTEMPTS && (nothing_sent || (method_idempotent && reused_stale && body_replayable))
}

/// Seconds in the budget's window, one slot each.
const SLOTS: usize = 10;
/// One retry per this many requests: 20 %.
const REQUESTS_PER_RETRY: u64 = 5;
/// Retries per window that are always allowed, so that a quiet worker can retry at all.
const RETRIES_MIN: u64 = 10;

/// Bounds retries to a share of the requests of the last ten seconds: when every backend fails, retries must not
/// double the load.
#[derive(Clone, Debug)]
pub struct RetryBudget {
    start: Instant,
    /// The second, since `start`, that the newest slot stands for.
    newest: u64,
    slots: [Slot; SLOTS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    requests: u64,
    retries: u64,
}

impl RetryBudget {
    /// An unused budget.
    pub fn new(now: Instant) -> Self {
        Self { start: now, newest: 0, slots: [Slot::default(); SLOTS] }
    }

    /// Counts a request (not a retry).
    pub fn request(&mut self, now: Instant) {
        self.slot(now).requests += 1;
    }

    /// Takes one retry from the budget; false if it is used up.
    pub fn try_retry(&mut self, now: Instant) -> bool {
        self.slot(now);
        let (requests, retries) =
            self.slots.iter().fold((0, 0), |(q, r), slot| (q + slot.requests, r + slot.retries));
        let allowed = retries < RETRIES_MIN.max(requests / REQUESTS_PER_RETRY);
        if allowed {
            self.slot(now).retries += 1;
        }
        allowed
    }

    /// The slot of this second, after slots that fell out of the window are emptied.
    fn slot(&mut self, now: Instant) -> &mut Slot {
        let second = now.saturating_duration_since(self.start).as_secs().max(self.newest);
        let passed = (second - self.newest).min(SLOTS as u64);
        for stale in 0..passed {
            self.slots[((second - stale) % SLOTS as u64) as usize] = Slot::default();
        }
        self.newest = second;
        &mut self.slots[(second % SLOTS as u64) as usize]
    }

    /// How long a request counts.
    pub const WINDOW: Duration = Duration::from_secs(SLOTS as u64);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_table_of_retries() {
        let rows = [
            // attempt, nothing sent, idempotent, stale, replayable: retry
            (1, true, false, false, false, true),
            (1, true, true, false, true, true),
            (2, true, true, true, true, false),
            (1, false, true, true, true, true),
            (2, false, true, true, true, false),
            (1, false, false, true, true, false),
            (1, false, true, false, true, false),
            (1, false, true, true, false, false),
            (1, false, false, false, false, false),
        ];
        for (attempt, nothing_sent, idempotent, stale, replayable, expected) in rows {
            let actual = may_retry(attempt, nothing_sent, idempotent, stale, replayable);
            assert_eq!(actual, expected, "{attempt} {nothing_sent} {idempotent} {stale} {replayable}");
        }
    }

    #[test]
    fn idempotent_methods_are_those_of_the_rfc() {
        for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
            assert!(is_idempotent(method), "{method}");
        }
        for method in ["POST", "PATCH", "CONNECT", "get", "PURGE", ""] {
            assert!(!is_idempotent(method), "{method}");
        }
    }

    #[test]
    fn a_quiet_worker_has_ten_retries_per_window() {
        let now = Instant::now();
        let mut budget = RetryBudget::new(now);
        assert_eq!((0..100).filter(|_| budget.try_retry(now)).count(), 10);
        assert!(!budget.try_retry(now + Duration::from_secs(9)));
        assert!(budget.try_retry(now + RetryBudget::WINDOW));
    }

    #[test]
    fn a_busy_worker_retries_a_fifth() {
        let now = Instant::now();
        let mut budget = RetryBudget::new(now);
        (0..1_000).for_each(|_| budget.request(now));
        assert_eq!((0..1_000).filter(|_| budget.try_retry(now)).count(), 200);
    }

    #[test]
    fn time_that_goes_backwards_is_now() {
        let start = Instant::now();
        let mut budget = RetryBudget::new(start);
        budget.request(start + Duration::from_secs(100));
        assert_eq!((0..100).filter(|_| budget.try_retry(start)).count(), 10);
    }

    proptest! {
        /// Against a naive reference that keeps every event.
        #[test]
        fn never_above_the_share(steps in proptest::collection::vec((0_u64..3_000, 0_u32..30), 1..60)) {
            let start = Instant::now();
            let (mut budget, mut millis, mut events) = (RetryBudget::new(start), 0, Vec::new());
            for (pause, requests) in steps {
                millis += pause;
                let now = start + Duration::from_millis(millis);
                for _ in 0..requests {
                    budget.request(now);
                    events.push((millis / 1_000, false));
                }
                let recent = |e: &&(u64, bool)| e.0 + SLOTS as u64 > millis / 1_000;
                let retries = events.iter().filter(recent).filter(|e| e.1).count() as u64;
                let all = events.iter().filter(recent).filter(|e| !e.1).count() as u64;
                let granted = budget.try_retry(now);
                prop_assert_eq!(granted, retries < (all / REQUESTS_PER_RETRY).max(RETRIES_MIN));
                if granted {
                    events.push((millis / 1_000, true));
                }
            }
        }
    }
}
