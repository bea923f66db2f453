//! Counters that one thread writes and others read.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::labels::{CODE_SLOTS, code_index};
use crate::telemetry::RequestRecord;

/// Upper bounds of the buckets of latency in seconds: from a local 64 bytes to the default response timeout.
pub(super) const BUCKETS: [f64; 15] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0];

/// The same in nanoseconds.
const BUCKETS_NANOS: [u64; BUCKETS.len()] = {
    let mut nanos = [0; BUCKETS.len()];
    let mut index = 0;
    while index < BUCKETS.len() {
        nanos[index] = (BUCKETS[index] * 1e9) as u64;
        index += 1;
    }
    nanos
};

/// A count with one writer. A load and a store cost less than an atomic addition, and lose nothing: no two threads
/// add to the same count.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts by the words of a list; what is not in the list is counted as `other`.
#[derive(Debug)]
pub(super) struct Words {
    list: &'static [&'static str],
    counts: Box<[Count]>,
    other: Count,
}

impl Words {
    pub(super) fn new(list: &'static [&'static str]) -> Self {
        Self { list, counts: list.iter().map(|_| Count::default()).collect(), other: Count::default() }
    }

    pub(super) fn add(&self, word: &str) {
        let place = self.list.iter().position(|w| *w == word);
        place.and_then(|place| self.counts.get(place)).unwrap_or(&self.other).add(1);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.list.iter().copied().zip(self.counts.iter());
        counts.chain([("other", &self.other)]).map(|(word, count)| (word, count.get()))
    }
}

/// One worker's counts for one Ingress. Aligned so that no other worker's counts share its cache lines.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct RouteCounters {
    /// Whether the Ingress is gone: these counts are read no more.
    retired: AtomicBool,
    bytes_in: Count,
    bytes_out: Count,
    nanos: Count,
    buckets: [Count; BUCKETS.len() + 1],
    codes: [Count; CODE_SLOTS],
}

impl RouteCounters {
    pub(super) fn new() -> Self {
        Self {
            retired: AtomicBool::new(false),
            bytes_in: Count::default(),
            bytes_out: Count::default(),
            nanos: Count::default(),
            buckets: [const { Count(AtomicU64::new(0)) }; BUCKETS.len() + 1],
            codes: [const { Count(AtomicU64::new(0)) }; CODE_SLOTS],
        }
    }

    pub(super) fn record(&self, record: &RequestRecord<'_>) {
        self.bytes_in.add(record.bytes_in);
        self.bytes_out.add(record.bytes_out);
        let nanos = nanoseconds(record.total);
        self.nanos.add(nanos);
        let bucket = BUCKETS_NANOS.iter().position(|bound| nanos <= *bound).unwrap_or(BUCKETS.len());
        self.buckets[bucket].add(1);
        self.codes[code_index(record.status)].add(1);
    }

    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    pub(super) fn retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Sums of what several workers counted for one Ingress.
#[derive(Debug)]
pub(super) struct RouteTotals {
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    nanos: u64,
    pub(super) buckets: [u64; BUCKETS.len() + 1],
    pub(super) codes: [u64; CODE_SLOTS],
}

impl RouteTotals {
    pub(super) const fn new() -> Self {
        Self { bytes_in: 0, bytes_out: 0, nanos: 0, buckets: [0; BUCKETS.len() + 1], codes: [0; CODE_SLOTS] }
    }

    pub(super) fn add(&mut self, counters: &RouteCounters) {
        self.bytes_in = self.bytes_in.wrapping_add(counters.bytes_in.get());
        self.bytes_out = self.bytes_out.wrapping_add(counters.bytes_out.get());
        self.nanos = self.nanos.wrapping_add(counters.nanos.get());
        for (sum, count) in self.buckets.iter_mut().zip(&counters.buckets) {
            *sum += count.get();
        }
        for (sum, count) in self.codes.iter_mut().zip(&counters.codes) {
            *sum += count.get();
        }
    }

    pub(super) fn seconds(&self) -> f64 {
        self.nanos as f64 / 1e9
    }
}
