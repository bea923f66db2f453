//! The backends in use, each in a slot that it keeps as long as some rule refers to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::backend::{BackendKey, BackendProblem, Resolved};
use crate::objects::NamespacedName;
use crate::report::Finding;
use crate::table::{Backend, BackendId};

/// One backend that some rule refers to.
#[derive(Default)]
pub(super) struct Slot {
    /// The Ingresses that refer to it; an empty name stands for the configuration.
    pub(super) users: BTreeSet<NamespacedName>,
    pub(super) problem: Option<BackendProblem>,
    pub(super) notes: Vec<Finding>,
    id: u32,
}

/// All backends in use.
#[derive(Default)]
pub(super) struct Slots {
    by_service: BTreeMap<NamespacedName, BTreeMap<BackendKey, Slot>>,
    backends: Vec<Arc<Backend>>,
    free: Vec<u32>,
    changed: bool,
}

/// What came of resolving a backend again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Same,
    /// Only endpoints changed: the slot is replaced, no rule is touched.
    Endpoints,
    /// Whether it can be used, or what is said about it, changed.
    Status,
}

impl Slots {
    /// Adds a user of a backend. Returns whether the backend is new and has to be resolved.
    pub(super) fn acquire(&mut self, key: &BackendKey, user: &NamespacedName) -> bool {
        let slots = self.by_service.entry(key.service.clone()).or_default();
        if let Some(slot) = slots.get_mut(key) {
            slot.users.insert(user.clone());
            return false;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.backends.push(Backend::vacant());
            self.backends.len() as u32 - 1
        });
        self.changed = true;
        slots.insert(key.clone(), Slot { users: BTreeSet::from([user.clone()]), id, ..Slot::default() });
        true
    }

    /// Takes a user away; the last one empties the slot.
    pub(super) fn release(&mut self, key: &BackendKey, user: &NamespacedName) {
        let Some(slots) = self.by_service.get_mut(&key.service) else { return };
        let Some(slot) = slots.get_mut(key) else { return };
        slot.users.remove(user);
        if !slot.users.is_empty() {
            return;
        }
        self.backends[slot.id as usize] = Backend::vacant();
        self.free.push(slot.id);
        self.changed = true;
        slots.remove(key);
        if slots.is_empty() {
            self.by_service.remove(&key.service);
        }
    }

    /// Puts a resolved backend into its slot.
    pub(super) fn put(&mut self, key: &BackendKey, resolved: Resolved) -> Outcome {
        let Some(slot) = self.by_service.get_mut(&key.service).and_then(|slots| slots.get_mut(key)) else {
            return Outcome::Same;
        };
        let current = &mut self.backends[slot.id as usize];
        let mut outcome = Outcome::Same;
        if **current != resolved.backend {
            *current = Arc::new(resolved.backend);
            self.changed = true;
            outcome = Outcome::Endpoints;
        }
        if slot.problem != resolved.problem || slot.notes != resolved.notes {
            slot.problem = resolved.problem;
            slot.notes = resolved.notes;
            outcome = Outcome::Status;
        }
        outcome
    }

    /// The backend's place in the table.
    pub(super) fn id(&self, key: &BackendKey) -> Option<BackendId> {
        self.get(key).map(|slot| BackendId(slot.id))
    }

    /// One backend in use.
    pub(super) fn get(&self, key: &BackendKey) -> Option<&Slot> {
        self.by_service.get(&key.service)?.get(key)
    }

    /// The backends of one Service.
    pub(super) fn of_service(&self, service: &NamespacedName) -> impl Iterator<Item = (&BackendKey, &Slot)> {
        self.by_service.get(service).into_iter().flatten()
    }

    /// Whether any slot changed since the last call.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// All slots in the order of their ids, for the table.
    pub(super) fn backends(&self) -> &[Arc<Backend>] {
        &self.backends
    }
}
