//! What is written in an IdentityProvider.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::auth::claims::ClaimName;
use crate::auth::identity::ClaimMapping;
use crate::objects::is_subdomain;
use crate::settings::{Overlay as _, SECOND, Span, Violation, words};

words! {
    /// By which protocol people are authenticated.
    ProviderKind {
        /// OpenID Connect (OpenID Connect Core 1.0, Discovery 1.0).
        OpenIdConnect = "OIDC",
        /// GitHub, or GitHub Enterprise: OAuth 2.0 with calls of its own.
        GitHub = "GitHub",
    }
}

words! {
    /// What is known of a provider beyond its metadata.
    Preset {
        /// Nothing.
        Generic = "Generic",
        /// Google: asks for offline access its own way; `hostedDomain` is checked in the claim `hd`.
        Google = "Google",
        /// Microsoft Entra ID: the issuer is a template by tenant; more than 200 groups are read from Graph.
        EntraId = "EntraID",
        /// Okta: groups are in the ID token only.
        Okta = "Okta",
        /// Auth0: sign-out needs the client id.
        Auth0 = "Auth0",
        /// Keycloak: groups are paths, roles lie in `realm_access`.
        Keycloak = "Keycloak",
        /// GitLab: refresh tokens rotate; groups are in `groups_direct`.
        GitLab = "GitLab",
        /// Dex: refresh tokens are used once.
        Dex = "Dex",
    }
}

words! {
    /// How we authenticate ourselves at the token endpoint (OpenID Connect Core section 9).
    ClientAuthentication {
        /// `client_secret_basic`
        Basic = "Basic",
        /// `client_secret_post`
        Post = "Post",
        /// `private_key_jwt` (RFC 7523): the Secret holds a private key in PEM.
        PrivateKeyJwt = "PrivateKeyJWT",
    }
}

/// A key of a Secret in the namespace of the object.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SecretKey {
    /// The Secret's name (DNS subdomain, RFC 1123 section 2.1).
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 253)))]
    pub name: String,
    /// The key in its `data`.
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))
    )]
    pub key: String,
}

/// Which claim says what; a claim below another one is a list of names. A name is never taken for a path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClaimMappingSpec {
    /// What people call the account. Default: preferred_username.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<ClaimName>,
    /// The full name. Default: name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<ClaimName>,
    /// The e-mail address. Default: email.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<ClaimName>,
    /// Whether the address is verified. Default: email_verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_verified: Option<ClaimName>,
    /// Takes every address as verified: only where users cannot choose theirs. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_email: Option<bool>,
    /// Groups or roles. Default: groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<ClaimName>,
}

/// What only Microsoft Entra ID has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EntraSpec {
    /// The tenants whose people may sign in, by id (claim `tid`). Needed with the issuers of `common`, `organizations` and `consumers`.
    #[cfg_attr(feature = "schema", schemars(length(max = 64), inner(length(min = 1, max = 255))))]
    pub tenants: Vec<String>,
}

/// Who authenticates people.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IdentityProviderSpec {
    /// By which protocol people are authenticated. Default: OIDC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ProviderKind>,
    /// What is known of the provider beyond its metadata. Default: Generic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// The issuer, as the provider writes it in its metadata, to the letter (OpenID Connect Discovery section 4.3). For GitHub Enterprise, its base URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 1024), regex(pattern = r"^https://[^\s?#]+$")))]
    pub issuer: Option<String>,
    /// The client id that the provider has given.
    #[serde(rename = "clientID")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 255)))]
    pub client_id: String,
    /// Where the client secret is, or the private key for PrivateKeyJWT.
    pub client_secret: SecretKey,
    /// How we authenticate ourselves at the token endpoint. Default: Basic, or what the provider's metadata offer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_authentication: Option<ClientAuthentication>,
    /// The scopes that are asked for, instead of those of the preset (openid profile email).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 32), inner(length(min = 1, max = 255))))]
    pub scopes: Vec<String>,
    /// Which claim says what.
    #[serde(default)]
    pub claims: ClaimMappingSpec,
    /// By how much the provider's clock may differ from ours. Default: 60s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_skew: Option<Span<0, { 600 * SECOND }>>,
    /// Where certificates of authorities in PEM are that may vouch for the provider, instead of the public ones: a Secret, as cert-manager makes it with ca.crt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authorities: Option<SecretKey>,
    /// For Google: the domain of the organisation (claim `hd`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 253)))]
    pub hosted_domain: Option<String>,
    /// What only Microsoft Entra ID has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entra: Option<EntraSpec>,
}

impl IdentityProviderSpec {
    /// By which protocol people are authenticated.
    pub fn kind(&self) -> ProviderKind {
        self.kind.unwrap_or(ProviderKind::OpenIdConnect)
    }

    /// What is known of the provider beyond its metadata.
    pub fn preset(&self) -> Preset {
        self.preset.unwrap_or(Preset::Generic)
    }

    /// By how many seconds the provider's clock may differ from ours.
    pub fn clock_skew(&self) -> i64 {
        let mut skew = Duration::from_mins(1);
        if let Some(written) = &self.clock_skew {
            written.overlay(&mut skew);
        }
        skew.as_secs().cast_signed()
    }

