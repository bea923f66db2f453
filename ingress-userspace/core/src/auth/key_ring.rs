//! The keys that seal sessions: how a Secret holds them, which one seals, and when there has to be another one.
//!
//! In the Secret's `data`, each key is an entry: its name is the time at which it was made, in Unix seconds; its value 32 random bytes.
//! A key seals only when every replica has had time to learn of it, so that none meets a cookie that it cannot open; and it opens for as long as
//! anything that it has sealed can be good.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use sha2::{Digest as _, Sha256};

/// The name of the Secret.
pub const SECRET_NAME: &str = "penstock-session-keys";

/// Bytes of a key (RFC 8452: AES-256).
pub const KEY_BYTES: usize = 32;

/// How old a key is when it begins to seal, in seconds.
pub const SPREAD: i64 = 60;

/// How old the newest key becomes before another one is made, in seconds.
pub const ROTATE_AFTER: i64 = 7 * 24 * 3600;

/// For how long a key opens after it has sealed for the last time, in seconds: the longest lifetime that a session can have, and a day.
pub const KEEP: i64 = 31 * 24 * 3600;

/// The most keys that are looked at.
const MAX_KEYS: usize = 32;

/// A key. Deliberately without `Debug` (law 6).
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// What sealed values name it by. It tells nothing of the key.
    pub id: [u8; 4],
    /// When it was made, in Unix seconds.
    pub made_at: i64,
    /// The key itself.
    pub bytes: [u8; KEY_BYTES],
}

impl Key {
    /// A key of random bytes.
    pub fn new(bytes: [u8; KEY_BYTES], made_at: i64) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"penstock session key id");
        hash.update(bytes);
        let mut id = [0; 4];
        id.copy_from_slice(&hash.finalize()[..4]);
        Self { id, made_at, bytes }
    }
}

/// The keys, oldest first; at least one. Deliberately without `Debug` (law 6).
#[derive(Clone, PartialEq, Eq)]
pub struct KeyRing(Vec<Key>);

/// Why there are no keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRingError {
    /// There is none.
    #[error("it holds no key")]
    Empty,
    /// There are more than anybody needs.
    #[error("it holds more than {MAX_KEYS} keys")]
    TooMany,
    /// An entry is no key.
    #[error("its entry {} is no key: the name has to be a time in Unix seconds, the value 32 random bytes", .0.escape_debug())]
    Malformed(String),
    /// Two keys cannot be told apart.
    #[error("two of its entries hold the same key")]
    Same,
}

/// What has to be done about the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Whether another key is to be made now.
    pub make: bool,
    /// Entries that nothing needs any more.
    pub remove: Vec<String>,
}

impl KeyRing {
    /// One key.
    pub fn of(key: Key) -> Self {
        Self(vec![key])
    }

    /// The keys of a Secret. One entry that is no key refuses all: who has written it means something that we do not understand.
    pub fn from_data(data: &BTreeMap<String, ByteString>) -> Result<Self, KeyRingError> {
        if data.len() > MAX_KEYS {
            return Err(KeyRingError::TooMany);
        }
        let mut keys = Vec::with_capacity(data.len());
        for (name, value) in data {
            let malformed = || KeyRingError::Malformed(name.clone());
            let made_at = name.parse::<i64>().ok().filter(|time| *time >= 0 && entry(*time) == *name);
            let bytes = <[u8; KEY_BYTES]>::try_from(value.0.as_slice()).map_err(|_| malformed())?;
            keys.push(Key::new(bytes, made_at.ok_or_else(malformed)?));
        }
        keys.sort_by_key(|key| key.made_at);
        let mut ids: Vec<_> = keys.iter().map(|key| key.id).collect();
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(KeyRingError::Same);
        }
        if keys.is_empty() { Err(KeyRingError::Empty) } else { Ok(Self(keys)) }
    }

    /// The key that seals: the newest that every replica knows, else the oldest.
    pub fn sealing(&self, now: i64) -> &Key {
        let known = |key: &&Key| key.made_at.saturating_add(SPREAD) <= now;
        self.0.iter().rev().find(known).unwrap_or(&self.0[0])
    }

    /// The key that a sealed value names.
    pub fn get(&self, id: [u8; 4]) -> Option<&Key> {
        self.0.iter().find(|key| key.id == id)
    }

    /// All of them, oldest first.
    pub fn keys(&self) -> &[Key] {
        &self.0
    }

    /// What has to be done about the keys at a time.
    pub fn plan(&self, now: i64) -> Plan {
        let newest = self.0.last().map_or(i64::MIN, |key| key.made_at);
        // A key from the future is one that a wrong clock has made; it must not be the last one for ever.
        let make = now.saturating_sub(newest) >= ROTATE_AFTER || newest.saturating_sub(now) > ROTATE_AFTER;
        let unneeded = self.0.windows(2).filter(|pair| pair[1].made_at.saturating_add(SPREAD + KEEP) <= now);
        Plan { make, remove: unneeded.map(|pair| entry(pair[0].made_at)).collect() }
    }
}

