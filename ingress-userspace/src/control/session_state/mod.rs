//! What the replicas share of sessions: the keys that seal them, and those that ended before their time.
//!
//! ```text
//! Secret penstock-session-keys ──watch──► Keys          made and rotated by the holder of the Lease
//! ConfigMap penstock-revocations ─watch─► Revocations   each replica adds what it was told
//! ```
//!
//! Until both were read once, no session counts: requests that need one are answered 503 (law 2). After that, what was read last
//! counts for as long as the API server is away, and what is revoked here is told to the others when it is back.

mod directory;
mod keys;
mod object;
mod revocations;

use std::future::Future;
use std::sync::Arc;

pub use directory::WithSessionKeys;
pub use keys::KeyKeeper;

use super::api::ApiServer;
use crate::auth::SessionState;
use crate::sys::clock::Clock;

/// The label of what is ours, as the chart's objects have it.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "penstock");

/// Keeps the state of this replica in step with that of the others.
pub struct Sharing {
    /// The API server.
    pub server: ApiServer,
    /// Penstock's own namespace.
    pub namespace: String,
    /// The state of this replica.
    pub state: Arc<SessionState>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

impl Sharing {
    /// Follows both objects until `stop` ends.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let keys = keys::follow(&self);
        let revocations = revocations::exchange(&self);
        tokio::select! {
            () = stop => {}
            () = keys => {}
            () = revocations => {}
        }
    }
}

/// The time in Unix seconds.
fn unix(clock: &dyn Clock) -> i64 {
    i64::try_from(clock.since_epoch().as_secs()).unwrap_or(i64::MAX)
}
