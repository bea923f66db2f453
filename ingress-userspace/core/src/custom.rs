//! Our custom resources as Kubernetes has them: metadata, what is wanted, what became of it.

use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use k8s_openapi::{Metadata, Resource, ResourceScope};
use serde::de::{DeserializeOwned, Deserializer};
use serde::ser::{SerializeStruct as _, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::settings::Violation;

/// The API group of all of them.
pub const GROUP: &str = "penstock.dev";
/// The version of all of them.
pub const VERSION: &str = "v1alpha1";
/// Group and version.
pub const API_VERSION: &str = "penstock.dev/v1alpha1";

/// The type of the condition that says whether the present spec is used.
pub const ACCEPTED: &str = "Accepted";

/// What is wanted: the spec of one kind.
pub trait CustomSpec: Clone + Debug + Default + PartialEq + Serialize + DeserializeOwned + 'static {
    /// The kind.
    const KIND: &'static str;
    /// The name in URLs.
    const PLURAL: &'static str;
    /// Whether objects are in namespaces.
    type Scope: ResourceScope;
}

/// A custom resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Custom<S> {
    /// Name, labels and the like.
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: Written<S>,
    /// What became of it.
    pub status: Option<CustomStatus>,
}

/// What became of an object, for whoever applied it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CustomStatus {
    /// `Accepted`: whether the present spec is used.
    pub conditions: Vec<Condition>,
    /// The generation that the conditions are about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// A rule between the fields of a spec, as the API server checks it before it stores an object. Our own reader has the same in
/// words of its own, and a test compares the two.
pub struct CelRule {
    /// What `self` is: the path of a section below the spec, where `[]` stands for each element of a list; empty for the spec.
    pub section: &'static str,
    /// The field that the message is about; empty if it is the section.
    pub field: &'static str,
    /// The rule.
    pub cel: &'static str,
    /// What is wrong if it does not hold.
    pub message: &'static str,
}

/// A spec as it was read.
///
/// The API server's schema admits only what can be read; but its CustomResourceDefinition may be of another version than this
/// program. One object that cannot be read must not hide the others from whoever lists them, so the reason is kept in its
/// place.
#[derive(Clone, Debug, PartialEq)]
pub enum Written<S> {
    /// It can be read.
    Read(Box<S>),
    /// It cannot.
    Unreadable {
        /// As it is.
        value: Value,
        /// Why.
        violation: Violation,
    },
}

impl<S: Default> Default for Written<S> {
    fn default() -> Self {
        Self::Read(Box::default())
    }
}

impl<S: CustomSpec> Written<S> {
    /// The spec, or why it cannot be read, with the field below `spec`.
    pub fn read(&self) -> Result<&S, &Violation> {
        match self {
            Self::Read(spec) => Ok(spec),
            Self::Unreadable { violation, .. } => Err(violation),
        }
    }

    fn of(value: Value) -> Self {
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

/// The violation with its field named from the object's root.
pub fn in_spec(mut violation: Violation) -> Violation {
    let dot = if violation.field.is_empty() { "" } else { "." };
    violation.field = format!("spec{dot}{}", violation.field);
    violation
}

impl<S: CustomSpec> Resource for Custom<S> {
    const API_VERSION: &'static str = API_VERSION;
    const GROUP: &'static str = GROUP;
    const KIND: &'static str = S::KIND;
    const VERSION: &'static str = VERSION;
    const URL_PATH_SEGMENT: &'static str = S::PLURAL;
    type Scope = S::Scope;
}

impl<S: CustomSpec> Metadata for Custom<S> {
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
    status: Option<Value>,
}

impl<'de, S: CustomSpec> Deserialize<'de> for Custom<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Fields { metadata, spec, status } = Fields::deserialize(deserializer)?;
        // A spec that is left out is one in which nothing is written, which a kind may refuse.
        let spec = Written::of(spec.unwrap_or_else(|| Value::Object(serde_json::Map::new())));
        // Others may write to a status as well: what is odd there must not hide the spec.
        let status = status.and_then(|status| serde_json::from_value(status).ok());
        Ok(Self { metadata, spec, status })
    }
}

impl<S: CustomSpec> Serialize for Custom<S> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        let mut fields = serializer.serialize_struct(S::KIND, 5)?;
        fields.serialize_field("apiVersion", API_VERSION)?;
        fields.serialize_field("kind", S::KIND)?;
        fields.serialize_field("metadata", &self.metadata)?;
        match &self.spec {
            Written::Read(spec) => fields.serialize_field("spec", spec)?,
            Written::Unreadable { value, .. } => fields.serialize_field("spec", value)?,
        }
        match &self.status {
            Some(status) => fields.serialize_field("status", status)?,
            None => fields.skip_field("status")?,
        }
        fields.end()
    }
}
