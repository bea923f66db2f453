//! The token endpoint (RFC 6749 sections 4.1.3 and 6).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreErrorResponseType, CoreGenderClaim, CoreJsonWebKey,
    CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreRevocableToken,
    CoreRevocationErrorResponse, CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::{
    AccessToken, AsyncHttpClient, Client, EmptyAdditionalClaims, EndpointMaybeSet, EndpointNotSet,
    EndpointSet, IdToken, OAuth2TokenResponse, RefreshToken, RequestTokenError, Scope, StandardErrorResponse,
    TokenResponse,
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::ProviderError;
use crate::auth::client::{HttpClient, HttpError, HttpRequest, Sending};

/// The protocol, from a provider's metadata.
pub(super) type OidcClient = Client<
    EmptyAdditionalClaims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    TokenAnswer,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// A token response (RFC 6749 section 5.1, OpenID Connect Core section 3.1.3.3).
///
/// The ID token stays as it came. It is checked as bearer and logout tokens are, by one code, and its claims are read as they are: those
/// of providers do not always have the types of the standard, and the typed claims of the crate refuse the whole token then.
#[derive(Deserialize, Serialize)]
pub(super) struct TokenAnswer {
    access_token: AccessToken,
    #[serde(deserialize_with = "bearer")]
    #[serde(rename = "token_type")]
    _token_type: (),
    #[serde(default, deserialize_with = "seconds")]
    expires_in: Option<u64>,
    refresh_token: Option<RefreshToken>,
    pub(super) id_token: Option<Box<str>>,
}

/// Its tokens are nobody's to read (law 6).
impl fmt::Debug for TokenAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenAnswer(..)")
    }
}

static BEARER: CoreTokenType = CoreTokenType::Bearer;

impl OAuth2TokenResponse for TokenAnswer {
    type TokenType = CoreTokenType;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &CoreTokenType {
        &BEARER
    }

    fn expires_in(&self) -> Option<Duration> {
        self.expires_in.map(Duration::from_secs)
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        self.refresh_token.as_ref()
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        None
    }
}

type JustIdToken = IdToken<
    EmptyAdditionalClaims,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;

impl
    TokenResponse<
        EmptyAdditionalClaims,
        CoreGenderClaim,
        CoreJweContentEncryptionAlgorithm,
        CoreJwsSigningAlgorithm,
    > for TokenAnswer
{
    fn id_token(&self) -> Option<&JustIdToken> {
        None
    }
}

/// `token_type` has to be there, and `Bearer` in any case: we could use no other token.
fn bearer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    let name = String::deserialize(deserializer)?;
    if name.eq_ignore_ascii_case("bearer") {
        Ok(())
    } else {
        Err(serde::de::Error::custom("no bearer token"))
    }
}

/// A number; some providers write it as text.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    })
}

/// What the token endpoint has against a request.
pub(super) enum TokenError {
    /// `invalid_grant`: against the code or the refresh token.
    Grant(Box<str>),
    /// `invalid_client`, `unauthorized_client`: against us.
    Client(Box<str>),
    /// The provider cannot be asked, or its answer cannot be used.
    Provider(ProviderError),
}

const WHAT: &str = "a token";

/// Sends requests for the crate, and keeps in mind what the status of the last answer was.
pub(super) struct Sender {
    http: Arc<dyn HttpClient>,
    status: Arc<AtomicU16>,
}

impl<'c> AsyncHttpClient<'c> for Sender {
    type Error = HttpError;
    type Future = Sending;

    fn call(&'c self, request: HttpRequest) -> Sending {
        let (sending, status) = (self.http.send(request), Arc::clone(&self.status));
        Box::pin(async move {
            let response = sending.await?;
            status.store(response.status().as_u16(), Ordering::Relaxed);
            Ok(response)
        })
    }
}

impl Sender {
    pub(super) fn new(http: Arc<dyn HttpClient>) -> Self {
        Self { http, status: Arc::default() }
    }

    /// What went wrong with a revocation, which is nobody's concern but the log's.
    pub(super) fn revocation_error(
        &self,
        error: RequestTokenError<HttpError, CoreRevocationErrorResponse>,
    ) -> ProviderError {
        match error {
            RequestTokenError::Request(error) => error.into(),
            _ => ProviderError::Status { status: self.status.load(Ordering::Relaxed), what: "a revocation" },
        }
    }

    /// What went wrong. An error with a status of the server's own is not about the token, whatever it says.
    pub(super) fn error(
        &self,
        error: RequestTokenError<HttpError, StandardErrorResponse<CoreErrorResponseType>>,
    ) -> TokenError {
        let status = self.status.load(Ordering::Relaxed);
        match error {
            RequestTokenError::Request(error) => TokenError::Provider(error.into()),
            _ if status >= 500 || status == 429 => {
                TokenError::Provider(ProviderError::Status { status, what: WHAT })
            }
            RequestTokenError::ServerResponse(answer) => {
                match answer.error() {
                    CoreErrorResponseType::InvalidGrant => TokenError::Grant("invalid_grant".into()),
                    error @ (CoreErrorResponseType::InvalidClient
                    | CoreErrorResponseType::UnauthorizedClient) => TokenError::Client(error.as_ref().into()),
                    error => TokenError::Provider(unusable(format!("it says {}", word(error.as_ref())))),
                }
            }
            RequestTokenError::Parse(error, _) if status == 200 => {
                TokenError::Provider(unusable(format!("the field {} is of another kind", error.path())))
            }
            _ if status != 200 => TokenError::Provider(ProviderError::Status { status, what: WHAT }),
            _ => TokenError::Provider(unusable("it is no JSON".to_owned())),
        }
    }
}

fn unusable(problem: String) -> ProviderError {
    ProviderError::Answer { what: WHAT, problem: problem.into() }
}

/// An error code as it may be shown (RFC 6749 section 5.2), never longer than a word.
pub(super) fn word(code: &str) -> String {
    code.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(48).collect()
}
