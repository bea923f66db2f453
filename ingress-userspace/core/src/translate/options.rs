//! What the operator allows, as far as translation depends on it.

use serde::{Deserialize, Serialize};

use super::backend::{BackendKey, PortRef};
use super::names::is_label;
use crate::objects::NamespacedName;

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
    /// Warn about a certificate when it expires in less than so many days, and again at three and at one; 0 is never.
    pub certificate_warning_days: u16,
}

impl Default for TranslateOptions {
    fn default() -> Self {
        Self {
            controller: CONTROLLER_NAME.to_owned(),
            allow_plaintext: false,
            allow_external_name: false,
            default_backend: None,
            certificate_warning_days: 14,
        }
    }
}

impl TranslateOptions {
    /// Says what is wrong with the options, if anything: a default backend that cannot be read is not used.
    pub fn check(&self) -> Result<(), String> {
        self.parse_default_backend().transpose().map(drop)
    }

    /// Reads the default backend; its port is a number or a name.
    pub(super) fn parse_default_backend(&self) -> Option<Result<BackendKey, String>> {
        let written = self.default_backend.as_deref()?;
        let parsed = || {
            let (namespace, rest) = written.split_once('/')?;
            let (service, port) = rest.split_once(':')?;
            let port = match port.parse() {
                Ok(0) => None,
                Ok(number) => Some(PortRef::Number(number)),
                Err(_) => is_label(port).then(|| PortRef::Name(port.into())),
            }?;
            (is_label(namespace) && is_label(service))
                .then(|| BackendKey { service: NamespacedName::new(namespace, service), port })
        };
        Some(
            parsed().ok_or_else(|| {
                format!("defaultBackend {written:?} is not of the form namespace/service:port")
            }),
        )
    }
}
