//! Ids of requests: unique, not secret. 128 bits as 32 hexadecimal digits.
//!
//! ```text
//! | 64 bits: random, once per process | 16 bits: worker | 48 bits: counter |
//! ```

use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Digits that are the same for all ids of one worker.
const PREFIX: usize = 20;

/// Two processes of which each lives in the same cluster share this with a chance of 2⁻⁶⁴.
static PROCESS: LazyLock<u64> = LazyLock::new(|| {
    // The keys of a `RandomState` come from the system's source of randomness.
    RandomState::new().hash_one(std::process::id())
});

/// One request's id, on the stack.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId([u8; 32]);

impl RequestId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        // It is ASCII by construction, so the fallback is never taken.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One worker's source of ids.
#[derive(Debug)]
pub struct RequestIds {
    prefix: [u8; PREFIX],
    next: Cell<u64>,
}

impl RequestIds {
    /// A source for the worker of that number; each worker of a process needs its own number.
    pub fn new(worker: u16) -> Self {
        Self::with_process(*PROCESS, worker)
    }

    fn with_process(process: u64, worker: u16) -> Self {
        let mut prefix = [0; PREFIX];
        hex(process, &mut prefix[..16]);
        hex(u64::from(worker), &mut prefix[16..]);
        Self { prefix, next: Cell::new(0) }
    }

    /// An id that no other call returns: 2⁴⁸ of them last 89 years at 100,000 a second.
    pub fn next(&self) -> RequestId {
        let count = self.next.get();
        self.next.set(count.wrapping_add(1));
        let mut text = [0; 32];
        text[..PREFIX].copy_from_slice(&self.prefix);
        hex(count, &mut text[PREFIX..]);
        RequestId(text)
    }
}

/// Writes the low digits of a number, as many as there is room for.
fn hex(mut number: u64, out: &mut [u8]) {
    for digit in out.iter_mut().rev() {
        *digit = HEX[(number & 15) as usize];
        number >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_spell_process_worker_and_count() {
        let ids = RequestIds::with_process(0x0123_4567_89ab_cdef, 0xbeef);
        assert_eq!(ids.next().as_str(), "0123456789abcdefbeef000000000000");
        assert_eq!(ids.next().to_string(), "0123456789abcdefbeef000000000001");
        ids.next.set(0xffff_ffff_ffff);
        assert_eq!(ids.next().as_str(), "0123456789abcdefbeefffffffffffff");
    }

    #[test]
    fn workers_do_not_share_ids() {
        let sources: Vec<_> = (0..4).map(RequestIds::new).collect();
        let ids: HashSet<_> = sources.iter().flat_map(|s| (0..1000).map(|_| s.next())).collect();
        assert_eq!(ids.len(), 4000);
        assert!(ids.iter().all(|id| id.as_str().len() == 32));
    }
}
