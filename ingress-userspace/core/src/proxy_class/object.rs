//! The object as Kubernetes has it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{ClusterResourceScope, Metadata, Resource};
use serde::de::Deserializer;
use serde::ser::{SerializeStruct as _, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ProxyClassStatus;
use crate::settings::{Settings, SettingsSpec, Violation};

/// The API group.
pub const GROUP: &str = "penstock.dev";
/// Group and version.
pub const API_VERSION: &str = "penstock.dev/v1alpha1";
/// The kind.
pub const KIND: &str = "ProxyClass";
/// The name in URLs.
pub const PLURAL: &str = "proxyclasses";

/// What the Ingresses of a class are served with (cluster-scoped).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProxyClass {
    /// Name, labels and the like.
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: WrittenSpec,
    /// What became of it.
    pub status: Option<ProxyClassStatus>,
}

/// A spec as it was read.
///
/// The API server's schema admits only what can be read; but its CustomResourceDefinition may be of another version than this
/// program. One object that cannot be read must not hide the others from whoever lists them, so the reason is kept in its
/// place.
#[derive(Clone, Debug, PartialEq)]
pub enum WrittenSpec {
    /// It can be read.
    Read(Box<SettingsSpec>),
    /// It cannot.
    Unreadable {
        /// As it is.
        value: Value,
        /// Why.
        violation: Violation,
    },
}

impl Default for WrittenSpec {
    fn default() -> Self {
        Self::Read(Box::default())
    }
}

impl ProxyClass {
    /// The settings that follow over a base, or everything that is wrong. Fields are named from the object's root.
    pub fn settings(&self, base: &Settings) -> Result<Settings, Vec<Violation>> {
        let in_spec = |mut violation: Violation| {
            let dot = if violation.field.is_empty() { "" } else { "." };
            violation.field = format!("spec{dot}{}", violation.field);
            violation
        };
        let spec = match &self.spec {
            WrittenSpec::Read(spec) => spec,
            WrittenSpec::Unreadable { violation, .. } => return Err(vec![in_spec(violation.clone())]),
        };
        let violations = spec.violations();
        let result = if violations.is_empty() { spec.over(base) } else { Err(violations) };
        result.map_err(|violations| violations.into_iter().map(in_spec).collect())
    }
}

impl Resource for ProxyClass {
    const API_VERSION: &'static str = API_VERSION;
    const GROUP: &'static str = GROUP;
    const KIND: &'static str = KIND;
    const VERSION: &'static str = "v1alpha1";
    const URL_PATH_SEGMENT: &'static str = PLURAL;
    type Scope = ClusterResourceScope;
}

impl Metadata for ProxyClass {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[derive(Deserialize)]
struct Fields {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Option<Value>,
    #[serde(default)]
    status: Option<ProxyClassStatus>,
}

impl<'de> Deserialize<'de> for ProxyClass {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Fields { metadata, spec, status } = Fields::deserialize(deserializer)?;
        let spec = spec.map_or_else(WrittenSpec::default, WrittenSpec::read);
        Ok(Self { metadata, spec, status })
    }
}

impl WrittenSpec {
    fn read(value: Value) -> Self {
        match serde_path_to_error::deserialize(&value) {
            Ok(spec) => Self::Read(Box::new(spec)),
            Err(error) => {
                let field = Some(error.path().to_string()).filter(|path| path != ".").unwrap_or_default();
                let message = error.into_inner().to_string();
                Self::Unreadable { value, violation: Violation { field, message } }
            }
        }
    }
}

impl Serialize for ProxyClass {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct(KIND, 5)?;
        fields.serialize_field("apiVersion", API_VERSION)?;
        fields.serialize_field("kind", KIND)?;
        fields.serialize_field("metadata", &self.metadata)?;
        match &self.spec {
            WrittenSpec::Read(spec) => fields.serialize_field("spec", spec)?,
            WrittenSpec::Unreadable { value, .. } => fields.serialize_field("spec", value)?,
        }
        match &self.status {
            Some(status) => fields.serialize_field("status", status)?,
            None => fields.skip_field("status")?,
        }
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
