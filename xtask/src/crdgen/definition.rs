//! The CustomResourceDefinitions.

use ingress_core::custom::{ACCEPTED, GROUP, VERSION};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

use crate::shell::Outcome;

/// What is to be said about a kind beyond its spec.
pub(super) struct About {
    /// Where its types are, below `ingress-userspace/core/src`.
    pub(super) source: &'static str,
    pub(super) kind: &'static str,
    pub(super) plural: &'static str,
    pub(super) short: &'static str,
    pub(super) namespaced: bool,
    /// What the kind is for.
    pub(super) description: &'static str,
    /// What its condition tells.
    pub(super) accepted: &'static str,
    /// The name of a field, and its path, that a list shows.
    pub(super) column: Option<(&'static str, &'static str)>,
}

/// The file.
pub(super) fn text(about: &About, spec: &Value) -> Outcome<String> {
    let definition = definition(about, spec);
    // Whatever the type of Kubernetes does not have, the API server would drop.
    let typed: CustomResourceDefinition = serde_json::from_value(definition.clone())?;
    if let Some(lost) = lost(&definition, &serde_json::to_value(typed)?) {
        return Err(format!("Kubernetes does not know the keyword {lost} of the schema").into());
    }
    let source = about.source;
    let header = format!(
        "# Generated from ingress-userspace/core/src/{source} by `cargo xtask crdgen`; change it there.\n"
    );
    Ok(format!("{header}{}", serde_saphyr::to_string(&definition)?))
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

fn definition(about: &About, spec: &Value) -> Value {
    let (kind, plural) = (about.kind, about.plural);
    let mut columns: Vec<Value> = Vec::new();
    columns.extend(about.column.map(|(name, path)| column(name, "string", path, "What the spec says.")));
    columns.extend([
        column(ACCEPTED, "string", &condition("status"), "Whether the present spec is used."),
        column("Reason", "string", &condition("reason"), "Why it is used or not."),
        column("Age", "date", ".metadata.creationTimestamp", "Since when it exists."),
    ]);
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{GROUP}")},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind,
                "listKind": format!("{kind}List"),
                "plural": plural,
                "singular": kind.to_ascii_lowercase(),
                "shortNames": [about.short],
            },
            "scope": if about.namespaced { "Namespaced" } else { "Cluster" },
            "versions": [{
                "name": VERSION,
                "served": true,
                "storage": true,
                "subresources": {"status": {}},
                "additionalPrinterColumns": columns,
                "schema": {"openAPIV3Schema": root(about, spec)},
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

fn root(about: &About, spec: &Value) -> Value {
    json!({
        "type": "object",
        "description": about.description,
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status(about),
        },
    })
}

/// The schema of `metav1.Condition` and what is around it.
fn status(about: &About) -> Value {
    let text = |description: &str, longest: u32| json!({"type": "string", "description": description, "maxLength": longest});
    json!({
        "type": "object",
        "description": format!("What became of the {}; written by Penstock.", about.kind),
        "properties": {
            "observedGeneration": {
                "type": "integer",
                "format": "int64",
                "description": "The metadata.generation that the conditions are about.",
            },
            "conditions": {
                "type": "array",
                "description": about.accepted,
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
