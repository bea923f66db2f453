//! The key ring, ready to seal and to open: what `ingress_core::auth::key_ring` says, with the keys expanded.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwapOption, Guard};
use aws_lc_rs::hmac;
use ingress_core::auth::key_ring::{Key, KeyRing};

use super::seal::{Sealed, SealingKey};
use crate::sys::rng;

/// The keys of a time. It is in no log, not even by mistake (law 6).
pub struct Ring {
    held: KeyRing,
    keys: Vec<SealingKey>,
    /// By what subjects become pseudonyms: it follows from the oldest key, so that they stay the same while that opens.
    pseudonyms: hmac::Key,
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl Ring {
    /// Makes keys ready.
    pub fn new(ring: KeyRing) -> Self {
        let keys = ring.keys().iter().filter_map(|key| SealingKey::new(key.id, &key.bytes)).collect();
        let oldest = ring.keys().first().map_or([0; 32], |key| key.bytes);
        let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &oldest), b"penstock pseudonyms");
        let pseudonyms = hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref());
        Self { held: ring, keys, pseudonyms }
    }

    /// One new key, which no other process knows.
    pub fn generate() -> Self {
        Self::new(KeyRing::of(Key::new(rng::secret(), 0)))
    }

    /// Seals a message by the key whose time it is.
    pub fn seal(&self, message: &[u8], associated: &[u8], now: i64) -> Option<String> {
        let id = self.held.sealing(now).id;
        self.keys.iter().find(|key| key.id() == id)?.seal(message, associated)
    }

    /// Opens a message; `None` if no key of ours has sealed it for this.
    pub fn open(&self, sealed: &str, associated: &[u8]) -> Option<Vec<u8>> {
        Sealed::decode(sealed)?.open(&self.keys, associated).map(<[u8]>::to_vec)
    }

    /// What logs call somebody: the same as long as the oldest key opens, and nothing that could be looked up.
    pub fn pseudonym(&self, issuer: &str, subject: &str) -> Box<str> {
        let mut context = hmac::Context::with_key(&self.pseudonyms);
        context.update(&(issuer.len() as u64).to_be_bytes());
        context.update(issuer.as_bytes());
        context.update(subject.as_bytes());
        let tag = context.sign();
        let digits = tag.as_ref().iter().take(8).fold(String::with_capacity(16), |mut digits, byte| {
            // Writing to a String does not fail.
            let _ = write!(digits, "{byte:02x}");
            digits
        });
        digits.into()
    }
}

/// The key ring of the process, replaced as a whole. As long as there is none, nobody has a session, and nobody gets one (law 2).
#[derive(Debug, Default)]
pub struct Keys {
    ring: ArcSwapOption<Ring>,
    generation: AtomicU64,
}

impl Keys {
    /// The present ring.
    pub fn ring(&self) -> Guard<Option<Arc<Ring>>> {
        self.ring.load()
    }

    /// Replaces the ring.
    pub fn replace(&self, ring: Option<KeyRing>) {
        self.set(ring.map(Ring::new));
    }

    /// Takes a new key that no other process knows: what it seals opens here only.
    pub fn generate(&self) {
        self.set(Some(Ring::generate()));
    }

    fn set(&self, ring: Option<Ring>) {
        self.ring.store(ring.map(Arc::new));
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Changes with every replacement.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(keys: &[(i64, u8)]) -> Ring {
        let data = keys.iter().map(|(at, byte)| (at.to_string(), k8s_openapi::ByteString(vec![*byte; 32])));
        Ring::new(KeyRing::from_data(&data.collect()).ok().unwrap())
    }

    #[test]
    fn a_key_opens_before_it_seals_and_after() {
        let (old, both, new) = (ring(&[(0, 1)]), ring(&[(0, 1), (1000, 2)]), ring(&[(1000, 2)]));
        let early = both.seal(b"m", b"a", 1000).unwrap();
        assert!(old.open(&early, b"a").is_some() && new.open(&early, b"a").is_none());
        let late = both.seal(b"m", b"a", 2000).unwrap();
        assert!(old.open(&late, b"a").is_none() && new.open(&late, b"a").is_some());
        assert_eq!(both.open(&early, b"a"), both.open(&late, b"a"));
        assert_eq!(both.open(&late, b"b"), None);
    }

    #[test]
    fn pseudonyms_hold_while_the_oldest_key_does_and_no_key_is_shown() {
        let ring = |keys| ring(keys).pseudonym("i", "s");
        assert_eq!(ring(&[(0, 7)]), ring(&[(0, 7), (1000, 8)]));
        assert_ne!(ring(&[(0, 7)]), ring(&[(0, 8)]));
        assert_eq!(ring(&[(0, 7)]).len(), 16);
        let one = Ring::generate();
        assert_ne!(one.pseudonym("is", ""), one.pseudonym("i", "s"));
        assert!(format!("{one:?}").len() < 100);
    }

    #[test]
    fn a_replacement_is_seen() {
        let keys = Keys::default();
        assert!(keys.ring().is_none());
        keys.generate();
        assert!(keys.ring().is_some() && keys.generation() == 1);
    }
}
