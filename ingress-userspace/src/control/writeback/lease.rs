//! The Lease as far as an election reads and writes it, and the seam behind which it is kept.

use std::future::Future;
use std::time::Duration;

/// How long a lease lasts, and how often it is asked for: the times of Kubernetes' own controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Others may take a lease that was not renewed for so long.
    pub lease: Duration,
    /// The holder stops acting as one when it could not renew for so long. What it has sent by then must arrive
    /// within the rest of the lease.
    pub renew: Duration,
    /// The wait between two attempts to get or to renew the lease.
    pub retry: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self { lease: Duration::from_secs(15), renew: Duration::from_secs(10), retry: Duration::from_secs(2) }
    }
}

/// What a Lease says. Its times are by the clock of whoever wrote them, so nobody else computes with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseRecord {
    /// `spec.holderIdentity`; empty if nobody holds it.
    pub holder: String,
    /// `spec.leaseDurationSeconds`
    pub duration: Duration,
    /// `spec.acquireTime`, since the epoch.
    pub acquired: Duration,
    /// `spec.renewTime`, since the epoch.
    pub renewed: Duration,
    /// `spec.leaseTransitions`
    pub transitions: i32,
}

/// A record with the version under which the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLease {
    /// What it says.
    pub record: LeaseRecord,
    /// `metadata.resourceVersion`
    pub version: String,
}

/// How fresh a read has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// The API server's cache will do, which costs it little: a record that is old there cannot be replaced.
    Cached,
    /// The latest.
    Latest,
}

/// Why the Lease was not read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// It is not as it was: somebody else wrote, created or deleted it.
    #[error("somebody else changed the Lease")]
    Conflict,
    /// Anything else, for the log; a write may have happened.
    #[error("{0}")]
    Failed(String),
}

/// Where the Lease is kept. A seam: partitions, lost answers and two writers are made on purpose behind it.
pub trait LeaseStore: Send + Sync + 'static {
    /// Reads it; `None` if there is none.
    fn get(
        &self,
        freshness: Freshness,
    ) -> impl Future<Output = Result<Option<StoredLease>, LeaseError>> + Send;

    /// Writes it if its version is still this one; without a version, creates it if there is none.
    fn put(
        &self,
        record: &LeaseRecord,
        version: Option<&str>,
    ) -> impl Future<Output = Result<StoredLease, LeaseError>> + Send;
}
