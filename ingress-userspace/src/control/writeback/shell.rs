//! Objects without what a writer of statuses does not need.

use std::sync::Arc;

use ingress_core::access_policy::AccessPolicySpec;
use ingress_core::custom::{ACCEPTED, CustomSpec as _};
use ingress_core::identity_provider::IdentityProviderSpec;
use ingress_core::objects::Kind;
use ingress_core::settings::SettingsSpec;
use k8s_openapi::api::networking::v1::{Ingress, IngressStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde::Deserialize;

use super::address::Address;
use super::event::api_version;
use super::inventory::{Held, HeldStatus};
use super::sink::Permission;

/// An Ingress without its spec.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct IngressShell {
    metadata: ObjectMeta,
    #[serde(default)]
    status: Option<IngressStatus>,
}

impl k8s_openapi::Resource for IngressShell {
    const API_VERSION: &'static str = <Ingress as k8s_openapi::Resource>::API_VERSION;
    const GROUP: &'static str = <Ingress as k8s_openapi::Resource>::GROUP;
    const KIND: &'static str = <Ingress as k8s_openapi::Resource>::KIND;
    const VERSION: &'static str = <Ingress as k8s_openapi::Resource>::VERSION;
    const URL_PATH_SEGMENT: &'static str = <Ingress as k8s_openapi::Resource>::URL_PATH_SEGMENT;
    type Scope = <Ingress as k8s_openapi::Resource>::Scope;
}

impl k8s_openapi::Metadata for IngressShell {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl IngressShell {
    /// What is compared of it. `manager` is the field manager that writes.
    pub(super) fn held(&self, manager: &str) -> Held {
        let balancer = self.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let entries = balancer.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
        let addresses = entries.iter().map(Address::of_entry).collect();
        held(&self.metadata, manager, HeldStatus::Addresses(addresses))
    }
}

/// What is compared of an object with conditions. `manager` is the field manager that writes.
pub(super) fn condition_held(object: &DynamicObject, manager: &str) -> Held {
    let conditions = object.data.pointer("/status/conditions").and_then(|all| all.as_array());
    let mut read = conditions.into_iter().flatten().filter_map(|one| Condition::deserialize(one).ok());
    let condition = read.find(|condition| condition.type_ == ACCEPTED).map(Box::new);
    held(&object.metadata, manager, HeldStatus::Condition(condition))
}

fn held(metadata: &ObjectMeta, manager: &str, status: HeldStatus) -> Held {
    let managers = metadata.managed_fields.iter().flatten();
    let mut ours = managers.filter(|entry| entry.manager.as_deref() == Some(manager));
    let owned = ours.any(|entry| entry.subresource.as_deref() == Some("status"));
    Held {
        uid: Arc::from(metadata.uid.as_deref().unwrap_or_default()),
        version: metadata.resource_version.clone().unwrap_or_default(),
        owned,
        status,
    }
}

/// How to reach objects of a kind, and the right that a write to their status needs.
pub(super) fn api_resource(kind: Kind) -> (ApiResource, Permission) {
    let (group, version) = api_version(kind).split_once('/').unwrap_or(("", api_version(kind)));
    let (plural, status) = match kind {
        Kind::Ingress => ("ingresses", "ingresses/status"),
        Kind::IngressClass => ("ingressclasses", "ingressclasses/status"),
        Kind::Service => ("services", "services/status"),
        Kind::EndpointSlice => ("endpointslices", "endpointslices/status"),
        Kind::Secret => ("secrets", "secrets/status"),
        Kind::ProxyClass => (SettingsSpec::PLURAL, "proxyclasses/status"),
        Kind::IdentityProvider => (IdentityProviderSpec::PLURAL, "identityproviders/status"),
        Kind::AccessPolicy => (AccessPolicySpec::PLURAL, "accesspolicies/status"),
    };
    let resource =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind.as_str()), plural);
    (resource, Permission { verb: "patch", group, resource: status })
}
