//! The custom resource ProxyClass (cluster-scoped): what the Ingresses of a class are served with.
//!
//! An IngressClass names a ProxyClass in `spec.parameters`; the ProxyClass overlays the configuration file of the process for
//! the routes of that class. The CustomResourceDefinition in `charts/penstock/crds` is generated from these types.

use k8s_openapi::ClusterResourceScope;

use crate::custom::{Custom, CustomSpec, Written, in_spec};
use crate::settings::{Settings, SettingsSpec, Violation};

pub use crate::custom::{ACCEPTED, API_VERSION, CustomStatus as ProxyClassStatus, GROUP};

/// The kind.
pub const KIND: &str = SettingsSpec::KIND;
/// The name in URLs.
pub const PLURAL: &str = SettingsSpec::PLURAL;

/// What the Ingresses of a class are served with.
pub type ProxyClass = Custom<SettingsSpec>;

/// The spec of a ProxyClass as it was read.
pub type WrittenSpec = Written<SettingsSpec>;

impl CustomSpec for SettingsSpec {
    const KIND: &'static str = "ProxyClass";
    const PLURAL: &'static str = "proxyclasses";
    type Scope = ClusterResourceScope;
}

impl ProxyClass {
    /// The settings that follow over a base, or everything that is wrong. Fields are named from the object's root.
    pub fn settings(&self, base: &Settings) -> Result<Settings, Vec<Violation>> {
        let spec = self.spec.read().map_err(|violation| vec![in_spec(violation.clone())])?;
        let violations = spec.violations();
        let result = if violations.is_empty() { spec.over(base) } else { Err(violations) };
        result.map_err(|violations| violations.into_iter().map(in_spec).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn read(spec: &str) -> ProxyClass {
        let json = format!(r#"{{"kind":"ProxyClass","metadata":{{"name":"a"}},"spec":{spec}}}"#);
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn a_spec_overlays_the_base() {
        let mut base = Settings::default();
        base.limits.request_body = 7;
        let settings = read(r#"{"limits":{"uri":"1KiB"}}"#).settings(&base).unwrap();
        assert_eq!((settings.limits.uri, settings.limits.request_body), (1024, 7));
        assert_eq!(read("{}").settings(&base), Ok(base));
    }

    #[test]
    fn an_unreadable_spec_says_where() {
        for (spec, field, word) in [
            (r#"{"limits":{"uri":"lots"}}"#, "spec.limits.uri", "whole number"),
            (r#"{"limits":{"urj":"1KiB"}}"#, "spec.limits.urj", "unknown field"),
            (r#"{"tls":{"minVersion":"1.1"}}"#, "spec.tls.minVersion", "1.1"),
            (
                r#"{"forwarded":{"trustedProxies":["10.0.0.0/8","x"]}}"#,
                "spec.forwarded.trustedProxies[1]",
                "CIDR",
            ),
            (r#"{"redirect":{"status":303}}"#, "spec.redirect.status", "303"),
            (r#"{"tls":{"defaultCertificate":{"namespace":"a"}}}"#, "spec.tls.defaultCertificate", "name"),
            (r#""text""#, "spec", "invalid type"),
        ] {
            let object = read(spec);
            let violations = object.settings(&Settings::default()).unwrap_err();
            assert_eq!(violations[0].field, field, "{spec}");
            assert!(violations[0].message.contains(word), "{spec}: {}", violations[0].message);
            let again = serde_json::to_value(&object).unwrap();
            assert_eq!(again["spec"], serde_json::from_str::<Value>(spec).unwrap());
        }
    }
}
