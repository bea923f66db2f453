//! One candidate for the lease: asks for it, renews it, gives it up.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::authority::Authority;
use super::election::{Election, Step};
use super::lease::{Freshness, LeaseError, LeaseStore, Terms};
use crate::sys::clock::Clock;
use crate::sys::rng::{Rng, SplitMix64};
use crate::telemetry::metrics::WritebackCounters;

/// Waits are longer by up to this share, so that candidates do not ask in step.
const JITTER: f64 = 0.2;

/// How a candidate leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// Nothing is being written any more: another candidate may begin at once.
    Release,
    /// Something may still arrive: the others have to wait until the lease has run out.
    RunOut,
}

/// A candidate for the lease.
pub struct Candidate<S> {
    store: S,
    terms: Terms,
    election: Election,
    authority: Arc<Authority>,
    clock: Arc<dyn Clock>,
    rng: SplitMix64,
    counters: Arc<WritebackCounters>,
    /// What the log was told last about a failure.
    complaint: Option<LeaseError>,
}

impl<S: LeaseStore> Candidate<S> {
    /// A candidate by this identity, which no other living process may have.
    pub fn new(
        store: S,
        identity: String,
        terms: Terms,
        authority: Arc<Authority>,
        clock: Arc<dyn Clock>,
        counters: Arc<WritebackCounters>,
    ) -> Self {
        let election = Election::new(identity, terms);
        Self { store, terms, election, authority, clock, rng: SplitMix64::new(), counters, complaint: None }
    }

    /// Draws waits from this generator, for tests that replay a seed.
    #[must_use]
    pub fn with_rng(self, rng: SplitMix64) -> Self {
        Self { rng, ..self }
    }

    /// Takes part until `stop` ends, and leaves as it says.
    pub async fn run(mut self, stop: impl Future<Output = Leave>) {
        tokio::pin!(stop);
        let leave = loop {
            tokio::select! {
                leave = &mut stop => break leave,
                () = self.attempt() => {}
            }
            let wait = self.wait();
            tokio::select! {
                leave = &mut stop => break leave,
                () = tokio::time::sleep(wait) => {}
            }
        };
        self.authority.revoke(self.clock.now());
        if leave == Leave::Release {
            self.release().await;
        }
        self.counters.leader_changed(false);
    }

    /// One attempt to get or renew the lease.
    async fn attempt(&mut self) {
        if self.election.is_mine() {
            // The record is known: one write renews it.
            let step = self.election.step(self.clock.now(), self.clock.since_epoch());
            match self.write(step).await {
                Err(LeaseError::Conflict) => self.step_down("somebody else changed the Lease"),
                outcome => return self.conclude(outcome),
            }
        }
        let outcome = self.read_and_write().await;
        self.conclude(outcome);
    }

    async fn read_and_write(&mut self) -> Result<(), LeaseError> {
        // A candidate that only waits asks often, and the cache is good enough for it.
        let waiting = self.election.held_until().is_some_and(|until| self.clock.now() < until);
        let freshness = if waiting { Freshness::Cached } else { Freshness::Latest };
        let lease = bounded(self.terms, self.store.get(freshness)).await?;
        let (now, wall) = (self.clock.now(), self.clock.since_epoch());
        let step = match lease {
            Some(lease) => {
                match freshness {
                    Freshness::Cached => self.election.observe_cached(lease, now),
                    Freshness::Latest => self.election.observe(lease, now),
                }
                self.election.step(now, wall)
            }
            None => self.election.step_without(now, wall),
        };
        if !self.election.is_mine() && self.authority.until(now).is_some() {
            let holder = self.election.holder().unwrap_or("nobody").to_owned();
            self.step_down(&format!("the Lease is held by {holder}"));
        }
        self.write(step).await
    }

    /// Writes what the step says. The right to write begins with the moment at which the renewal was sent: whoever
    /// sees it sees it later, and counts from then.
    async fn write(&mut self, step: Step) -> Result<(), LeaseError> {
        let Step::Write(record, version) = step else { return Ok(()) };
        let sent = self.clock.now();
        let lease = bounded(self.terms, self.store.put(&record, version.as_deref())).await?;
        self.election.observe(lease, self.clock.now());
        self.authority.grant(sent + self.terms.renew);
        if self.counters.leader_changed(true) {
            tracing::info!("this replica writes status and Events now: it holds the Lease");
        }
        Ok(())
    }

    fn conclude(&mut self, outcome: Result<(), LeaseError>) {
        if self.authority.until(self.clock.now()).is_none() {
            self.step_down("the Lease could not be renewed in time");
        }
        match outcome {
            // Of several candidates that write at once, one wins; that is no failure.
            Ok(()) | Err(LeaseError::Conflict) => self.complaint = None,
            Err(error) => {
                self.counters.lease_failed();
                if self.complaint.as_ref() != Some(&error) {
                    tracing::warn!("the Lease cannot be read or renewed: {error}");
                    self.complaint = Some(error);
                }
            }
        }
    }

    /// Stops writing at once.
    fn step_down(&mut self, why: &str) {
        self.authority.revoke(self.clock.now());
        if self.counters.leader_changed(false) {
            tracing::warn!("this replica does not write status and Events any more: {why}");
        }
    }

    /// How long to wait before the next attempt: not beyond the moment at which the lease becomes free or lost.
    fn wait(&self) -> Duration {
        let now = self.clock.now();
        let retry = self.terms.retry.mul_f64(1.0 + JITTER * unit(&self.rng));
        let ends = self.authority.until(now).or_else(|| self.election.held_until());
        let left = ends.map_or(retry, |end: Instant| end.saturating_duration_since(now));
        // Never in a tight loop.
        retry.min(left.max(self.terms.retry / 10))
    }

    async fn release(&mut self) {
        let mut outcome = self.try_release().await;
        if outcome == Err(LeaseError::Conflict) {
            // A renewal that was given up may have arrived.
            outcome = match bounded(self.terms, self.store.get(Freshness::Latest)).await {
                Ok(Some(lease)) => {
                    self.election.observe(lease, self.clock.now());
                    self.try_release().await
                }
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
        }
        if let Err(error) = outcome {
            tracing::warn!("the Lease could not be given up, so it has to run out: {error}");
        }
    }

    async fn try_release(&mut self) -> Result<(), LeaseError> {
        let Some((record, version)) = self.election.release(self.clock.since_epoch()) else { return Ok(()) };
        bounded(self.terms, self.store.put(&record, Some(&version))).await?;
        tracing::info!("the Lease is given up: another replica writes from now on");
        Ok(())
    }
}

/// Bounds an access, so that several fit into the time in which a renewal must succeed.
async fn bounded<T>(
    terms: Terms,
    access: impl Future<Output = Result<T, LeaseError>>,
) -> Result<T, LeaseError> {
    let limit = terms.renew / 3;
    let late = |_| Err(LeaseError::Failed(format!("no answer within {limit:?}")));
    tokio::time::timeout(limit, access).await.unwrap_or_else(late)
}

/// A uniform number from 0 to 1.
fn unit(rng: &SplitMix64) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}
