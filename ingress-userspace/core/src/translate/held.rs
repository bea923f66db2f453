//! What a translation keeps of the objects, to make again what a change makes stale.
//!
//! It is what rules need: as Kubernetes' own types, whose fields are mostly empty, they would be the larger half of the memory.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Secret, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass, IngressSpec};

use super::access::AccessMarks;
use super::created;
use super::index::refill;
use super::ingress::is_acme_solver;
use super::marks::{LEGACY_CLASS, SERVICE_NAME};
use super::names::shown;
use super::passthrough::PassthroughMarks;
use crate::access_policy::AccessPolicy;
use crate::identity_provider::IdentityProvider;
use crate::objects::{Change, Kind, NamespacedName, Object, ObjectKey};
use crate::proxy_class::ProxyClass;

/// The objects at one moment. Ordered maps, so that nothing depends on arrival order.
#[derive(Default)]
pub(super) struct Held {
    pub(super) ingresses: BTreeMap<NamespacedName, HeldIngress>,
    pub(super) ingress_classes: BTreeMap<NamespacedName, Arc<IngressClass>>,
    pub(super) services: BTreeMap<NamespacedName, HeldService>,
    pub(super) slices: BTreeMap<NamespacedName, HeldSlice>,
    pub(super) secrets: BTreeMap<NamespacedName, Arc<Secret>>,
    pub(super) proxy_classes: BTreeMap<NamespacedName, Arc<ProxyClass>>,
    pub(super) identity_providers: BTreeMap<NamespacedName, Arc<IdentityProvider>>,
    pub(super) access_policies: BTreeMap<NamespacedName, Arc<AccessPolicy>>,
}

impl Held {
    /// `metadata.uid` of an object, if it is there and has one. EndpointSlices have no report that would tell it.
    pub(super) fn uid(&self, key: &ObjectKey) -> Option<&str> {
        let name = &key.name;
        let meta = match key.kind {
            Kind::Ingress => return self.ingresses.get(name)?.uid.as_deref(),
            Kind::IngressClass => &self.ingress_classes.get(name)?.metadata,
            Kind::Service => return self.services.get(name)?.uid.as_deref(),
            Kind::EndpointSlice => return None,
            Kind::Secret => &self.secrets.get(name)?.metadata,
            Kind::ProxyClass => &self.proxy_classes.get(name)?.metadata,
            Kind::IdentityProvider => &self.identity_providers.get(name)?.metadata,
            Kind::AccessPolicy => &self.access_policies.get(name)?.metadata,
        };
        meta.uid.as_deref()
    }

    /// Applies one change of the object with this name.
    pub(super) fn apply(&mut self, name: NamespacedName, change: Change) {
        match change {
            Change::Upsert(object) => self.upsert(name, object),
            Change::Delete(key) | Change::Withheld(key, _) => self.delete(&key),
        }
    }

    fn upsert(&mut self, name: NamespacedName, object: Object) {
        match object {
            Object::Ingress(o) => drop(self.ingresses.insert(name, HeldIngress::new(o))),
            Object::IngressClass(o) => drop(self.ingress_classes.insert(name, o)),
            Object::Service(o) => drop(self.services.insert(name, HeldService::new(&o))),
            Object::EndpointSlice(o) => drop(self.slices.insert(name, HeldSlice::new(&o))),
            Object::Secret(o) => drop(self.secrets.insert(name, o)),
            Object::ProxyClass(o) => drop(self.proxy_classes.insert(name, o)),
            Object::IdentityProvider(o) => drop(self.identity_providers.insert(name, o)),
            Object::AccessPolicy(o) => drop(self.access_policies.insert(name, o)),
        }
    }

    fn delete(&mut self, key: &ObjectKey) {
        match key.kind {
            Kind::Ingress => drop(self.ingresses.remove(&key.name)),
            Kind::IngressClass => drop(self.ingress_classes.remove(&key.name)),
            Kind::Service => drop(self.services.remove(&key.name)),
            Kind::EndpointSlice => drop(self.slices.remove(&key.name)),
            Kind::Secret => drop(self.secrets.remove(&key.name)),
            Kind::ProxyClass => drop(self.proxy_classes.remove(&key.name)),
            Kind::IdentityProvider => drop(self.identity_providers.remove(&key.name)),
            Kind::AccessPolicy => drop(self.access_policies.remove(&key.name)),
        }
    }

    /// See [`Translator::compact`](super::Translator::compact).
    pub(super) fn compact(&mut self) {
        refill(&mut self.ingresses);
        refill(&mut self.services);
        refill(&mut self.slices);
        refill(&mut self.identity_providers);
        refill(&mut self.access_policies);
    }

    /// Whether a Service is marked as part of an ACME HTTP-01 solver.
    pub(super) fn is_solver(&self, service: &NamespacedName) -> bool {
        self.services.get(service).is_some_and(|service| service.solver)
    }

    /// The Service that a slice belongs to.
    pub(super) fn slice_service(&self, slice: &NamespacedName) -> Option<NamespacedName> {
        let service = self.slices.get(slice)?.service.as_deref()?;
        Some(NamespacedName::new(Arc::clone(&slice.namespace), service))
    }
}

/// An Ingress.
pub(super) struct HeldIngress {
    uid: Option<Box<str>>,
    /// `creationTimestamp` in Unix seconds.
    pub(super) created: i64,
    /// The class that its annotation names.
    class_annotation: Option<Box<str>>,
    /// Whether it is marked as part of an ACME HTTP-01 solver.
    pub(super) solver: bool,
    pub(super) passthrough: PassthroughMarks,
    /// What it says about who may use it.
    pub(super) access: AccessMarks,
    pub(super) spec: IngressSpec,
}

