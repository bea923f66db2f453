//! The table itself: what a worker asks once per connection and once per request.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::http::lenient_reading;

use super::{
    Access, AccessId, AccessSlots, Backend, BackendId, Class, ClassId, ClassSlots, HostKey, HostRules, Hosts,
    Identity, RankedRule, Rule, TlsHosts,
};
use crate::auth::fields::Protected;
use crate::objects::NamespacedName;
use crate::settings::Settings;

/// An immutable routing table. Its parts are shared with its predecessor wherever they did not change.
#[derive(Debug, Default)]
pub struct RoutingTable {
    generation: u64,
    hosts: Arc<Hosts>,
    backends: Arc<[Arc<Backend>]>,
    tls: Arc<TlsHosts>,
    classes: Arc<ClassSlots>,
    access: Arc<AccessSlots>,
}

impl RoutingTable {
    pub(crate) fn new(
        generation: u64,
        hosts: Arc<Hosts>,
        backends: Arc<[Arc<Backend>]>,
        tls: Arc<TlsHosts>,
        classes: Arc<ClassSlots>,
        access: Arc<AccessSlots>,
    ) -> Self {
        Self { generation, hosts, backends, tls, classes, access }
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

    /// Who may use the routes of a rule of this table.
    ///
    /// # Panics
    /// If the id is not from a rule of this table.
    #[expect(clippy::expect_used, reason = "an id of another table is a bug, and must not open a route")]
    pub fn access(&self, id: AccessId) -> &Arc<Access> {
        self.access.slots[id.0 as usize].as_ref().expect("a rule names a policy of its table")
    }

    /// All access policies, with their ids.
    pub fn accesses(&self) -> impl Iterator<Item = (AccessId, &Arc<Access>)> {
        let all = (0..).map(AccessId).zip(self.access.slots.iter());
        all.filter_map(|(id, access)| Some((id, access.as_ref()?)))
    }

    /// The access policies of the rules that requests of a host could go to, each once.
    pub fn accesses_of(&self, host: &str) -> Vec<&Arc<Access>> {
        let mut ids: Vec<_> = self.entries(host).filter_map(|entry| entry.rule.access).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().map(|id| self.access(id)).collect()
    }

    /// Whether a path of a host is one at which Penstock answers itself: it lies below the prefix of a class by which a policy guards
    /// something on the host. Returns that class, whatever rule the path has: sign-ins for one path of a host lead there from all others.
    pub fn reserved(&self, host: &str, path: &str) -> Option<ClassId> {
        let below = |id: ClassId| path.starts_with(&*self.settings(id).single_sign_on.path_prefix);
        // Most paths lie below no prefix at all, which is told without a look at the host.
        if !self.classes().any(|(id, _)| below(id)) {
            return None;
        }
        let guarded = self.entries(host).filter(|entry| entry.rule.access.is_some());
        guarded.map(|entry| entry.rule.class).find(|class| below(*class))
    }

    /// Fields that are removed from what clients send, on every route.
    pub fn protected(&self) -> &Protected {
        &self.access.protected
    }

    /// The class of a rule of this table.
    ///
    /// # Panics
    /// If the id is not from this table.
    pub fn class(&self, id: ClassId) -> &Arc<Class> {
        &self.classes.slots[id.0 as usize]
    }

    /// What a rule of this table is served with.
    ///
    /// # Panics
    /// If the id is not from this table.
    pub fn settings(&self, id: ClassId) -> &Arc<Settings> {
        &self.class(id).settings
    }

    /// The class that decides what has to be known before any host is: the default class of the cluster if it is ours, else
    /// the oldest of ours, else the configuration.
    pub fn process(&self) -> ClassId {
        self.classes.process
    }

    /// All classes, with their ids; the first is the configuration.
    pub fn classes(&self) -> impl Iterator<Item = (ClassId, &Arc<Class>)> {
        let all = (0..).map(ClassId).zip(self.classes.slots.iter());
        all.filter(|(id, class)| *id == ClassId::CONFIGURATION || !class.name.is_empty())
    }

    /// The class whose TLS policy a handshake with this server name has to fulfil. Names that no Ingress lists in `spec.tls`,
    /// and clients that send none, get the process-wide one.
    pub fn tls_class(&self, server_name: Option<&str>) -> ClassId {
        self.named_class(server_name).unwrap_or_else(|| self.process())
    }

    /// The class whose Ingress lists a server name in `spec.tls`.
    pub(super) fn named_class(&self, server_name: Option<&str>) -> Option<ClassId> {
        let name = server_name.map(lower_case);
        name.and_then(|name| self.tls.binding(&name)).map(|binding| binding.class)
    }

    /// The identity for a server name: exact, else by wildcard of one label, else the default certificate of the class.
    /// `None` stands for the self-signed one.
    pub fn identity(&self, server_name: Option<&str>) -> Option<&Arc<Identity>> {
        let name = server_name.map(lower_case);
        let binding = name.and_then(|name| self.tls.binding(&name));
        let own = binding.and_then(|binding| binding.identity.as_ref());
        own.or_else(|| {
            let class = binding.map_or(self.process(), |binding| binding.class);
            self.class(class).certificate.as_ref()
        })
    }

    /// Where connections with this server name are passed through to, undecrypted; `None` if the handshake is ours.
    pub fn passthrough(&self, server_name: &str) -> Option<&Arc<Rule>> {
        self.hosts.passthrough(server_name)
    }

    /// Whether any connection is passed through: if not, nobody has to read server names ahead of the handshake.
    pub fn has_passthrough(&self) -> bool {
        self.hosts.has_passthrough()
    }

    /// Whether plain HTTP for this host is redirected: its connections are passed through, an accepted Ingress names it in `spec.tls`, itself or by wildcard, or
    /// no rule names it and an Ingress asks for TLS for its rules without host.
    pub fn tls_host(&self, host: &str) -> bool {
        self.tls.names(host)
            || self.passthrough(host).is_some()
            || (self.tls.any() && !self.hosts.names(host))
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

    /// All identities that are served, each once, by Secret: those that some host is bound to, and default certificates.
    pub fn identities(&self) -> impl Iterator<Item = &Arc<Identity>> {
        let bound = self.tls.identities();
        let mut all: BTreeMap<&NamespacedName, &Arc<Identity>> = bound.iter().collect();
        for identity in self.classes.slots.iter().filter_map(|class| class.certificate.as_ref()) {
            all.entry(&identity.secret).or_insert(identity);
        }
        all.into_values()
    }

    /// All hosts with their rules, sorted.
    pub fn hosts(&self) -> impl Iterator<Item = (HostKey, &Arc<HostRules>)> {
        self.hosts.sorted().into_iter()
    }

    /// All hosts that are served over TLS and their identities, sorted; `None` stands for the default certificate.
    pub fn tls_hosts(&self) -> impl Iterator<Item = (Cow<'static, str>, Option<&Arc<Identity>>)> {
        let all = self.tls.sorted().into_iter();
        all.map(|(key, binding)| (Cow::Owned(key.to_string()), binding.identity.as_ref()))
    }

    pub(crate) fn slots(&self) -> &Arc<[Arc<Backend>]> {
        &self.backends
    }

    pub(crate) fn class_slots(&self) -> &Arc<ClassSlots> {
        &self.classes
    }

    pub(crate) fn access_slots(&self) -> &Arc<AccessSlots> {
        &self.access
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

fn lower_case(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}
