//! The CustomResourceDefinition.

use ingress_core::proxy_class::{ACCEPTED, GROUP, KIND, PLURAL, ProxyClass};
use k8s_openapi::Resource;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

use crate::shell::Outcome;

const HEADER: &str =
    "# Generated from ingress-userspace/core/src/settings by `cargo xtask crdgen`; change it there.\n";

/// The file.
pub(super) fn text(spec: &Value) -> Outcome<String> {
    let definition = definition(spec);
    // Whatever the type of Kubernetes does not have, the API server would drop.
    let typed: CustomResourceDefinition = serde_json::from_value(definition.clone())?;
    if let Some(lost) = lost(&definition, &serde_json::to_value(typed)?) {
        return Err(format!("Kubernetes does not know the keyword {lost} of the schema").into());
    }
    Ok(format!("{HEADER}{}", serde_saphyr::to_string(&definition)?))
}

/// A keyword that is in one value and not in the other.
fn lost(written: &Value, kept: &Value) -> Option<String> {
    match (written, kept) {
        (Value::Object(written), Value::Object(kept)) => {
            written.iter().find_map(|(name, value)| match kept.get(name) {
                Some(kept) => lost(value, kept),
                None => Some(name.clone()),
            })
        }
        (Value::Array(written), Value::Array(kept)) => written.iter().zip(kept).find_map(|(a, b)| lost(a, b)),
        _ => None,
    }
}

fn definition(spec: &Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{PLURAL}.{GROUP}")},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": KIND,
                "listKind": format!("{KIND}List"),
                "plural": PLURAL,
                "singular": "proxyclass",
                "shortNames": ["pxc"],
            },
            "scope": "Cluster",
            "versions": [{
                "name": ProxyClass::VERSION,
                "served": true,
                "storage": true,
                "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    column(ACCEPTED, "string", &condition("status"), "Whether the present spec is used."),
                    column("Reason", "string", &condition("reason"), "Why it is used or not."),
                    column("Age", "date", ".metadata.creationTimestamp", "Since when it exists."),
                ],
                "schema": {"openAPIV3Schema": root(spec)},
            }],
        },
    })
}

fn condition(field: &str) -> String {
    format!(".status.conditions[?(@.type==\"{ACCEPTED}\")].{field}")
}

fn column(name: &str, kind: &str, path: &str, description: &str) -> Value {
    json!({"name": name, "type": kind, "jsonPath": path, "description": description})
}

fn root(spec: &Value) -> Value {
    json!({
        "type": "object",
        "description": "A ProxyClass is what the Ingresses of a class are served with. An IngressClass names it in spec.parameters \
                        (apiGroup penstock.dev, kind ProxyClass).",
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status(),
        },
    })
}

/// The schema of `metav1.Condition` and what is around it.
fn status() -> Value {
    let text = |description: &str, longest: u32| json!({"type": "string", "description": description, "maxLength": longest});
    json!({
        "type": "object",
        "description": "What became of the ProxyClass; written by Penstock.",
        "properties": {
            "observedGeneration": {
                "type": "integer",
                "format": "int64",
                "description": "The metadata.generation that the conditions are about.",
            },
            "conditions": {
                "type": "array",
                "description": "Accepted: whether the present spec is used. If it is not, the last good one is, if there was one.",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
                "items": {
                    "type": "object",
                    "required": ["type", "status", "lastTransitionTime", "reason", "message"],
                    "properties": {
                        "type": text("What the condition is about.", 316),
                        "status": {
                            "type": "string",
                            "description": "Whether it holds.",
                            "enum": ["True", "False", "Unknown"],
                        },
                        "observedGeneration": {
                            "type": "integer",
                            "format": "int64",
                            "description": "The metadata.generation that it is about.",
                        },
                        "lastTransitionTime": {
                            "type": "string",
                            "format": "date-time",
                            "description": "When the status changed last.",
                        },
                        "reason": text("A word for machines.", 1024),
                        "message": text("What happened and what can be done.", 32768),
                    },
                },
            },
        },
    })
}
