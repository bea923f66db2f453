//! GitHub and GitHub Enterprise: OAuth 2.0, and who somebody is by calls of GitHub's own.

use std::sync::Arc;

use ingress_core::auth::claims::{ClaimName, Claims};
use ingress_core::auth::identity::Identity;
use ingress_core::auth::login::{Callback, Expected, Failure, Login};
use ingress_core::table::Provider;
use serde::Deserialize;

use super::ask::{Ask, post};
use super::credentials::secret;
use super::github_user::{Account, Accounts};
use super::issuer::Issuer;
use super::token_endpoint::word;
use super::{ProviderError, RefreshError, SignInError, SignedIn};
use crate::sys::clock::Clock;

const TOKEN: &str = "a token";

/// Where a GitHub is, and where its API.
pub(super) struct Places {
    pub(super) base: Box<str>,
    pub(super) api: Box<str>,
}

impl Places {
    /// GitHub's own API, and those of GitHub Enterprise Cloud with data residency, have hosts of their own; that of GitHub Enterprise
    /// Server is below its base URL.
    pub(super) fn new(base: &str) -> Self {
        let base = base.trim_end_matches('/');
        let host = base.strip_prefix("https://").unwrap_or(base);
        let api = if host == "github.com" || host.ends_with(".ghe.com") {
            format!("https://api.{host}")
        } else {
            format!("{base}/api/v3")
        };
        Self { base: base.into(), api: api.into() }
    }
}

/// A client of GitHub: an OAuth app, or a GitHub App.
pub(super) struct GitHub {
    provider: Arc<Provider>,
    issuer: Arc<Issuer>,
    places: Places,
    secret: Box<str>,
    accounts: Accounts,
}

/// The answer of the token endpoint: errors come with status 200 as well.
#[derive(Deserialize)]
struct TokenAnswer {
    access_token: Option<Box<str>>,
    /// Of GitHub Apps whose tokens expire.
    refresh_token: Option<Box<str>>,
    expires_in: Option<i64>,
    error: Option<String>,
}

/// What GitHub's refresh tokens begin with, and its access tokens do not.
const REFRESH_TOKEN: &str = "ghr_";

impl GitHub {
    /// A client, if what the Secret holds can be used.
    pub(super) fn new(
        provider: Arc<Provider>,
        issuer: Arc<Issuer>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ProviderError> {
        let secret = Box::from(secret(&provider)?);
        let places = Places::new(&provider.issuer);
        Ok(Self { provider, issuer, places, secret, accounts: Accounts::new(clock) })
    }

    /// The authorization request. GitHub takes a code challenge, and checks it.
    pub(super) fn begin(&self, login: &Login, redirect_uri: &str) -> String {
        let spec = &self.provider.spec;
        let scopes =
            if spec.scopes.is_empty() { "user:email read:org".to_owned() } else { spec.scopes.join(" ") };
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("client_id", &spec.client_id)
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("scope", &scopes)
            .append_pair("state", &login.state())
            .append_pair("code_challenge", &login.challenge())
            .append_pair("code_challenge_method", "S256")
            .finish();
        format!("{}/login/oauth/authorize?{query}", self.places.base)
    }

    /// The answer to it, the token, and whose it is.
    pub(super) async fn finish(
        &self,
        login: &Login,
        callback: &Callback,
        redirect_uri: &str,
        wanted: &[ClaimName],
        now: i64,
    ) -> Result<SignedIn, SignInError> {
        let code = self.code(login, callback, now)?;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_uri),
            ("code_verifier", &login.verifier()),
        ];
        let answer = self.ask_for_token(&form).await?;
        if let Some(error) = &answer.error {
            return Err(token_error(error));
        }
        let token = answer.access_token.as_deref().ok_or_else(no_token)?;
        let account =
            self.accounts.read(&*self.issuer.http, &self.places, token).await.map_err(
                |error| match error {
                    RefreshError::Refused(_) => {
                        SignInError::Code("the token that was given does not count".into())
                    }
                    RefreshError::Unavailable(error) => error.into(),
                },
            )?;
        Ok(signed_in(&account, &answer, token, wanted))
    }

    /// GitHub's metadata name an issuer below its base URL; where it sends one, it is that.
    fn code<'c>(&self, login: &Login, callback: &'c Callback, now: i64) -> Result<&'c str, Failure> {
        let below = format!("{}/login/oauth", self.places.base);
        let by = |issuer| login.finish(callback, &Expected { issuer, sends_issuer: false }, now);
        match by(&self.places.base) {
            Err(Failure::WrongIssuer) => by(&below),
            outcome => outcome,
        }
    }

    /// A renewal: a refresh token is exchanged; an access token, which holds until it is revoked, is asked again whose it is and what
    /// they belong to.
    pub(super) async fn refresh(
        &self,
        token: &str,
        subject: &str,
        wanted: &[ClaimName],
    ) -> Result<SignedIn, RefreshError> {
        self.issuer.flights.renew_for(subject, token, self.renew(token, wanted)).await
    }

    async fn renew(&self, token: &str, wanted: &[ClaimName]) -> Result<SignedIn, RefreshError> {
        let mut answer =
            TokenAnswer { access_token: None, refresh_token: None, expires_in: None, error: None };
        if token.starts_with(REFRESH_TOKEN) {
            let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
            answer = self.ask_for_token(&form).await?;
            match answer.error.as_deref() {
                None => {}
                Some("bad_refresh_token") => {
                    return Err(RefreshError::Refused("the refresh token is used up, revoked or expired"));
                }
                Some(error) => return Err(unusable(error).into()),
            }
        }
        let access_token = answer.access_token.clone().unwrap_or_else(|| token.into());
        let account = self.accounts.read(&*self.issuer.http, &self.places, &access_token).await?;
        Ok(signed_in(&account, &answer, &access_token, wanted))
    }

    async fn ask_for_token(&self, form: &[(&str, &str)]) -> Result<TokenAnswer, ProviderError> {
        let form = [("client_id", &*self.provider.spec.client_id), ("client_secret", &self.secret)]
            .into_iter()
            .chain(form.iter().copied());
        let url = format!("{}/login/oauth/access_token", self.places.base);
        let ask = Ask { what: TOKEN, url: &url, bearer: None, accept: "application/json" };
        post(&*self.issuer.http, &ask, form).await?.json(TOKEN)
    }
}

fn signed_in(account: &Account, answer: &TokenAnswer, access_token: &str, wanted: &[ClaimName]) -> SignedIn {
    SignedIn {
        identity: Identity { claims: Claims::keep(wanted, &account.user), ..account.identity.clone() },
        provider_session: None,
        refresh_token: Some(answer.refresh_token.clone().unwrap_or_else(|| access_token.into())),
        expires_in: answer.expires_in,
        id_token: None,
        id_token_expires_at: None,
        access_token: Some(access_token.into()),
    }
}

fn token_error(error: &str) -> SignInError {
    match error {
        "bad_verification_code" => SignInError::Code(error.into()),
        "incorrect_client_credentials" | "redirect_uri_mismatch" => SignInError::Client(error.into()),
        error => unusable(error).into(),
    }
}

fn unusable(error: &str) -> ProviderError {
    ProviderError::Answer { what: TOKEN, problem: format!("it says {}", word(error)).into() }
}

fn no_token() -> ProviderError {
    ProviderError::Answer { what: TOKEN, problem: "access_token is missing".into() }
}
