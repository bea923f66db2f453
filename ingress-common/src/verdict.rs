//! The decisions of the eBPF programs, as functions that the host can test.

use crate::flow::Rule;

/// What to do with a connection that is being opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not ours: the kernel looks for a listener as usual.
    Pass,
    /// Ours: the listener in this slot gets it. If the slot is empty the connection is refused, because handing it to
    /// whoever else listens there would be worse (law 2).
    Steer {
        /// Index in the sockmap.
        slot: u32,
    },
}

/// Decides by the rule that was found for the local address, if one was.
#[inline]
pub const fn decide(rule: Option<Rule>) -> Verdict {
    match rule {
        Some(Rule { slot }) => Verdict::Steer { slot },
        None => Verdict::Pass,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_rule_passes() {
        assert_eq!(decide(None), Verdict::Pass);
    }

    #[test]
    fn an_address_with_a_rule_is_steered() {
        assert_eq!(decide(Some(Rule { slot: 7 })), Verdict::Steer { slot: 7 });
    }
}
