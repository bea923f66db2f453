//! The watched Kubernetes objects, and what happens to them.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::access_policy::AccessPolicy;
use crate::identity_provider::IdentityProvider;
pub use crate::names::{NamespacedName, is_label, is_subdomain};
use crate::proxy_class::ProxyClass;

/// The kinds that Penstock watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// networking.k8s.io/v1 Ingress
    Ingress,
    /// networking.k8s.io/v1 IngressClass (cluster-scoped)
    IngressClass,
    /// v1 Service
    Service,
    /// discovery.k8s.io/v1 EndpointSlice
    EndpointSlice,
    /// v1 Secret
    Secret,
    /// penstock.dev/v1alpha1 ProxyClass (cluster-scoped)
    ProxyClass,
    /// penstock.dev/v1alpha1 IdentityProvider
    IdentityProvider,
    /// penstock.dev/v1alpha1 AccessPolicy
    AccessPolicy,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Ingress,
        Self::IngressClass,
        Self::Service,
        Self::EndpointSlice,
        Self::Secret,
        Self::ProxyClass,
        Self::IdentityProvider,
        Self::AccessPolicy,
    ];

    /// The kind as Kubernetes spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "Ingress",
            Self::IngressClass => "IngressClass",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Secret => "Secret",
            Self::ProxyClass => "ProxyClass",
            Self::IdentityProvider => "IdentityProvider",
            Self::AccessPolicy => "AccessPolicy",
        }
    }

    /// Whether objects of the kind are in no namespace.
    pub fn is_cluster_scoped(self) -> bool {
        matches!(self, Self::IngressClass | Self::ProxyClass)
    }
}

/// Names an object: kind, namespace (empty for cluster-scoped kinds) and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace and name.
    pub name: NamespacedName,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.name)
    }
}

/// One watched object. Deliberately without `Debug`: a Secret must not reach a log (law 6).
#[derive(Clone)]
#[expect(missing_docs, reason = "each variant is named as its kind")]
pub enum Object {
    Ingress(Arc<Ingress>),
    IngressClass(Arc<IngressClass>),
    Service(Arc<Service>),
    EndpointSlice(Arc<EndpointSlice>),
    Secret(Arc<Secret>),
    ProxyClass(Arc<ProxyClass>),
    IdentityProvider(Arc<IdentityProvider>),
    AccessPolicy(Arc<AccessPolicy>),
}

impl Object {
    /// The object's kind, namespace and name.
    pub fn key(&self) -> ObjectKey {
        let (kind, meta) = self.kind_and_metadata();
        let namespace =
            if kind.is_cluster_scoped() { "" } else { meta.namespace.as_deref().unwrap_or("default") };
        ObjectKey { kind, name: NamespacedName::new(namespace, meta.name.as_deref().unwrap_or_default()) }
    }

    /// `metadata.uid`
    pub fn uid(&self) -> Option<&str> {
        self.kind_and_metadata().1.uid.as_deref()
    }

    fn kind_and_metadata(&self) -> (Kind, &ObjectMeta) {
        match self {
            Self::Ingress(o) => (Kind::Ingress, &o.metadata),
            Self::IngressClass(o) => (Kind::IngressClass, &o.metadata),
            Self::Service(o) => (Kind::Service, &o.metadata),
            Self::EndpointSlice(o) => (Kind::EndpointSlice, &o.metadata),
            Self::Secret(o) => (Kind::Secret, &o.metadata),
            Self::ProxyClass(o) => (Kind::ProxyClass, &o.metadata),
            Self::IdentityProvider(o) => (Kind::IdentityProvider, &o.metadata),
            Self::AccessPolicy(o) => (Kind::AccessPolicy, &o.metadata),
        }
    }
}

/// What happened to one object.
#[derive(Clone)]
pub enum Change {
    /// The object was created or replaced.
    Upsert(Object),
    /// The object is gone, or was never there.
    Delete(ObjectKey),
    /// Whether the object exists cannot be told, because it may not be read: why, as text for people.
    Withheld(ObjectKey, Arc<str>),
}

impl Change {
    /// The object that it is about.
    pub fn key(&self) -> ObjectKey {
        match self {
            Self::Upsert(object) => object.key(),
            Self::Delete(key) | Self::Withheld(key, _) => key.clone(),
        }
    }
}
