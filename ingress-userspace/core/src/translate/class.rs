//! Which Ingresses are ours, and what their classes ask for.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::networking::v1::{IngressClass, IngressClassParametersReference};

use super::TranslateOptions;
use super::created;
use super::held::HeldIngress;
use super::marks::{DEFAULT_CLASS, LEGACY_CLASS};
use super::names::{is_subdomain, shown};
use super::reason;
use crate::objects::NamespacedName;
use crate::proxy_class;
use crate::report::Finding;

/// The IngressClasses that concern us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Classes {
    /// What each of ours asks for in `spec.parameters`.
    pub(super) ours: BTreeMap<Arc<str>, Parameters>,
    /// The default class of the cluster, if it is one of ours.
    default: Option<Arc<str>>,
    /// The class that decides what has to be known before any host is.
    pub(super) process: Option<Arc<str>>,
    /// How many classes of the cluster are marked as the default.
    defaults: usize,
}

/// What `spec.parameters` of an IngressClass refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Parameters {
    /// There are none: the configuration applies.
    None,
    /// The ProxyClass of this name.
    ProxyClass(Arc<str>),
    /// Something else, which cannot be resolved: by this field, and why.
    Refused { field: &'static str, why: String },
}

impl Classes {
    /// Reads all IngressClasses of the cluster.
    pub(super) fn new(all: &BTreeMap<NamespacedName, Arc<IngressClass>>, options: &TranslateOptions) -> Self {
        let is_ours = |class: &IngressClass| class_controller(class) == Some(&*options.controller);
        let ours = || all.iter().filter(|(_, class)| is_ours(class));
        // With several defaults the API server's admission takes the youngest, then the first by name.
        let defaults = || all.iter().filter(|(_, class)| is_default(class));
        let default = defaults().min_by_key(|(name, class)| (Reverse(created(&class.metadata)), *name));
        let default = default.filter(|(_, class)| is_ours(class)).map(|(name, _)| Arc::clone(&name.name));
        let oldest = ours().min_by_key(|(name, class)| (created(&class.metadata), *name));
        Self {
            ours: ours().map(|(name, class)| (Arc::clone(&name.name), parameters(class))).collect(),
            process: default.clone().or_else(|| oldest.map(|(name, _)| Arc::clone(&name.name))),
            default,
            defaults: defaults().count(),
        }
    }

    /// The class of an Ingress, if it is ours. "For backwards compatibility, when that annotation is set, it must be given
    /// precedence over this field" (Ingress API reference, `ingressClassName`); the API server refuses new objects that have
    /// both.
    pub(super) fn select(&self, ingress: &HeldIngress) -> Option<&Arc<str>> {
        let (annotation, field) = ingress.class();
        match annotation.or(field) {
            Some(name) => self.ours.get_key_value(name).map(|(name, _)| name),
            None => self.default.as_ref(),
        }
    }

    /// Whether the same Ingresses are of the same classes.
    pub(super) fn select_the_same(&self, other: &Self) -> bool {
        self.default == other.default && self.ours.keys().eq(other.ours.keys())
    }

    /// What there is to say about a class as one of several defaults.
    pub(super) fn default_finding(&self, class: &IngressClass) -> Option<Finding> {
        (self.defaults > 1 && is_default(class)).then(|| {
            let message =
                format!("{} IngressClasses are marked as the default; the youngest is used", self.defaults);
            let field = format!("metadata.annotations[{DEFAULT_CLASS}]");
            Finding::warning(reason::DEFAULT_CLASS_NOT_UNIQUE, field, message)
        })
    }
}

/// Reads `spec.parameters`: a ProxyClass is the one thing that they may name.
fn parameters(class: &IngressClass) -> Parameters {
    let Some(reference) = class.spec.as_ref().and_then(|spec| spec.parameters.as_ref()) else {
        return Parameters::None;
    };
    match refusal(reference) {
        None => Parameters::ProxyClass(Arc::from(reference.name.as_str())),
        Some((field, why)) => Parameters::Refused { field, why },
    }
}

/// Why a reference does not name a ProxyClass, and by which field.
fn refusal(reference: &IngressClassParametersReference) -> Option<(&'static str, String)> {
    let group = reference.api_group.as_deref().unwrap_or_default();
    if group != proxy_class::GROUP || reference.kind != proxy_class::KIND {
        let field = if group == proxy_class::GROUP { "kind" } else { "apiGroup" };
        let why = format!(
            "parameters are {} of group {}, and must be a {} of group {}",
            shown(&reference.kind),
            shown(group),
            proxy_class::KIND,
            proxy_class::GROUP
        );
        return Some((field, why));
    }
    if !matches!(reference.scope.as_deref(), None | Some("Cluster")) || reference.namespace.is_some() {
        return Some(("scope", "a ProxyClass is in no namespace: the scope must be Cluster".to_owned()));
    }
    let bad_name = !is_subdomain(&reference.name);
    bad_name.then(|| ("name", format!("{} is not a name of a ProxyClass", shown(&reference.name))))
}

/// A warning for an Ingress whose annotation and field name different classes.
pub(super) fn disagreement(ingress: &HeldIngress) -> Option<Finding> {
    let (Some(annotation), Some(field)) = ingress.class() else { return None };
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
