//! How many records may be made with one key: rustls counts no more once the kernel makes them.

use std::cell::Cell;

/// The most that a record holds (RFC 8446 section 5.1).
const RECORD: u64 = 16 * 1024;

/// The records that were made with the present key, estimated from above, and how many there may be.
///
/// The kernel knows the number; asking costs a system call, so it is asked only when the estimate comes near a mark.
#[derive(Debug)]
pub(super) struct Records {
    made: Cell<u64>,
    /// From here on the key should be replaced, or the connection closed when it is idle.
    soft: u64,
    /// From here on nothing more is sent with it.
    hard: u64,
}

impl Records {
    /// With the confidentiality limit of a cipher suite: 2^24 for AES-GCM (RFC 8446 section 5.5), none for ChaCha20-Poly1305.
    pub(super) fn new(limit: u64) -> Self {
        // What one call may add to it stays far below what is kept back.
        Self { made: Cell::new(0), soft: limit / 2, hard: limit - limit / 16 }
    }

    /// Bytes are given to the kernel in one call, which begins a record at the worst.
    pub(super) fn add(&self, bytes: u64) {
        self.made.set(self.made.get().saturating_add(bytes.div_ceil(RECORD) + 1));
    }

    /// The kernel has told the number.
    pub(super) fn correct(&self, made: u64) {
        self.made.set(made);
    }

    /// A new key is in use.
    pub(super) fn renew(&self) {
        self.made.set(0);
    }

    /// Whether the key should be replaced soon.
    pub(super) fn many(&self) -> bool {
        self.made.get() >= self.soft
    }

    /// Whether nothing more may be sent with it.
    pub(super) fn exhausted(&self) -> bool {
        self.made.get() >= self.hard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_given_up_before_its_limit() {
        let limit = 1 << 24;
        let records = Records::new(limit);
        let mut bytes = 0_u64;
        while !records.many() {
            records.add(64 * 1024);
            bytes += 64 * 1024;
        }
        assert!(bytes / RECORD <= limit / 2 && !records.exhausted());
        // Small records count as much as large ones.
        while !records.exhausted() {
            records.add(1);
        }
        assert!(records.made.get() < limit);
        records.correct(5);
        assert!(!records.many());
        records.correct(limit);
        records.renew();
        assert!(!records.exhausted());
    }

    #[test]
    fn a_suite_without_a_limit_is_never_given_up() {
        let records = Records::new(u64::MAX);
        records.correct(1 << 48);
        assert!(!records.many() && !records.exhausted());
    }
}
