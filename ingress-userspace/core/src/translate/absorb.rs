//! How a translation takes changes over, and what it keeps of them.

use std::sync::Arc;

use super::index::refill;
use super::ingress::is_acme_solver;
use super::secrets::News;
use super::translator::Translator;
use crate::objects::{Change, Kind, Object};

impl Translator {
    /// Gives memory back: an ordered map whose keys came in order, as from a list, is little more than half full. It takes
    /// some milliseconds, and is worth them when the first objects are there.
    pub fn compact(&mut self) {
        self.objects.compact();
        self.secrets.compact();
        self.values.compact();
        self.slots.compact();
        self.reports.compact();
        self.service_users.compact();
        self.host_users.compact();
        self.tls_users.compact();
        self.slices.compact();
        refill(&mut self.drafts);
        refill(&mut self.tls);
        refill(&mut self.bound);
    }

    /// Takes a change over and marks what is read directly from the object.
    pub(super) fn absorb(&mut self, change: Change) {
        let mut key = change.key();
        if key.name.namespace == self.namespace {
            key.name.namespace = Arc::clone(&self.namespace);
        } else {
            self.namespace = Arc::clone(&key.name.namespace);
        }
        let new = match &change {
            Change::Upsert(object) => Some(object),
            Change::Delete(_) | Change::Withheld(..) => None,
        };
        let name = &key.name;
        if new.and_then(Object::uid) != self.objects.uid(&key) {
            // The same words may be about another object of that name.
            self.stale.reports.insert(key.clone());
        }
        match key.kind {
            Kind::Ingress => drop(self.stale.ingresses.insert(name.clone())),
            Kind::IngressClass | Kind::ProxyClass => self.stale.classes = true,
            Kind::IdentityProvider => drop(self.stale.providers.insert(name.clone())),
            Kind::AccessPolicy => drop(self.stale.policies.insert(name.clone())),
            Kind::Secret => {
                self.stale.secrets.insert(name.clone(), news(&change));
                if self.on_demand {
                    return;
                }
            }
            Kind::Service => {
                let after = matches!(new, Some(Object::Service(new)) if is_acme_solver(&new.metadata));
                if after != self.objects.is_solver(name) {
                    self.stale.ingresses.extend(self.service_users.get(name).cloned());
                }
                self.stale.services.insert(name.clone());
            }
            Kind::EndpointSlice => {
                if let Some(service) = self.objects.slice_service(name) {
                    self.slices.unlink(&service, name);
                    self.stale.services.insert(service);
                }
            }
        }
        self.objects.apply(name.clone(), change);
        if key.kind == Kind::EndpointSlice
            && let Some(service) = self.objects.slice_service(name)
        {
            self.slices.link(&service, name);
            self.stale.services.insert(service);
        }
    }
}

/// What a change says of a Secret.
fn news(change: &Change) -> Option<News> {
    match change {
        Change::Upsert(Object::Secret(secret)) => Some(News::Given(Arc::clone(secret))),
        Change::Upsert(_) => None,
        Change::Delete(_) => Some(News::Absent),
        Change::Withheld(_, why) => Some(News::Withheld(Arc::clone(why))),
    }
}
