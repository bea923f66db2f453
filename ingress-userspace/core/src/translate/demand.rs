//! Which Secrets a translation needs.

use std::collections::BTreeMap;

use super::names::is_subdomain;
use crate::objects::NamespacedName;

/// Which Secrets are needed, as the difference to the last time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretDemand {
    /// Needed from now on, sorted. Each is to be given, also if it was given before.
    pub added: Vec<NamespacedName>,
    /// No longer needed, sorted.
    pub removed: Vec<NamespacedName>,
    /// The keys under which values are needed, for those of `added` of which more than a certificate is: of whatever type the Secret is.
    pub keys: BTreeMap<NamespacedName, Box<[Box<str>]>>,
}

impl SecretDemand {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

/// Collects what changed until somebody asks.
#[derive(Default)]
pub(super) struct Changes(BTreeMap<NamespacedName, Pending>);

/// What is still to be told about a Secret.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pending {
    /// It is needed, and nobody was told before.
    New,
    /// It is needed, or more or less of it is, and somebody was told before.
    Again,
    Removed,
}

impl Changes {
    /// A Secret is needed. `known`: it was needed before, and other values of it are needed now.
    pub(super) fn add(&mut self, name: &NamespacedName, known: bool) {
        if !is_subdomain(&name.name) {
            return;
        }
        let pending = match self.0.get(name) {
            Some(Pending::Again | Pending::Removed) => Pending::Again,
            None if known => Pending::Again,
            Some(Pending::New) | None => Pending::New,
        };
        self.0.insert(name.clone(), pending);
    }

    /// A Secret is needed no more.
    pub(super) fn remove(&mut self, name: &NamespacedName) {
        if !is_subdomain(&name.name) {
            return;
        }
        // What was added since and nobody heard of, nobody has to forget.
        if self.0.insert(name.clone(), Pending::Removed) == Some(Pending::New) {
            self.0.remove(name);
        }
    }

    /// Tells what changed; `keys` are those of a Secret that are needed beside a certificate.
    pub(super) fn take(&mut self, keys: impl Fn(&NamespacedName) -> Vec<Box<str>>) -> SecretDemand {
        let mut demand = SecretDemand::default();
        for (name, pending) in std::mem::take(&mut self.0) {
            if pending == Pending::Removed {
                demand.removed.push(name);
                continue;
            }
            let keys = keys(&name);
            if !keys.is_empty() {
                demand.keys.insert(name.clone(), keys.into());
            }
            demand.added.push(name);
        }
        demand
    }
}
