//! The accesses in use, each in a slot that it keeps as long as some Ingress has it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::auth::fields::Protected;
use crate::objects::NamespacedName;
use crate::table::{Access, AccessId, AccessSlots};
use crate::translate::index::NameSet;

/// Whose an access is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::translate) enum AccessKey {
    /// That of an AccessPolicy.
    Policy(NamespacedName),
    /// That of an Ingress alone.
    Ingress(NamespacedName),
}

/// All accesses in use.
#[derive(Default)]
pub(in crate::translate) struct AccessSlotTable {
    by_key: BTreeMap<AccessKey, Slot>,
    slots: Vec<Option<Arc<Access>>>,
    free: Vec<u32>,
    /// How many accesses protect each field.
    protecting: BTreeMap<Box<str>, usize>,
    protected: Arc<Protected>,
    changed: bool,
}

struct Slot {
    id: u32,
    users: NameSet,
}

impl AccessSlotTable {
    /// Adds an Ingress that has an access. Returns whether the access is new and has to be put.
    pub(super) fn acquire(&mut self, key: &AccessKey, user: &NamespacedName) -> bool {
        if let Some(slot) = self.by_key.get_mut(key) {
            slot.users.insert(user);
            return false;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        let mut slot = Slot { id, users: NameSet::default() };
        slot.users.insert(user);
        self.by_key.insert(key.clone(), slot);
        self.changed = true;
        true
    }

    /// Takes an Ingress away; the last one empties the slot.
    pub(super) fn release(&mut self, key: &AccessKey, user: &NamespacedName) {
        let Some(slot) = self.by_key.get_mut(key) else { return };
        slot.users.remove(user);
        if !slot.users.is_empty() {
            return;
        }
        let id = slot.id;
        self.by_key.remove(key);
        self.set(id, None);
        self.free.push(id);
    }

    /// Puts an access into its slot, if it has one.
    pub(super) fn put(&mut self, key: &AccessKey, access: Access) {
        let Some(id) = self.by_key.get(key).map(|slot| slot.id) else { return };
        if self.slots[id as usize].as_deref() != Some(&access) {
            self.set(id, Some(Arc::new(access)));
        }
    }

    fn set(&mut self, id: u32, access: Option<Arc<Access>>) {
        self.changed = true;
        let old = std::mem::replace(&mut self.slots[id as usize], access);
        let access = &self.slots[id as usize];
        let mut fields_changed = false;
        for name in access.iter().flat_map(|access| access.protects()) {
            let name = name.to_ascii_lowercase().into_boxed_str();
            let count = self.protecting.entry(name).or_default();
            fields_changed |= *count == 0;
            *count += 1;
        }
        for name in old.iter().flat_map(|access| access.protects()) {
            let name = name.to_ascii_lowercase();
            if let Some(count) = self.protecting.get_mut(&*name) {
                *count -= 1;
                if *count == 0 {
                    self.protecting.remove(&*name);
                    fields_changed = true;
                }
            }
        }
        if fields_changed {
            self.protected = Arc::new(Protected::new(self.protecting.keys().map(|name| &**name)));
        }
    }

    /// The access' place in the table.
    pub(in crate::translate) fn id(&self, key: &AccessKey) -> Option<AccessId> {
        self.by_key.get(key).map(|slot| AccessId(slot.id))
    }

    /// The access itself.
    pub(super) fn get(&self, key: &AccessKey) -> Option<&Arc<Access>> {
        self.slots[self.by_key.get(key)?.id as usize].as_ref()
    }

    /// The Ingresses that have an access.
    pub(super) fn users(&self, key: &AccessKey) -> impl Iterator<Item = &NamespacedName> {
        self.by_key.get(key).into_iter().flat_map(|slot| slot.users.iter())
    }

    /// Whether any slot changed since the last call.
    pub(in crate::translate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// The slots, for the table.
    pub(in crate::translate) fn slots(&self) -> Arc<AccessSlots> {
        Arc::new(AccessSlots { slots: self.slots.clone(), protected: Arc::clone(&self.protected) })
    }
}
