//! Which rules a host has: one probe for its name, one for the wildcard of its domain, then the rules for any host.

use std::fmt;
use std::sync::Arc;

use foldhash::HashMap;

use super::path::Paths;
use super::{HostLevel, PathType, Rank, RankedRule, Rule};

/// Names one set of rules in the table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostKey {
    /// A host by its full name, in lower case.
    Exact(Arc<str>),
    /// All hosts of one more label than this domain: `*.domain`, kept without the `*.`.
    Wildcard(Arc<str>),
    /// Rules without a host.
    Any,
    /// Default backends of Ingresses without rules.
    Default,
    /// The default backend of the configuration.
    Configured,
}

impl HostKey {
    /// The level at which the host is looked up.
    pub fn level(&self) -> HostLevel {
        match self {
            Self::Exact(_) => HostLevel::Exact,
            Self::Wildcard(_) => HostLevel::Wildcard,
            Self::Any => HostLevel::Any,
            Self::Default => HostLevel::Default,
            Self::Configured => HostLevel::Configured,
        }
    }

    /// The host as an Ingress writes it; empty for any.
    pub fn written(&self) -> Arc<str> {
        match self {
            Self::Exact(name) => Arc::clone(name),
            Self::Wildcard(domain) => Arc::from(format!("*.{domain}")),
            _ => Arc::from(""),
        }
    }

    /// Whether a rule or certificate for `self` is good for every host that `other` names.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Wildcard(domain), Self::Exact(name)) => parent(name) == Some(domain),
            _ => self == other,
        }
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(domain) => write!(f, "*.{domain}"),
            Self::Any => f.write_str("(any host)"),
            Self::Default => f.write_str("(default)"),
            Self::Configured => f.write_str("(configured default)"),
        }
    }
}

/// A host without its first label. A wildcard stands for exactly one label, and not for an empty one.
pub(super) fn parent(host: &str) -> Option<&str> {
    let (label, domain) = host.split_once('.')?;
    (!label.is_empty() && !domain.is_empty()).then_some(domain)
}

/// All rules of one host.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct HostRules {
    /// All rules, best first, with those that lost a conflict: `explain` shows them.
    entries: Box<[RankedRule]>,
    paths: Paths,
    default: Option<Arc<Rule>>,
    /// Where connections to the host are passed through to.
    passthrough: Option<Arc<Rule>>,
}

impl HostRules {
    /// Builds the index. The second result pairs the index of each rule that lost with the index of the one that has its
    /// path: every request of the loser would go to the winner, whatever its path.
    pub(crate) fn build(mut entries: Vec<RankedRule>) -> (Self, Vec<(usize, usize)>) {
        entries.sort_by(|a, b| a.rank.cmp(&b.rank));
        let mut paths = Paths::default();
        let (mut default, mut passthrough) = (None::<Arc<Rule>>, None::<Arc<Rule>>);
        let mut lost = Vec::new();
        let mut first = HashMap::default();
        for (at, RankedRule { rank, rule }) in entries.iter().enumerate() {
            let previous = if rank.fallback || rule.passthrough.is_some() {
                let one = if rule.passthrough.is_some() { &mut passthrough } else { &mut default };
                let previous = one.clone();
                one.get_or_insert_with(|| Arc::clone(rule));
                previous
            } else {
                paths.insert(rule).cloned()
            };
            match previous.and_then(|winner| first.get(&Arc::as_ptr(&winner)).copied()) {
                Some(winner) => lost.push((at, winner)),
                None => drop(first.insert(Arc::as_ptr(rule), at)),
            }
        }
        (Self { entries: entries.into(), paths, default, passthrough }, lost)
    }

    /// All rules, best first, losers of conflicts included.
    pub fn entries(&self) -> &[RankedRule] {
        &self.entries
    }

    /// The best rule for a path.
    pub(super) fn find(&self, path: &str) -> Option<&Arc<Rule>> {
        self.paths.find(path).or(self.default.as_ref())
    }

    /// Where connections to the host are passed through to, if they are.
    pub fn passthrough(&self) -> Option<&Arc<Rule>> {
        self.passthrough.as_ref()
    }

    /// Whether the host has rules for requests that came by TLS, so that its connections are decrypted.
    fn terminates(&self) -> bool {
        self.passthrough.is_none() && self.entries.iter().any(|entry| !entry.rule.acme_http01)
    }

    /// The rule of exactly this rank.
    pub(crate) fn ranked(&self, rank: &Rank) -> Option<&Arc<Rule>> {
        let at = self.entries.binary_search_by(|entry| entry.rank.cmp(rank)).ok()?;
        Some(&self.entries[at].rule)
    }

    /// The rule that serves a path and type, or the default of the host.
    fn serving(&self, fallback: bool, path_type: PathType, path: &str) -> Option<&Arc<Rule>> {
        if fallback { self.default.as_ref() } else { self.paths.get(path_type, path) }
    }

    /// Whether an entry is the one that serves its path.
    pub(super) fn serves(&self, entry: &RankedRule) -> bool {
        if entry.rule.passthrough.is_some() {
            return self.passthrough.as_ref().is_some_and(|rule| Arc::ptr_eq(rule, &entry.rule));
        }
        self.serving(entry.rank.fallback, entry.rule.path_type, &entry.rule.path)
            .is_some_and(|rule| Arc::ptr_eq(rule, &entry.rule))
    }
}

