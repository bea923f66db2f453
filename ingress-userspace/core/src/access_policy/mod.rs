//! The custom resource AccessPolicy (namespaced): who may use the Ingresses that it targets.

mod compile;
mod fields;
mod rules;
mod spec;

pub use fields::may_be_set;
pub use rules::RULES;
pub use spec::{
    AccessPolicySpec, AllowSpec, BearerSpec, ClaimSpec, ExternalSpec, FieldSource, FieldSpec, ForwardSpec,
    MatchLabels, PagesSpec, PathKind, PublicPathSpec, SessionSpec, SignInSpec, TargetSpec,
    UnauthenticatedWord,
};

use crate::custom::{Custom, CustomSpec};

/// Who may use the Ingresses that it targets.
pub type AccessPolicy = Custom<AccessPolicySpec>;

impl CustomSpec for AccessPolicySpec {
    const KIND: &'static str = "AccessPolicy";
    const PLURAL: &'static str = "accesspolicies";
    type Scope = k8s_openapi::NamespaceResourceScope;
}
