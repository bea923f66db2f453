//! The kinds that are watched, and how each is read.

use std::borrow::Cow;
use std::sync::Arc;

use ingress_core::access_policy::AccessPolicy;
use ingress_core::identity_provider::IdentityProvider;
use ingress_core::objects::{Kind, NamespacedName, Object};
use ingress_core::proxy_class::ProxyClass;
use ingress_core::trim::Trim;
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::text::plain;

/// How much of an error is told.
const SHOWN: usize = 200;

/// A kind whose objects are watched.
pub(super) trait Watched: kube::Resource<DynamicType = ()> + Trim + DeserializeOwned {
    const KIND: Kind;
    fn object(self) -> Object;
}

macro_rules! watched {
    ($($kind:ident)*) => {$(
        impl Watched for $kind {
            const KIND: Kind = Kind::$kind;
            fn object(self) -> Object {
                Object::$kind(Arc::new(self))
            }
        }
    )*};
}

watched!(Ingress IngressClass Service EndpointSlice ProxyClass IdentityProvider AccessPolicy);

/// Whether Penstock can be ready without a kind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// It has to be listed.
    Always,
    /// It has to be listed, unless there is no such kind: its CRD may be installed later.
    IfDefined,
    /// It may be absent, and it may be refused.
    Optional,
}

/// A kind as the watch of it needs to know it.
#[derive(Clone, Copy)]
pub(super) struct Resource {
    pub(super) kind: Kind,
    /// Whether Penstock can be ready without it.
    pub(super) need: Need,
    pub(super) namespaced: bool,
    /// Whether only who the objects are is asked for.
    pub(super) metadata_only: bool,
    /// The path of the kind's list in a namespace, or in all.
    pub(super) path: fn(Option<&str>) -> String,
    /// As RBAC rules name it: `ingresses.networking.k8s.io`.
    pub(super) name: fn() -> String,
    pub(super) decode: fn(&str) -> Option<Item>,
}

impl Resource {
    /// Whether there may be no such kind.
    pub(super) fn may_be_absent(&self) -> bool {
        self.need != Need::Always
    }

    /// All that are watched.
    pub(super) fn all() -> [Self; 8] {
        [
            Self { need: Need::Optional, ..Self::of::<ProxyClass>(false) },
            // Who may use a route has to be known before it is served: if it may not be read, nothing is.
            Self { need: Need::IfDefined, ..Self::of::<AccessPolicy>(true) },
            Self { need: Need::IfDefined, ..Self::of::<IdentityProvider>(true) },
            Self::of::<IngressClass>(false),
            Self::of::<Ingress>(true),
            Self::of::<Service>(true),
            Self::of::<EndpointSlice>(true),
            Self::secrets(),
        ]
    }

    /// Who the Secrets are, without what is in them.
    fn secrets() -> Self {
        Self {
            kind: Kind::Secret,
            need: Need::Optional,
            namespaced: true,
            metadata_only: true,
            path: |namespace| Secret::url_path(&(), namespace),
            name: || "secrets".to_owned(),
            decode: decode_name,
        }
    }

    const fn of<K: Watched>(namespaced: bool) -> Self {
        Self {
            kind: K::KIND,
            need: Need::Always,
            namespaced,
            metadata_only: false,
            path: |namespace| K::url_path(&(), namespace),
            name: resource_name::<K>,
            decode: decode::<K>,
        }
    }
}

fn resource_name<K: Watched>() -> String {
    match (K::plural(&()), K::group(&())) {
        (plural, Cow::Borrowed("")) => plural.into_owned(),
        (plural, group) => format!("{plural}.{group}"),
    }
}

/// One object, as it was read.
pub(super) struct Item {
    pub(super) name: NamespacedName,
    /// `metadata.resourceVersion`
    pub(super) version: String,
    pub(super) content: Content,
}

/// What an object holds.
pub(super) enum Content {
    /// Only who it is was asked for.
    Nothing,
    Object(Object),
    /// It cannot be read as an object of its kind: the field, and what is wrong with it.
    Bad {
        field: String,
        message: String,
    },
}

/// Who an object is.
#[derive(Deserialize)]
struct Head {
    metadata: HeadMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeadMeta {
    name: Option<String>,
    namespace: Option<String>,
    #[serde(default)]
    resource_version: String,
}

/// Reads who an object is.
fn decode_name(json: &str) -> Option<Item> {
    let HeadMeta { name, namespace, resource_version } = serde_json::from_str::<Head>(json).ok()?.metadata;
    let name = NamespacedName::new(namespace.unwrap_or_default(), name?);
    Some(Item { name, version: resource_version, content: Content::Nothing })
}

/// Reads an object, and trims it. `None` if not even its name can be told.
fn decode<K: Watched>(json: &str) -> Option<Item> {
    let mut text = serde_json::Deserializer::from_str(json);
    match serde_path_to_error::deserialize::<_, K>(&mut text) {
        Ok(mut object) => {
            let meta: &mut ObjectMeta = object.meta_mut();
            let version = meta.resource_version.take().unwrap_or_default();
            object.trim();
            let object = object.object();
            let name = object.key().name;
            (!name.name.is_empty()).then_some(Item { name, version, content: Content::Object(object) })
        }
        Err(error) => {
            let field = plain(&error.path().to_string(), SHOWN);
            let message = plain(&error.inner().to_string(), SHOWN);
            Some(Item { content: Content::Bad { field, message }, ..decode_name(json)? })
        }
    }
}
