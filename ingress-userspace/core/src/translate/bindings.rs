//! Which identity each host is bound to, as Secrets and Ingresses change.

use std::mem;
use std::sync::Arc;

use super::conflict::{TlsState, settle_tls};
use super::translator::{Translator, replace_findings, users_of};
use crate::table::{Binding, HostKey, Identity};

impl Translator {
    /// Decides again how the stale hosts are served over TLS.
    pub(super) fn settle_tls(&mut self) {
        for host in mem::take(&mut self.stale.tls) {
            let drafts = users_of(&self.tls_users, &self.drafts, &host);
            let (new, findings) = settle_tls(&host, &drafts, &self.secrets);
            let new = (!drafts.is_empty()).then_some(new);
            replace_findings(&mut self.tls_findings, &host, findings, &mut self.stale.reports);
            let old = self.tls.get(&host).cloned();
            if old == new {
                continue;
            }
            self.mark_tls(&host, old.as_ref(), new.as_ref());
            if let Some(TlsState::Secret(secret)) = &old {
                self.bound.entry(secret.clone()).or_default().remove(&host);
                self.stale.identities.insert(secret.clone());
            }
            match &new {
                Some(TlsState::Secret(secret)) => {
                    self.bound.entry(secret.clone()).or_default().insert(host.clone());
                    self.stale.identities.insert(secret.clone());
                }
                Some(_) => self.unbind(&host, Some(Binding::Default)),
                None => self.unbind(&host, None),
            }
            match new {
                Some(new) => drop(self.tls.insert(host, new)),
                None => drop(self.tls.remove(&host)),
            }
        }
    }

    /// Marks the hosts whose rules may be denied now, or no longer.
    fn mark_tls(&mut self, host: &HostKey, old: Option<&TlsState>, new: Option<&TlsState>) {
        self.stale.hosts.insert(host.clone());
        let broken = |state: Option<&TlsState>| matches!(state, Some(TlsState::Broken { .. }));
        if matches!(host, HostKey::Wildcard(_)) && (broken(old) || broken(new)) {
            self.stale.hosts.extend(self.host_users.keys().filter(|other| host.covers(other)).cloned());
        }
    }

    /// Takes the identity of a host away: the host has the default certificate, or no TLS.
    fn unbind(&mut self, host: &HostKey, binding: Option<Binding>) {
        let same = match self.tls_hosts.get(host) {
            Some(Binding::Default) => binding.is_some(),
            Some(Binding::Identity(_)) => false,
            None => binding.is_none(),
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
            let names: Vec<Arc<str>> = hosts.iter().map(HostKey::written).collect();
            let current = self.tls_hosts.identity_of(&name);
            if current.is_some_and(|id| Arc::ptr_eq(&id.key, &loaded.key) && id.hosts == names) {
                continue;
            }
            let identity = Arc::new(Identity {
                secret: name.clone(),
                hosts: names,
                key: Arc::clone(&loaded.key),
                not_before: loaded.not_before,
                not_after: loaded.not_after,
                fingerprint: loaded.fingerprint.clone(),
            });
            let table = Arc::make_mut(&mut self.tls_hosts);
            for host in hosts {
                table.set(host, Some(Binding::Identity(Arc::clone(&identity))));
            }
            table.set_identity(&name, Some(identity));
            self.changed = true;
        }
    }

    /// How a host is served over TLS: by its own entry, else by that of its wildcard.
    pub(super) fn tls_of(&self, host: &HostKey) -> Option<&TlsState> {
        let wildcard = || match host {
            HostKey::Exact(name) => {
                let (_, domain) = name.split_once('.')?;
                self.tls.get(&HostKey::Wildcard(Arc::from(domain)))
            }
            _ => None,
        };
        self.tls.get(host).or_else(wildcard)
    }
}
