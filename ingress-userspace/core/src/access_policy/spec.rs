//! What is written in an AccessPolicy.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::auth::claims::ClaimName;
use crate::identity_provider::SecretKey;
use crate::settings::{DAY, HOUR, SECOND, Span, words};

/// Labels that an Ingress has to have, all of them.
pub type MatchLabels = BTreeMap<String, String>;

/// Which Ingresses of its namespace a policy is for, beside those that name it by the annotation `penstock.dev/access-policy`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TargetSpec {
    /// By name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 256), inner(length(min = 1, max = 253))))]
    pub ingresses: Vec<String>,
    /// By labels, all of which an Ingress has to have. An empty map selects none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "schema", schemars(extend("maxProperties" = 16)))]
    pub match_labels: MatchLabels,
}

/// A claim, and the values of which one is enough.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimSpec {
    /// The claim: its name, or the names on the way to it.
    pub name: ClaimName,
    /// The values, of which one is enough; compared to the letter.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 256), inner(length(min = 1, max = 1024))))]
    pub values: Vec<String>,
}

/// One way to be allowed: each condition that is written must hold, and one of its values is enough for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AllowSpec {
    /// Everybody whom the provider authenticates.
    #[serde(skip_serializing_if = "is_false")]
    pub authenticated: bool,
    /// By `sub` of the provider.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 256), inner(length(min = 1, max = 255))))]
    pub subjects: Vec<String>,
    /// By verified e-mail address, without regard to case.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 256), inner(length(min = 3, max = 254))))]
    pub emails: Vec<String>,
    /// By the domain of the verified e-mail address; a subdomain is another domain.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 256), inner(length(min = 1, max = 253))))]
    pub email_domains: Vec<String>,
    /// By group or role, to the letter.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 256), inner(length(min = 1, max = 1024))))]
    pub groups: Vec<String>,
    /// By GitHub organisation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 256), inner(length(min = 1, max = 100))))]
    pub organizations: Vec<String>,
    /// By GitHub team, written organization/team-slug.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 256), inner(length(min = 3, max = 200))))]
    pub teams: Vec<String>,
    /// By other claims, each of which has to fit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 16)))]
    pub claims: Vec<ClaimSpec>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

words! {
    /// How a path is compared.
    PathKind {
        /// Equal, to the letter.
        Exact = "Exact",
        /// With what lies below, element by element.
        Prefix = "Prefix",
    }
}

/// A path that needs no sign-in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PublicPathSpec {
    /// The path, normalised: without dots, double slashes, and encoded characters.
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 1024), regex(pattern = r"^/[^\s?#%;\\]*$"))
    )]
    pub path: String,
    /// How it is compared.
    #[serde(rename = "type")]
    pub kind: PathKind,
}

words! {
    /// What somebody unknown is answered.
    UnauthenticatedWord {
        /// Browsers that go to a page are redirected, everything else gets 401.
        Auto = "Auto",
        /// Every GET and HEAD but those of gRPC and WebSockets is redirected.
        Redirect = "Redirect",
        /// 401 for all.
        Refuse = "Refuse",
    }
}

/// Signing in with a browser.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SignInSpec {
    /// Whether browsers may sign in; else only tokens count. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// What somebody unknown is answered. Default: Auto.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unauthenticated: Option<UnauthenticatedWord>,
}

/// How long sessions hold, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SessionSpec {
    /// From the sign-in on, whatever happens. Default: 12h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Span<{ 60 * SECOND }, { 30 * DAY }>>,
    /// Without any request; 0 is no bound. Default: 1h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<Span<0, { 30 * DAY }>>,
    /// How often the identity is renewed at the provider, if it gives refresh tokens. Default: when the access token expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh: Option<Span<{ 60 * SECOND }, { 24 * HOUR }>>,
    /// A domain whose hosts share the session. Whoever serves one of them can read and set its cookie: name one that is yours alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schemars(
            length(max = 253),
            regex(pattern = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?\.)+[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
        )
    )]
    pub domain: Option<String>,
    /// Whether the ID token is kept, so that the provider is shown it when somebody signs out (id_token_hint). Default: with the preset Okta, which refuses to sign out without it.
    #[serde(rename = "keepIDToken", skip_serializing_if = "Option::is_none")]
    pub keep_id_token: Option<bool>,
}

