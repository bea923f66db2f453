//! Something of a provider that is kept for a while: its metadata, its keys.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;

use super::ProviderError;
use crate::sys::clock::Clock;

/// How old what is kept may be until it is fetched again.
pub(super) const FRESH: Duration = Duration::from_mins(15);

/// How old it may be while the provider cannot be asked. A provider that is away for longer is away.
pub(super) const MAX_AGE: Duration = Duration::from_hours(24);

/// How long after a failure nobody asks again: whoever waits gets what the one before got.
const PAUSE: Duration = Duration::from_secs(2);

/// A value that is fetched by one at a time.
pub(super) struct Cached<T> {
    kept: ArcSwapOption<Kept<T>>,
    /// The last attempt, held while there is one.
    last: Mutex<Attempt>,
    clock: Arc<dyn Clock>,
}

struct Kept<T> {
    value: Arc<T>,
    at: Instant,
}

#[derive(Default)]
struct Attempt {
    at: Option<Instant>,
    failure: Option<ProviderError>,
}

impl<T> Cached<T> {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { kept: ArcSwapOption::empty(), last: Mutex::default(), clock }
    }

    /// What is kept, without asking anybody, and whether it should be fetched again.
    pub(super) fn peek(&self) -> Option<(Arc<T>, bool)> {
        let kept = self.kept.load();
        let kept = kept.as_ref()?;
        let age = self.clock.now().saturating_duration_since(kept.at);
        (age < MAX_AGE).then(|| (Arc::clone(&kept.value), age >= FRESH))
    }

    /// What is kept, or else what is fetched. If nothing can be fetched, what is kept counts for longer.
    pub(super) async fn get<F>(&self, fetch: impl FnOnce() -> F) -> Result<Arc<T>, ProviderError>
    where
        F: Future<Output = Result<T, ProviderError>>,
    {
        if let Some((value, false)) = self.peek() {
            return Ok(value);
        }
        let mut last = self.last.lock().await;
        match self.peek() {
            Some((value, false)) => return Ok(value),
            stale => {
                if let Some(failure) = self.just_failed(&last) {
                    return stale.map(|(value, _)| value).ok_or(failure);
                }
            }
        }
        match self.attempt(&mut last, fetch()).await {
            Ok(value) => Ok(value),
            Err(failure) => self.peek().map(|(value, _)| value).ok_or(failure),
        }
    }

    /// Fetches anew, unless somebody has done so since `known` was read, or tried less than `pause` ago: then what is kept is all there is.
    pub(super) async fn renew<F>(
        &self,
        known: Option<&Arc<T>>,
        pause: Duration,
        fetch: impl FnOnce() -> F,
    ) -> Result<Arc<T>, ProviderError>
    where
        F: Future<Output = Result<T, ProviderError>>,
    {
        let mut last = self.last.lock().await;
        let current = self.peek().map(|(value, _)| value);
        let is_newer = match (&current, known) {
            (Some(current), Some(known)) => !Arc::ptr_eq(current, known),
            (current, _) => current.is_some(),
        };
        let just_now = last.at.is_some_and(|at| self.clock.now().saturating_duration_since(at) < pause);
        match (current, &last.failure) {
            (Some(current), _) if is_newer || just_now => Ok(current),
            (None, Some(failure)) if just_now => Err(failure.clone()),
            _ => self.attempt(&mut last, fetch()).await,
        }
    }

    /// Whether [`Self::renew`] with this pause would ask the provider.
    pub(super) fn may_renew(&self, pause: Duration) -> bool {
        // Somebody is at it: waiting for the result is worth while.
        self.last.try_lock().map_or(true, |last| {
            last.at.is_none_or(|at| self.clock.now().saturating_duration_since(at) >= pause)
        })
    }

    fn just_failed(&self, last: &Attempt) -> Option<ProviderError> {
        let recent = self.clock.now().saturating_duration_since(last.at?) < PAUSE;
        last.failure.clone().filter(|_| recent)
    }

    async fn attempt(
        &self,
        last: &mut Attempt,
        fetch: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<Arc<T>, ProviderError> {
        let fetched = fetch.await;
        let now = self.clock.now();
        *last = Attempt { at: Some(now), failure: fetched.as_ref().err().cloned() };
        let value = Arc::new(fetched?);
        self.kept.store(Some(Arc::new(Kept { value: Arc::clone(&value), at: now })));
        Ok(value)
    }
}
