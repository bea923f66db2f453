//! The custom resource IdentityProvider (namespaced): who authenticates people, and what is to be known of it.

mod rules;
mod spec;

pub use rules::RULES;
pub use spec::{
    ClaimMappingSpec, ClientAuthentication, EntraSpec, IdentityProviderSpec, Preset, ProviderKind, SecretKey,
};

use crate::custom::{Custom, CustomSpec};

/// Who authenticates people.
pub type IdentityProvider = Custom<IdentityProviderSpec>;

impl CustomSpec for IdentityProviderSpec {
    const KIND: &'static str = "IdentityProvider";
    const PLURAL: &'static str = "identityproviders";
    type Scope = k8s_openapi::NamespaceResourceScope;
}
