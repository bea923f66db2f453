//! How long to wait before trying again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::reach::Reach;
use super::rest::Failure;
use crate::sys::rng::{Rng as _, SplitMix64};

/// The first wait. An API server that restarts is away for seconds, and all of its clients come back at once: waits are
/// drawn at random between half and the whole, and doubled.
const FIRST: Duration = Duration::from_millis(250);
/// The longest wait: a thousand replicas with five watches each then ask some 400 times a second.
const LONGEST: Duration = Duration::from_secs(15);
/// When the API server is back, everybody asks within this time, and not at once.
const RETURN: Duration = Duration::from_millis(500);

/// Exponential waits with jitter.
pub(super) struct Pace {
    rng: SplitMix64,
    reach: Arc<Reach>,
    returns: watch::Receiver<()>,
    next: Duration,
    until: Option<Instant>,
}

impl Pace {
    pub(super) fn new(rng: SplitMix64, reach: Arc<Reach>) -> Self {
        Self { rng, returns: reach.returns(), reach, next: FIRST, until: None }
    }

    /// A request was answered.
    pub(super) fn answered(&self) {
        self.reach.answered();
    }

    /// This failed: the next try has to wait.
    pub(super) fn failed(&mut self, failure: &Failure) {
        if failure.is_away() {
            self.reach.failed();
        }
        self.broken();
    }

    /// What was under way broke: the next try has to wait.
    pub(super) fn broken(&mut self) {
        self.returns.mark_unchanged();
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
        // An error means that nobody can return any more, which does not happen: the sender is ours.
        let is_back = self.returns.has_changed().unwrap_or(false);
        self.until.filter(|until| !is_back && *until > Instant::now())
    }

    /// Waits until it is time to try again, or until the API server is back.
    pub(super) async fn wait(&mut self) {
        let Some(until) = self.until.take() else { return };
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            Ok(()) = self.returns.changed() => {
                let spread = self.rng.next_u64() % (RETURN.as_millis() as u64);
                let asked = Instant::now() + Duration::from_millis(spread);
                tokio::time::sleep_until(asked.min(until)).await;
            }
        }
    }

    /// A time between half of it and all of it, in whole milliseconds, which is what timers keep.
    pub(super) fn jitter(&self, time: Duration) -> Duration {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(millis / 2 + self.rng.next_u64() % (millis / 2 + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away() -> Failure {
        Failure::Unreachable("connection refused".to_owned())
    }

    /// A pace whose next wait is the longest.
    fn tired(reach: &Arc<Reach>, failure: &Failure) -> Pace {
        let mut pace = Pace::new(SplitMix64::from_seed(7), Arc::clone(reach));
        (0..10).for_each(|_| pace.failed(failure));
        pace
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_answer_ends_the_waits_of_all() {
        let reach = Reach::new();
        let mut pace = tired(&reach, &away());
        let began = Instant::now();
        let answers = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            reach.answered();
        };
        tokio::join!(pace.wait(), answers);
        let waited = began.elapsed();
        assert!(waited >= Duration::from_secs(2) && waited <= Duration::from_secs(2) + RETURN, "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_to_others_does_not_hasten_what_is_refused() {
        let reach = Reach::new();
        let refused = Failure::Refused { code: 429, message: String::new() };
        let mut pace = tired(&reach, &refused);
        reach.answered();
        let began = Instant::now();
        pace.wait().await;
        assert!(began.elapsed() >= LONGEST / 2, "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_after_the_return_waits_again() {
        let reach = Reach::new();
        let mut pace = tired(&reach, &away());
        reach.answered();
        assert_eq!(pace.until(), None);
        pace.failed(&away());
        assert!(pace.until().is_some());
    }
}
