//! Logout tokens that have come: each counts once, so that one which is sent again ends no session that began since.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

/// The most that are remembered; the one that is over first is forgotten first.
const CAPACITY: usize = 4096;

/// How long a logout token can be good at most, in seconds, clocks that differ included.
const REMEMBERED: i64 = 1800;

/// What has come, by digest, until when it is remembered.
#[derive(Debug, Default)]
pub struct LogoutTokens(Mutex<BTreeMap<[u8; 16], i64>>);

impl LogoutTokens {
    /// Whether a token has not come before; from now on it has.
    pub fn is_new(&self, issuer: &str, id: &str, now: i64) -> bool {
        let mut hash = Sha256::new();
        hash.update((issuer.len() as u64).to_be_bytes());
        hash.update(issuer);
        hash.update(id);
        let mut digest = [0; 16];
        digest.copy_from_slice(&hash.finalize()[..16]);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CAPACITY {
            known.retain(|_, until| *until > now);
        }
        if known.len() >= CAPACITY
            && let Some(first) = known.iter().min_by_key(|(_, until)| **until).map(|(digest, _)| *digest)
        {
            known.remove(&first);
        }
        known.insert(digest, now.saturating_add(REMEMBERED)).is_none_or(|until| until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_new_once() {
        let tokens = LogoutTokens::default();
        assert!(tokens.is_new("i", "a", 100) && tokens.is_new("i", "b", 100) && tokens.is_new("j", "a", 100));
        assert!(!tokens.is_new("i", "a", 101));
        for n in 0..2 * CAPACITY {
            assert!(tokens.is_new("k", &n.to_string(), 100));
        }
        assert_eq!(tokens.0.lock().unwrap().len(), CAPACITY);
    }
}