/// The name of the entry of a key that was made at a time.
pub fn entry(made_at: i64) -> String {
    made_at.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(entries: &[(&str, u8)]) -> BTreeMap<String, ByteString> {
        entries.iter().map(|(name, byte)| ((*name).to_owned(), ByteString(vec![*byte; KEY_BYTES]))).collect()
    }

    fn ring(entries: &[(&str, u8)]) -> KeyRing {
        KeyRing::from_data(&data(entries)).ok().unwrap()
    }

    #[test]
    fn a_new_key_opens_at_once_and_seals_when_all_know_it() {
        let ring = ring(&[("1000", 1), ("5000", 2)]);
        let (old, new) = (Key::new([1; 32], 1000), Key::new([2; 32], 5000));
        assert!(ring.sealing(5059) == &old && ring.sealing(5060) == &new);
        assert!(
            ring.get(old.id) == Some(&old) && ring.get(new.id) == Some(&new) && ring.get([0; 4]).is_none()
        );
        assert!(ring.sealing(0) == &old, "a clock that is wrong still seals");
    }

    #[test]
    fn what_is_no_key_is_told_by_its_name() {
        let error = |entries: &[(&str, u8)]| KeyRing::from_data(&data(entries)).err();
        assert_eq!(error(&[]), Some(KeyRingError::Empty));
        for name in ["", "key", "-1", "01", "+1", "1 ", "99999999999999999999"] {
            assert_eq!(
                error(&[("1000", 1), (name, 2)]),
                Some(KeyRingError::Malformed(name.to_owned())),
                "{name}"
            );
        }
        assert_eq!(error(&[("1", 1), ("2", 1)]), Some(KeyRingError::Same));
        let short = BTreeMap::from([("1".to_owned(), ByteString(vec![0; 31]))]);
        let told = KeyRing::from_data(&short).err().unwrap().to_string();
        assert!(told.contains("its entry 1 is no key"), "{told}");
        let many: Vec<_> = (0..33_u8).map(|n| (n.to_string(), n)).collect();
        let many: Vec<_> = many.iter().map(|(name, byte)| (name.as_str(), *byte)).collect();
        assert_eq!(error(&many), Some(KeyRingError::TooMany));
    }

    #[test]
    fn keys_are_made_and_forgotten_in_time() {
        let week = ROTATE_AFTER;
        let plan = |entries: &[(&str, u8)], now| ring(entries).plan(now);
        assert_eq!(plan(&[("0", 1)], week - 1), Plan { make: false, remove: vec![] });
        assert_eq!(plan(&[("0", 1)], week), Plan { make: true, remove: vec![] });
        let two = [("0", 1), ("604800", 2)];
        assert!(plan(&two, week + SPREAD + KEEP - 1).remove.is_empty());
        assert_eq!(plan(&two, week + SPREAD + KEEP).remove, ["0"]);
        assert!(plan(&[("99999999999", 1)], 1000).make, "a clock was wrong");
    }
}
