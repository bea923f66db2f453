//! The key ring: by what sessions are sealed and opened, on every replica the same.
//!
//! Its Secret has one entry, [`DATA_KEY`], of lines:
//!
//! ```text
//! pseudonyms <32 bytes in base64>
//! key <id, 8 hexadecimal digits> <seals from, Unix seconds> <32 bytes in base64>
//! ```
//!
//! Every key opens. The one that seals is the latest whose time has come, so that a new key is known to all replicas before the
//! first cookie is sealed by it.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::seal::{ID_LEN, KEY_LEN, Sealed, SealingKey};
use crate::sys::rng;

/// The name of the Secret that holds the key ring.
pub const SECRET_NAME: &str = "penstock-session-keys";

/// The entry in its `data`.
pub const DATA_KEY: &str = "keys";

/// The most keys that a ring has; the oldest go first.
pub const MAX_KEYS: usize = 8;

/// A key as the Secret holds it.
#[derive(Clone)]
struct Written {
    id: [u8; ID_LEN],
    seals_from: i64,
    bytes: Zeroizing<[u8; KEY_LEN]>,
}

/// The keys of a time. It is in no log, not even by mistake (law 6).
pub struct KeyRing {
    /// By `seals_from`, the latest first.
    written: Vec<Written>,
    /// In the same order.
    keys: Vec<SealingKey>,
    pseudonyms: (Zeroizing<[u8; KEY_LEN]>, hmac::Key),
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing").field("keys", &self.keys).finish_non_exhaustive()
    }
}

/// Why a Secret holds no key ring. It repeats nothing of what the Secret holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line} of the key ring is malformed: delete the Secret, and a new one is made; everybody signs in again"
)]
pub struct MalformedRing {
    /// Which line, from 1; 0 if something is missing at all.
    pub line: usize,
}

impl KeyRing {
    /// A ring with one new key, which seals at once.
    pub fn generate() -> Self {
        Self::new(vec![Written::generate(i64::MIN)], Zeroizing::new(rng::secret()))
    }

    fn new(mut written: Vec<Written>, pseudonyms: Zeroizing<[u8; KEY_LEN]>) -> Self {
        written.sort_by_key(|key| std::cmp::Reverse(key.seals_from));
        written.truncate(MAX_KEYS);
        let keys = written.iter().filter_map(|key| SealingKey::new(key.id, &key.bytes)).collect();
        let hmac = hmac::Key::new(hmac::HMAC_SHA256, &*pseudonyms);
        Self { written, keys, pseudonyms: (pseudonyms, hmac) }
    }

    /// The ring that a Secret holds in its entry [`DATA_KEY`].
    pub fn from_secret_data(data: &[u8]) -> Result<Self, MalformedRing> {
        let text = str::from_utf8(data).map_err(|_| MalformedRing { line: 0 })?;
        let (mut written, mut pseudonyms) = (Vec::new(), None);
        for (line, number) in text.lines().zip(1..) {
            let malformed = MalformedRing { line: number };
            let words: Vec<_> = line.split_ascii_whitespace().collect();
            match words[..] {
                [] => {}
                ["pseudonyms", key] => pseudonyms = Some(secret(key).ok_or(malformed)?),
                ["key", id, seals_from, key] => {
                    written.push(Written::parse(id, seals_from, key).ok_or(malformed)?);
                }
                _ => return Err(malformed),
            }
        }
        let repeated =
            written.iter().enumerate().any(|(at, key)| written[..at].iter().any(|k| k.id == key.id));
        match pseudonyms {
            Some(pseudonyms) if !written.is_empty() && !repeated => Ok(Self::new(written, pseudonyms)),
            _ => Err(MalformedRing { line: 0 }),
        }
    }

    /// What the entry [`DATA_KEY`] of the Secret is to hold.
    pub fn to_secret_data(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(format!("pseudonyms {}\n", STANDARD.encode(&*self.pseudonyms.0)));
        for key in &self.written {
            let id = u32::from_be_bytes(key.id);
            // Writing to a String does not fail.
            let _ = writeln!(text, "key {id:08x} {} {}", key.seals_from, STANDARD.encode(&*key.bytes));
        }
        text
    }

    /// The ring with one more key, which seals from a time on; keys of which none was sealed by since `forget_before` are left out.
    #[must_use]
    pub fn rotated(&self, seals_from: i64, forget_before: i64) -> Self {
        let mut written = self.written.clone();
        written.push(Written::generate(seals_from));
        written.sort_by_key(|key| std::cmp::Reverse(key.seals_from));
        // A key seals until the next one does.
        let used_until = |at: usize| if at == 0 { i64::MAX } else { written[at - 1].seals_from };
        let kept = (0..written.len()).filter(|at| used_until(*at) >= forget_before);
        Self::new(kept.map(|at| written[at].clone()).collect(), self.pseudonyms.0.clone())
    }

    /// From when on the newest key seals, in Unix seconds.
    pub fn newest_seals_from(&self) -> i64 {
        self.written.first().map_or(i64::MIN, |key| key.seals_from)
    }

    /// How many keys open.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether nothing opens: no ring is made like this.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Seals a message by the key whose time it is.
    pub fn seal(&self, message: &[u8], associated: &[u8], now: i64) -> Option<String> {
        let due = self.written.iter().position(|key| key.seals_from <= now);
        // If the time of none has come, a clock is wrong: the oldest is the one that all others know best.
        let key = self.keys.get(due.unwrap_or(self.keys.len().checked_sub(1)?))?;
        key.seal(message, associated)
    }

