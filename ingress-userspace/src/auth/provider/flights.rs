//! One renewal at a time for each refresh token: providers that rotate tokens take a second use for a theft, and end the session.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::{ProviderError, RefreshError, SignedIn};
use crate::auth::client::HttpError;
use crate::sys::clock::Clock;

/// How long a result is kept: a request that left the browser with the old cookie, before the new one came, gets the same new session.
const KEPT: Duration = Duration::from_secs(30);

/// The same for a failure of the provider, which may be over at any time.
const FAILURE_KEPT: Duration = Duration::from_secs(1);

/// The most renewals that are under way or kept.
const MAX_FLIGHTS: usize = 16 * 1024;

type Outcome = Result<SignedIn, RefreshError>;

/// Renewals that are under way, or were a moment ago.
pub(super) struct Flights {
    /// By the digest of the refresh token.
    flights: Mutex<HashMap<[u8; 32], Flight>>,
    clock: Arc<dyn Clock>,
}

struct Flight {
    outcome: watch::Receiver<Option<Outcome>>,
    /// When it counts no more, once it has an outcome.
    until: Option<Instant>,
}

impl Flights {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { flights: Mutex::default(), clock }
    }

    /// The same, about somebody: a renewal that is about somebody else is none.
    pub(super) async fn renew_for(
        &self,
        subject: &str,
        token: &str,
        renew: impl Future<Output = Outcome>,
    ) -> Outcome {
        let renewed = self.renew(token, renew).await?;
        if *renewed.identity.subject == *subject {
            Ok(renewed)
        } else {
            Err(RefreshError::Refused("the answer is about another account"))
        }
    }

    /// What `renew` brings, or what somebody else's `renew` for the same token brings or has brought.
    pub(super) async fn renew(&self, token: &str, renew: impl Future<Output = Outcome>) -> Outcome {
        let key: [u8; 32] = Sha256::digest(token).into();
        let (tell, outcome) = watch::channel(None);
        match self.join(key, outcome) {
            Joined::Other(mut other) => {
                let landed = other.wait_for(Option::is_some).await;
                // An error says that the other one was dropped before its end.
                landed.ok().and_then(|outcome| outcome.clone()).unwrap_or(Err(ProviderError::Ended.into()))
            }
            Joined::Full => Err(ProviderError::Unreachable(HttpError::Busy).into()),
            Joined::First => {
                let _landing = Landing { flights: self, key };
                let outcome = renew.await;
                self.land(key, &outcome);
                tell.send_replace(Some(outcome.clone()));
                outcome
            }
        }
    }

    /// What a refresh token has become by renewals that are remembered.
    pub(super) fn newest(&self, token: &str) -> String {
        let flights = self.lock();
        let mut token = token.to_owned();
        // Each renewal brings another token; one that brought an old one again would lead in a circle.
        for _ in 0..8 {
            let key: [u8; 32] = Sha256::digest(&token).into();
            let outcome = flights.get(&key).map(|flight| flight.outcome.borrow());
            let next = match outcome.as_deref() {
                Some(Some(Ok(SignedIn { refresh_token: Some(next), .. }))) => next.to_string(),
                _ => break,
            };
            token = next;
        }
        token
    }

    fn join(&self, key: [u8; 32], outcome: watch::Receiver<Option<Outcome>>) -> Joined {
        let now = self.clock.now();
        let mut flights = self.lock();
        let is_over = |flight: &Flight| flight.until.is_some_and(|until| until <= now);
        if let Some(flight) = flights.get(&key).filter(|flight| !is_over(flight)) {
            return Joined::Other(flight.outcome.clone());
        }
        if flights.len() >= MAX_FLIGHTS {
            flights.retain(|_, flight| !is_over(flight));
        }
        if flights.len() >= MAX_FLIGHTS {
            return Joined::Full;
        }
        flights.insert(key, Flight { outcome, until: None });
        Joined::First
    }

    fn land(&self, key: [u8; 32], outcome: &Outcome) {
        let kept = if matches!(outcome, Err(RefreshError::Unavailable(_))) { FAILURE_KEPT } else { KEPT };
        if let Some(flight) = self.lock().get_mut(&key) {
            flight.until = Some(self.clock.now() + kept);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Flight>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Joined {
    First,
    Other(watch::Receiver<Option<Outcome>>),
    Full,
}

/// Forgets a renewal that was dropped before it had an outcome.
struct Landing<'f> {
    flights: &'f Flights,
    key: [u8; 32],
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        let mut flights = self.flights.lock();
        if flights.get(&self.key).is_some_and(|flight| flight.until.is_none()) {
            flights.remove(&self.key);
        }
    }
}
