//! The decisions of the eBPF programs, as functions that the host can test.

use crate::flow::{KERNELS_CHOICE, Rule};

/// What to do with a connection that is being opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not ours, or ours on every address: the kernel looks for a listener as usual.
    Pass,
    /// Ours, and its source is denied: the connection is refused.
    Deny,
    /// Ours: the listener in this slot gets it. If the slot is empty the connection is refused, because handing it to
    /// whoever else listens there would be worse (law 2).
    Steer {
        /// Index in the sockmap.
        slot: u32,
    },
}

/// Decides by the rule that was found for the local address, if one was; only then is the source looked at.
#[inline]
pub fn decide(rule: Option<Rule>, source_is_denied: impl FnOnce() -> bool) -> Verdict {
    match rule {
        Some(_) if source_is_denied() => Verdict::Deny,
        Some(Rule { slot }) if slot != KERNELS_CHOICE => Verdict::Steer { slot },
        _ => Verdict::Pass,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_rule_passes_whatever_its_source() {
        assert_eq!(decide(None, || true), Verdict::Pass);
    }

    #[test]
    fn an_address_with_a_rule_is_steered() {
        assert_eq!(decide(Some(Rule { slot: 7 }), || false), Verdict::Steer { slot: 7 });
        assert_eq!(decide(Some(Rule { slot: KERNELS_CHOICE }), || false), Verdict::Pass);
    }

    #[test]
    fn a_denied_source_is_refused_whoever_listens() {
        for slot in [7, KERNELS_CHOICE] {
            assert_eq!(decide(Some(Rule { slot }), || true), Verdict::Deny);
        }
    }
}
