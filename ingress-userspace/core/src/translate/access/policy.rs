//! From an AccessPolicy and its provider to what is enforced.

use std::sync::Arc;

use super::authorities;
use super::provider::ProviderState;
use super::targets::TargetSet;
use super::values::{ValueRef, Values};
use crate::access_policy::{AccessPolicy, AccessPolicySpec};
use crate::auth::claims::ClaimName;
use crate::auth::cookie::Reach;
use crate::custom::in_spec;
use crate::identity_provider::{LOGIN_HINT, Preset, ProviderKind, SecretKey};
use crate::objects::NamespacedName;
use crate::report::Finding;
use crate::settings::Violation;
use crate::table::{Access, External, Pages, Provider};
use crate::translate::names::shown;
use crate::translate::reason;

/// What a policy that cannot be used means.
const THEN: &str = "the requests of its Ingresses are answered 503";

/// One AccessPolicy.
#[derive(Default)]
pub(super) struct PolicyState {
    pub(super) targets: TargetSet,
    /// The provider that it names.
    pub(super) provider: Option<NamespacedName>,
    /// The values of Secrets that it needs.
    pub(super) needs: Vec<ValueRef>,
    /// What is wrong with it.
    pub(super) findings: Vec<Finding>,
}

impl PolicyState {
    /// The Ingresses that it names, as they are written.
    pub(super) fn named(&self) -> impl Iterator<Item = &str> {
        self.targets.written.iter().map(|name| &**name)
    }
}

/// The provider that a policy names, in its own namespace.
pub(super) fn provider_of(name: &NamespacedName, object: &AccessPolicy) -> Option<NamespacedName> {
    let provider = object.spec.read().ok()?.provider.as_deref()?;
    Some(NamespacedName::new(Arc::clone(&name.namespace), provider))
}

/// The values that a policy needs.
pub(super) fn needs(name: &NamespacedName, object: &AccessPolicy) -> Vec<ValueRef> {
    ValueRef::all(name, object.spec.read().ok().and_then(authorities_of))
}

fn authorities_of(spec: &AccessPolicySpec) -> Option<&SecretKey> {
    spec.external.as_ref()?.certificate_authorities.as_ref()
}

/// What is enforced, and what is wrong with the policy if it denies.
pub(super) fn build(
    name: &NamespacedName,
    object: &AccessPolicy,
    provider: Option<&ProviderState>,
    values: &Values,
) -> (Access, Vec<Finding>) {
    match resolve(name, object, provider, values) {
        Ok(access) => (access, Vec::new()),
        Err(mut findings) => {
            let field = |finding: &Finding| format!("{}: {}", finding.field, finding.message);
            let why = findings.first().map_or_else(|| "it cannot be used".to_owned(), field);
            for finding in &mut findings {
                finding.message = format!("{}; {THEN}", finding.message);
            }
            (Access::denied(name, false, Some(why.into())), findings)
        }
    }
}

/// What is enforced for a policy that does not exist.
pub(super) fn missing(name: &NamespacedName) -> Access {
    Access::denied(name, false, Some("it does not exist".into()))
}

fn resolve(
    name: &NamespacedName,
    object: &AccessPolicy,
    provider: Option<&ProviderState>,
    values: &Values,
) -> Result<Access, Vec<Finding>> {
    let spec = object.spec.read().map_err(|violation| vec![invalid(violation.clone())])?;
    let issuer = provider.and_then(|state| state.provider.as_ref()).map(|provider| provider.issuer.clone());
    let policy = spec
        .compile(issuer.as_deref().unwrap_or_default())
        .map_err(|violations| violations.into_iter().map(invalid).collect::<Vec<_>>())?;
    let provider = match (&spec.provider, provider) {
        (None, _) => None,
        (Some(written), state) => Some(usable(written, state).map_err(|finding| vec![finding])?),
    };
    if policy.forwarded.id && provider.as_ref().is_some_and(|provider| is_github(provider)) {
        let (field, message) = ("forward.fields".to_owned(), "GitHub has no ID tokens".to_owned());
        return Err(vec![invalid(Violation { field, message })]);
    }
    let authorities = authorities(name, spec, values).map_err(|finding| vec![finding])?;
    let external = spec.external().map(|external| External { authorities, ..external });
    let access = Access::denied(name, false, None);
    Ok(Access {
        policy,
        unauthenticated: spec.unauthenticated(),
        reach: reach(spec),
        wanted: wanted(spec, provider.as_deref()),
        keeps_id_token: spec
            .session
            .keep_id_token
            .unwrap_or_else(|| preset(provider.as_deref()) == Preset::Okta),
        audiences: spec
            .bearer
            .iter()
            .flat_map(|bearer| &bearer.audiences)
            .map(|text| text.as_str().into())
            .collect(),
        refresh_after: spec.refresh_after(),
        provider,
        external,
        pages: Pages {
            title: spec.pages.title.as_deref().map(Box::from),
            help: spec.pages.help.as_deref().map(Box::from),
        },
        ..access
    })
}

fn is_github(provider: &Provider) -> bool {
    provider.spec.kind() == ProviderKind::GitHub
}

fn preset(provider: Option<&Provider>) -> Preset {
    provider.map_or(Preset::Generic, |provider| provider.spec.preset())
}

/// The claims that are kept: those that the policy names, and what Entra ID wants to be told when somebody signs out.
fn wanted(spec: &AccessPolicySpec, provider: Option<&Provider>) -> Box<[ClaimName]> {
    let hint = (preset(provider) == Preset::EntraId).then(|| ClaimName::top(LOGIN_HINT));
    spec.wanted_claims().into_iter().cloned().chain(hint).collect()
}

/// What vouches for an external service instead of the public authorities.
fn authorities(
    name: &NamespacedName,
    spec: &AccessPolicySpec,
    values: &Values,
) -> Result<Option<Box<[u8]>>, Finding> {
    let Some(key) = authorities_of(spec) else { return Ok(None) };
    let refused =
        |reason, message: String| Finding::refused(reason, "spec.external.certificateAuthorities", message);
    let pem =
        values.get(&ValueRef::of(name, key)).map_err(|problem| refused(problem.reason, problem.message))?;
    authorities::check(pem).map_err(|what| refused(reason::CERTIFICATE_INVALID, what.to_owned()))?;
    Ok(Some(pem.into()))
}

fn reach(spec: &AccessPolicySpec) -> Reach {
    spec.session.domain.as_deref().map_or(Reach::Host, |domain| Reach::Domain(domain.into()))
}

fn usable(written: &str, state: Option<&ProviderState>) -> Result<Arc<Provider>, Finding> {
    let field = "spec.provider";
    match state {
        None => {
            let message = format!("IdentityProvider {} does not exist", shown(written));
            Err(Finding::refused(reason::IDENTITY_PROVIDER_NOT_FOUND, field, message))
        }
        Some(ProviderState { provider: Some(provider), .. }) => Ok(Arc::clone(provider)),
        Some(_) => {
            let message =
                format!("IdentityProvider {} cannot be used, as its own report says", shown(written));
            Err(Finding::refused(reason::IDENTITY_PROVIDER_UNAVAILABLE, field, message))
        }
    }
}

fn invalid(violation: Violation) -> Finding {
    let Violation { field, message } = in_spec(violation);
    Finding::refused(reason::ACCESS_POLICY_INVALID, field, message)
}
