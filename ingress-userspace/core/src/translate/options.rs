//! What the operator allows, as far as translation depends on it.

use serde::{Deserialize, Serialize};

/// The value of `IngressClass.spec.controller` that Penstock answers to.
pub const CONTROLLER_NAME: &str = "penstock.dev/ingress-controller";

/// Switches of the translation from Kubernetes objects to the routing table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TranslateOptions {
    /// The controller name to answer to: `IngressClass.spec.controller`.
    pub controller: String,
    /// Serve rules whose host no `spec.tls` of the same Ingress names. Off: such rules are refused (law 6).
    pub allow_plaintext: bool,
    /// Follow Services of type ExternalName. Off: they are refused, because they reach outside the cluster.
    pub allow_external_name: bool,
    /// `namespace/service:port` for requests that no rule matches, below any Ingress' own default backend.
    pub default_backend: Option<String>,
}

impl Default for TranslateOptions {
    fn default() -> Self {
        Self {
            controller: CONTROLLER_NAME.to_owned(),
            allow_plaintext: false,
            allow_external_name: false,
            default_backend: None,
        }
    }
}
