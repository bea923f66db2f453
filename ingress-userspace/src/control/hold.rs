//! How long a table is held back for the Secrets that it needs.

use std::collections::HashSet;
use std::time::Duration;

use ingress_core::objects::{Change, Kind, NamespacedName};
use ingress_core::translate::SecretDemand;
use tokio::time::Instant;

/// How long a table is held back for Secrets that it needs. A healthy API server answers within milliseconds; one that does
/// not must not keep the changes of everybody else.
const SECRET_PATIENCE: Duration = Duration::from_millis(500);

/// The Secrets that a table waits for.
#[derive(Default)]
pub(super) struct Hold {
    awaited: HashSet<NamespacedName>,
    until: Option<Instant>,
}

impl Hold {
    /// Notes the Secrets that a batch answers.
    pub(super) fn answered(&mut self, changes: &[Change]) {
        if self.awaited.is_empty() {
            return;
        }
        for key in changes.iter().map(Change::key).filter(|key| key.kind == Kind::Secret) {
            self.awaited.remove(&key.name);
        }
        if self.awaited.is_empty() {
            self.until = None;
        }
    }

    /// Waits for the Secrets that are demanded.
    pub(super) fn expect(&mut self, demand: &SecretDemand) {
        for name in &demand.removed {
            self.awaited.remove(name);
        }
        self.awaited.extend(demand.added.iter().cloned());
        self.until = match self.until {
            _ if self.awaited.is_empty() => None,
            None => Some(Instant::now() + SECRET_PATIENCE),
            until => until,
        };
    }

    /// Whether nothing is waited for.
    pub(super) fn is_over(&self) -> bool {
        self.until.is_none_or(|until| until <= Instant::now())
    }

    /// Waits for the end of patience; for ever if nothing is awaited.
    pub(super) async fn over(&self) {
        match self.until {
            Some(until) => tokio::time::sleep_until(until).await,
            None => std::future::pending().await,
        }
    }

    /// What has not come by now is no longer waited for.
    pub(super) fn end(&mut self) {
        *self = Self::default();
    }
}
