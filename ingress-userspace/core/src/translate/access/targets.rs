//! Which Ingresses a policy is for, and which policies an Ingress has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::labels::{Label, Labels};
use crate::access_policy::{AccessPolicySpec, TargetSpec};
use crate::custom::Written;
use crate::objects::NamespacedName;
use crate::translate::index::{Index, NameSet};

/// The Ingresses that a policy is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TargetSet {
    /// By name.
    pub(super) ingresses: BTreeSet<Arc<str>>,
    /// The same in the order in which they are written.
    pub(super) written: Box<[Arc<str>]>,
    /// By labels, all of which they have.
    pub(super) labels: Labels,
    /// All of the namespace: which ones are meant cannot be read, so none of them may be open.
    pub(super) all: bool,
}

impl TargetSet {
    pub(super) fn of(spec: &Written<AccessPolicySpec>) -> Self {
        match spec {
            Written::Read(spec) => Self::new(&spec.targets),
            Written::Unreadable { value, .. } => Self::guess(value),
        }
    }

    fn new(targets: &TargetSpec) -> Self {
        let written: Box<[Arc<str>]> =
            targets.ingresses.iter().map(|name| Arc::from(name.as_str())).collect();
        Self {
            ingresses: written.iter().cloned().collect(),
            written,
            labels: Labels::new(&targets.match_labels),
            all: false,
        }
    }

    /// The targets of a policy that cannot be read otherwise.
    fn guess(value: &Value) -> Self {
        let all = Self { all: true, ..Self::default() };
        let Some(fields) = value.as_object() else { return all };
        match fields.get("targets") {
            Some(Value::Null) | None => {
                let misspelt = fields.keys().any(|name| name.to_ascii_lowercase().starts_with("target"));
                if misspelt { all } else { Self::default() }
            }
            Some(targets) => {
                serde_json::from_value(targets.clone()).map_or(all, |targets| Self::new(&targets))
            }
        }
    }
}

/// The targets of all policies.
#[derive(Default)]
pub(super) struct Targets {
    by_name: Index<NamespacedName>,
    /// By namespace and the first label of a selector.
    by_label: BTreeMap<(Arc<str>, Label), NameSet>,
    /// By namespace.
    of_all: Index<Arc<str>>,
}

/// How an Ingress comes to its policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Annotation,
    Name,
    Labels,
    Unreadable,
}

impl Targets {
    /// Replaces the targets of a policy.
    pub(super) fn replace(&mut self, policy: &NamespacedName, old: &TargetSet, new: &TargetSet) {
        let names = |set: &TargetSet| -> Vec<NamespacedName> {
            let in_namespace = |name| NamespacedName::new(Arc::clone(&policy.namespace), Arc::clone(name));
            set.ingresses.iter().map(in_namespace).collect()
        };
        self.by_name.relink(&names(old), &names(new), policy);
        let namespace = |set: &TargetSet| set.all.then(|| Arc::clone(&policy.namespace));
        self.of_all.relink(&namespace(old), &namespace(new), policy);
        if let Some(label) = old.labels.first() {
            let key = (Arc::clone(&policy.namespace), label);
            if let Some(policies) = self.by_label.get_mut(&key) {
                policies.remove(policy);
                if policies.is_empty() {
                    self.by_label.remove(&key);
                }
            }
        }
        if let Some(label) = new.labels.first() {
            self.by_label.entry((Arc::clone(&policy.namespace), label)).or_default().insert(policy);
        }
    }

    /// The policies that name an Ingress.
    pub(super) fn naming(&self, ingress: &NamespacedName) -> impl Iterator<Item = &NamespacedName> {
        self.by_name.get(ingress)
    }

    /// The policies that target an Ingress; `selects` tells whether one does by labels.
    pub(super) fn of(
        &self,
        ingress: &NamespacedName,
        labels: &Labels,
        selects: impl Fn(&NamespacedName) -> bool,
    ) -> impl Iterator<Item = (&NamespacedName, How)> {
        let by_name = self.by_name.get(ingress).map(|policy| (policy, How::Name));
        let first = |label| self.by_label.get(&(Arc::clone(&ingress.namespace), label));
        let by_label = labels.iter().filter_map(first).flat_map(NameSet::iter);
        let by_label = by_label.filter(move |policy| selects(policy)).map(|policy| (policy, How::Labels));
        let of_all = self.of_all.get(&ingress.namespace).map(|policy| (policy, How::Unreadable));
        by_name.chain(by_label).chain(of_all)
    }
}

/// Selectors that changed, so that the Ingresses of a namespace are looked through once for all of them.
#[derive(Default)]
pub(in crate::translate) struct ChangedSelectors(BTreeMap<Arc<str>, Selectors>);

#[derive(Default)]
pub(super) struct Selectors {
    by_first: BTreeMap<Label, Vec<Labels>>,
    /// All Ingresses are concerned.
    all: bool,
}

impl ChangedSelectors {
    pub(super) fn add(&mut self, namespace: &Arc<str>, set: &TargetSet) {
        if !set.all && set.labels.first().is_none() {
            return;
        }
        let selectors = self.0.entry(Arc::clone(namespace)).or_default();
        selectors.all |= set.all;
        if let Some(first) = set.labels.first() {
            selectors.by_first.entry(first).or_default().push(set.labels.clone());
        }
    }

    pub(super) fn take(&mut self) -> impl Iterator<Item = (Arc<str>, Selectors)> + use<> {
        std::mem::take(&mut self.0).into_iter()
    }
}

impl Selectors {
    pub(super) fn concern(&self, labels: &Labels) -> bool {
        let mut selectors = labels.iter().filter_map(|label| self.by_first.get(&label)).flatten();
        self.all || selectors.any(|selector| selector.select(labels))
    }
}