/// All hosts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hosts {
    exact: HashMap<Arc<str>, Arc<HostRules>>,
    /// By the domain, without `*.`.
    wildcard: HashMap<Arc<str>, Arc<HostRules>>,
    any: Option<Arc<HostRules>>,
    default: Option<Arc<HostRules>>,
    configured: Option<Arc<HostRules>>,
    /// How many hosts are passed through.
    passthrough: usize,
}

impl Hosts {
    /// The rules of one host.
    pub(crate) fn get(&self, key: &HostKey) -> Option<&Arc<HostRules>> {
        match key {
            HostKey::Exact(name) => self.exact.get(name),
            HostKey::Wildcard(domain) => self.wildcard.get(domain),
            HostKey::Any => self.any.as_ref(),
            HostKey::Default => self.default.as_ref(),
            HostKey::Configured => self.configured.as_ref(),
        }
    }

    /// Replaces the rules of one host.
    pub(crate) fn set(&mut self, key: &HostKey, rules: Option<Arc<HostRules>>) {
        let passes =
            |rules: Option<&Arc<HostRules>>| usize::from(rules.is_some_and(|r| r.passthrough.is_some()));
        self.passthrough = self.passthrough + passes(rules.as_ref()) - passes(self.get(key));
        let (map, name) = match key {
            HostKey::Exact(name) => (&mut self.exact, name),
            HostKey::Wildcard(domain) => (&mut self.wildcard, domain),
            HostKey::Any => return self.any = rules,
            HostKey::Default => return self.default = rules,
            HostKey::Configured => return self.configured = rules,
        };
        match rules {
            Some(rules) => drop(map.insert(Arc::clone(name), rules)),
            None => drop(map.remove(name)),
        }
    }

    /// The best rule for a request: a level is only looked up if the better ones have no rule. A host whose connections are
    /// passed through has no requests of its own, and those of other levels are not for it.
    pub(super) fn find(&self, host: &str, path: &str) -> Option<&Arc<Rule>> {
        fn best<'t>(rules: Option<&'t Arc<HostRules>>, path: &str) -> Option<&'t Arc<Rule>> {
            rules?.find(path)
        }
        if self.passthrough > 0 && self.passthrough(host).is_some() {
            return self.levels(host).find_map(|rules| rules.find(path));
        }
        best(self.exact.get(host), path)
            .or_else(|| best(self.wildcard.get(parent(host)?), path))
            .or_else(|| best(self.any.as_ref(), path))
            .or_else(|| best(self.default.as_ref(), path))
            .or_else(|| best(self.configured.as_ref(), path))
    }

    /// Where connections with this server name are passed through to. The best level that decides about the host does.
    pub(super) fn passthrough(&self, name: &str) -> Option<&Arc<Rule>> {
        if self.passthrough == 0 {
            return None;
        }
        let wildcard = || parent(name).and_then(|domain| self.wildcard.get(domain));
        match self.exact.get(name) {
            Some(rules) if rules.terminates() => None,
            Some(rules) if rules.passthrough.is_some() => rules.passthrough.as_ref(),
            _ => wildcard()?.passthrough.as_ref(),
        }
    }

    /// Whether any host is passed through.
    pub(super) fn has_passthrough(&self) -> bool {
        self.passthrough > 0
    }

    /// The rules that a request of this host could go to, best level first. Behind a host that is passed through there is
    /// nothing.
    pub(super) fn levels<'t>(&'t self, host: &str) -> impl Iterator<Item = &'t Arc<HostRules>> {
        let exact = self.exact.get(host);
        let wildcard = parent(host).and_then(|domain| self.wildcard.get(domain));
        let passed = self.passthrough(host).is_some();
        let others = [self.any.as_ref(), self.default.as_ref(), self.configured.as_ref()];
        let others = others.into_iter().filter(move |_| !passed);
        let exact_is_passed = exact.is_some_and(|rules| rules.passthrough.is_some());
        let wildcard = wildcard.filter(|_| !exact_is_passed);
        [exact, wildcard].into_iter().chain(others).flatten()
    }

    /// Whether a rule names this host, itself or by wildcard.
    pub(super) fn names(&self, host: &str) -> bool {
        self.exact.contains_key(host) || parent(host).is_some_and(|domain| self.wildcard.contains_key(domain))
    }

    /// Every host and its rules, sorted.
    pub(super) fn sorted(&self) -> Vec<(HostKey, &Arc<HostRules>)> {
        let mut all: Vec<_> = self.iter().collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// Every host and its rules, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (HostKey, &Arc<HostRules>)> {
        let exact = self.exact.iter().map(|(name, rules)| (HostKey::Exact(Arc::clone(name)), rules));
        let wildcard = self.wildcard.iter().map(|(name, rules)| (HostKey::Wildcard(Arc::clone(name)), rules));
        let any = self.any.iter().map(|rules| (HostKey::Any, rules));
        let default = self.default.iter().map(|rules| (HostKey::Default, rules));
        let configured = self.configured.iter().map(|rules| (HostKey::Configured, rules));
        exact.chain(wildcard).chain(any).chain(default).chain(configured)
    }
}
