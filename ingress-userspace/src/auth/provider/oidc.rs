//! OpenID Connect: the authorization code flow, renewals and sign-out.

use std::sync::Arc;

use ingress_core::auth::claims::ClaimName;
use ingress_core::auth::identity::Identity;
use ingress_core::auth::login::{Callback, Expected, Login};
use ingress_core::auth::token::{Refused, seconds};
use ingress_core::identity_provider::Preset;
use ingress_core::table::Provider;
use openidconnect::core::{CoreAuthenticationFlow, CoreRevocableToken};
use openidconnect::{
    AuthorizationCode, ClientId, CsrfToken, EndSessionUrl, LogoutHint, LogoutRequest, Nonce,
    OAuth2TokenResponse as _, PkceCodeChallenge, PkceCodeVerifier, PostLogoutRedirectUrl, RedirectUrl,
    RefreshToken, RevocationUrl, Scope,
};
use serde_json::{Map, Value};

use super::credentials::Credentials;
use super::issuer::Issuer;
use super::metadata::Metadata;
use super::presets;
use super::token_endpoint::{Sender, TokenAnswer, TokenError};
use super::{Hints, ProviderError, RefreshError, SignInError, SignedIn};

/// A client of an OpenID provider.
pub(super) struct Oidc {
    pub(super) provider: Arc<Provider>,
    pub(super) issuer: Arc<Issuer>,
    credentials: Credentials,
}

impl Oidc {
    /// A client, if what the Secret holds can be used.
    pub(super) fn new(provider: Arc<Provider>, issuer: Arc<Issuer>) -> Result<Self, ProviderError> {
        let credentials = Credentials::new(&provider)?;
        Ok(Self { provider, issuer, credentials })
    }

    pub(super) async fn metadata(&self) -> Result<Arc<Metadata>, ProviderError> {
        self.issuer.metadata(&self.provider.spec, &self.provider.issuer).await
    }

