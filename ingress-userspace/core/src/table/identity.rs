//! Which certificate a server name gets.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use foldhash::HashMap;
use rustls::sign::CertifiedKey;

use super::ClassId;
use super::HostKey;
use super::host::parent;
use crate::objects::NamespacedName;

/// A certificate chain with its key, and the hosts that it is bound to. The hosts come from `spec.tls[].hosts` of
/// Ingresses in the Secret's own namespace, never from the certificate.
pub struct Identity {
    /// The Secret that it comes from.
    pub secret: NamespacedName,
    /// The hosts that it serves, sorted; `*.domain` for a wildcard.
    pub hosts: Vec<Arc<str>>,
    /// Chain and signing key.
    pub key: Arc<CertifiedKey>,
    /// From when the leaf is valid, in Unix seconds.
    pub not_before: i64,
    /// Until when the leaf is valid, in Unix seconds.
    pub not_after: i64,
    /// SHA-256 of the leaf, in lower-case hex.
    pub fingerprint: String,
}

impl fmt::Debug for Identity {
    /// Leaves the key out (law 6).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("secret", &self.secret)
            .field("hosts", &self.hosts)
            .field("not_after", &self.not_after)
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// How a host is served over TLS.
#[derive(Clone, Debug)]
pub(crate) struct Binding {
    /// The class whose TLS policy the handshake has to fulfil.
    pub(crate) class: ClassId,
    /// The certificate of the host; without one, the default certificate of the class is served. The identity of a
    /// wildcard does not apply to a host that is bound itself.
    pub(crate) identity: Option<Arc<Identity>>,
}

impl Binding {
    /// Whether two bindings are the same.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let same_identity = match (&self.identity, &other.identity) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        self.class == other.class && same_identity
    }
}

/// The certificates by host.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsHosts {
    exact: HashMap<Arc<str>, Binding>,
    /// By the domain, without `*.`.
    wildcard: HashMap<Arc<str>, Binding>,
    /// Set if some Ingress asks for TLS for its rules without host.
    any: Option<Binding>,
    /// Each identity once, by its Secret.
    identities: BTreeMap<NamespacedName, Arc<Identity>>,
}

impl TlsHosts {
    /// Binds a host, or takes it out of the table.
    pub(crate) fn set(&mut self, key: &HostKey, binding: Option<Binding>) {
        let (map, name) = match key {
            HostKey::Exact(name) => (&mut self.exact, name),
            HostKey::Wildcard(domain) => (&mut self.wildcard, domain),
            HostKey::Any | HostKey::Default | HostKey::Configured => return self.any = binding,
        };
        match binding {
            Some(binding) => drop(map.insert(Arc::clone(name), binding)),
            None => drop(map.remove(name)),
        }
    }

    /// What is bound to exactly this key.
    pub(crate) fn get(&self, key: &HostKey) -> Option<&Binding> {
        match key {
            HostKey::Exact(name) => self.exact.get(name),
            HostKey::Wildcard(domain) => self.wildcard.get(domain),
            HostKey::Any | HostKey::Default | HostKey::Configured => self.any.as_ref(),
        }
    }

    /// Replaces the identity of a Secret in the list of all identities.
    pub(crate) fn set_identity(&mut self, secret: &NamespacedName, identity: Option<Arc<Identity>>) {
        match identity {
            Some(identity) => drop(self.identities.insert(secret.clone(), identity)),
            None => drop(self.identities.remove(secret)),
        }
    }

    /// The identity of a Secret.
    pub(crate) fn identity_of(&self, secret: &NamespacedName) -> Option<&Arc<Identity>> {
        self.identities.get(secret)
    }

    /// What is bound to a host, itself or by wildcard.
    fn lookup(&self, host: &str) -> Option<&Binding> {
        self.exact.get(host).or_else(|| self.wildcard.get(parent(host)?))
    }

    /// What is bound to a host, or to any host.
    pub(super) fn binding(&self, host: &str) -> Option<&Binding> {
        self.lookup(host).or(self.any.as_ref())
    }

    pub(super) fn names(&self, host: &str) -> bool {
        self.lookup(host).is_some()
    }

    pub(super) fn any(&self) -> bool {
        self.any.is_some()
    }

    pub(super) fn identities(&self) -> &BTreeMap<NamespacedName, Arc<Identity>> {
        &self.identities
    }

    /// Every host with TLS and its binding, sorted.
    pub(super) fn sorted(&self) -> Vec<(HostKey, &Binding)> {
        let exact = self.exact.iter().map(|(name, binding)| (HostKey::Exact(Arc::clone(name)), binding));
        let wildcard =
            self.wildcard.iter().map(|(name, binding)| (HostKey::Wildcard(Arc::clone(name)), binding));
        let any = self.any.as_ref().map(|binding| (HostKey::Any, binding));
        let mut all: Vec<_> = exact.chain(wildcard).chain(any).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}
