//! What a change of an AccessPolicy, an IdentityProvider or a Secret that it names makes stale.

use std::mem;
use std::sync::Arc;

use super::policy::{self, PolicyState};
use super::provider;
use super::targets::TargetSet;
use super::values::{Need, ValueRef};
use super::{AccessKey, DraftAccess};
use crate::objects::{Kind, NamespacedName, ObjectKey};
use crate::table::Access;
use crate::translate::translator::Translator;

impl Translator {
    /// Looks which values the providers that changed need.
    pub(in crate::translate) fn read_providers(&mut self) {
        for name in self.stale.providers.clone() {
            let object = self.objects.identity_providers.get(&name);
            let exists = object.is_some();
            let needs = object.map(|object| provider::needs(&name, object)).unwrap_or_default();
            let state = self.access.providers.get_mut(&name);
            let old = state.map(|state| mem::take(&mut state.needs)).unwrap_or_default();
            self.replace_needs(Kind::IdentityProvider, &name, &old, &needs);
            if exists {
                self.access.providers.entry(name).or_default().needs = needs;
            } else {
                self.access.providers.remove(&name);
            }
        }
    }

    /// Makes an object use other values than before.
    fn replace_needs(&mut self, kind: Kind, name: &NamespacedName, old: &[ValueRef], new: &[ValueRef]) {
        let user = ObjectKey { kind, name: name.clone() };
        for value in new {
            if self.values.acquire(value, &user) == Need::New {
                self.look_up_secret(&value.secret);
            }
        }
        for value in old.iter().filter(|value| !new.contains(value)) {
            self.values.release(value, &user);
        }
    }

    /// Marks whoever needs a value of a Secret that changed.
    pub(in crate::translate) fn mark_users_of(&mut self, secret: &NamespacedName) {
        for user in self.values.users(secret) {
            let stale = match user.kind {
                Kind::IdentityProvider => &mut self.stale.providers,
                _ => &mut self.stale.accesses,
            };
            stale.insert(user.name.clone());
        }
    }

    /// Reads whom the policies that changed are for.
    pub(in crate::translate) fn read_policies(&mut self) {
        for name in mem::take(&mut self.stale.policies) {
            let object = self.objects.access_policies.get(&name).cloned();
            let old = self.access.policies.remove(&name).unwrap_or_default();
            let targets = object.as_ref().map(|object| TargetSet::of(&object.spec)).unwrap_or_default();
            let provider = object.as_ref().and_then(|object| policy::provider_of(&name, object));
            if old.targets != targets {
                self.retarget(&name, &old.targets, &targets);
            }
            self.access.provider_users.relink(&old.provider, &provider, &name);
            let needs = object.as_ref().map(|object| policy::needs(&name, object)).unwrap_or_default();
            self.replace_needs(Kind::AccessPolicy, &name, &old.needs, &needs);
            if object.is_some() {
                self.access.policies.insert(name.clone(), PolicyState { targets, provider, needs, ..old });
            }
            self.stale.accesses.insert(name);
        }
        self.mark_selected();
    }

    /// Takes new targets over; the Ingresses that are meant, or were, are read again.
    fn retarget(&mut self, policy: &NamespacedName, old: &TargetSet, new: &TargetSet) {
        self.access.targets.replace(policy, old, new);
        for ingress in old.ingresses.symmetric_difference(&new.ingresses) {
            let name = NamespacedName::new(Arc::clone(&policy.namespace), Arc::clone(ingress));
            self.stale.ingresses.insert(name);
        }
        if (&old.labels, old.all) != (&new.labels, new.all) {
            self.stale.selectors.add(&policy.namespace, old);
            self.stale.selectors.add(&policy.namespace, new);
        }
    }