    /// Which claim says what.
    pub fn claim_mapping(&self) -> ClaimMapping {
        let (standard, written) = (self.preset_mapping(), &self.claims);
        let or = |written: &Option<ClaimName>, standard| written.clone().unwrap_or(standard);
        let verified = written.email_verified.clone().or(standard.email_verified);
        ClaimMapping {
            user: or(&written.user, standard.user),
            name: or(&written.name, standard.name),
            email: or(&written.email, standard.email),
            email_verified: verified.filter(|_| written.trust_email != Some(true)),
            groups: or(&written.groups, standard.groups),
        }
    }

    fn preset_mapping(&self) -> ClaimMapping {
        let standard = ClaimMapping::default();
        match self.preset() {
            Preset::GitLab => ClaimMapping { groups: ClaimName::top("groups_direct"), ..standard },
            _ => standard,
        }
    }

    /// Everything that is wrong; fields are named below `spec`.
    pub fn violations(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        let mut broken = |field: &str, message: &str| {
            violations.push(Violation { field: field.to_owned(), message: message.to_owned() });
        };
        match (self.kind(), &self.issuer) {
            (ProviderKind::OpenIdConnect, None) => broken("issuer", "an OIDC provider needs its issuer"),
            (_, Some(issuer)) if !is_issuer(issuer) => {
                broken("issuer", "must be an https URL without query and fragment");
            }
            _ => {}
        }
        if self.client_id.is_empty() {
            broken("clientID", "must not be empty");
        }
        if !is_subdomain(&self.client_secret.name) || self.client_secret.key.is_empty() {
            broken("clientSecret", "must name a Secret and a key in it");
        }
        if self.kind() == ProviderKind::GitHub && self.preset() != Preset::Generic {
            broken("preset", "presets are for OIDC providers");
        }
        if self.needs_tenants() && self.entra.as_ref().is_none_or(|entra| entra.tenants.is_empty()) {
            broken("entra.tenants", "this issuer is for every tenant: name those whose people may sign in");
        }
        if self.kind() == ProviderKind::OpenIdConnect
            && !self.scopes.is_empty()
            && !self.scopes.iter().any(|scope| scope == "openid")
        {
            broken("scopes", "openid is missing (OpenID Connect Core section 3.1.2.1)");
        }
        violations
    }

    /// Whether the issuer stands for all tenants of Entra ID.
    fn needs_tenants(&self) -> bool {
        let all = ["/common/", "/organizations/", "/consumers/"];
        let issuer = self.issuer.as_deref().unwrap_or_default();
        self.preset() == Preset::EntraId && all.iter().any(|part| issuer.contains(part))
    }
}

/// An absolute https URL with a host, and neither user, query nor fragment (OpenID Connect Core section 2, `iss`).
fn is_issuer(issuer: &str) -> bool {
    let Some(rest) = issuer.strip_prefix("https://") else { return false };
    let host = rest.split('/').next().unwrap_or_default();
    !host.is_empty()
        && !host.contains('@')
        && rest.bytes().all(|b| b.is_ascii_graphic() && !b"?#\\\"<>".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: &str) -> IdentityProviderSpec {
        let mut base = serde_json::json!({
            "issuer": "https://id.example", "clientID": "c", "clientSecret": {"name": "s", "key": "k"},
        });
        let more: serde_json::Value = serde_json::from_str(json).unwrap();
        for (name, value) in more.as_object().unwrap() {
            base[name] = value.clone();
        }
        serde_json::from_value(base).unwrap()
    }

    #[test]
    fn what_is_wrong_is_told_with_its_field() {
        for (json, field) in [
            (r"{}", ""),
            (r#"{"issuer":null}"#, "issuer"),
            (r#"{"issuer":null,"kind":"GitHub"}"#, ""),
            (r#"{"issuer":"http://id.example"}"#, "issuer"),
            (r#"{"issuer":"https://"}"#, "issuer"),
            (r#"{"issuer":"https://a@b"}"#, "issuer"),
            (r#"{"issuer":"https://a/?x"}"#, "issuer"),
            (r#"{"clientID":""}"#, "clientID"),
            (r#"{"clientSecret":{"name":"","key":"k"}}"#, "clientSecret"),
            (r#"{"kind":"GitHub","preset":"Okta"}"#, "preset"),
            (r#"{"scopes":["email"]}"#, "scopes"),
            (r#"{"issuer":"https://login.example/common/v2.0","preset":"EntraID"}"#, "entra.tenants"),
            (
                r#"{"issuer":"https://login.example/common/v2.0","preset":"EntraID","entra":{"tenants":["t"]}}"#,
                "",
            ),
        ] {
            let fields: Vec<_> =
                spec(json).violations().into_iter().map(|violation| violation.field).collect();
            assert_eq!(fields.join(","), field, "{json}");
        }
    }

    #[test]
    fn claims_are_mapped_by_what_is_written() {
        let mapping =
            spec(r#"{"claims":{"groups":["realm_access","roles"],"trustEmail":true}}"#).claim_mapping();
        assert_eq!(mapping.groups.0, ["realm_access", "roles"]);
        assert_eq!(mapping.email_verified, None);
        assert_eq!(spec(r#"{"preset":"GitLab"}"#).claim_mapping().groups, ClaimName::top("groups_direct"));
        assert_eq!(spec(r"{}").clock_skew(), 60);
        assert_eq!(spec(r#"{"clockSkew":"5s"}"#).clock_skew(), 5);
    }
}
