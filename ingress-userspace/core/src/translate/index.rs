//! Which Ingresses (or slices) have to do with a thing.

use std::collections::BTreeMap;

use crate::objects::NamespacedName;
use crate::table::HostKey;

/// A sorted set. Nearly all hold one element: a list takes a third of the memory of a tree.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Few<T>(Vec<T>);

/// A set of names of objects.
pub(super) type NameSet = Few<NamespacedName>;
/// A set of hosts.
pub(super) type HostSet = Few<HostKey>;

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Ord + Clone> Few<T> {
    pub(super) fn insert(&mut self, element: &T) {
        if let Err(at) = self.0.binary_search(element) {
            if self.0.is_empty() {
                self.0.reserve_exact(1);
            }
            self.0.insert(at, element.clone());
        }
    }

    pub(super) fn remove(&mut self, element: &T) {
        if let Ok(at) = self.0.binary_search(element) {
            self.0.remove(at);
        }
    }

    pub(super) fn contains(&self, element: &T) -> bool {
        self.0.binary_search(element).is_ok()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}

/// Builds an ordered map anew, with full nodes.
pub(super) fn refill<K: Ord, V>(map: &mut BTreeMap<K, V>) {
    *map = std::mem::take(map).into_iter().collect();
}

/// From a thing to the names of the objects that refer to it.
pub(super) struct Index<K>(BTreeMap<K, NameSet>);

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Clone> Index<K> {
    /// See [`Translator::compact`](super::Translator::compact).
    pub(super) fn compact(&mut self) {
        refill(&mut self.0);
    }

    pub(super) fn link(&mut self, key: &K, name: &NamespacedName) {
        self.0.entry(key.clone()).or_default().insert(name);
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
        self.0.get(key).into_iter().flat_map(NameSet::iter)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.keys()
    }
}
