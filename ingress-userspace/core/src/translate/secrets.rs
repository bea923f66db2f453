//! The Secrets that Ingresses of ours name.
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

/// One Secret.
#[derive(Default)]
pub(super) struct SecretState {
    users: NameSet,
    /// What is served: the Secret as it is, or the last one that was good.
    pub(super) serving: Option<Arc<Loaded>>,
    /// Why the Secret as it is cannot serve.
    pub(super) problem: Option<SecretProblem>,
    /// The Secret can serve, but its certificate ends in less than so many days.
    pub(super) warned_days: Option<u16>,
    deadline: Option<i64>,
}

/// All Secrets that are named.
pub(super) struct Secrets {
    /// How many days before the end of a certificate the first warning comes.
    warning_days: u16,
    states: BTreeMap<NamespacedName, SecretState>,
    deadlines: BTreeSet<(i64, NamespacedName)>,
}

impl Secrets {
    pub(super) fn new(warning_days: u16) -> Self {
        Self { warning_days, states: BTreeMap::new(), deadlines: BTreeSet::new() }
    }

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

    /// Secrets whose validity begins, comes to its end or ended by now.
    pub(super) fn due(&self, now: i64) -> impl Iterator<Item = &NamespacedName> {
        self.deadlines.iter().take_while(move |(deadline, _)| *deadline <= now).map(|(_, name)| name)
    }

    /// When the next Secret becomes valid, is warned about or expires.
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
        let (result, mut deadline) = match secret.filter(|_| is_subdomain(&name.name)) {
            Some(secret) => load(secret, keys, now),
            None => (Err(missing(name)), None),
        };
        let validity = result.as_ref().ok().map(Loaded::validity);
        let next = validity.and_then(|validity| validity.next_warning(self.warning_days, now));
        deadline = next.into_iter().chain(deadline).min();
        let warned_days = validity.and_then(|validity| validity.warned_days(self.warning_days, now));
        let warned = std::mem::replace(&mut state.warned_days, warned_days) != warned_days;
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
                !same || before.is_some() || warned
            }
            Err(problem) => {
                let changed = before.as_ref() != Some(&problem) || warned;
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
