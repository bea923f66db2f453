//! From a Service port to the addresses that serve it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint as SliceEndpoint, EndpointSlice};
use k8s_openapi::api::networking::v1::IngressBackend;

use super::names::{is_label, shown};
use super::reason;
use crate::objects::NamespacedName;
use crate::report::Finding;
use crate::table::{Backend, Endpoint};

/// How many bad addresses of one backend are reported.
const MAX_NOTES: usize = 5;

/// What a rule refers to. Two rules that refer to one port by name and by number have two backends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct BackendKey {
    pub(super) service: NamespacedName,
    pub(super) port: PortRef,
}

/// How a rule refers to a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum PortRef {
    /// First, so that 0 comes before all other ports of a Service.
    Number(u16),
    Name(Arc<str>),
    /// The reference is refused as it stands; the finding is with the Ingress.
    Refused,
}

impl BackendKey {
    /// Whether the reference itself is refused.
    pub(super) fn is_refused(&self) -> bool {
        self.port == PortRef::Refused
    }
}

impl fmt::Display for BackendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.port {
            PortRef::Number(number) => write!(f, "{}:{number}", self.service),
            PortRef::Name(name) => write!(f, "{}:{name}", self.service),
            PortRef::Refused => write!(f, "{}:refused", self.service),
        }
    }
}

/// Why a backend cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BackendProblem {
    pub(super) reason: &'static str,
    /// The field below the Ingress' backend.
    pub(super) field: &'static str,
    pub(super) message: String,
}

/// A backend as it is now.
pub(super) struct Resolved {
    pub(super) backend: Backend,
    pub(super) problem: Option<BackendProblem>,
    /// Whether it reaches outside the cluster, which the class of a rule has to allow.
    pub(super) external: bool,
    /// Findings about the Service.
    pub(super) notes: Vec<Finding>,
}

/// Reads a reference to a backend. With a finding, the key stands for a backend that is refused.
pub(super) fn parse_reference(
    namespace: &Arc<str>,
    backend: &IngressBackend,
    field: &str,
) -> (BackendKey, Option<Finding>) {
    let refused = |name: &str, reason, field: String, message: String| {
        let name = if is_label(name) { name } else { "invalid" };
        let service = NamespacedName::new(Arc::clone(namespace), name);
        (BackendKey { service, port: PortRef::Refused }, Some(Finding::refused(reason, field, message)))
    };
    if let Some(resource) = &backend.resource {
        let message = format!(
            "{} {} cannot be a backend; Penstock routes to Services only",
            shown(&resource.kind),
            shown(&resource.name)
        );
        return refused("resource", reason::RESOURCE_BACKEND_REFUSED, format!("{field}.resource"), message);
    }
    let Some(service) = &backend.service else {
        let message = "the backend names neither a Service nor a resource";
        return refused("none", reason::BACKEND_INVALID, field.to_owned(), message.to_owned());
    };
    if !is_label(&service.name) {
        let message = format!("{} is not a name of a Service", shown(&service.name));
        return refused("invalid", reason::NAME_INVALID, format!("{field}.service.name"), message);
    }
    let port = service.port.as_ref();
    let number = port.and_then(|p| p.number).filter(|&n| n != 0);
    let name = port.and_then(|p| p.name.as_deref()).filter(|n| !n.is_empty());
    let port = match (number, name) {
        (Some(number), None) => {
            u16::try_from(number).map(PortRef::Number).map_err(|_| "the port is out of range")
        }
        // The API server wants a letter in it, so a name is never taken for a number.
        (None, Some(name)) if is_label(name) && name.bytes().any(|b| b.is_ascii_alphabetic()) => {
            Ok(PortRef::Name(Arc::from(name)))
        }
        (None, Some(_)) => Err("the port's name is not a name of a Service port"),
        (Some(_), Some(_)) => Err("the port is given by number and by name; leave one out"),
        (None, None) => Err("the port is missing"),
    };
    match port {
        Ok(port) => {
            (BackendKey { service: NamespacedName::new(Arc::clone(namespace), &*service.name), port }, None)
        }
        Err(message) => {
            let field = format!("{field}.service.port");
            refused(&service.name, reason::BACKEND_INVALID, field, message.to_owned())
        }
    }
}

/// Resolves a backend against its Service and the Service's slices.
pub(super) fn resolve<'a>(
    key: &BackendKey,
    service: Option<&Service>,
    slices: impl Iterator<Item = &'a Arc<EndpointSlice>>,
) -> Resolved {
    let mut notes = Vec::new();
    let external = service.is_some_and(is_external);
    let result = match (&key.port, service) {
        (PortRef::Refused, _) => Ok(Vec::new()),
        (_, None) => Err(problem(
            reason::SERVICE_NOT_FOUND,
            ".service.name",
            format!("Service {} does not exist; requests are answered 503 until it does", key.service),
        )),
        (_, Some(service)) if external => external_endpoints(key, service),
        (_, Some(service)) => {
            find_port(key, service).map(|port| endpoints(port, slices, &mut notes).into_iter().collect())
        }
    };
    let (endpoints, problem) = match result {
        Ok(endpoints) => (endpoints, None),
        Err(problem) => (Vec::new(), Some(problem)),
    };
    let backend = Backend {
        service: key.service.clone(),
        label: Arc::from(key.to_string()),
        endpoints: endpoints.into(),
    };
    Resolved { backend, problem, external, notes }
}

fn problem(reason: &'static str, field: &'static str, message: String) -> BackendProblem {
    BackendProblem { reason, field, message }
}

fn is_external(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("ExternalName")
}

