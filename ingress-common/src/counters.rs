//! What the eBPF programs count. Each CPU has its own copy; userspace adds them up.

use core::iter::Sum;

/// Connections by verdict.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Left to the kernel's usual lookup.
    pub passed: u64,
    /// Given to a listener of ours.
    pub steered: u64,
    /// Refused, because the rule's listener is gone.
    pub refused: u64,
    /// Refused, because the source is denied.
    pub denied: u64,
}

const _: () = assert!(size_of::<Counters>() == 32 && align_of::<Counters>() == 8);

impl Sum for Counters {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::default(), |a, b| Self {
            passed: a.passed.wrapping_add(b.passed),
            steered: a.steered.wrapping_add(b.steered),
            refused: a.refused.wrapping_add(b.refused),
            denied: a.denied.wrapping_add(b.denied),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_added_up() {
        let one = Counters { passed: 1, steered: 2, refused: 3, denied: 4 };
        let two = Counters { passed: 10, steered: 20, refused: 30, denied: 40 };
        assert_eq!(
            [one, two].into_iter().sum::<Counters>(),
            Counters { passed: 11, steered: 22, refused: 33, denied: 44 }
        );
    }
}
