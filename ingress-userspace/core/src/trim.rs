//! What of an object is worth its memory: the parts that translation reads.
//!
//! A cluster has thousands of objects, and the larger part of each is for others: managed fields, what kubectl applied last,
//! node names of endpoints. Translation comes to the same with and without them, which a property test holds.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Secret, Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::custom::{Custom, CustomSpec};
use crate::translate::marks;

/// Annotations with this prefix are addressed to us.
const OUR_PREFIX: &str = "penstock.dev/";

/// An object that can do without what nobody here reads.
pub trait Trim {
    /// Drops what translation does not read.
    fn trim(&mut self);
}

impl Trim for Ingress {
    fn trim(&mut self) {
        // Policies select by labels, whichever they are.
        let labels = self.metadata.labels.take();
        trim_meta(&mut self.metadata, |name| {
            [marks::LEGACY_CLASS, marks::ACME_SOLVER, marks::NGINX_PASSTHROUGH].contains(&name)
                || name.starts_with(OUR_PREFIX)
                || name.starts_with(marks::NGINX_AUTH)
        });
        self.metadata.labels = labels;
        self.status = None;
        let Some(spec) = &mut self.spec else { return };
        for rule in shrunk(&mut spec.rules) {
            if let Some(http) = &mut rule.http {
                http.paths.shrink_to_fit();
            }
        }
        for tls in shrunk(&mut spec.tls) {
            shrunk(&mut tls.hosts);
        }
    }
}

impl Trim for IngressClass {
    fn trim(&mut self) {
        trim_meta(&mut self.metadata, |name| name == marks::DEFAULT_CLASS);
    }
}

impl<S: CustomSpec> Trim for Custom<S> {
    fn trim(&mut self) {
        // The status says which generation it is about.
        let generation = self.metadata.generation;
        trim_meta(&mut self.metadata, |_| false);
        self.metadata.generation = generation;
        self.status = None;
    }
}

impl Trim for Service {
    fn trim(&mut self) {
        trim_meta(&mut self.metadata, |name| name == marks::ACME_SOLVER);
        self.status = None;
        self.spec = self.spec.take().map(|spec| ServiceSpec {
            type_: spec.type_.filter(|kind| kind != "ClusterIP"),
            external_name: spec.external_name,
            ports: spec.ports.map(|ports| ports.into_iter().map(trim_port).collect()),
            ..ServiceSpec::default()
        });
        if let Some(spec) = &mut self.spec {
            shrunk(&mut spec.ports);
        }
    }
}

fn trim_port(port: ServicePort) -> ServicePort {
    ServicePort { name: port.name, port: port.port, protocol: port.protocol, ..ServicePort::default() }
}

impl Trim for EndpointSlice {
    fn trim(&mut self) {
        trim_meta(&mut self.metadata, |name| name == marks::SERVICE_NAME);
        // Nothing is written about slices.
        self.metadata.uid = None;
        self.endpoints = self.endpoints.take().map(|all| all.into_iter().map(trim_endpoint).collect());
        self.ports = self.ports.take().map(|ports| {
            let slim = |port: EndpointPort| EndpointPort { app_protocol: None, ..port };
            ports.into_iter().map(slim).collect()
        });
        shrunk(&mut self.endpoints);
        shrunk(&mut self.ports);
    }
}

fn trim_endpoint(mut endpoint: Endpoint) -> Endpoint {
    // The API gives no meaning to any address after the first.
    endpoint.addresses.truncate(1);
    endpoint.addresses.shrink_to_fit();
    Endpoint { addresses: endpoint.addresses, conditions: endpoint.conditions, ..Endpoint::default() }
}

/// A Secret of its type and the values that somebody asks for: certificate and key if it is of the type for these, and the
/// values under `keys`.
pub fn trim_secret(secret: &mut Secret, keys: &[Box<str>]) {
    trim_meta(&mut secret.metadata, |_| false);
    let is_tls = secret.type_.as_deref() == Some(marks::TLS_SECRET_TYPE);
    let keep = |name: &str| {
        (is_tls && [marks::TLS_CERTIFICATE, marks::TLS_KEY].contains(&name))
            || keys.iter().any(|key| **key == *name)
    };
    secret.data = secret.data.take().map(|data| retain(data, keep));
    secret.string_data = secret.string_data.take().map(|data| retain(data, keep));
    secret.immutable = None;
}

fn retain<V>(map: BTreeMap<String, V>, keep: impl Fn(&str) -> bool) -> BTreeMap<String, V> {
    map.into_iter().filter(|(name, _)| keep(name)).collect()
}

/// Gives back what a list was given to grow into: for the usual list of one, three quarters of its memory.
fn shrunk<T>(list: &mut Option<Vec<T>>) -> &mut [T] {
    match list {
        Some(list) => {
            list.shrink_to_fit();
            list
        }
        None => &mut [],
    }
}

/// Keeps who the object is, when it was made, and the labels and annotations that `keep` names.
fn trim_meta(meta: &mut ObjectMeta, keep: impl Fn(&str) -> bool) {
    let marks = |marks: Option<BTreeMap<String, String>>| {
        marks.map(|marks| retain(marks, &keep)).filter(|marks| !marks.is_empty())
    };
    let full = std::mem::take(meta);
    *meta = ObjectMeta {
        name: full.name,
        namespace: full.namespace,
        uid: full.uid,
        creation_timestamp: full.creation_timestamp,
        labels: marks(full.labels),
        annotations: marks(full.annotations),
        ..ObjectMeta::default()
    };
}
