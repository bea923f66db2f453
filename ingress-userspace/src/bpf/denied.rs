//! How one list of denied sources takes the place of another in the trie that the kernel reads meanwhile.

use ingress_common::flow::{ADMIT, Network, REFUSE};
use ingress_core::settings::Cidr;
use ingress_core::table::{SourceRule, SourceRules};

/// One change of the trie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Put(Cidr, SourceRule),
    Remove(Cidr),
}

/// What turns one list into another, in an order in which no address is refused meanwhile that is admitted by both. One that
/// both refuse may be admitted for a moment: userspace refuses it after accept.
///
/// Only what differs is touched, and networks have at most both lists' number meanwhile.
pub(super) fn steps(old: &SourceRules, new: &SourceRules) -> Vec<Step> {
    let put = |wanted: SourceRule| {
        let differs =
            move |network: &Cidr, rule: SourceRule| rule == wanted && old.get(network) != Some(&rule);
        new.iter()
            .filter(move |(network, rule)| differs(network, **rule))
            .map(|(network, rule)| Step::Put(*network, *rule))
    };
    let remove = |held: SourceRule| {
        let gone = move |network: &Cidr, rule: SourceRule| rule == held && !new.contains_key(network);
        old.iter()
            .filter(move |(network, rule)| gone(network, **rule))
            .map(|(network, _)| Step::Remove(*network))
    };
    let admitted_first = put(SourceRule::Admit).chain(remove(SourceRule::Refuse));
    admitted_first.chain(put(SourceRule::Refuse)).chain(remove(SourceRule::Admit)).collect()
}

/// A network as the trie has it.
pub(super) fn network(cidr: &Cidr) -> Network {
    Network::new(cidr.address(), cidr.prefix())
}

/// A rule as the trie has it.
pub(super) fn value(rule: SourceRule) -> u32 {
    match rule {
        SourceRule::Refuse => REFUSE,
        SourceRule::Admit => ADMIT,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn refused(rules: &SourceRules, address: IpAddr) -> bool {
        let longest = rules.iter().filter(|(network, _)| network.contains(address));
        longest
            .max_by_key(|(network, _)| network.prefix())
            .is_some_and(|(_, rule)| *rule == SourceRule::Refuse)
    }

    fn some_rules() -> impl Strategy<Value = SourceRules> {
        let entry = (0_u8..16, 28_u8..=32, any::<bool>()).prop_map(|(last, prefix, refuse)| {
            let network: Cidr = format!("192.0.2.{last}/{prefix}").parse().unwrap();
            (network.network(), if refuse { SourceRule::Refuse } else { SourceRule::Admit })
        });
        prop::collection::btree_map(
            entry.clone().prop_map(|(network, _)| network),
            entry.prop_map(|(_, rule)| rule),
            0..8,
        )
    }

    proptest! {
        #[test]
        fn nothing_is_refused_meanwhile_that_both_lists_admit(old in some_rules(), new in some_rules()) {
            let mut trie = old.clone();
            for step in steps(&old, &new) {
                match step {
                    Step::Put(network, rule) => {
                        prop_assert_ne!(trie.insert(network, rule), Some(rule), "nothing is put twice");
                    }
                    Step::Remove(network) => prop_assert!(trie.remove(&network).is_some()),
                }
                for last in 0..16 {
                    let address = IpAddr::from([192, 0, 2, last]);
                    let may = refused(&old, address) || refused(&new, address);
                    prop_assert!(may || !refused(&trie, address), "{} after {:?}", address, step);
                }
            }
            prop_assert_eq!(trie, new);
        }
    }
}
