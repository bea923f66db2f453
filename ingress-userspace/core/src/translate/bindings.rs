//! Which identity each host is bound to, as Secrets and Ingresses change.

use std::mem;
use std::sync::Arc;

use super::conflict::{HostTls, TlsState, settle_tls};
use super::identity::Loaded;
use super::translator::{Translator, replace_findings, users_of};
use crate::objects::NamespacedName;
use crate::table::{Binding, HostKey, Identity};

impl Translator {
    /// Decides again how the stale hosts are served over TLS.
    pub(super) fn settle_tls(&mut self) {
        for host in mem::take(&mut self.stale.tls) {
            let drafts = users_of(&self.tls_users, &self.drafts, &host);
            let (new, findings) = settle_tls(&host, &drafts, &self.secrets);
            replace_findings(&mut self.tls_findings, &host, findings, &mut self.stale.reports);
            let old = self.tls.get(&host).cloned();
            if old == new {
                continue;
            }
            self.mark_tls(&host, old.as_ref(), new.as_ref());
            if let Some(secret) = old.as_ref().and_then(HostTls::secret) {
                self.bound.entry(secret.clone()).or_default().remove(&host);
                self.stale.identities.insert(secret.clone());
            }
            match new.as_ref().and_then(HostTls::secret) {
                Some(secret) => {
                    self.bound.entry(secret.clone()).or_default().insert(&host);
                    self.stale.identities.insert(secret.clone());
                }
                None => {
                    self.bind(&host, new.as_ref().map(|new| Binding { class: new.class, identity: None }));
                }
            }
            match new {
                Some(new) => drop(self.tls.insert(host, new)),
                None => drop(self.tls.remove(&host)),
            }
        }
    }

    /// Marks the hosts whose rules may be denied now, or no longer.
    fn mark_tls(&mut self, host: &HostKey, old: Option<&HostTls>, new: Option<&HostTls>) {
        self.stale.hosts.insert(host.clone());
        if *host == HostKey::Any {
            self.stale.hosts.insert(HostKey::Default);
        }
        let broken =
            |tls: Option<&HostTls>| tls.is_some_and(|tls| matches!(tls.state, TlsState::Broken { .. }));
        let policy = |tls: Option<&HostTls>| tls.map(|tls| (tls.policy, tls.owner.clone()));
        let concerns_others = broken(old) || broken(new) || policy(old) != policy(new);
        if matches!(host, HostKey::Wildcard(_)) && concerns_others {
            self.stale.hosts.extend(self.host_users.keys().filter(|other| host.covers(other)).cloned());
        }
    }

    /// Sets how a host is served over TLS, unless it is so already.
    fn bind(&mut self, host: &HostKey, binding: Option<Binding>) {
        let same = match (self.tls_hosts.get(host), &binding) {
            (Some(old), Some(new)) => old.same(new),
            (old, new) => old.is_none() && new.is_none(),
        };
        if !same {
            Arc::make_mut(&mut self.tls_hosts).set(host, binding);
            self.changed = true;
        }
    }

    /// Makes the identities of Secrets that changed or that serve other hosts than before.
    pub(super) fn bind_identities(&mut self) {
        for name in mem::take(&mut self.stale.identities) {
            let hosts = self.bound.get(&name).filter(|hosts| !hosts.is_empty());
            let serving = self.secrets.get(&name).and_then(|state| state.serving.as_ref());
            let (Some(hosts), Some(loaded)) = (hosts, serving) else {
                self.bound.remove(&name);
                if self.tls_hosts.identity_of(&name).is_some() {
                    Arc::make_mut(&mut self.tls_hosts).set_identity(&name, None);
                    self.changed = true;
                }
                continue;
            };
            let hosts: Vec<HostKey> = hosts.iter().cloned().collect();
            let names: Vec<Arc<str>> = hosts.iter().map(HostKey::written).collect();
            let current = self.tls_hosts.identity_of(&name);
            let same = current.filter(|id| Arc::ptr_eq(&id.key, &loaded.key) && id.hosts == names).cloned();
            let identity = same.unwrap_or_else(|| {
                let identity = Arc::new(Identity::of(&name, loaded, names));
                Arc::make_mut(&mut self.tls_hosts).set_identity(&name, Some(Arc::clone(&identity)));
                self.changed = true;
                identity
            });
            for host in hosts {
                let Some(class) = self.tls.get(&host).map(|tls| tls.class) else { continue };
                self.bind(&host, Some(Binding { class, identity: Some(Arc::clone(&identity)) }));
            }
        }
    }

    /// How a host is served over TLS: by its own entry, else by that of its wildcard.
    pub(super) fn tls_of(&self, host: &HostKey) -> Option<&HostTls> {
        let wildcard = || match host {
            HostKey::Exact(name) => {
                let (_, domain) = name.split_once('.')?;
                self.tls.get(&HostKey::Wildcard(Arc::from(domain)))
            }
            // An Ingress without rules asks for TLS for any host.
            HostKey::Default => self.tls.get(&HostKey::Any),
            _ => None,
        };
        self.tls.get(host).or_else(wildcard)
    }
}

impl Identity {
    /// The identity that a Secret gives.
    pub(super) fn of(secret: &NamespacedName, loaded: &Loaded, hosts: Vec<Arc<str>>) -> Self {
        Self {
            secret: secret.clone(),
            hosts,
            key: Arc::clone(&loaded.key),
            not_before: loaded.not_before,
            not_after: loaded.not_after,
            fingerprint: loaded.fingerprint.clone(),
        }
    }
}
