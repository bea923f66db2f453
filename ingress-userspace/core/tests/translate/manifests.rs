//! Reads manifests as kubectl would apply them.

use std::sync::Arc;

use ingress_core::objects::{Kind, NamespacedName, Object, ObjectKey};
use ingress_core::translate::CONTROLLER_NAME;
use serde_json::{Value, json};

use crate::certificates;

/// All documents of a YAML file.
pub(crate) fn documents(yaml: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(yaml).unwrap()
}

/// Makes an object of a document. In `stringData`, `cert:name` and `key:name` stand for generated certificates.
pub(crate) fn object(mut document: Value) -> Object {
    if let Some(data) = document.get_mut("stringData").and_then(Value::as_object_mut) {
        for value in data.values_mut() {
            let text = value.as_str().unwrap();
            let pem = text.strip_prefix("cert:").map(|name| certificates::pem(name).0);
            let pem = pem.or_else(|| text.strip_prefix("key:").map(|name| certificates::pem(name).1));
            if let Some(pem) = pem {
                *value = Value::String(pem);
            }
        }
    }
    match document["kind"].as_str() {
        Some("Ingress") => Object::Ingress(Arc::new(read(document))),
        Some("IngressClass") => Object::IngressClass(Arc::new(read(document))),
        Some("Service") => Object::Service(Arc::new(read(document))),
        Some("EndpointSlice") => Object::EndpointSlice(Arc::new(read(document))),
        Some("Secret") => Object::Secret(Arc::new(read(document))),
        Some("ProxyClass") => Object::ProxyClass(Arc::new(read(document))),
        Some("IdentityProvider") => Object::IdentityProvider(Arc::new(read(document))),
        Some("AccessPolicy") => Object::AccessPolicy(Arc::new(read(document))),
        kind => panic!("kind {kind:?}"),
    }
}

fn read<T: serde::de::DeserializeOwned>(document: Value) -> T {
    let text = document.to_string();
    serde_json::from_value(document).unwrap_or_else(|e| panic!("{e} in {text}"))
}

/// Names an object: `Secret namespace/name`.
pub(crate) fn key(text: &str) -> ObjectKey {
    let (kind, name) = text.split_once(' ').unwrap();
    let kind = Kind::ALL.into_iter().find(|k| k.as_str() == kind).unwrap();
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    ObjectKey { kind, name: NamespacedName::new(namespace, name) }
}

/// The IngressClass of the tests, also the default of the cluster.
pub(crate) fn class() -> Object {
    object(json!({
        "kind": "IngressClass",
        "metadata": {
            "name": "penstock",
            "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"},
        },
        "spec": {"controller": CONTROLLER_NAME},
    }))
}

/// A Service with port 80 called http, and a slice with one ready endpoint `10.0.0.number:8080`.
pub(crate) fn service(namespace: &str, name: &str, number: usize) -> [Object; 2] {
    let service = json!({
        "kind": "Service",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    });
    let slice = json!({
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": namespace,
            "name": format!("{name}-1"),
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": [format!("10.0.0.{number}")]}],
    });
    [object(service), object(slice)]
}

/// A Secret with a generated certificate.
pub(crate) fn secret(namespace: &str, name: &str, certificate: &str) -> Object {
    object(json!({
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"namespace": namespace, "name": name},
        "stringData": {"tls.crt": format!("cert:{certificate}"), "tls.key": format!("key:{certificate}")},
    }))
}