/// Access tokens (RFC 6750, RFC 9068) beside, or instead of, sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BearerSpec {
    /// One of these has to be in the claim aud.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 16), inner(length(min = 1, max = 255))))]
    pub audiences: Vec<String>,
}

words! {
    /// What a field is made of.
    FieldSource {
        /// sub
        Subject = "Subject",
        /// What people call the account.
        User = "User",
        /// The full name.
        Name = "Name",
        /// The verified e-mail address.
        Email = "Email",
        /// Groups, separated by commas.
        Groups = "Groups",
        /// GitHub teams, separated by commas.
        Teams = "Teams",
        /// The access token of the provider, or the one that the request came with.
        AccessToken = "AccessToken",
        /// The ID token of the provider, or the token that the request came with.
        IdToken = "IDToken",
    }
}

/// A field that the backend gets. Exactly one of from and claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FieldSpec {
    /// Its name (RFC 9110 section 5.1). What clients send under it, in whatever spelling, is removed on every route. Authorization is for
    /// AccessToken and IDToken alone: the token follows the word Bearer, and what clients send is removed where the policy applies.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9-]+$")))]
    pub name: String,
    /// What it is made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<FieldSource>,
    /// The claim that it is made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<ClaimName>,
}

/// What the backend learns about somebody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ForwardSpec {
    /// The fields. Default: X-Auth-Request-User, -Email, -Groups and -Preferred-Username.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 16)))]
    pub fields: Option<Vec<FieldSpec>>,
}

/// Asks a service whether a request may pass, as auth-url does with ingress-nginx.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExternalSpec {
    /// Where it is asked. 2xx allows; 401 and 403 deny; everything else, and no answer, is 503.
    #[cfg_attr(feature = "schema", schemars(length(max = 2048), regex(pattern = r"^https?://[^\s#]+$")))]
    pub url: String,
    /// Where browsers are sent on 401.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 2048)))]
    pub sign_in: Option<String>,
    /// Fields of its answer that the backend gets. What clients send under these names is removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 32), inner(length(min = 1, max = 64))))]
    pub response_fields: Vec<String>,
    /// Where certificates of authorities in PEM are that may vouch for it, instead of the public ones: a Secret, as cert-manager makes it with ca.crt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authorities: Option<SecretKey>,
}

/// What our pages say: sign-in failed, denied, signed out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PagesSpec {
    /// The name of the organisation or application, as text. Default: the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 100)))]
    pub title: Option<String>,
    /// Where somebody who is denied finds help, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 500)))]
    pub help: Option<String>,
}

/// Who may use the Ingresses that it targets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AccessPolicySpec {
    /// Which Ingresses of its namespace it is for, beside those that name it by the annotation penstock.dev/access-policy.
    pub targets: TargetSpec,
    /// The IdentityProvider, in the same namespace, that authenticates people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 253)))]
    pub provider: Option<String>,
    /// Who may come in: whoever one of these allows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 64)))]
    pub allow: Vec<AllowSpec>,
    /// Paths that need no sign-in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 64)))]
    pub public_paths: Vec<PublicPathSpec>,
    /// Signing in with a browser.
    pub sign_in: SignInSpec,
    /// How long sessions hold, and where.
    pub session: SessionSpec,
    /// Access tokens beside, or instead of, sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer: Option<BearerSpec>,
    /// What the backend learns.
    pub forward: ForwardSpec,
    /// A service that decides instead of a provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalSpec>,
    /// What our pages say.
    pub pages: PagesSpec,
}
