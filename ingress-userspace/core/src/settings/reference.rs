//! Fields that name something, or nothing.

use std::fmt;

use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::Overlay;
use crate::names::{NamespacedName, is_label, is_subdomain};

/// A setting that may be absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Maybe<T>(pub T);

impl<T: Overlay<Value: Default>> Overlay for Maybe<T> {
    type Value = Option<T::Value>;

    fn overlay(&self, base: &mut Self::Value) {
        self.0.overlay(base.get_or_insert_default());
    }

    fn of(value: &Self::Value) -> Option<Self> {
        T::of(value.as_ref()?).map(Self)
    }
}

/// The namespace and name of a Secret; in the configuration file also written `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SecretReference {
    /// The Secret's namespace (DNS label, RFC 1123 section 2.1).
    #[cfg_attr(
        feature = "schema",
        schemars(length(max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))
    )]
    pub namespace: String,
    /// The Secret's name (DNS subdomain, RFC 1123 section 2.1).
    #[cfg_attr(
        feature = "schema",
        schemars(
            length(max = 253),
            regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
        )
    )]
    pub name: String,
}

impl SecretReference {
    fn checked<E: Error>(namespace: String, name: String) -> Result<Self, E> {
        if !is_label(&namespace) {
            return Err(E::custom(format!("{namespace:?} is not the name of a namespace")));
        }
        if !is_subdomain(&name) {
            return Err(E::custom(format!("{name:?} is not the name of a Secret")));
        }
        Ok(Self { namespace, name })
    }
}

impl Overlay for SecretReference {
    type Value = NamespacedName;

    fn overlay(&self, base: &mut NamespacedName) {
        *base = NamespacedName::new(self.namespace.as_str(), self.name.as_str());
    }

    fn of(value: &NamespacedName) -> Option<Self> {
        Some(Self { namespace: value.namespace.to_string(), name: value.name.to_string() })
    }
}

impl<'de> Deserialize<'de> for SecretReference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReferenceVisitor)
    }
}

struct ReferenceVisitor;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    namespace: String,
    name: String,
}

impl<'de> Visitor<'de> for ReferenceVisitor {
    type Value = SecretReference;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the namespace and name of a Secret")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<SecretReference, E> {
        let (namespace, name) = text
            .split_once('/')
            .ok_or_else(|| E::custom(format!("{text:?} is not of the form namespace/name")))?;
        SecretReference::checked(namespace.to_owned(), name.to_owned())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SecretReference, A::Error> {
        let fields = Fields::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
        SecretReference::checked(fields.namespace, fields.name)
    }
}
