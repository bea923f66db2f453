//! The objects of a large cluster, as JSON, which is YAML as well.

use base64::Engine as _;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use crate::shell::Outcome;

/// The namespace of everything.
pub(super) const NAMESPACE: &str = "default";

/// The class of all Ingresses.
pub(super) fn class() -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {"name": "penstock"},
        "spec": {"controller": "penstock.dev/ingress-controller"},
    })
}

/// The host that an Ingress serves.
pub(super) fn host(number: usize) -> String {
    format!("h{number}.example.com")
}

/// An Ingress for a host; with a Secret's name, over TLS.
pub(super) fn ingress(name: &str, host: &str, service: &str, secret: Option<&str>) -> Value {
    let tls = secret.map(|secret| json!([{"hosts": [host], "secretName": secret}]));
    let backend = json!({"service": {"name": service, "port": {"number": 80}}});
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "ingressClassName": "penstock",
            "tls": tls,
            "rules": [{"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}],
        },
    })
}

/// A Service with one port.
pub(super) fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"ports": [{"port": 80, "targetPort": 8080}]},
    })
}

/// The one EndpointSlice of a Service, with one endpoint.
pub(super) fn slice(service: &str, address: &str, port: u16) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{service}-1"),
            "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "ports": [{"port": port}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
    })
}

/// A Secret with a certificate for a host.
pub(super) fn secret(name: &str, host: &str) -> Outcome<Value> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec![host.to_owned()])?.self_signed(&key)?;
    let encode = |pem: String| base64::engine::general_purpose::STANDARD.encode(pem);
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "type": "kubernetes.io/tls",
        "data": {"tls.crt": encode(certificate.pem()), "tls.key": encode(key.serialize_pem())},
    }))
}