impl HeldIngress {
    fn new(ingress: Arc<Ingress>) -> Self {
        let meta = &ingress.metadata;
        let annotation = meta.annotations.as_ref().and_then(|all| all.get(LEGACY_CLASS));
        Self {
            uid: meta.uid.as_deref().map(Box::from),
            created: created(meta),
            class_annotation: annotation.map(|name| Box::from(name.as_str())),
            solver: is_acme_solver(meta),
            passthrough: PassthroughMarks::of(meta),
            access: AccessMarks::of(meta),
            // The API server's objects are ours alone; those of a directory are kept by it too.
            spec: match Arc::try_unwrap(ingress) {
                Ok(ingress) => ingress.spec,
                Err(ingress) => ingress.spec.clone(),
            }
            .unwrap_or_default(),
        }
    }

    /// The class that it names by annotation and by field.
    pub(super) fn class(&self) -> (Option<&str>, Option<&str>) {
        (self.class_annotation.as_deref(), self.spec.ingress_class_name.as_deref())
    }
}

/// A Service.
pub(super) struct HeldService {
    uid: Option<Box<str>>,
    solver: bool,
    /// Where a Service of type ExternalName points to.
    pub(super) external: Option<Box<str>>,
    pub(super) ports: Box<[HeldPort]>,
}

/// A port of a Service.
pub(super) struct HeldPort {
    pub(super) name: Option<Box<str>>,
    pub(super) number: i32,
    pub(super) tcp: bool,
}

impl HeldService {
    fn new(service: &Service) -> Self {
        let spec = service.spec.as_ref();
        let ports = spec.and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
        let external = spec.filter(|spec| spec.type_.as_deref() == Some("ExternalName"));
        let port = |port: &ServicePort| HeldPort {
            name: port.name.as_deref().map(Box::from),
            number: port.port,
            tcp: is_tcp(port.protocol.as_deref()),
        };
        Self {
            uid: service.metadata.uid.as_deref().map(Box::from),
            solver: is_acme_solver(&service.metadata),
            external: external.map(|spec| Box::from(spec.external_name.as_deref().unwrap_or_default())),
            ports: ports.iter().map(port).collect(),
        }
    }
}

/// An EndpointSlice.
pub(super) struct HeldSlice {
    /// The Service that it belongs to.
    service: Option<Box<str>>,
    /// Its TCP ports by name, which may be empty.
    pub(super) ports: Box<[(Box<str>, u16)]>,
    pub(super) endpoints: Box<[HeldEndpoint]>,
}

/// An endpoint of a slice.
pub(super) struct HeldEndpoint {
    /// Its address, or what is wrong with it.
    pub(super) address: Result<IpAddr, Box<str>>,
    pub(super) ready: bool,
    pub(super) serves_terminating: bool,
}

impl HeldSlice {
    fn new(slice: &EndpointSlice) -> Self {
        let labels = slice.metadata.labels.as_ref();
        let endpoint = |endpoint: &Endpoint| {
            let (ready, serves_terminating) = conditions(endpoint);
            let address = address(slice, endpoint).map_err(String::into_boxed_str);
            HeldEndpoint { address, ready, serves_terminating }
        };
        Self {
            service: labels.and_then(|labels| labels.get(SERVICE_NAME)).map(|name| Box::from(name.as_str())),
            ports: slice.ports.iter().flatten().filter_map(slice_port).collect(),
            endpoints: slice.endpoints.iter().flatten().map(endpoint).collect(),
        }
    }
}

fn is_tcp(protocol: Option<&str>) -> bool {
    matches!(protocol, None | Some("TCP" | ""))
}

/// A TCP port by its name; empty and absent are the same.
fn slice_port(port: &EndpointPort) -> Option<(Box<str>, u16)> {
    let number = u16::try_from(port.port?).ok().filter(|number| *number != 0)?;
    is_tcp(port.protocol.as_deref()).then(|| (Box::from(port.name.as_deref().unwrap_or_default()), number))
}

/// Whether an endpoint is ready, and whether it serves while it terminates. Absent conditions mean ready, serving and
/// not terminating (EndpointSlice API reference).
fn conditions(endpoint: &Endpoint) -> (bool, bool) {
    let conditions = endpoint.conditions.as_ref();
    let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
    let serving = conditions.and_then(|c| c.serving).unwrap_or(true);
    let terminating = conditions.and_then(|c| c.terminating).unwrap_or(false);
    (ready, serving && terminating)
}

/// The address of an endpoint. The API gives no meaning to any address after the first.
fn address(slice: &EndpointSlice, endpoint: &Endpoint) -> Result<IpAddr, String> {
    let Some(written) = endpoint.addresses.first() else {
        return Err("the endpoint has no address and is left out".to_owned());
    };
    let ip: IpAddr =
        written.parse().map_err(|_| format!("{} is not an IP address and is left out", shown(written)))?;
    let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
    if slice.address_type != family {
        return Err(format!(
            "{ip} is not of the slice's addressType {} and is left out",
            shown(&slice.address_type)
        ));
    }
    if ip.is_unspecified() || ip.is_multicast() {
        return Err(format!("{ip} is not the address of one host and is left out"));
    }
    Ok(ip)
}
