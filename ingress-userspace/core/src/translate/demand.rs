//! Which Secrets a translation needs.

use std::collections::BTreeMap;

use crate::objects::NamespacedName;

/// Which Secrets are needed, as the difference to the last time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretDemand {
    /// Needed from now on, sorted. Each is to be given, also if it was given before.
    pub added: Vec<NamespacedName>,
    /// No longer needed, sorted.
    pub removed: Vec<NamespacedName>,
}

impl SecretDemand {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

/// Collects what changed until somebody asks.
#[derive(Default)]
pub(super) struct Changes(BTreeMap<NamespacedName, bool>);

impl Changes {
    pub(super) fn add(&mut self, name: &NamespacedName) {
        self.0.insert(name.clone(), true);
    }

    pub(super) fn remove(&mut self, name: &NamespacedName) {
        // What was added since and nobody heard of, nobody has to forget.
        if self.0.insert(name.clone(), false) == Some(true) {
            self.0.remove(name);
        }
    }

    pub(super) fn take(&mut self) -> SecretDemand {
        let mut demand = SecretDemand::default();
        for (name, needed) in std::mem::take(&mut self.0) {
            let names = if needed { &mut demand.added } else { &mut demand.removed };
            names.push(name);
        }
        demand
    }
}
