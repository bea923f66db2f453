//! Which Ingresses are ours.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::networking::v1::{Ingress, IngressClass};

use super::TranslateOptions;
use super::created;
use super::marks::{DEFAULT_CLASS, LEGACY_CLASS};
use super::names::shown;
use super::reason;
use crate::objects::{Kind, NamespacedName, ObjectKey};
use crate::report::{Finding, ObjectReport};

/// The IngressClasses that concern us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Classes {
    ours: BTreeSet<Arc<str>>,
    /// Whether the default class of the cluster is one of ours.
    default: bool,
}

impl Classes {
    /// Reads all IngressClasses of the cluster.
    pub(super) fn new(all: &BTreeMap<NamespacedName, Arc<IngressClass>>, options: &TranslateOptions) -> Self {
        let ours = |class: &IngressClass| class_controller(class) == Some(&*options.controller);
        let names = all.iter().filter(|(_, class)| ours(class)).map(|(name, _)| Arc::clone(&name.name));
        // With several defaults the API server's admission takes the youngest, then the first by name.
        let defaults = all.iter().filter(|(_, class)| is_default(class));
        let default = defaults.min_by_key(|(name, class)| (Reverse(created(&class.metadata)), *name));
        Self { ours: names.collect(), default: default.is_some_and(|(_, class)| ours(class)) }
    }

    /// Whether an Ingress is ours. "For backwards compatibility, when that annotation is set, it must be given precedence
    /// over this field" (Ingress API reference, `ingressClassName`); the API server refuses new objects that have both.
    pub(super) fn select(&self, ingress: &Ingress) -> bool {
        let (annotation, field) = named(ingress);
        match annotation.or(field) {
            Some(name) => self.ours.contains(name),
            None => self.default,
        }
    }

    /// The reports of our classes.
    pub(super) fn reports(&self, all: &BTreeMap<NamespacedName, Arc<IngressClass>>) -> Vec<ObjectReport> {
        let defaults = all.values().filter(|class| is_default(class)).count();
        let ours = all.iter().filter(|(name, _)| self.ours.contains(&name.name));
        ours.map(|(name, class)| {
            let mut findings = Vec::new();
            if class.spec.as_ref().is_some_and(|spec| spec.parameters.is_some()) {
                let message = "parameters are not read; Penstock is configured by its own configuration file";
                findings.push(Finding::warning(reason::CLASS_PARAMETERS_IGNORED, "spec.parameters", message));
            }
            if defaults > 1 && is_default(class) {
                let message =
                    format!("{defaults} IngressClasses are marked as the default; the youngest is used");
                let field = format!("metadata.annotations[{DEFAULT_CLASS}]");
                findings.push(Finding::warning(reason::DEFAULT_CLASS_NOT_UNIQUE, field, message));
            }
            let key = ObjectKey { kind: Kind::IngressClass, name: name.clone() };
            ObjectReport::new(key, findings).of(class.metadata.uid.as_deref())
        })
        .collect()
    }
}

/// The class that an Ingress names by annotation and by field.
fn named(ingress: &Ingress) -> (Option<&str>, Option<&str>) {
    let annotation = ingress.metadata.annotations.as_ref().and_then(|all| all.get(LEGACY_CLASS));
    let field = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_deref());
    (annotation.map(String::as_str), field)
}

/// A warning for an Ingress whose annotation and field name different classes.
pub(super) fn disagreement(ingress: &Ingress) -> Option<Finding> {
    let (Some(annotation), Some(field)) = named(ingress) else { return None };
    (annotation != field).then(|| {
        let message = format!(
            "the annotation {LEGACY_CLASS} names class {} and has precedence over {}; remove one",
            shown(annotation),
            shown(field)
        );
        Finding::warning(reason::CLASS_DISAGREEMENT, "spec.ingressClassName", message)
    })
}

fn class_controller(class: &IngressClass) -> Option<&str> {
    class.spec.as_ref()?.controller.as_deref()
}

fn is_default(class: &IngressClass) -> bool {
    class
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(DEFAULT_CLASS))
        .is_some_and(|value| value == "true")
}
