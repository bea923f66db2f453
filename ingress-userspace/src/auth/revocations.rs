//! The revocations of the process: read by every worker, told to other replicas.
//!
//! ```text
//! sign-out, logout token ─► revoke ─┬─► current ─► workers (each request, and tunnels ten times a second)
//!                                   └─► outbox ──► other replicas
//! other replicas ──────────► apply ───► current
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use ingress_core::auth::revocation::{Revocation, Revocations, Target};
use tokio::sync::Notify;

/// The most revocations that are kept. What finds no room ends more sessions rather than fewer: see
/// [`Revocations`].
pub const CAPACITY: usize = 8192;

/// Everybody's revocations.
pub struct RevocationList {
    current: ArcSwap<Revocations>,
    /// What others are not told of yet, each target once: bounded by [`CAPACITY`].
    outbox: Mutex<BTreeMap<Target, Revocation>>,
    told: Notify,
}

impl fmt::Debug for RevocationList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationList").field("len", &self.current.load().len()).finish_non_exhaustive()
    }
}

impl Default for RevocationList {
    fn default() -> Self {
        Self {
            current: ArcSwap::from_pointee(Revocations::new(CAPACITY)),
            outbox: Mutex::default(),
            told: Notify::new(),
        }
    }
}

impl RevocationList {
    /// The present ones.
    pub fn current(&self) -> Guard<Arc<Revocations>> {
        self.current.load()
    }

    /// Adds one of this replica's, and lets the others be told. It holds for the next request of every worker.
    pub fn revoke(&self, target: Target, revocation: Revocation, now: i64) {
        self.apply([(target, revocation)], now);
        let mut outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        if outbox.len() >= CAPACITY && !outbox.contains_key(&target) {
            // Nobody takes them: there are no others, or they cannot be told. Here, they hold.
            outbox.pop_first();
        }
        let entry = outbox.entry(target).or_insert(revocation);
        entry.before = entry.before.max(revocation.before);
        entry.until = entry.until.max(revocation.until);
        drop(outbox);
        self.told.notify_one();
    }

    /// Adds those of others, and forgets what is over.
    pub fn apply(&self, revocations: impl IntoIterator<Item = (Target, Revocation)>, now: i64) {
        let new: Vec<_> = revocations.into_iter().filter(|(_, revocation)| revocation.until > now).collect();
        if new.is_empty() {
            return;
        }
        self.current.rcu(|current| {
            let mut revocations = Revocations::clone(current);
            revocations.expire(now);
            for (target, revocation) in &new {
                revocations.add(*target, *revocation);
            }
            revocations
        });
    }

    /// Adds all that others share, and forgets what is over.
    pub fn merge(&self, others: &Revocations, now: i64) {
        if others.is_covered_by(&self.current()) {
            return;
        }
        let text = others.to_text();
        self.current.rcu(|current| {
            let mut revocations = Revocations::clone(current);
            // What one has written, another reads.
            let _ = revocations.merge_text(&text);
            revocations.expire(now);
            revocations
        });
    }

    /// Takes what others are not told of yet.
    pub fn take_new(&self) -> Vec<(Target, Revocation)> {
        let mut outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *outbox).into_iter().collect()
    }

    /// Puts back what others could not be told of.
    pub fn give_back(&self, revocations: impl IntoIterator<Item = (Target, Revocation)>) {
        let mut outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        for (target, revocation) in revocations {
            if outbox.len() < CAPACITY {
                outbox.entry(target).or_insert(revocation);
            }
        }
    }

    /// Waits until there is something to take.
    pub async fn wait_new(&self) {
        self.told.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_revoked_here_is_told_once() {
        let list = RevocationList::default();
        let (target, revocation) = (Target::session(&[1; 16]), Revocation { before: 100, until: 200 });
        list.revoke(target, revocation, 100);
        list.apply([(Target::session(&[2; 16]), revocation)], 100);
        assert_eq!(list.current().len(), 2);
        assert_eq!(list.take_new(), [(target, revocation)]);
        assert_eq!(list.take_new(), []);
        list.give_back([(target, revocation)]);
        assert_eq!(list.take_new(), [(target, revocation)]);
    }

    #[test]
    fn what_is_over_is_forgotten_and_never_taken_in() {
        let list = RevocationList::default();
        let revocation = |until| Revocation { before: 100, until };
        list.revoke(Target::session(&[1; 16]), revocation(200), 100);
        list.apply([(Target::session(&[2; 16]), revocation(200))], 200);
        assert_eq!(list.current().len(), 1);
        list.apply([(Target::session(&[3; 16]), revocation(300))], 200);
        assert_eq!(list.current().len(), 1);
    }
}
