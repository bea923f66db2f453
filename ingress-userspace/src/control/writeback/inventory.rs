//! What the API server holds of the statuses that are written: as small as the comparison allows, and kept by the
//! leader only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ingress_core::objects::{Kind, ObjectKey};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::address::Address;
use super::version::is_older;

/// The status of one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// `metadata.uid`
    pub uid: Arc<str>,
    /// `metadata.resourceVersion`
    pub version: String,
    /// Whether Penstock has written to the status, and nobody has written over it.
    pub owned: bool,
    /// What stands there.
    pub status: HeldStatus,
}

/// What stands in a status.
#[derive(Clone, Debug, PartialEq)]
pub enum HeldStatus {
    /// The addresses of an Ingress; `None` if there is something else than addresses and names.
    Addresses(Option<Vec<Address>>),
    /// The condition of an object of ours.
    Condition(Option<Box<Condition>>),
}

/// Part of what is watched: one kind, in one namespace or in all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Scope {
    /// The kind.
    pub kind: Kind,
    /// The namespace, if it is one.
    pub namespace: Option<Arc<str>>,
}

impl Scope {
    fn covers(&self, key: &ObjectKey) -> bool {
        key.kind == self.kind && self.namespace.as_ref().is_none_or(|own| *own == key.name.namespace)
    }
}

/// News about the objects.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum News {
    /// Everything of the scope is told again, from here on.
    Restarted(Scope),
    /// An object as it is.
    Seen(ObjectKey, Held),
    /// An object is gone.
    Gone(ObjectKey),
    /// Everything of the scope has been told.
    Complete(Scope),
}

/// All statuses.
pub(super) struct Inventory {
    objects: BTreeMap<ObjectKey, Held>,
    /// The scopes that were never complete.
    missing: BTreeSet<Scope>,
    /// The scopes that are being told again, with what was told so far.
    pending: BTreeMap<Scope, BTreeSet<ObjectKey>>,
}

impl Inventory {
    /// Expects these scopes.
    pub(super) fn new(scopes: impl IntoIterator<Item = Scope>) -> Self {
        Self { objects: BTreeMap::new(), missing: scopes.into_iter().collect(), pending: BTreeMap::new() }
    }

    /// Whether every object of the kind has been told at least once.
    pub(super) fn is_complete(&self, kind: Kind) -> bool {
        self.missing.iter().all(|scope| scope.kind != kind)
    }

    pub(super) fn get(&self, key: &ObjectKey) -> Option<&Held> {
        self.objects.get(key)
    }

    /// The objects of a kind.
    pub(super) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &ObjectKey> {
        self.objects.keys().filter(move |key| key.kind == kind)
    }

    /// Takes news over. Returns the object whose status may be another now.
    pub(super) fn take(&mut self, news: News) -> Option<ObjectKey> {
        match news {
            News::Restarted(scope) => {
                self.pending.insert(scope, BTreeSet::new());
                None
            }
            News::Seen(key, held) => {
                for (_, told) in self.pending.iter_mut().filter(|(scope, _)| scope.covers(&key)) {
                    told.insert(key.clone());
                }
                self.put(&key, held).then_some(key)
            }
            News::Gone(key) => {
                self.objects.remove(&key);
                None
            }
            News::Complete(scope) => {
                if let Some(told) = self.pending.remove(&scope) {
                    self.objects.retain(|key, _| !scope.covers(key) || told.contains(key));
                }
                self.missing.remove(&scope);
                None
            }
        }
    }

    /// Takes over what an object's status is, unless something newer is known. Returns whether it was taken.
    pub(super) fn put(&mut self, key: &ObjectKey, held: Held) -> bool {
        let newer = match self.objects.get(key) {
            Some(known) if known.uid == held.uid => !is_older(&held.version, &known.version),
            _ => true,
        };
        if newer {
            self.objects.insert(key.clone(), held);
        }
        newer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ingress_core::objects::NamespacedName;

    fn key(name: &str) -> ObjectKey {
        ObjectKey { kind: Kind::Ingress, name: NamespacedName::new("shop", name) }
    }

    fn held(uid: &str, version: &str) -> Held {
        let status = HeldStatus::Addresses(Some(Vec::new()));
        Held { uid: Arc::from(uid), version: version.to_owned(), owned: false, status }
    }

    #[test]
    fn what_is_not_told_again_is_gone() {
        let scope = Scope { kind: Kind::Ingress, namespace: None };
        let mut inventory = Inventory::new([scope.clone()]);
        assert!(!inventory.is_complete(Kind::Ingress));
        inventory.take(News::Restarted(scope.clone()));
        inventory.take(News::Seen(key("a"), held("1", "5")));
        inventory.take(News::Seen(key("b"), held("2", "6")));
        inventory.take(News::Complete(scope.clone()));
        assert!(inventory.is_complete(Kind::Ingress));
        inventory.take(News::Restarted(scope.clone()));
        inventory.take(News::Seen(key("b"), held("2", "6")));
        assert!(inventory.get(&key("a")).is_some(), "it may still be told");
        inventory.take(News::Complete(scope));
        assert_eq!(inventory.of_kind(Kind::Ingress).collect::<Vec<_>>(), [&key("b")]);
    }

    #[test]
    fn news_from_before_a_write_do_not_undo_it() {
        let mut inventory = Inventory::new([]);
        assert!(inventory.put(&key("a"), held("1", "10")));
        assert_eq!(inventory.take(News::Seen(key("a"), held("1", "9"))), None);
        assert_eq!(inventory.get(&key("a")).unwrap().version, "10");
        assert_eq!(inventory.take(News::Seen(key("a"), held("2", "9"))), Some(key("a")), "another object");
    }
}
