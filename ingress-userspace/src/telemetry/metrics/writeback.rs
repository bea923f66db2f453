//! What is counted about writing to the API server. One task writes, a scrape reads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// What may come of a write to a status.
pub(super) const STATUS_OUTCOMES: &[&str] =
    &["written", "gone", "forbidden", "invalid", "unavailable", "not-leader"];
/// What may come of an Event.
pub(super) const EVENT_OUTCOMES: &[&str] = &[
    "created",
    "counted",
    "standing",
    "dropped",
    "gone",
    "forbidden",
    "invalid",
    "unavailable",
    "not-leader",
];

type Counts<K> = Mutex<BTreeMap<K, u64>>;

/// The counters.
#[derive(Debug, Default)]
pub struct WritebackCounters {
    leader: AtomicBool,
    leader_changes: AtomicU64,
    lease_failures: AtomicU64,
    status_waiting: AtomicUsize,
    events_waiting: AtomicUsize,
    status: Counts<(&'static str, &'static str)>,
    events: Counts<&'static str>,
    forbidden: Counts<(&'static str, &'static str)>,
}

impl WritebackCounters {
    /// Nothing counted yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// This replica holds the lease, or does not. Returns whether that is new.
    pub fn leader_changed(&self, leader: bool) -> bool {
        let changed = self.leader.swap(leader, Ordering::Relaxed) != leader;
        self.leader_changes.fetch_add(u64::from(changed), Ordering::Relaxed);
        changed
    }

    /// An attempt to read or write the Lease has failed.
    pub fn lease_failed(&self) {
        self.lease_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// A status of an object of this kind was written, or not.
    pub fn status_written(&self, kind: &'static str, outcome: &'static str) {
        add(&self.status, (kind, outcome), 1);
    }

    /// An Event was written, or not.
    pub fn event_written(&self, outcome: &'static str) {
        add(&self.events, outcome, 1);
    }

    /// Events were dropped because too many waited.
    pub fn events_dropped(&self, count: u64) {
        if count > 0 {
            add(&self.events, "dropped", count);
        }
    }

    /// The API server has forbidden something.
    pub fn forbade(&self, verb: &'static str, resource: &'static str) {
        add(&self.forbidden, (verb, resource), 1);
    }

    /// How many objects and Events wait.
    pub fn waiting(&self, status: usize, events: usize) {
        self.status_waiting.store(status, Ordering::Relaxed);
        self.events_waiting.store(events, Ordering::Relaxed);
    }

    /// Whether this replica holds the lease.
    pub fn is_leader(&self) -> bool {
        self.leader.load(Ordering::Relaxed)
    }

    pub(super) fn leader_changes(&self) -> u64 {
        self.leader_changes.load(Ordering::Relaxed)
    }

    pub(super) fn lease_failures(&self) -> u64 {
        self.lease_failures.load(Ordering::Relaxed)
    }

    pub(super) fn waiting_now(&self) -> (usize, usize) {
        (self.status_waiting.load(Ordering::Relaxed), self.events_waiting.load(Ordering::Relaxed))
    }

    /// All outcomes of the kinds that were written to, also those with a count of zero; of Ingresses in any case.
    pub(super) fn status_writes(&self) -> Vec<(&'static str, &'static str, u64)> {
        let counts = read(&self.status);
        let mut kinds: Vec<&str> = counts.keys().map(|(kind, _)| *kind).chain(["Ingress"]).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let outcomes = |kind| STATUS_OUTCOMES.iter().map(move |outcome| (kind, *outcome));
        let all = kinds.into_iter().flat_map(outcomes);
        all.map(|key| (key.0, key.1, counts.get(&key).copied().unwrap_or_default())).collect()
    }

    /// All outcomes, also those with a count of zero.
    pub(super) fn events(&self) -> Vec<(&'static str, u64)> {
        let counts = read(&self.events);
        EVENT_OUTCOMES.iter().map(|key| (*key, counts.get(key).copied().unwrap_or_default())).collect()
    }

    /// How often each outcome came.
    #[cfg(test)]
    pub(crate) fn events_for_tests(&self) -> Vec<(&'static str, u64)> {
        self.events()
    }

    pub(super) fn forbidden(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        read(&self.forbidden)
    }
}

fn add<K: Ord>(counts: &Counts<K>, key: K, count: u64) {
    *counts.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default() += count;
}

fn read<K: Ord + Clone>(counts: &Counts<K>) -> BTreeMap<K, u64> {
    counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
