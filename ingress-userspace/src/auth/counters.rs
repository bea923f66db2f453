//! What is counted about sign-ins and sessions. It happens rarely; what happens with each request is counted by the worker.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

type Counts = Mutex<BTreeMap<&'static str, u64>>;

/// The counters.
#[derive(Debug, Default)]
pub struct Counters {
    sign_ins: Counts,
    failures: Counts,
    refreshes: Counts,
    sign_outs: Counts,
}

/// What may become of a sign-in.
pub(crate) const SIGN_INS: &[&str] = &["begun", "succeeded", "failed"];

/// Why a sign-in may fail: what the browser brings, what the token endpoint says, what the ID token says, how the provider fails, and what
/// comes of a session.
pub(crate) const FAILURES: &[&str] = &[
    "malformed",
    "no-state",
    "wrong-state",
    "too-late",
    "wrong-issuer",
    "provider",
    "code",
    "client",
    "no-id-token",
    "no-token",
    "nonce",
    "algorithm",
    "kind",
    "key",
    "signature",
    "issuer",
    "audience",
    "expired",
    "not-yet",
    "subject",
    "organization",
    "timeout",
    "unreachable",
    "status",
    "answer",
    "configuration",
    "rate-limit",
    "ended",
    "too-large",
    "loop",
];

/// What may become of a renewal.
pub(crate) const REFRESHES: &[&str] = &["renewed", "refused", "unavailable"];

/// How somebody may be signed out.
pub(crate) const SIGN_OUTS: &[&str] = &["local", "back-channel", "front-channel"];

impl Counters {
    /// A sign-in has begun, succeeded or failed.
    pub fn signed_in(&self, result: &'static str) {
        add(&self.sign_ins, result);
    }

    /// A sign-in has failed, by a word that the code chooses.
    pub fn sign_in_failed(&self, reason: &'static str) {
        add(&self.sign_ins, "failed");
        add(&self.failures, reason);
    }

    /// An identity was renewed, or not.
    pub fn refreshed(&self, outcome: &'static str) {
        add(&self.refreshes, outcome);
    }

    /// Somebody was signed out.
    pub fn signed_out(&self, kind: &'static str) {
        add(&self.sign_outs, kind);
    }

    pub(crate) fn sign_ins(&self) -> Vec<(&'static str, u64)> {
        read(&self.sign_ins, SIGN_INS)
    }

    pub(crate) fn failures(&self) -> Vec<(&'static str, u64)> {
        read(&self.failures, FAILURES)
    }

    pub(crate) fn refreshes(&self) -> Vec<(&'static str, u64)> {
        read(&self.refreshes, REFRESHES)
    }

    pub(crate) fn sign_outs(&self) -> Vec<(&'static str, u64)> {
        read(&self.sign_outs, SIGN_OUTS)
    }
}

fn add(counts: &Counts, word: &'static str) {
    *counts.lock().unwrap_or_else(PoisonError::into_inner).entry(word).or_default() += 1;
}

/// All counts, also those of zero.
fn read(counts: &Counts, words: &[&'static str]) -> Vec<(&'static str, u64)> {
    let mut all: BTreeMap<_, u64> = words.iter().map(|word| (*word, 0)).collect();
    all.extend(counts.lock().unwrap_or_else(PoisonError::into_inner).iter());
    all.into_iter().collect()
}
