//! What is to be told next: at most one change per object, the last.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use ingress_core::objects::{Change, Kind, NamespacedName, ObjectKey};

/// Changes that wait for the next batch.
#[derive(Default)]
pub(super) struct Pending {
    changes: HashMap<ObjectKey, Change, RandomState>,
    secrets: usize,
}

impl Pending {
    pub(super) fn push(&mut self, change: Change) {
        let key = change.key();
        let is_secret = key.kind == Kind::Secret;
        if self.changes.insert(key, change).is_none() && is_secret {
            self.secrets += 1;
        }
    }

    /// Forgets what is to be told of a Secret.
    pub(super) fn forget_secret(&mut self, name: &NamespacedName) {
        let key = ObjectKey { kind: Kind::Secret, name: name.clone() };
        if self.changes.remove(&key).is_some() {
            self.secrets -= 1;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// How many of the changes are about Secrets.
    pub(super) fn secrets(&self) -> usize {
        self.secrets
    }

    /// How many of the changes are about other objects.
    pub(super) fn others(&self) -> usize {
        self.changes.len() - self.secrets
    }

    pub(super) fn take(&mut self) -> Vec<Change> {
        self.secrets = 0;
        std::mem::take(&mut self.changes).into_values().collect()
    }
}
