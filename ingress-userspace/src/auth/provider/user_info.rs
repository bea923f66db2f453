//! Claims that are not in the ID token: the user info response (OpenID Connect Core section 5.3), and groups from Microsoft Graph.

use hyper::http::StatusCode;
use ingress_core::auth::claims::{ClaimName, MAX_VALUES};
use ingress_core::auth::token::{Refused, Unverified};
use ingress_core::identity_provider::IdentityProviderSpec;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::ask::{Answer, Ask, get, get_any};
use super::issuer::From;
use super::metadata::Metadata;
use super::oidc::Oidc;
use super::{ProviderError, SignInError, presets};

const USER_INFO: &str = "the user info";

/// The most pages of groups that are read: a page has up to 999 of them.
const MAX_PAGES: usize = 10;

const GRAPH: &str = "the groups at Microsoft Graph";

impl Oidc {
    /// Adds what the ID token does not say and somebody asks about.
    pub(super) async fn complete(
        &self,
        metadata: &Metadata,
        mut claims: Map<String, Value>,
        access_token: &str,
        wanted: &[ClaimName],
        now: i64,
    ) -> Result<Map<String, Value>, SignInError> {
        let spec = &self.provider.spec;
        let has_subject = claims.contains_key("sub");
        if !has_subject || (presets::asks_user_info(spec) && lacks(spec, &claims, wanted)) {
            match self.user_info(metadata, access_token, now).await? {
                Some(more) => add(spec, &mut claims, more)?,
                None if has_subject => {}
                None => return Err(SignInError::Token(Refused::Subject)),
            }
        }
        if presets::has_overage(spec, &claims) {
            let groups = self.groups_of_graph(access_token).await?;
            claims.insert("groups".to_owned(), groups.into());
        }
        Ok(claims)
    }

    /// The user info response; `None` if the provider has none for this token.
    async fn user_info(
        &self,
        metadata: &Metadata,
        access_token: &str,
        now: i64,
    ) -> Result<Option<Map<String, Value>>, SignInError> {
        let Some(url) = metadata.userinfo_endpoint() else { return Ok(None) };
        let ask = Ask {
            what: USER_INFO,
            url: url.as_str(),
            bearer: Some(access_token),
            accept: "application/json",
        };
        let answer = get_any(&*self.issuer.http, &ask).await?;
        match answer.status() {
            StatusCode::OK if answer.is("application/jwt") => {
                self.signed_user_info(metadata, &answer, now).await.map(Some)
            }
            StatusCode::OK => Ok(Some(answer.json(USER_INFO)?)),
            // The token is for another resource. What the ID token says has to do.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Ok(None),
            status => Err(ProviderError::Status { status: status.as_u16(), what: USER_INFO }.into()),
        }
    }

    /// A response that is a token (section 5.3.2), if somebody has registered us for it.
    async fn signed_user_info(
        &self,
        metadata: &Metadata,
        answer: &Answer,
        now: i64,
    ) -> Result<Map<String, Value>, SignInError> {
        let text = str::from_utf8(answer.body()).map_err(|_| Refused::Malformed)?;
        let token = Unverified::parse(text.trim())?;
        self.issuer.verify(metadata, &token, From::Provider).await??;
        let claims = token.claims()?;
        let is = |name: &str, wanted: &str| match claims.get(name) {
            Some(Value::String(value)) => value == wanted,
            Some(Value::Array(values)) => values.iter().any(|value| value == wanted),
            _ => false,
        };
        let issuer = presets::token_issuer(&self.provider.spec, metadata.issuer().as_str(), &claims);
        if !is("iss", &issuer) {
            return Err(Refused::Issuer.into());
        }
        if !is("aud", &self.provider.spec.client_id) {
            return Err(Refused::Audience.into());
        }
        let expired = claims.get("exp").is_some_and(|exp| {
            exp.as_i64().is_none_or(|exp| exp.saturating_add(self.provider.spec.clock_skew()) <= now)
        });
        if expired { Err(Refused::Expired.into()) } else { Ok(claims) }
    }

    /// All groups of somebody, those within groups too, page by page.
    async fn groups_of_graph(&self, access_token: &str) -> Result<Vec<String>, ProviderError> {
        #[derive(Deserialize)]
        struct Page {
            value: Vec<Group>,
            #[serde(rename = "@odata.nextLink")]
            next: Option<String>,
        }
        #[derive(Deserialize)]
        struct Group {
            id: String,
        }
        let base = presets::graph(&self.provider.issuer);
        let mut url = format!("{base}/v1.0/me/transitiveMemberOf/microsoft.graph.group?$select=id&$top=999");
        let mut groups = Vec::new();
        for _ in 0..MAX_PAGES {
            let ask = Ask { what: GRAPH, url: &url, bearer: Some(access_token), accept: "application/json" };
            let page: Page = get(&*self.issuer.http, &ask).await?.json(GRAPH)?;
            groups.extend(page.value.into_iter().map(|group| group.id));
            match page.next {
                // Never to another place: the access token goes along.
                Some(next) if groups.len() < MAX_VALUES && next.starts_with(&format!("{base}/")) => {
                    url = next;
                }
                _ => break,
            }
        }
        groups.truncate(MAX_VALUES);
        Ok(groups)
    }
}

/// Whether somebody asks about a claim that is not there.
fn lacks(spec: &IdentityProviderSpec, claims: &Map<String, Value>, wanted: &[ClaimName]) -> bool {
    let mapping = spec.claim_mapping();
    let mapped = [&mapping.user, &mapping.name, &mapping.email, &mapping.groups];
    let verified = mapping.email_verified.as_ref().filter(|_| mapping.email.find(claims).is_some());
    mapped.into_iter().chain(verified).chain(wanted).any(|name| name.find(claims).is_none())
}

/// Adds claims that are not there. What the ID token says holds.
fn add(
    spec: &IdentityProviderSpec,
    claims: &mut Map<String, Value>,
    mut more: Map<String, Value>,
) -> Result<(), SignInError> {
    // Section 5.3.2: the response may be about somebody else, and must not be used then.
    let subject = more.get("sub").and_then(Value::as_str).filter(|subject| !subject.is_empty());
    if subject.is_none() || claims.get("sub").is_some_and(|own| own.as_str() != subject) {
        return Err(SignInError::Token(Refused::Subject));
    }
    // Whether an address is verified is said of this address and no other.
    let mapping = spec.claim_mapping();
    let other_address = mapping.email.find(claims).is_some_and(|own| mapping.email.find(&more) != Some(own));
    let verified = mapping.email_verified.filter(|_| other_address);
    if let Some(name) = verified.as_ref().and_then(|verified| verified.0.first()) {
        more.remove(name);
    }
    for (name, value) in more {
        claims.entry(name).or_insert(value);
    }
    Ok(())
}
