//! What the Ingresses of a class are served with.

use std::sync::Arc;

use super::Identity;
use crate::settings::Settings;

/// Index of a class in its table. It says nothing about the classes of another table: slots are used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId(pub u32);

impl ClassId {
    /// The configuration itself, for what belongs to no IngressClass: always the first slot.
    pub const CONFIGURATION: Self = Self(0);
}

/// One IngressClass of ours, or the configuration.
#[derive(Clone, Debug)]
pub struct Class {
    /// The IngressClass; empty for the configuration.
    pub name: Arc<str>,
    /// The ProxyClass that it names, if it names one.
    pub proxy_class: Option<Arc<str>>,
    /// What its routes are served with.
    pub settings: Arc<Settings>,
    /// What `tls.defaultCertificate` names, if it can be used.
    pub certificate: Option<Arc<Identity>>,
}

impl Class {
    /// The configuration itself.
    pub(crate) fn configuration(settings: Arc<Settings>) -> Self {
        Self { name: Arc::from(""), proxy_class: None, settings, certificate: None }
    }

    /// Whether two classes cannot be told apart.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let same_certificate = match (&self.certificate, &other.certificate) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        same_certificate
            && self.name == other.name
            && self.proxy_class == other.proxy_class
            && (Arc::ptr_eq(&self.settings, &other.settings) || self.settings == other.settings)
    }
}

/// All classes of a table.
#[derive(Clone, Debug)]
pub(crate) struct ClassSlots {
    /// By id; the first is the configuration, and others without a name are vacant.
    pub(crate) slots: Vec<Arc<Class>>,
    /// The class that decides what has to be known before any host is.
    pub(crate) process: ClassId,
}

impl Default for ClassSlots {
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

impl ClassSlots {
    /// The configuration alone.
    pub(crate) fn new(base: Arc<Settings>) -> Self {
        Self { slots: vec![Arc::new(Class::configuration(base))], process: ClassId::CONFIGURATION }
    }
}
