//! The table itself: what a worker asks once per connection and once per request.

use std::borrow::Cow;
use std::sync::Arc;

use crate::http::lenient_reading;

use super::{Backend, BackendId, HostKey, HostRules, Hosts, Identity, RankedRule, Rule, TlsHosts};

/// An immutable routing table. Its parts are shared with its predecessor wherever they did not change.
#[derive(Debug, Default)]
pub struct RoutingTable {
    generation: u64,
    hosts: Arc<Hosts>,
    backends: Arc<[Arc<Backend>]>,
    tls: Arc<TlsHosts>,
}

impl RoutingTable {
    pub(crate) fn new(
        generation: u64,
        hosts: Arc<Hosts>,
        backends: Arc<[Arc<Backend>]>,
        tls: Arc<TlsHosts>,
    ) -> Self {
        Self { generation, hosts, backends, tls }
    }

    /// The number of the table; it rises with every table that differs from the one before.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The rule for a request. `host` is in lower case, without port and trailing dot; `path` is normalised.
    ///
    /// A rule matches if its host and its path match, so a more general host is tried when the better one has no path for
    /// the request; the last are the default backends.
    pub fn route(&self, host: &str, path: &str) -> Option<&Arc<Rule>> {
        self.hosts.find(host, path)
    }

    /// Whether a lenient backend may read another path in this normalised one, and that path has another rule here: such a
    /// request would be authorized by the one and served as the other.
    pub fn is_ambiguous(&self, host: &str, path: &str) -> bool {
        lenient_reading(path).is_some_and(|other| match (self.route(host, path), self.route(host, &other)) {
            (Some(rule), Some(other)) => !Arc::ptr_eq(rule, other),
            (rule, other) => rule.is_some() || other.is_some(),
        })
    }

    /// The backend of a rule of this table.
    ///
    /// # Panics
    /// If the id is not from a rule of this table.
    pub fn backend(&self, id: BackendId) -> &Arc<Backend> {
        &self.backends[id.0 as usize]
    }

    /// The identity for a server name: exact, else by wildcard of one label. `None` stands for the default certificate.
    pub fn identity(&self, server_name: Option<&str>) -> Option<&Arc<Identity>> {
        let name = server_name?;
        if name.bytes().any(|b| b.is_ascii_uppercase()) {
            self.tls.identity(&name.to_ascii_lowercase())
        } else {
            self.tls.identity(name)
        }
    }

    /// Whether plain HTTP for this host is redirected: an accepted Ingress names it in `spec.tls`, itself or by wildcard, or
    /// no rule names it and an Ingress asks for TLS for its rules without host.
    pub fn tls_host(&self, host: &str) -> bool {
        self.tls.names(host) || (self.tls.any() && !self.hosts.names(host))
    }

    /// All rules that serve, by host and rank.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        let sorted = self.hosts.sorted().into_iter();
        sorted.flat_map(|(_, rules)| {
            rules.entries().iter().filter(|entry| rules.serves(entry)).map(|e| &e.rule)
        })
    }

    /// Whether this table certainly has the same rules as another one: it shares them.
    pub fn has_same_rules(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.hosts, &other.hosts)
    }

    /// All backends in use, with their ids.
    pub fn backends(&self) -> impl Iterator<Item = (BackendId, &Arc<Backend>)> {
        let all = (0..).map(BackendId).zip(self.backends.iter());
        all.filter(|(_, backend)| !backend.is_vacant())
    }

    /// All identities that some host is bound to, by Secret.
    pub fn identities(&self) -> impl Iterator<Item = &Arc<Identity>> {
        self.tls.identities().values()
    }

    /// All hosts with their rules, sorted.
    pub fn hosts(&self) -> impl Iterator<Item = (HostKey, &Arc<HostRules>)> {
        self.hosts.sorted().into_iter()
    }

    /// All hosts that are served over TLS and their identities, sorted; `None` stands for the default certificate.
    pub fn tls_hosts(&self) -> impl Iterator<Item = (Cow<'static, str>, Option<&Arc<Identity>>)> {
        self.tls.sorted().into_iter().map(|(key, identity)| (Cow::Owned(key.to_string()), identity))
    }

    pub(crate) fn slots(&self) -> &Arc<[Arc<Backend>]> {
        &self.backends
    }

    pub(super) fn host_map(&self) -> &Arc<Hosts> {
        &self.hosts
    }

    pub(super) fn tls_map(&self) -> &Arc<TlsHosts> {
        &self.tls
    }

    /// All rules that a request of this host could go to, best first.
    pub(super) fn entries<'t>(&'t self, host: &str) -> impl Iterator<Item = &'t RankedRule> {
        self.hosts.levels(host).flat_map(|rules| rules.entries())
    }
}
