//! Sealed values: AES-256-GCM-SIV (RFC 8452), so that a nonce which comes twice tells that two messages are equal, and nothing else.
//!
//! ```text
//! base64url( key id, 4 bytes │ nonce, 12 bytes │ ciphertext │ tag, 16 bytes )
//! ```

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::sys::rng;

/// Bytes that name a key.
pub const ID_LEN: usize = 4;

/// Bytes of a key.
pub const KEY_LEN: usize = 32;

/// The tag of the algorithm.
const TAG_LEN: usize = 16;

/// A key that seals and opens. Deliberately without the key in `Debug` (law 6).
pub struct SealingKey {
    id: [u8; ID_LEN],
    key: LessSafeKey,
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealingKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl SealingKey {
    /// A key with its name; `None` only if the algorithm refuses it, which it does for no 32 bytes.
    pub fn new(id: [u8; ID_LEN], bytes: &[u8; KEY_LEN]) -> Option<Self> {
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, bytes).ok()?);
        Some(Self { id, key })
    }

    /// Its name.
    pub fn id(&self) -> [u8; ID_LEN] {
        self.id
    }

    /// Seals a message; `associated` is authenticated with it. `None` only for messages of many gigabytes.
    pub fn seal(&self, message: &[u8], associated: &[u8]) -> Option<String> {
        let nonce: [u8; NONCE_LEN] = rng::secret();
        let mut sealed = Vec::with_capacity(ID_LEN + NONCE_LEN + message.len() + TAG_LEN);
        sealed.extend(self.id);
        sealed.extend(nonce);
        sealed.extend(message);
        let (_, body) = sealed.split_at_mut(ID_LEN + NONCE_LEN);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(associated), body).ok()?;
        sealed.extend(tag.as_ref());
        Some(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Opens a message in place.
    fn open<'s>(&self, sealed: &'s mut Sealed, associated: &[u8]) -> Option<&'s [u8]> {
        let (head, body) = sealed.0.split_at_mut(ID_LEN + NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(head.get(ID_LEN..)?).ok()?;
        self.key.open_in_place(nonce, Aad::from(associated), body).ok().map(|message| &*message)
    }
}

/// A sealed value, decoded.
pub struct Sealed(Vec<u8>);

impl Sealed {
    /// From its text; `None` if it cannot be one.
    pub fn decode(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        (bytes.len() >= ID_LEN + NONCE_LEN + TAG_LEN).then_some(Self(bytes))
    }

    /// Opens it by the key that it names.
    pub fn open(&mut self, keys: &[SealingKey], associated: &[u8]) -> Option<&[u8]> {
        let key = keys.iter().find(|key| self.0.starts_with(&key.id))?;
        key.open(self, associated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> SealingKey {
        SealingKey::new([n; ID_LEN], &[n; KEY_LEN]).unwrap()
    }

    fn open(text: &str, keys: &[SealingKey], associated: &[u8]) -> Option<Vec<u8>> {
        Sealed::decode(text)?.open(keys, associated).map(<[u8]>::to_vec)
    }

    #[test]
    fn a_message_opens_by_its_key_with_what_it_belongs_to() {
        let sealed = key(1).seal(b"message", b"cookie a").unwrap();
        assert_ne!(sealed, key(1).seal(b"message", b"cookie a").unwrap(), "the same nonce twice");
        let keys = [key(2), key(1)];
        assert_eq!(open(&sealed, &keys, b"cookie a").as_deref(), Some(&b"message"[..]));
        assert_eq!(open(&sealed, &keys, b"cookie b"), None);
        assert_eq!(open(&sealed, &[key(2)], b"cookie a"), None);
        let other = SealingKey::new([1; ID_LEN], &[9; KEY_LEN]).unwrap();
        assert_eq!(open(&sealed, &[other], b"cookie a"), None);
    }

    #[test]
    fn no_changed_message_opens() {
        let sealed = key(1).seal(b"message", b"").unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(open(&changed, &[key(1)], b""), None, "{at}");
            assert_eq!(open(&sealed[..at], &[key(1)], b""), None, "{at}");
        }
        assert_eq!(open(&format!("{sealed}A"), &[key(1)], b""), None);
    }

    #[test]
    fn no_key_is_shown() {
        assert_eq!(format!("{:?}", key(7)), "SealingKey { id: [7, 7, 7, 7], .. }");
    }
}