    /// Marks the Ingresses that selectors are about which changed.
    fn mark_selected(&mut self) {
        for (namespace, selectors) in self.stale.selectors.take() {
            let first = NamespacedName::new(Arc::clone(&namespace), "");
            let all =
                self.objects.ingresses.range(first..).take_while(|(name, _)| name.namespace == namespace);
            let concerned = all.filter(|(_, ingress)| selectors.concern(&ingress.access.labels));
            self.stale.ingresses.extend(concerned.map(|(name, _)| name.clone()));
        }
    }

    /// Replaces who may use an Ingress.
    pub(in crate::translate) fn replace_access(
        &mut self,
        ingress: &NamespacedName,
        old: Option<&DraftAccess>,
        new: Option<&DraftAccess>,
    ) {
        if let Some(new) = new {
            let key = new.key(ingress);
            let is_new = self.access.slots.acquire(&key, ingress);
            match (&key, new.own(ingress)) {
                (_, Some(own)) => {
                    self.access.slots.put(&key, own);
                }
                (AccessKey::Policy(policy), None) if is_new => {
                    self.stale.accesses.insert(policy.clone());
                }
                _ => {}
            }
        }
        if let Some(old) = old
            && new.is_none_or(|new| new.key(ingress) != old.key(ingress))
        {
            self.access.slots.release(&old.key(ingress), ingress);
        }
        let rivals =
            |access: Option<&DraftAccess>| access.map(DraftAccess::rivals).unwrap_or_default().to_vec();
        self.access.rivals.relink(&rivals(old), &rivals(new), ingress);
        // What a policy is told depends on who has it, and on which Ingresses there are.
        for access in [old, new].into_iter().flatten() {
            let policies = match access {
                DraftAccess::Policy { name, .. } => std::slice::from_ref(name),
                access => access.rivals(),
            };
            for policy in policies {
                self.stale.report(Kind::AccessPolicy, policy);
            }
        }
        for policy in self.access.targets.naming(ingress) {
            self.stale.report(Kind::AccessPolicy, policy);
        }
    }

    /// Makes the providers that changed, or whose Secrets did.
    pub(in crate::translate) fn build_providers(&mut self) {
        for name in mem::take(&mut self.stale.providers) {
            self.stale.report(Kind::IdentityProvider, &name);
            if let Some(object) = self.objects.identity_providers.get(&name) {
                let (provider, findings) = match provider::build(&name, object, &self.values) {
                    Ok(provider) => (Some(provider), Vec::new()),
                    Err(findings) => (None, findings),
                };
                let state = self.access.providers.entry(name.clone()).or_default();
                state.findings = findings;
                // The same provider stays where it is, so that whoever asks it sees that nothing changed.
                if state.provider.as_deref() != provider.as_ref() {
                    state.provider = provider.map(Arc::new);
                }
            }
            self.stale.accesses.extend(self.access.provider_users.get(&name).cloned());
        }
    }

    /// Makes what is enforced of the policies that changed, or whose providers did.
    pub(in crate::translate) fn build_accesses(&mut self) {
        for name in mem::take(&mut self.stale.accesses) {
            let key = AccessKey::Policy(name.clone());
            let (access, findings) = match self.objects.access_policies.get(&name) {
                None => (policy::missing(&name), Vec::new()),
                Some(object) => {
                    let provider = policy::provider_of(&name, object);
                    let provider = provider.and_then(|provider| self.access.providers.get(&provider));
                    policy::build(&name, object, provider, &self.values)
                }
            };
            if let Some(state) = self.access.policies.get_mut(&name) {
                state.findings = findings;
            }
            // What the reports of Ingresses say of it.
            let telling = |access: &Access| (access.policy.problem.clone(), access.reach.clone());
            let (before, now) = (self.access.slots.get(&key).map(|access| telling(access)), telling(&access));
            self.access.slots.put(&key, access);
            if before != Some(now) {
                for ingress in self.access.slots.users(&key) {
                    self.stale.report(Kind::Ingress, ingress);
                }
            }
            self.stale.report(Kind::AccessPolicy, &name);
        }
    }
}