    /// Opens a message; `None` if no key of ours has sealed it for this.
    pub fn open(&self, sealed: &str, associated: &[u8]) -> Option<Vec<u8>> {
        Sealed::decode(sealed)?.open(&self.keys, associated).map(<[u8]>::to_vec)
    }

    /// What logs call somebody: the same as long as the Secret lives, and nothing that could be looked up.
    pub fn pseudonym(&self, issuer: &str, subject: &str) -> Box<str> {
        let mut context = hmac::Context::with_key(&self.pseudonyms.1);
        context.update(&(issuer.len() as u64).to_be_bytes());
        context.update(issuer.as_bytes());
        context.update(subject.as_bytes());
        let tag = context.sign();
        let digits = tag.as_ref().iter().take(8).fold(String::with_capacity(16), |mut digits, byte| {
            let _ = write!(digits, "{byte:02x}");
            digits
        });
        digits.into()
    }
}

impl Written {
    fn generate(seals_from: i64) -> Self {
        Self { id: rng::secret(), seals_from, bytes: Zeroizing::new(rng::secret()) }
    }

    fn parse(id: &str, seals_from: &str, key: &str) -> Option<Self> {
        let plain = id.len() == 2 * ID_LEN && id.bytes().all(|b| b.is_ascii_hexdigit());
        let id = u32::from_str_radix(id, 16).ok().filter(|_| plain)?;
        Some(Self { id: id.to_be_bytes(), seals_from: seals_from.parse().ok()?, bytes: secret(key)? })
    }
}

fn secret(base64: &str) -> Option<Zeroizing<[u8; KEY_LEN]>> {
    let bytes = Zeroizing::new(STANDARD.decode(base64).ok()?);
    let mut key = Zeroizing::new([0; KEY_LEN]);
    (bytes.len() == KEY_LEN).then(|| key.copy_from_slice(&bytes))?;
    Some(key)
}

/// The key ring of the process, replaced as a whole.
#[derive(Debug)]
pub struct Keys {
    ring: ArcSwap<KeyRing>,
    generation: AtomicU64,
}

impl Default for Keys {
    /// A ring of the process's own: what it seals is opened by no other.
    fn default() -> Self {
        Self { ring: ArcSwap::from_pointee(KeyRing::generate()), generation: AtomicU64::new(0) }
    }
}

impl Keys {
    /// The present ring.
    pub fn ring(&self) -> Guard<Arc<KeyRing>> {
        self.ring.load()
    }

    /// Replaces the ring.
    pub fn replace(&self, ring: KeyRing) {
        self.ring.store(Arc::new(ring));
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

    #[test]
    fn a_ring_is_what_its_secret_says() {
        let ring = KeyRing::generate().rotated(100, i64::MIN);
        let again = KeyRing::from_secret_data(ring.to_secret_data().as_bytes()).unwrap();
        let sealed = ring.seal(b"a", b"b", 100).unwrap();
        assert_eq!(again.open(&sealed, b"b").as_deref(), Some(&b"a"[..]));
        assert_eq!(again.pseudonym("i", "s"), ring.pseudonym("i", "s"));
        assert_eq!(*again.to_secret_data(), *ring.to_secret_data());
        assert_eq!((again.len(), again.newest_seals_from()), (2, 100));
    }

    #[test]
    fn a_key_opens_before_it_seals() {
        let (old, id) = (KeyRing::generate(), |text: &str| text[..5].to_owned());
        let new = old.rotated(100, i64::MIN);
        let by_old = old.seal(b"m", b"", 99).unwrap();
        assert_eq!(id(&new.seal(b"m", b"", 99).unwrap()), id(&by_old));
        let by_new = new.seal(b"m", b"", 100).unwrap();
        assert_ne!(id(&by_new), id(&by_old));
        assert!(new.open(&by_old, b"").is_some() && old.open(&by_new, b"").is_none());
    }

    #[test]
    fn a_key_is_forgotten_when_nothing_by_it_is_left() {
        let ring = KeyRing::generate().rotated(100, i64::MIN).rotated(200, i64::MIN);
        // The first sealed until 100, the second until 200.
        assert_eq!(ring.rotated(300, 100).len(), 4);
        assert_eq!(ring.rotated(300, 101).len(), 3);
        assert_eq!(ring.rotated(300, 201).len(), 2);
        let many = (0..20).fold(ring, |ring, n| ring.rotated(300 + n, i64::MIN));
        assert_eq!((many.len(), many.newest_seals_from()), (MAX_KEYS, 319));
    }

    #[test]
    fn what_is_malformed_is_no_ring() {
        let good = KeyRing::generate().to_secret_data();
        let key = good.lines().nth(1).unwrap().to_owned();
        for (text, line) in [
            ("", 0),
            (&*key, 0),
            (&good.replace("key ", "kay "), 2),
            (&good.replace("pseudonyms ", "pseudonyms x"), 1),
            (&format!("{}{key}\n", &*good), 0),
            (&good.replacen("key ", "key z", 1), 2),
        ] {
            assert_eq!(
                KeyRing::from_secret_data(text.as_bytes()).unwrap_err(),
                MalformedRing { line },
                "{text}"
            );
        }
        assert!(KeyRing::from_secret_data(&[0xff]).is_err());
    }

    #[test]
    fn pseudonyms_differ_by_each_part_and_no_key_is_shown() {
        let ring = KeyRing::generate();
        let name = ring.pseudonym("i", "s");
        assert_eq!(name.len(), 16);
        assert!(name != ring.pseudonym("is", "") && name != KeyRing::generate().pseudonym("i", "s"));
        let shown = format!("{ring:?}");
        let secret = ring.to_secret_data();
        assert!(secret.split_ascii_whitespace().all(|word| word.len() < 40 || !shown.contains(word)));
    }
}
