//! The Secrets that Ingresses of ours name, and those of default certificates. A class that names one is a user with an empty
//! namespace, which no Ingress has.
//!
//! A Secret that was good keeps serving when it is replaced by one that is not, is deleted or expires: until it is good
//! again or no Ingress names it any more. This is the one thing that a translation remembers beyond the objects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use rustls::crypto::KeyProvider;

use super::identity::{Loaded, SecretProblem, load};
use super::index::NameSet;
use super::names::{is_subdomain, shown};
use super::reason;
use crate::objects::NamespacedName;
use crate::settings::TlsPolicy;

/// One Secret.
#[derive(Default)]
pub(super) struct SecretState {
    users: NameSet,
    /// What is served: the Secret as it is, or the last one that was good.
    pub(super) serving: Option<Arc<Loaded>>,
    /// Why the Secret as it is cannot serve.
    pub(super) problem: Option<SecretProblem>,
    deadline: Option<i64>,
}

impl SecretState {
    /// What is served, if the TLS policy allows its key.
    pub(super) fn usable(&self, policy: TlsPolicy) -> Option<&Arc<Loaded>> {
        self.serving.as_ref().filter(|loaded| policy.admits(loaded.strength))
    }

    /// The classes whose default certificate it is; the configuration goes by the empty name.
    pub(super) fn classes(&self) -> impl Iterator<Item = &Arc<str>> {
        self.users.iter().filter(|user| user.namespace.is_empty()).map(|user| &user.name)
    }
}

/// All Secrets that are named.
#[derive(Default)]
pub(super) struct Secrets {
    states: BTreeMap<NamespacedName, SecretState>,
    deadlines: BTreeSet<(i64, NamespacedName)>,
}

impl Secrets {
    pub(super) fn get(&self, name: &NamespacedName) -> Option<&SecretState> {
        self.states.get(name)
    }

    /// The Ingresses that name a Secret.
    pub(super) fn users(&self, name: &NamespacedName) -> impl Iterator<Item = &NamespacedName> {
        self.states.get(name).into_iter().flat_map(|state| state.users.iter())
    }

    /// Adds an Ingress that names a Secret. Returns whether it is the first one.
    pub(super) fn acquire(&mut self, name: &NamespacedName, user: &NamespacedName) -> bool {
        let state = self.states.entry(name.clone()).or_default();
        let first = state.users.is_empty();
        state.users.insert(user);
        first
    }

    /// Takes an Ingress away; with the last one the Secret's key is forgotten.
    pub(super) fn release(&mut self, name: &NamespacedName, user: &NamespacedName) {
        let Some(state) = self.states.get_mut(name) else { return };
        state.users.remove(user);
        if state.users.is_empty() {
            if let Some(deadline) = state.deadline {
                self.deadlines.remove(&(deadline, name.clone()));
            }
            self.states.remove(name);
        }
    }

    /// Secrets whose validity begins or ended by now.
    pub(super) fn due(&self, now: i64) -> impl Iterator<Item = &NamespacedName> {
        self.deadlines.iter().take_while(move |(deadline, _)| *deadline <= now).map(|(_, name)| name)
    }

    /// When the next Secret becomes valid or expires.
    pub(super) fn next_deadline(&self) -> Option<i64> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Secrets that are served although they cannot be as they are now.
    pub(super) fn remembered(&self) -> impl Iterator<Item = &NamespacedName> {
        let remembered = |state: &SecretState| state.problem.is_some() && state.serving.is_some();
        self.states.iter().filter(move |(_, state)| remembered(state)).map(|(name, _)| name)
    }

    /// Reads a Secret again. Returns whether anything about it changed; does nothing if no Ingress names it.
    pub(super) fn evaluate(
        &mut self,
        name: &NamespacedName,
        secret: Option<&Secret>,
        keys: &dyn KeyProvider,
        now: i64,
    ) -> bool {
        let Some(state) = self.states.get_mut(name) else { return false };
        let (result, deadline) = match secret.filter(|_| is_subdomain(&name.name)) {
            Some(secret) => load(secret, keys, now),
            None => (Err(missing(name)), None),
        };
        if state.deadline != deadline {
            if let Some(old) = state.deadline {
                self.deadlines.remove(&(old, name.clone()));
            }
            self.deadlines.extend(deadline.map(|new| (new, name.clone())));
            state.deadline = deadline;
        }
        let before = state.problem.take();
        match result {
            Ok(new) => {
                // One certificate has one key, so an equal chain needs no new identity.
                let same = state.serving.as_ref().is_some_and(|old| old.key.cert == new.key.cert);
                if !same {
                    state.serving = Some(Arc::new(new));
                }
                !same || before.is_some()
            }
            Err(problem) => {
                let changed = before.as_ref() != Some(&problem);
                state.problem = Some(problem);
                changed
            }
        }
    }
}

fn missing(name: &NamespacedName) -> SecretProblem {
    let (reason, message) = if is_subdomain(&name.name) {
        (reason::SECRET_NOT_FOUND, format!("Secret {name} does not exist"))
    } else {
        (reason::NAME_INVALID, format!("{} is not a name of a Secret", shown(&name.name)))
    };
    SecretProblem { reason, field: "", message }
}
