//! The classes of ours, each in a slot of the table that it keeps as long as it is ours.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::class::{Classes, Parameters};
use super::held::Held;
use super::proxy_class::ProxyClasses;
use crate::objects::NamespacedName;
use crate::settings::{Settings, TlsPolicy};
use crate::table::{Class, ClassId, ClassSlots, Identity};

/// What the translation of an Ingress depends on in its class. Whatever else changes in a class touches no rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClassTraits {
    /// The class' place in the table.
    pub(super) id: ClassId,
    /// Its name; empty for the configuration.
    pub(super) name: Arc<str>,
    /// Why none of its routes is served.
    pub(super) problem: Option<String>,
    pub(super) allow_plaintext: bool,
    pub(super) allow_external_name: bool,
    pub(super) policy: TlsPolicy,
    pub(super) default_certificate: Option<NamespacedName>,
}

impl ClassTraits {
    fn new(id: ClassId, name: Arc<str>, problem: Option<String>, settings: &Settings) -> Self {
        Self {
            id,
            name,
            problem,
            allow_plaintext: settings.routing.allow_plaintext,
            allow_external_name: settings.routing.allow_external_name,
            policy: settings.tls.policy(),
            default_certificate: settings.tls.default_certificate.clone(),
        }
    }

    /// What a message calls the class.
    pub(super) fn title(&self) -> String {
        match &*self.name {
            "" => "the configuration".to_owned(),
            name => format!("class {name}"),
        }
    }
}

impl Default for ClassTraits {
    fn default() -> Self {
        Self::new(ClassId::CONFIGURATION, Arc::from(""), None, &Settings::default())
    }
}

/// All classes of ours.
pub(super) struct ClassTable {
    base: Arc<Settings>,
    pub(super) proxy_classes: ProxyClasses,
    /// By name; the configuration goes by the empty one.
    traits: BTreeMap<Arc<str>, Arc<ClassTraits>>,
    free: Vec<u32>,
    slots: ClassSlots,
    changed: bool,
}

impl ClassTable {
    /// The configuration alone.
    pub(super) fn new(base: Settings) -> Self {
        let base = Arc::new(base);
        let configuration = ClassTraits::new(ClassId::CONFIGURATION, Arc::from(""), None, &base);
        Self {
            slots: ClassSlots::new(Arc::clone(&base)),
            traits: BTreeMap::from([(Arc::from(""), Arc::new(configuration))]),
            base,
            proxy_classes: ProxyClasses::default(),
            free: Vec::new(),
            changed: false,
        }
    }

    /// What the Ingresses of a class depend on.
    pub(super) fn traits(&self, name: &str) -> Option<&Arc<ClassTraits>> {
        self.traits.get(name)
    }

    /// Takes over the classes as they are now. Returns those whose traits changed.
    pub(super) fn update(&mut self, classes: &Classes, objects: &Held) -> BTreeSet<Arc<str>> {
        let named = classes.ours.values().filter_map(|parameters| match parameters {
            Parameters::ProxyClass(name) => Some(Arc::clone(name)),
            _ => None,
        });
        self.proxy_classes.update(&named.collect(), &objects.proxy_classes, &self.base);
        let gone: Vec<_> =
            self.traits.keys().filter(|name| !classes.ours.contains_key(*name)).cloned().collect();
        let mut changed = BTreeSet::new();
        for name in gone.into_iter().filter(|name| !name.is_empty()) {
            self.remove(&name);
            changed.insert(name);
        }
        for (name, parameters) in &classes.ours {
            if self.put(name, parameters) {
                changed.insert(Arc::clone(name));
            }
        }
        let process = classes.process.as_ref().and_then(|name| self.traits.get(name));
        let process = process.map_or(ClassId::CONFIGURATION, |traits| traits.id);
        self.changed |= std::mem::replace(&mut self.slots.process, process) != process;
        changed
    }

    fn remove(&mut self, name: &Arc<str>) {
        let Some(traits) = self.traits.remove(name) else { return };
        self.slots.slots[traits.id.0 as usize] = Arc::new(Class::configuration(Arc::clone(&self.base)));
        self.free.push(traits.id.0);
        self.changed = true;
    }

    /// Returns whether the traits of the class changed.
    fn put(&mut self, name: &Arc<str>, parameters: &Parameters) -> bool {
        let (proxy_class, settings, problem) = self.resolve(parameters);
        let settings = settings.unwrap_or_else(|| Arc::clone(&self.base));
        let known = self.traits.get(name).map(|traits| traits.id);
        let id = known.unwrap_or_else(|| self.slot());
        let slot = &mut self.slots.slots[id.0 as usize];
        let certificate = slot.certificate.clone();
        let class = Class { name: Arc::clone(name), proxy_class, settings, certificate };
        let traits = ClassTraits::new(id, Arc::clone(name), problem, &class.settings);
        if !slot.same(&class) {
            *slot = Arc::new(class);
            self.changed = true;
        }
        let same = self.traits.get(name).is_some_and(|old| **old == traits);
        if !same {
            self.traits.insert(Arc::clone(name), Arc::new(traits));
        }
        !same
    }

    fn slot(&mut self) -> ClassId {
        ClassId(self.free.pop().unwrap_or_else(|| {
            self.slots.slots.push(Arc::new(Class::configuration(Arc::clone(&self.base))));
            self.slots.slots.len() as u32 - 1
        }))
    }

    /// The ProxyClass that parameters name, the settings that follow, and why there are none.
    fn resolve(&self, parameters: &Parameters) -> (Option<Arc<str>>, Option<Arc<Settings>>, Option<String>) {
        match parameters {
            Parameters::None => (None, Some(Arc::clone(&self.base)), None),
            Parameters::Refused { why, .. } => (None, None, Some(why.clone())),
            Parameters::ProxyClass(name) => {
                let state = self.proxy_classes.get(name);
                let settings = state.and_then(|state| state.settings.clone());
                let problem = state.and_then(|state| state.problem.as_ref()).filter(|_| settings.is_none());
                let problem = problem.map(|problem| format!("ProxyClass {name} {}", problem.words()));
                (Some(Arc::clone(name)), settings, problem)
            }
        }
    }

    /// Sets the default certificate of a class.
    pub(super) fn set_certificate(&mut self, name: &str, certificate: Option<Arc<Identity>>) {
        let Some(traits) = self.traits.get(name) else { return };
        let slot = &mut self.slots.slots[traits.id.0 as usize];
        let class = Class { certificate, ..(**slot).clone() };
        if !slot.same(&class) {
            *slot = Arc::new(class);
            self.changed = true;
        }
    }

    /// The default certificate of a class.
    pub(super) fn certificate(&self, name: &str) -> Option<&Arc<Identity>> {
        let traits = self.traits.get(name)?;
        self.slots.slots[traits.id.0 as usize].certificate.as_ref()
    }

    /// The slots, for the table.
    pub(super) fn slots(&self) -> Arc<ClassSlots> {
        Arc::new(self.slots.clone())
    }

    /// Whether any slot changed since the last call.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }
}
