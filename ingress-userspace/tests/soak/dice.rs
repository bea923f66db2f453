//! Chances that come again: what a seed decides it decides each time.

/// A generator of numbers (SplitMix64), good enough to spread cases and to tell flows apart.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The numbers of one thing among many that share a seed.
    pub(crate) fn new(seed: u64, thing: u64) -> Self {
        let mut dice = Self(seed);
        dice.0 ^= dice.number().wrapping_add(thing.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        dice
    }

    /// Any number.
    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// Whether one of `of` cases is it.
    pub(crate) fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    /// A number from `2^low` to `2^high`, each power of two as likely as the others.
    pub(crate) fn scaled(&mut self, low: u64, high: u64) -> u64 {
        let base = 1 << self.between(low, high - 1);
        base + self.below(base)
    }
}