    /// The authorization request (OpenID Connect Core section 3.1.2.1, RFC 7636 section 4.3).
    pub(super) async fn begin(&self, login: &Login, redirect_uri: &str) -> Result<String, ProviderError> {
        let metadata = self.metadata().await?;
        if metadata.authorization_endpoint().url().scheme() != "https" {
            let problem = "authorization_endpoint is no https URL".into();
            return Err(ProviderError::Answer { what: "its metadata", problem });
        }
        let client = self.credentials.client(&metadata, &self.provider.spec.client_id);
        let client = client.set_redirect_uri(redirect(redirect_uri)?).disable_openid_scope();
        let (state, nonce) = (CsrfToken::new(login.state()), Nonce::new(login.nonce()));
        let verifier = PkceCodeVerifier::new(login.verifier());
        let mut request = client
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, || state, || nonce)
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier));
        for scope in presets::scopes(&self.provider.spec) {
            request = request.add_scope(Scope::new(scope.to_owned()));
        }
        for (name, value) in presets::authorization_parameters(&self.provider.spec) {
            request = request.add_extra_param(name, value);
        }
        Ok(request.url().0.to_string())
    }

    /// The answer to it, the token request and what comes of it (sections 3.1.2.5 to 3.1.3.7).
    pub(super) async fn finish(
        &self,
        login: &Login,
        callback: &Callback,
        redirect_uri: &str,
        wanted: &[ClaimName],
        now: i64,
    ) -> Result<SignedIn, SignInError> {
        let metadata = self.metadata().await?;
        let sends_issuer = metadata.additional_metadata().authorization_response_iss_parameter_supported;
        let expected = Expected { issuer: metadata.issuer().as_str(), sends_issuer };
        let code = login.finish(callback, &expected, now)?;
        let answer = self.exchange(&metadata, code, login, redirect_uri, now).await?;
        let token = answer.id_token.as_deref().ok_or(SignInError::NoIdToken)?;
        let claims = self.id_token(&metadata, token, Some(answer.access_token().secret()), now).await??;
        if !is_nonce(&claims, &login.nonce()) {
            return Err(SignInError::Nonce);
        }
        self.signed_in(&metadata, &answer, claims, wanted, now).await
    }

    async fn exchange(
        &self,
        metadata: &Metadata,
        code: &str,
        login: &Login,
        redirect_uri: &str,
        now: i64,
    ) -> Result<TokenAnswer, SignInError> {
        let client_id = &self.provider.spec.client_id;
        let client = self.credentials.client(metadata, client_id).set_redirect_uri(redirect(redirect_uri)?);
        let mut request = client
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .map_err(|_| no_token_endpoint())?
            .set_pkce_verifier(PkceCodeVerifier::new(login.verifier()));
        for (name, value) in self.credentials.parameters(metadata, client_id, now)? {
            request = request.add_extra_param(name, value);
        }
        let sender = Sender::new(Arc::clone(&self.issuer.http));
        request.request_async(&sender).await.map_err(|error| match sender.error(error) {
            TokenError::Grant(word) => SignInError::Code(word),
            TokenError::Client(word) => SignInError::Client(word),
            TokenError::Provider(error) => error.into(),
        })
    }

    /// A renewal (RFC 6749 section 6, OpenID Connect Core section 12). One at a time is asked for.
    pub(super) async fn refresh(
        &self,
        token: &str,
        subject: &str,
        wanted: &[ClaimName],
        now: i64,
    ) -> Result<SignedIn, RefreshError> {
        self.issuer.flights.renew_for(subject, token, self.renew(token, wanted, now)).await
    }

    async fn renew(&self, token: &str, wanted: &[ClaimName], now: i64) -> Result<SignedIn, RefreshError> {
        let metadata = self.metadata().await?;
        let client_id = &self.provider.spec.client_id;
        let client = self.credentials.client(&metadata, client_id);
        let old = RefreshToken::new(token.to_owned());
        let mut request = client.exchange_refresh_token(&old).map_err(|_| no_token_endpoint())?;
        for (name, value) in self.credentials.parameters(&metadata, client_id, now)? {
            request = request.add_extra_param(name, value);
        }
        let sender = Sender::new(Arc::clone(&self.issuer.http));
        let answer: TokenAnswer =
            request.request_async(&sender).await.map_err(|error| match sender.error(error) {
                TokenError::Grant(_) => {
                    RefreshError::Refused("the refresh token is used up, revoked or expired")
                }
                TokenError::Client(word) => {
                    let problem = format!(
                        "the provider does not accept our credentials ({word}): check clientID and the Secret"
                    );
                    ProviderError::Configuration(problem.into()).into()
                }
                TokenError::Provider(error) => error.into(),
            })?;
        let claims = match &answer.id_token {
            Some(token) => {
                let access_token = answer.access_token().secret();
                let checked = self.id_token(&metadata, token, Some(access_token), now).await?;
                checked.map_err(|_| RefreshError::Refused("the new ID token is not believed"))?
            }
            // An ID token need not come with a renewal: then the user info response says who it is.
            None => Map::new(),
        };
        let mut renewed =
            self.signed_in(&metadata, &answer, claims, wanted, now).await.map_err(|error| match error {
                SignInError::Provider(error) => RefreshError::Unavailable(error),
                SignInError::Organization => RefreshError::Refused("the account has left the organisation"),
                _ => RefreshError::Refused("the answer does not say whom it is about"),
            })?;
        renewed.refresh_token.get_or_insert_with(|| token.into());
        Ok(renewed)
    }

    async fn signed_in(
        &self,
        metadata: &Metadata,
        answer: &TokenAnswer,
        claims: Map<String, Value>,
        wanted: &[ClaimName],
        now: i64,
    ) -> Result<SignedIn, SignInError> {
        let access_token = answer.access_token().secret();
        let claims = self.complete(metadata, claims, access_token, wanted, now).await?;
        let identity = self.identity(&claims, wanted)?;
        let text =
            |name| claims.get(name).and_then(Value::as_str).filter(|text| text.len() <= 255).map(Box::from);
        Ok(SignedIn {
            identity,
            provider_session: text("sid"),
            refresh_token: answer.refresh_token().map(|token| token.secret().as_str().into()),
            expires_in: answer.expires_in().and_then(|time| i64::try_from(time.as_secs()).ok()),
            id_token_expires_at: answer.id_token.as_ref().and_then(|_| seconds(&claims, "exp")),
            id_token: answer.id_token.clone(),
            access_token: Some(access_token.as_str().into()),
        })
    }

    /// Who it is, if the account belongs where it has to.
    pub(super) fn identity(
        &self,
        claims: &Map<String, Value>,
        wanted: &[ClaimName],
    ) -> Result<Identity, SignInError> {
        if !presets::belongs(&self.provider.spec, claims) {
            return Err(SignInError::Organization);
        }
        let identity = self.provider.spec.claim_mapping().read(claims, wanted);
        identity.ok_or(SignInError::Token(Refused::Subject))
    }

    /// Sign-out at the provider (OpenID Connect RP-Initiated Logout section 2). The client id is sent beside the hints: each provider needs
    /// one of them.
    pub(super) async fn end_session(&self, hints: Hints<'_>, return_to: &str, state: &str) -> Option<String> {
        let metadata = self.metadata().await.ok()?;
        let client_id = ClientId::new(self.provider.spec.client_id.clone());
        let Some(endpoint) = &metadata.additional_metadata().end_session_endpoint else {
            return self.auth0_logout(return_to);
        };
        let endpoint =
            EndSessionUrl::new(endpoint.clone()).ok().filter(|url| url.url().scheme() == "https")?;
        let mut request = LogoutRequest::from(endpoint)
            .set_client_id(client_id)
            .set_post_logout_redirect_uri(PostLogoutRedirectUrl::new(return_to.to_owned()).ok()?)
            .set_state(CsrfToken::new(state.to_owned()));
        if let Some(hint) = hints.logout {
            request = request.set_logout_hint(LogoutHint::new(hint.to_owned()));
        }
        let mut url = request.http_get_url();
        if let Some(hint) = hints.id_token {
            url.query_pairs_mut().append_pair("id_token_hint", hint);
        }
        Some(url.into())
    }

    /// Revokes a refresh token, or what came of it a moment ago (RFC 7009 section 2.1), if the provider has a place for that.
    pub(super) async fn revoke(&self, token: &str, now: i64) -> Result<(), ProviderError> {
        let metadata = self.metadata().await?;
        let Some(endpoint) = &metadata.additional_metadata().revocation_endpoint else { return Ok(()) };
        let broken = || ProviderError::Answer {
            what: "its metadata",
            problem: "revocation_endpoint is no https URL".into(),
        };
        let endpoint = RevocationUrl::new(endpoint.clone()).map_err(|_| broken())?;
        let client_id = &self.provider.spec.client_id;
        let client = self.credentials.client(&metadata, client_id).set_revocation_url(endpoint);
        let token = RefreshToken::new(self.issuer.flights.newest(token));
        let mut request =
            client.revoke_token(CoreRevocableToken::RefreshToken(token)).map_err(|_| broken())?;
        for (name, value) in self.credentials.parameters(&metadata, client_id, now)? {
            request = request.add_extra_param(name, value);
        }
        let sender = Sender::new(Arc::clone(&self.issuer.http));
        request.request_async(&sender).await.map_err(|error| sender.revocation_error(error))
    }

    /// Auth0 names its place for sign-out in the metadata only where that was switched on.
    fn auth0_logout(&self, return_to: &str) -> Option<String> {
        if self.provider.spec.preset() != Preset::Auth0 {
            return None;
        }
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("client_id", &self.provider.spec.client_id)
            .append_pair("returnTo", return_to)
            .finish();
        Some(format!("{}/v2/logout?{query}", self.provider.issuer.trim_end_matches('/')))
    }
}

/// `nonce`, compared in a time that says nothing.
fn is_nonce(claims: &Map<String, Value>, nonce: &str) -> bool {
    let own = claims.get("nonce").and_then(Value::as_str).unwrap_or_default();
    aws_lc_rs::constant_time::verify_slices_are_equal(own.as_bytes(), nonce.as_bytes()).is_ok()
}

fn redirect(uri: &str) -> Result<RedirectUrl, ProviderError> {
    let broken = |_| ProviderError::Configuration("the callback is no URL".into());
    RedirectUrl::new(uri.to_owned()).map_err(broken)
}

fn no_token_endpoint() -> ProviderError {
    ProviderError::Answer { what: "its metadata", problem: "token_endpoint is missing".into() }
}
