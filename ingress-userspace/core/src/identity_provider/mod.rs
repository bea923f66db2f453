//! The custom resource IdentityProvider (namespaced): who authenticates people, and what is to be known of it.

mod rules;
mod spec;

pub use rules::RULES;
pub use spec::{
    ClaimMappingSpec, ClientAuthentication, EntraSpec, IdentityProviderSpec, Preset, ProviderKind, SecretKey,
};

use crate::custom::{Custom, CustomSpec};

/// The claim of Entra ID that its sign-out wants to be told, instead of asking which account is to be signed out.
pub const LOGIN_HINT: &str = "login_hint";

/// Who authenticates people.
pub type IdentityProvider = Custom<IdentityProviderSpec>;

impl CustomSpec for IdentityProviderSpec {
    const KIND: &'static str = "IdentityProvider";
    const PLURAL: &'static str = "identityproviders";
    type Scope = k8s_openapi::NamespaceResourceScope;
}
