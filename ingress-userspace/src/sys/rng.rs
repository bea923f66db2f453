//! Randomness is a trait (`Rng`), so that tests choose what is drawn. For load balancing, never for secrets.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

/// Random bytes that nobody can guess, for keys, nonces and names of sessions.
///
/// # Panics
/// If the operating system gives none: nothing that needs a secret may go on then.
pub fn secret<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    assert!(aws_lc_rs::rand::fill(&mut bytes).is_ok(), "the operating system gives no random bytes");
    bytes
}

/// A source of uniform numbers for one thread.
pub trait Rng {
    /// The next number.
    fn next_u64(&self) -> u64;
}

/// SplitMix64 (Steele, Lea and Flood 2014): two multiplications per number and every seed is good.
#[derive(Debug)]
pub struct SplitMix64(Cell<u64>);

impl SplitMix64 {
    /// Seeded by the operating system, differently for each instance.
    pub fn new() -> Self {
        Self::from_seed(RandomState::new().hash_one(0_u64))
    }

    /// The same seed yields the same numbers.
    pub fn from_seed(seed: u64) -> Self {
        Self(Cell::new(seed))
    }
}

impl Default for SplitMix64 {
    fn default() -> Self {
        Self::new()
    }
}

impl Rng for SplitMix64 {
    fn next_u64(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_reference() {
        // The first outputs of the reference implementation for seed 1234567.
        let rng = SplitMix64::from_seed(1_234_567);
        assert_eq!(rng.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(rng.next_u64(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn instances_differ() {
        assert_ne!(SplitMix64::new().next_u64(), SplitMix64::new().next_u64());
    }
}