fn find_port<'s>(key: &BackendKey, service: &'s Service) -> Result<&'s ServicePort, BackendProblem> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let wanted = |port: &&ServicePort| match &key.port {
        PortRef::Number(number) => port.port == i32::from(*number),
        PortRef::Name(name) => port.name.as_deref() == Some(&**name),
        PortRef::Refused => false,
    };
    // One number may be open for TCP and for UDP: take the one that HTTP can use.
    let is_tcp = |port: &&ServicePort| matches!(port.protocol.as_deref(), None | Some("TCP" | ""));
    match ports.iter().filter(wanted).find(is_tcp).or_else(|| ports.iter().find(wanted)) {
        None => {
            let known: Vec<_> = ports.iter().take(10).map(describe).collect();
            let message =
                format!("Service {} has no such port; its ports are: {}", key.service, known.join(", "));
            Err(problem(reason::PORT_NOT_FOUND, ".service.port", message))
        }
        Some(port) if !is_tcp(&port) => {
            let message = format!("port {} of Service {} is not a TCP port", describe(port), key.service);
            Err(problem(reason::PORT_PROTOCOL, ".service.port", message))
        }
        Some(port) => Ok(port),
    }
}

fn describe(port: &ServicePort) -> String {
    match port.name.as_deref() {
        Some(name) if is_label(name) => format!("{} ({name})", port.port),
        _ => port.port.to_string(),
    }
}

/// The addresses of all slices for one Service port: those that are ready or, if none is, those that still serve while
/// they terminate. That is the choice of kube-proxy (`CategorizeEndpoints` in its `topology.go`), without topology.
fn endpoints<'a>(
    port: &ServicePort,
    slices: impl Iterator<Item = &'a Arc<EndpointSlice>>,
    notes: &mut Vec<Finding>,
) -> BTreeSet<Endpoint> {
    let (mut ready, mut terminating) = (BTreeSet::new(), BTreeSet::new());
    for slice in slices {
        for number in slice_ports(slice, port) {
            for (at, endpoint) in slice.endpoints.iter().flatten().enumerate() {
                let (is_ready, serves_terminating) = conditions(endpoint);
                if !is_ready && !serves_terminating {
                    continue;
                }
                match address(slice, endpoint) {
                    Ok(ip) => {
                        let set = if is_ready { &mut ready } else { &mut terminating };
                        set.insert(Endpoint { address: SocketAddr::new(ip, number) });
                    }
                    Err(message) if notes.len() < MAX_NOTES => {
                        let slice = shown(slice.metadata.name.as_deref().unwrap_or_default());
                        let field = format!("EndpointSlice {slice}: endpoints[{at}].addresses[0]");
                        notes.push(Finding::warning(reason::ENDPOINT_INVALID, field, message));
                    }
                    Err(_) => {}
                }
            }
        }
    }
    if ready.is_empty() { terminating } else { ready }
}

/// The target ports of a slice for a Service port: they have the Service port's name; empty and absent are the same.
fn slice_ports(slice: &EndpointSlice, port: &ServicePort) -> impl Iterator<Item = u16> {
    let name = port.name.as_deref().unwrap_or_default();
    let named = slice.ports.iter().flatten().filter(move |p| p.name.as_deref().unwrap_or_default() == name);
    let tcp = named.filter(|p| matches!(p.protocol.as_deref(), None | Some("TCP" | "")));
    tcp.filter_map(|p| u16::try_from(p.port?).ok()).filter(|&number| number != 0)
}

/// Whether an endpoint is ready, and whether it serves while it terminates. Absent conditions mean ready, serving and
/// not terminating (EndpointSlice API reference).
fn conditions(endpoint: &SliceEndpoint) -> (bool, bool) {
    let conditions = endpoint.conditions.as_ref();
    let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
    let serving = conditions.and_then(|c| c.serving).unwrap_or(true);
    let terminating = conditions.and_then(|c| c.terminating).unwrap_or(false);
    (ready, serving && terminating)
}

/// The address of an endpoint. The API gives no meaning to any address after the first.
fn address(slice: &EndpointSlice, endpoint: &SliceEndpoint) -> Result<IpAddr, String> {
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

/// What is wrong with a backend that reaches outside the cluster, for a class that does not allow it.
pub(super) fn external_refused(key: &BackendKey, class: &str) -> BackendProblem {
    let message = format!(
        "Service {} is of type ExternalName, which {class} does not allow (routing.allowExternalName)",
        key.service
    );
    problem(reason::EXTERNAL_NAME_REFUSED, ".service.name", message)
}

/// An ExternalName that is an IP address. A name would have to be resolved while requests wait for it, and is refused.
fn external_endpoints(key: &BackendKey, service: &Service) -> Result<Vec<Endpoint>, BackendProblem> {
    let refused = |message| Err(problem(reason::EXTERNAL_NAME_REFUSED, ".service.name", message));
    let name = &key.service;
    let spec = service.spec.as_ref();
    let target = spec.and_then(|spec| spec.external_name.as_deref()).unwrap_or_default();
    let Ok(ip) = target.parse::<IpAddr>() else {
        return refused(format!(
            "Service {name} points to {}, which is not an IP address; use a Service without selector and an EndpointSlice",
            shown(target)
        ));
    };
    let link_local = match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if ip.to_canonical().is_loopback() || ip.is_unspecified() || ip.is_multicast() || link_local {
        return refused(format!(
            "Service {name} points to {ip}, an address of the node itself or of no single host"
        ));
    }
    let ports = spec.and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let number = match &key.port {
        PortRef::Number(number) if ports.is_empty() => *number,
        _ => u16::try_from(find_port(key, service)?.port).unwrap_or_default(),
    };
    Ok(vec![Endpoint { address: SocketAddr::new(ip, number) }])
}
