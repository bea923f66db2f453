//! What the operator sets for the whole process.

use super::backend::{BackendKey, PortRef};
use super::names::is_label;
use crate::objects::NamespacedName;
use crate::settings::Settings;

/// The value of `IngressClass.spec.controller` that Penstock answers to.
pub const CONTROLLER_NAME: &str = "penstock.dev/ingress-controller";

/// What the translation from Kubernetes objects to the routing table needs to know besides the objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TranslateOptions {
    /// The controller name to answer to: `IngressClass.spec.controller`.
    pub controller: String,
    /// `namespace/service:port` for requests that no rule matches, below any Ingress' own default backend.
    pub default_backend: Option<String>,
    /// Warn about a certificate when it expires in less than so many days, and again at three and at one; 0 is never.
    pub certificate_warning_days: u16,
    /// The base that the ProxyClass of each class overlays.
    pub settings: Settings,
}

impl Default for TranslateOptions {
    fn default() -> Self {
        Self {
            controller: CONTROLLER_NAME.to_owned(),
            default_backend: None,
            certificate_warning_days: 14,
            settings: Settings::default(),
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
