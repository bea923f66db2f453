//! Which Ingresses (or slices) have to do with a thing.

use std::collections::{BTreeMap, BTreeSet};

use crate::objects::NamespacedName;

/// From a thing to the names of the objects that refer to it.
pub(super) struct Index<K>(BTreeMap<K, BTreeSet<NamespacedName>>);

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Clone> Index<K> {
    pub(super) fn link(&mut self, key: &K, name: &NamespacedName) {
        self.0.entry(key.clone()).or_default().insert(name.clone());
    }

    pub(super) fn unlink(&mut self, key: &K, name: &NamespacedName) {
        if let Some(names) = self.0.get_mut(key) {
            names.remove(name);
            if names.is_empty() {
                self.0.remove(key);
            }
        }
    }

    /// Replaces what an object refers to.
    pub(super) fn relink<'k>(
        &mut self,
        old: impl IntoIterator<Item = &'k K>,
        new: impl IntoIterator<Item = &'k K>,
        name: &NamespacedName,
    ) where
        K: 'k,
    {
        old.into_iter().for_each(|key| self.unlink(key, name));
        new.into_iter().for_each(|key| self.link(key, name));
    }

    pub(super) fn get(&self, key: &K) -> impl Iterator<Item = &NamespacedName> {
        self.0.get(key).into_iter().flatten()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.keys()
    }
}
