//! What a replica has to know before any session counts.

use std::sync::atomic::{AtomicBool, Ordering};

use super::keys::Keys;
use super::revocations::RevocationList;

/// The keys that seal sessions, and the sessions that ended before their time.
#[derive(Debug, Default)]
pub struct SessionState {
    /// The keys; none until they were read.
    pub keys: Keys,
    /// What is revoked.
    pub revocations: RevocationList,
    revocations_known: AtomicBool,
}

impl SessionState {
    /// Of a process that shares nothing with others: what it seals is opened by no other, and all that is revoked it has revoked
    /// itself.
    pub fn alone() -> Self {
        let state = Self::default();
        state.keys.generate();
        state.set_revocations_known();
        state
    }

    /// What others have revoked was read.
    pub fn set_revocations_known(&self) {
        self.revocations_known.store(true, Ordering::Release);
    }

    /// Whether sessions can be judged: until then, whoever needs one is answered 503.
    pub fn is_known(&self) -> bool {
        self.revocations_known.load(Ordering::Acquire) && self.keys.ring().is_some()
    }
}
