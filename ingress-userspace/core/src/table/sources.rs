//! Which clients are refused for their address: by a class, and before any class is known.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Class, ClassId, RoutingTable};
use crate::settings::{Cidr, Networks, ProxyProtocolMode};

/// Networks with what happens to connections from them: the longest that contains an address decides, and an address in
/// none is admitted. In the order of the networks.
pub type SourceRules = BTreeMap<Cidr, SourceRule>;

/// What happens to connections from a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceRule {
    /// They go on.
    Admit,
    /// They are refused.
    Refuse,
}

impl RoutingTable {
    /// Whether a class of this table refuses a client.
    ///
    /// # Panics
    /// If the id is not from this table.
    pub fn denies(&self, class: ClassId, client: IpAddr) -> bool {
        self.settings(class).connections.denied_sources.contain(client)
    }

    /// Whether the class that the name of a handshake belongs to refuses a client. A name that no Ingress lists in
    /// `spec.tls` belongs to none: its requests are looked at.
    pub fn denies_by_name(&self, server_name: Option<&str>, client: IpAddr) -> bool {
        self.named_class(server_name).is_some_and(|class| self.denies(class, client))
    }

    /// Whether every class that serves refuses a client, so that no class has to be known.
    pub fn denies_always(&self, client: IpAddr) -> bool {
        self.serving().all(|class| class.settings.connections.denied_sources.contain(client))
    }

    /// The networks that [`denies_always`](Self::denies_always), for whoever sees the other end of a connection and nothing
    /// more. Where a PROXY protocol header has to name the client, the other end is no client, and is admitted.
    pub fn source_rules(&self) -> SourceRules {
        let lists: Vec<&Networks> =
            self.serving().map(|class| &class.settings.connections.denied_sources).collect();
        // The usual case, and that of a class among many.
        if lists.iter().any(|list| list.is_empty()) {
            return SourceRules::new();
        }
        let proxy = &self.settings(self.process()).proxy_protocol;
        let balancers = (proxy.mode == ProxyProtocolMode::Required).then_some(&proxy.trusted_sources);
        source_rules(&lists, balancers)
    }

    /// The classes that serve something: those of IngressClasses, or the configuration if there is none.
    fn serving(&self) -> impl Iterator<Item = &Arc<Class>> {
        let process = self.process();
        let serves = move |id| id != ClassId::CONFIGURATION || process == ClassId::CONFIGURATION;
        self.classes().filter(move |(id, _)| serves(*id)).map(|(_, class)| class)
    }
}

/// A network that contains those which come after it, until one that it does not contain.
struct Outer<'a> {
    network: Cidr,
    owners: &'a [usize],
    rule: SourceRule,
}

/// Refuses what is in each of the lists, and not in the exceptions. No network has the rule of the next larger one.
fn source_rules(lists: &[&Networks], exceptions: Option<&Networks>) -> SourceRules {
    let mut owners: BTreeMap<Cidr, Vec<usize>> = BTreeMap::new();
    for (owner, list) in lists.iter().copied().chain(exceptions).enumerate() {
        for network in list.iter() {
            owners.entry(network.network()).or_default().push(owner);
        }
    }
    // How many networks of each list contain the one that is looked at; and how many lists have any, the exceptions apart.
    let mut depths = vec![0_u32; lists.len() + 1];
    let mut lists_within = 0;
    let mut outer: Vec<Outer<'_>> = Vec::new();
    let mut rules = SourceRules::new();
    for (&network, owners) in &owners {
        while let Some(left) = outer.pop_if(|outer| !outer.network.covers(&network)) {
            for &owner in left.owners {
                depths[owner] -= 1;
                lists_within -= usize::from(owner < lists.len() && depths[owner] == 0);
            }
        }
        for &owner in owners {
            lists_within += usize::from(owner < lists.len() && depths[owner] == 0);
            depths[owner] += 1;
        }
        let refused = lists_within == lists.len() && depths[lists.len()] == 0;
        let rule = if refused { SourceRule::Refuse } else { SourceRule::Admit };
        if outer.last().map_or(SourceRule::Admit, |outer| outer.rule) != rule {
            rules.insert(network, rule);
        }
        outer.push(Outer { network, owners, rule });
    }
    rules
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn networks(all: &[&str]) -> Networks {
        all.iter().map(|network| network.parse::<Cidr>().unwrap()).collect()
    }

    fn written(lists: &[&[&str]], exceptions: &[&str]) -> Vec<String> {
        let lists: Vec<Networks> = lists.iter().map(|list| networks(list)).collect();
        let rules = source_rules(&lists.iter().collect::<Vec<_>>(), Some(&networks(exceptions)));
        rules.into_iter().map(|(network, rule)| format!("{network} {rule:?}")).collect()
    }

    #[test]
    fn one_list_is_refused_without_what_it_says_twice() {
        assert_eq!(
            written(&[&["192.0.2.7/24", "192.0.2.128/25", "2001:db8::/32", "192.0.2.0/24"]], &[]),
            ["192.0.2.0/24 Refuse", "2001:db8::/32 Refuse"]
        );
        assert_eq!(written(&[&["0.0.0.0/0", "::/0"]], &[]), ["0.0.0.0/0 Refuse", "::/0 Refuse"]);
    }

    #[test]
    fn only_what_every_list_has_is_refused() {
        let lists: [&[&str]; 2] = [&["10.0.0.0/8", "192.0.2.0/24"], &["10.1.0.0/16", "198.51.100.0/24"]];
        assert_eq!(written(&lists, &[]), ["10.1.0.0/16 Refuse"]);
        assert_eq!(written(&[&["10.0.0.0/8"], &["192.0.2.0/24"]], &[]), Vec::<String>::new());
    }

    #[test]
    fn exceptions_are_admitted() {
        assert_eq!(
            written(&[&["10.0.0.0/8"]], &["10.1.0.0/16", "192.0.2.0/24"]),
            ["10.0.0.0/8 Refuse", "10.1.0.0/16 Admit"]
        );
        assert_eq!(written(&[&["10.0.0.0/8"]], &["10.0.0.0/7"]), Vec::<String>::new());
        assert_eq!(written(&[&["10.0.0.0/8"]], &["10.0.0.0/8"]), Vec::<String>::new());
    }

    /// Few enough bits that networks meet.
    fn some_networks(least: usize) -> impl Strategy<Value = Networks> {
        let network = (0_u8..16, 24_u8..=32)
            .prop_map(|(last, prefix)| format!("192.0.2.{last}/{prefix}").parse::<Cidr>().unwrap());
        prop::collection::vec(network, least..6).prop_map(|all| all.into_iter().collect())
    }

    proptest! {
        #[test]
        fn the_longest_network_decides_as_the_lists_do(
            lists in prop::collection::vec(some_networks(1), 1..4),
            exceptions in some_networks(0),
        ) {
            let rules = source_rules(&lists.iter().collect::<Vec<_>>(), Some(&exceptions));
            for last in 0..=40 {
                let address = IpAddr::from([192, 0, 2, last]);
                let longest = rules.iter().filter(|(network, _)| network.contains(address));
                let rule = longest.max_by_key(|(network, _)| network.prefix()).map(|(_, rule)| *rule);
                let refused = lists.iter().all(|list| list.contain(address)) && !exceptions.contain(address);
                prop_assert_eq!(rule == Some(SourceRule::Refuse), refused, "{}", address);
            }
        }
    }
}
