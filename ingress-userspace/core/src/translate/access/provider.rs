//! From an IdentityProvider and the Secrets that it names to a provider that can be asked.

use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;

use super::authorities;
use super::values::{ValueRef, Values};
use crate::custom::in_spec;
use crate::identity_provider::{
    ClientAuthentication, IdentityProvider, IdentityProviderSpec, ProviderKind, SecretKey,
};
use crate::objects::NamespacedName;
use crate::report::Finding;
use crate::table::{ClientSecret, Provider};
use crate::translate::reason;

/// Where GitHub is, unless it is an Enterprise of somebody's own.
const GITHUB: &str = "https://github.com";

/// What a provider that cannot be used means.
const THEN: &str = "requests of the policies that name this provider are answered 503";

/// One IdentityProvider, or a name that policies refer to.
#[derive(Default)]
pub(super) struct ProviderState {
    /// The values that it needs.
    pub(super) needs: Vec<ValueRef>,
    /// The provider, if it can be used.
    pub(super) provider: Option<Arc<Provider>>,
    /// What is wrong with the object.
    pub(super) findings: Vec<Finding>,
}

/// The values that a provider needs.
pub(super) fn needs(name: &NamespacedName, object: &IdentityProvider) -> Vec<ValueRef> {
    let Ok(spec) = object.spec.read() else { return Vec::new() };
    let written = [Some(&spec.client_secret), spec.certificate_authorities.as_ref()];
    ValueRef::all(name, written.into_iter().flatten())
}

/// The provider, or everything that is wrong.
pub(super) fn build(
    name: &NamespacedName,
    object: &IdentityProvider,
    values: &Values,
) -> Result<Provider, Vec<Finding>> {
    let spec = object.spec.read().map_err(|violation| vec![invalid(in_spec(violation.clone()))])?;
    let mut findings: Vec<Finding> =
        spec.violations().into_iter().map(|violation| invalid(in_spec(violation))).collect();
    let Some(issuer) = issuer(spec).filter(|_| findings.is_empty()) else { return Err(findings) };
    let mut read = |field: &str, key: &SecretKey| match values.get(&ValueRef::of(name, key)) {
        Ok(value) => Some(value.to_vec()),
        Err(problem) => {
            let message = format!("{}; {THEN}", problem.message);
            findings.push(Finding::refused(problem.reason, format!("spec.{field}"), message));
            None
        }
    };
    let secret = read("clientSecret", &spec.client_secret);
    let authorities = spec.certificate_authorities.as_ref().map(|key| read("certificateAuthorities", key));
    if let Some(secret) = &secret {
        findings.extend(secret_problem(spec, secret));
    }
    if let Some(Some(pem)) = &authorities
        && let Err(what) = authorities::check(pem)
    {
        let message = format!("{what}; {THEN}");
        findings.push(Finding::refused(reason::CERTIFICATE_INVALID, "spec.certificateAuthorities", message));
    }
    match secret {
        Some(secret) if findings.is_empty() => Ok(Provider {
            name: name.clone(),
            spec: spec.clone(),
            issuer,
            secret: ClientSecret::new(&secret),
            authorities: authorities.flatten().map(Into::into),
        }),
        _ => Err(findings),
    }
}

/// Who the provider is.
fn issuer(spec: &IdentityProviderSpec) -> Option<Box<str>> {
    match (&spec.issuer, spec.kind()) {
        (Some(issuer), _) => Some(issuer.as_str().into()),
        (None, ProviderKind::GitHub) => Some(GITHUB.into()),
        (None, ProviderKind::OpenIdConnect) => None,
    }
}

fn invalid(violation: crate::settings::Violation) -> Finding {
    let message = format!("{}; {THEN}", violation.message);
    Finding::refused(reason::IDENTITY_PROVIDER_INVALID, violation.field, message)
}

/// What is wrong with a private key. Nothing of it is repeated.
fn secret_problem(spec: &IdentityProviderSpec, secret: &[u8]) -> Option<Finding> {
    let wants_key = spec.client_authentication == Some(ClientAuthentication::PrivateKeyJwt);
    (wants_key && PrivateKeyDer::from_pem_slice(secret).is_err()).then(|| {
        let message =
            format!("the Secret's value is no private key in PEM form, which PrivateKeyJWT needs; {THEN}");
        Finding::refused(reason::KEY_INVALID, "spec.clientSecret", message)
    })
}
