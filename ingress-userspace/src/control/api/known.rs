//! What is known of the objects of one watch: their names and versions, so that a list tells what vanished. The objects
//! themselves are given away and not kept.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher as _;
use std::sync::Arc;

use foldhash::fast::{FixedState, RandomState};
use ingress_core::objects::{Change, Kind, NamespacedName, ObjectKey};

use super::pending::Pending;
use super::resource::{Content, Item};

type Versions = HashMap<NamespacedName, u64, RandomState>;

/// Why an object cannot be read.
pub(super) struct Bad {
    pub(super) field: String,
    pub(super) message: String,
}

/// The objects of one watch.
pub(super) struct Known {
    kind: Kind,
    /// The namespace that was seen last.
    namespace: Arc<str>,
    versions: Versions,
    /// What the list that is under way has shown.
    listed: Option<Versions>,
    /// Objects that cannot be read; what was last good of them serves on.
    bad: BTreeMap<NamespacedName, Bad>,
}

impl Known {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            namespace: Arc::default(),
            versions: Versions::default(),
            listed: None,
            bad: BTreeMap::new(),
        }
    }

    pub(super) fn bad(&self) -> impl Iterator<Item = (&NamespacedName, &Bad)> {
        self.bad.iter()
    }

    /// A list begins, or begins again.
    pub(super) fn begin_list(&mut self) {
        self.listed = Some(Versions::default());
    }

    /// An object was listed, made or changed.
    pub(super) fn upsert(&mut self, item: Item, pending: &mut Pending) {
        let Item { mut name, version, content } = item;
        // Neighbours of a list share the name of their namespace.
        if name.namespace == self.namespace {
            name.namespace = Arc::clone(&self.namespace);
        } else {
            self.namespace = Arc::clone(&name.namespace);
        }
        let version = fingerprint(&version);
        if let Some(listed) = &mut self.listed {
            listed.insert(name.clone(), version);
        }
        if self.versions.insert(name.clone(), version) == Some(version) {
            return;
        }
        match content {
            Content::Object(object) => {
                self.bad.remove(&name);
                pending.push(Change::Upsert(object));
            }
            Content::Bad { field, message } => drop(self.bad.insert(name, Bad { field, message })),
            Content::Nothing => {}
        }
    }

    /// An object is gone.
    pub(super) fn delete(&mut self, name: &NamespacedName, pending: &mut Pending) {
        self.bad.remove(name);
        if self.versions.remove(name).is_some() {
            pending.push(Change::Delete(ObjectKey { kind: self.kind, name: name.clone() }));
        }
    }

    /// A list is complete: what it has not shown is gone.
    pub(super) fn end_list(&mut self, pending: &mut Pending) {
        let Some(listed) = self.listed.take() else { return };
        let gone = self.versions.keys().filter(|name| !listed.contains_key(*name));
        for name in gone.cloned().collect::<Vec<_>>() {
            self.delete(&name, pending);
        }
    }

    /// The kind itself is gone, and all of its objects with it.
    pub(super) fn clear(&mut self, pending: &mut Pending) {
        self.begin_list();
        self.end_list(pending);
    }
}

/// A version as a number: versions are compared for equality only, and a number takes a third of the memory.
pub(super) fn fingerprint(version: &str) -> u64 {
    version.parse().unwrap_or_else(|_| FixedState::default().hash_one(version))
}
