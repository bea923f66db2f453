//! The backends in use, each in a slot that it keeps as long as some rule refers to it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::backend::{BackendKey, BackendProblem, PortRef, Resolved, external_refused};
use super::class_table::ClassTraits;
use super::index::{NameSet, refill};
use crate::objects::NamespacedName;
use crate::report::Finding;
use crate::table::{Backend, BackendId};

/// One backend that some rule refers to.
#[derive(Default)]
pub(super) struct Slot {
    /// The Ingresses that refer to it; an empty name stands for the configuration.
    pub(super) users: NameSet,
    pub(super) problem: Option<BackendProblem>,
    /// Whether it reaches outside the cluster.
    pub(super) external: bool,
    pub(super) notes: Vec<Finding>,
    id: u32,
}

impl Slot {
    /// Why a rule of a class cannot use the backend.
    pub(super) fn problem_for(
        &self,
        key: &BackendKey,
        class: &ClassTraits,
    ) -> Option<Cow<'_, BackendProblem>> {
        if self.external && !class.allow_external_name {
            return Some(Cow::Owned(external_refused(key, &class.title())));
        }
        self.problem.as_ref().map(Cow::Borrowed)
    }
}

/// All backends in use.
#[derive(Default)]
pub(super) struct Slots {
    /// Keys begin with the Service, so the backends of one Service are neighbours.
    by_key: BTreeMap<BackendKey, Slot>,
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
    /// See [`Translator::compact`](super::Translator::compact).
    pub(super) fn compact(&mut self) {
        refill(&mut self.by_key);
    }

    /// Adds a user of a backend. Returns whether the backend is new and has to be resolved.
    pub(super) fn acquire(&mut self, key: &BackendKey, user: &NamespacedName) -> bool {
        if let Some(slot) = self.by_key.get_mut(key) {
            slot.users.insert(user);
            return false;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.backends.push(Backend::vacant());
            self.backends.len() as u32 - 1
        });
        self.changed = true;
        let mut slot = Slot { id, ..Slot::default() };
        slot.users.insert(user);
        self.by_key.insert(key.clone(), slot);
        true
    }

    /// Takes a user away; the last one empties the slot.
    pub(super) fn release(&mut self, key: &BackendKey, user: &NamespacedName) {
        let Some(slot) = self.by_key.get_mut(key) else { return };
        slot.users.remove(user);
        if !slot.users.is_empty() {
            return;
        }
        self.backends[slot.id as usize] = Backend::vacant();
        self.free.push(slot.id);
        self.changed = true;
        self.by_key.remove(key);
    }

    /// Puts a resolved backend into its slot.
    pub(super) fn put(&mut self, key: &BackendKey, resolved: Resolved) -> Outcome {
        let Some(slot) = self.by_key.get_mut(key) else { return Outcome::Same };
        let current = &mut self.backends[slot.id as usize];
        let mut outcome = Outcome::Same;
        if **current != resolved.backend {
            *current = Arc::new(resolved.backend);
            self.changed = true;
            outcome = Outcome::Endpoints;
        }
        let known = (&slot.problem, slot.external, &slot.notes);
        if known != (&resolved.problem, resolved.external, &resolved.notes) {
            slot.problem = resolved.problem;
            slot.external = resolved.external;
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
        self.by_key.get(key)
    }

    /// The backends of one Service.
    pub(super) fn of_service(&self, service: &NamespacedName) -> impl Iterator<Item = (&BackendKey, &Slot)> {
        let first = BackendKey { service: service.clone(), port: PortRef::Number(0) };
        self.by_key.range(first..).take_while(move |(key, _)| key.service == *service)
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
