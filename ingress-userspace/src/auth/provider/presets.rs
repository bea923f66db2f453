//! What is known of providers beyond their metadata.

use std::borrow::Cow;

use ingress_core::identity_provider::{IdentityProviderSpec, Preset};
use serde_json::{Map, Value};

/// The scopes that are asked for (OpenID Connect Core sections 5.4 and 11).
pub(super) fn scopes(spec: &IdentityProviderSpec) -> Vec<&str> {
    if !spec.scopes.is_empty() {
        return spec.scopes.iter().map(String::as_str).collect();
    }
    let standard = ["openid", "profile", "email"];
    let more: &[&str] = match spec.preset() {
        // These give refresh tokens to those who ask for offline access. With Keycloak that is another thing: a session that
        // outlives the user's.
        Preset::EntraId | Preset::Auth0 => &["offline_access"],
        Preset::Okta | Preset::Dex => &["offline_access", "groups"],
        Preset::Generic | Preset::Google | Preset::Keycloak | Preset::GitLab => &[],
    };
    [&standard, more].concat()
}

/// More parameters of the authorization request.
pub(super) fn authorization_parameters(spec: &IdentityProviderSpec) -> Vec<(&'static str, String)> {
    let mut parameters = Vec::new();
    if spec.preset() == Preset::Google {
        // Google gives a refresh token for offline access, and only where somebody has consented just now.
        parameters.push(("access_type", "offline".to_owned()));
        parameters.push(("prompt", "consent".to_owned()));
        if let Some(domain) = &spec.hosted_domain {
            // It chooses what the account chooser shows, and decides nothing: the claim is checked.
            parameters.push(("hd", domain.clone()));
        }
    }
    parameters
}

/// The issuer that the metadata have to name. For all tenants of Entra ID it is a template, not what it was found by; personal accounts
/// have a tenant of their own.
pub(super) fn metadata_issuer(spec: &IdentityProviderSpec, issuer: &str) -> String {
    let parts = [("/common/", TENANT), ("/organizations/", TENANT), ("/consumers/", PERSONAL)];
    match parts.into_iter().find(|(part, _)| issuer.contains(part)) {
        Some((part, tenant)) if spec.preset() == Preset::EntraId => {
            issuer.replacen(part, &format!("/{tenant}/"), 1)
        }
        _ => issuer.to_owned(),
    }
}

/// The tenant of personal accounts.
const PERSONAL: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

/// What stands for the tenant in Entra ID's issuer.
const TENANT: &str = "{tenantid}";

/// The issuer that a token with these claims has to name. `issuer` is that of the metadata.
pub(super) fn token_issuer<'i>(
    spec: &IdentityProviderSpec,
    issuer: &'i str,
    claims: &Map<String, Value>,
) -> Cow<'i, str> {
    let text = |name| claims.get(name).and_then(Value::as_str);
    match spec.preset() {
        // Tokens of Google name it with or without the scheme.
        Preset::Google if text("iss").is_some_and(|own| Some(own) == issuer.strip_prefix("https://")) => {
            issuer.trim_start_matches("https://").into()
        }
        Preset::EntraId if issuer.contains(TENANT) => match text("tid") {
            Some(tenant) if is_tenant(tenant) => issuer.replacen(TENANT, tenant, 1).into(),
            _ => issuer.into(),
        },
        _ => issuer.into(),
    }
}

/// A tenant is a GUID: nothing that could make another issuer of the template.
fn is_tenant(tenant: &str) -> bool {
    !tenant.is_empty() && tenant.len() <= 64 && tenant.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Whether somebody belongs to the organisation that the IdentityProvider names. What is named is checked, whatever the preset.
pub(super) fn belongs(spec: &IdentityProviderSpec, claims: &Map<String, Value>) -> bool {
    let is = |name, wanted: &str| {
        claims.get(name).and_then(Value::as_str).is_some_and(|own| own.eq_ignore_ascii_case(wanted))
    };
    let domain = spec.hosted_domain.as_deref().is_none_or(|domain| is("hd", domain));
    let tenants = spec.entra.as_ref().map_or(&[][..], |entra| &entra.tenants);
    domain && (tenants.is_empty() || tenants.iter().any(|tenant| is("tid", tenant)))
}

/// Whether the user info response may say more than the ID token. Entra ID's does not, and takes tokens for Graph only.
pub(super) fn asks_user_info(spec: &IdentityProviderSpec) -> bool {
    spec.preset() != Preset::EntraId
}

/// Whether Entra ID has left out the groups, because there are too many for a token.
pub(super) fn has_overage(spec: &IdentityProviderSpec, claims: &Map<String, Value>) -> bool {
    let named = claims.get("_claim_names").is_some_and(|names| names.get("groups").is_some());
    let has = |name| match claims.get(name) {
        Some(Value::Bool(value)) => *value,
        Some(Value::String(value)) => value == "true",
        _ => false,
    };
    spec.preset() == Preset::EntraId && (named || has("hasgroups"))
}

/// Where Microsoft Graph is: in the cloud of the issuer. What the token says of it is a retired service, and not needed.
pub(super) fn graph(issuer: &str) -> &'static str {
    if issuer.starts_with("https://login.microsoftonline.us/") {
        "https://graph.microsoft.us"
    } else if issuer.starts_with("https://login.partner.microsoftonline.cn/") {
        "https://microsoftgraph.chinacloudapi.cn"
    } else {
        "https://graph.microsoft.com"
    }
}
