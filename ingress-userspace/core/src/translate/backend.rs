//! From a Service port to the addresses that serve it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::networking::v1::IngressBackend;

use super::held::{HeldPort, HeldService, HeldSlice};
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

/// Resolves a backend against its Service and the Service's slices, which come with their names.
pub(super) fn resolve<'a>(
    key: &BackendKey,
    service: Option<&HeldService>,
    slices: impl Iterator<Item = (&'a NamespacedName, &'a HeldSlice)>,
) -> Resolved {
    let mut notes = Vec::new();
    let external = service.and_then(|service| service.external.as_deref());
    let result = match (&key.port, service, external) {
        (PortRef::Refused, ..) => Ok(Vec::new()),
        (_, None, _) => Err(problem(
            reason::SERVICE_NOT_FOUND,
            ".service.name",
            format!("Service {} does not exist; requests are answered 503 until it does", key.service),
        )),
        (_, Some(service), Some(target)) => external_endpoints(key, service, target),
        (_, Some(service), None) => {
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
    Resolved { backend, problem, external: external.is_some(), notes }
}

fn problem(reason: &'static str, field: &'static str, message: String) -> BackendProblem {
    BackendProblem { reason, field, message }
}

fn find_port<'s>(key: &BackendKey, service: &'s HeldService) -> Result<&'s HeldPort, BackendProblem> {
    let ports = &service.ports;
    let wanted = |port: &&HeldPort| match &key.port {
        PortRef::Number(number) => port.number == i32::from(*number),
        PortRef::Name(name) => port.name.as_deref() == Some(&**name),
        PortRef::Refused => false,
    };
    // One number may be open for TCP and for UDP: take the one that HTTP can use.
    match ports.iter().filter(wanted).find(|port| port.tcp).or_else(|| ports.iter().find(wanted)) {
        None => {
            let known: Vec<_> = ports.iter().take(10).map(describe).collect();
            let message =
                format!("Service {} has no such port; its ports are: {}", key.service, known.join(", "));
            Err(problem(reason::PORT_NOT_FOUND, ".service.port", message))
        }
        Some(port) if !port.tcp => {
            let message = format!("port {} of Service {} is not a TCP port", describe(port), key.service);
            Err(problem(reason::PORT_PROTOCOL, ".service.port", message))
        }
        Some(port) => Ok(port),
    }
}

fn describe(port: &HeldPort) -> String {
    match port.name.as_deref() {
        Some(name) if is_label(name) => format!("{} ({name})", port.number),
        _ => port.number.to_string(),
    }
}

/// The addresses of all slices for one Service port: those that are ready or, if none is, those that still serve while
/// they terminate. That is the choice of kube-proxy (`CategorizeEndpoints` in its `topology.go`), without topology.
fn endpoints<'a>(
    port: &HeldPort,
    slices: impl Iterator<Item = (&'a NamespacedName, &'a HeldSlice)>,
    notes: &mut Vec<Finding>,
) -> BTreeSet<Endpoint> {
    let port_name = port.name.as_deref().unwrap_or_default();
    let (mut ready, mut terminating) = (BTreeSet::new(), BTreeSet::new());
    for (name, slice) in slices {
        // The target ports have the Service port's name.
        for (_, number) in slice.ports.iter().filter(|(name, _)| **name == *port_name) {
            for (at, endpoint) in slice.endpoints.iter().enumerate() {
                if !endpoint.ready && !endpoint.serves_terminating {
                    continue;
                }
                match &endpoint.address {
                    Ok(ip) => {
                        let set = if endpoint.ready { &mut ready } else { &mut terminating };
                        set.insert(Endpoint { address: SocketAddr::new(*ip, *number) });
                    }
                    Err(message) if notes.len() < MAX_NOTES => {
                        let slice = shown(&name.name);
                        let field = format!("EndpointSlice {slice}: endpoints[{at}].addresses[0]");
                        notes.push(Finding::warning(reason::ENDPOINT_INVALID, field, &**message));
                    }
                    Err(_) => {}
                }
            }
        }
    }
    if ready.is_empty() { terminating } else { ready }
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
fn external_endpoints(
    key: &BackendKey,
    service: &HeldService,
    target: &str,
) -> Result<Vec<Endpoint>, BackendProblem> {
    let refused = |message| Err(problem(reason::EXTERNAL_NAME_REFUSED, ".service.name", message));
    let name = &key.service;
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
    let number = match &key.port {
        PortRef::Number(number) if service.ports.is_empty() => *number,
        _ => u16::try_from(find_port(key, service)?.number).unwrap_or_default(),
    };
    Ok(vec![Endpoint { address: SocketAddr::new(ip, number) }])
}
