//! Identity providers: signing in, renewing, and believing tokens.
//!
//! ```text
//!  table::Provider ─► Providers::client ─► ProviderClient ─┬► OpenID Connect
//!                     (one for all workers)                └► GitHub
//! ```

mod error;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ingress_core::auth::claims::ClaimName;
use ingress_core::auth::identity::Identity;
use ingress_core::auth::login::{Callback, Login};
use ingress_core::auth::token;
use ingress_core::table::Provider;

pub use error::{BearerError, LogoutError, ProviderError, RefreshError, SignInError};

use super::runtime::AuthRuntime;

/// The clients of all providers that a table names; shared by all workers.
pub struct Providers {
    runtime: Arc<AuthRuntime>,
}

impl Providers {
    /// No client yet.
    pub fn new(runtime: Arc<AuthRuntime>) -> Arc<Self> {
        Arc::new(Self { runtime })
    }

    /// The client of a provider. It is made once, and made anew when the IdentityProvider or what it refers to changes;
    /// keys and metadata are kept if the issuer is the same.
    pub fn client(&self, provider: &Arc<Provider>) -> Arc<ProviderClient> {
        Arc::new(ProviderClient { provider: Arc::clone(provider), runtime: Arc::clone(&self.runtime) })
    }
}

/// What talks to one provider. Everything here may be awaited on a worker: the work is done elsewhere, in bounded time, and goes on
/// if whoever waits for it is gone.
pub struct ProviderClient {
    provider: Arc<Provider>,
    #[expect(dead_code, reason = "comes with the protocols")]
    runtime: Arc<AuthRuntime>,
}

/// Somebody has signed in, or was renewed. Deliberately without `Debug`: it holds tokens (law 6).
#[derive(Clone)]
pub struct SignedIn {
    /// Who it is.
    pub identity: Identity,
    /// `sid`: what the provider calls its own session.
    pub provider_session: Option<Box<str>>,
    /// How the identity is renewed. After a renewal without a new one it is the old one.
    pub refresh_token: Option<Box<str>>,
    /// For how many seconds the access token holds.
    pub expires_in: Option<i64>,
    /// The ID token.
    pub id_token: Option<Box<str>>,
    /// The access token.
    pub access_token: Option<Box<str>>,
}

/// What a bearer token is worth.
pub enum BearerCheck {
    /// Whom it stands for.
    Identity(Box<Identity>),
    /// It is not believed.
    Refused(token::Refused),
    /// Its key is not known: this future asks the provider, if it was not asked a moment ago.
    AskAgain(Pin<Box<dyn Future<Output = Result<Identity, BearerError>> + Send>>),
}

#[expect(clippy::unused_async, reason = "comes with the protocols")]
impl ProviderClient {
    /// The URL that a browser is sent to. `redirect_uri` is our callback on the host that was asked for.
    pub async fn begin(&self, login: &Login, redirect_uri: &str) -> Result<String, ProviderError> {
        let _ = (login, redirect_uri);
        Err(ProviderError::Ended)
    }

    /// Judges the provider's answer, and reads who has signed in. `now` is in Unix seconds.
    pub async fn finish(
        &self,
        login: &Login,
        callback: &Callback,
        redirect_uri: &str,
        wanted: &[ClaimName],
        now: i64,
    ) -> Result<SignedIn, SignInError> {
        let _ = (login, callback, redirect_uri, wanted, now);
        Err(SignInError::Provider(ProviderError::Ended))
    }

    /// Renews an identity. One request at a time is made for a refresh token: whoever comes meanwhile, or in the seconds after,
    /// gets the same result. Whoever is renewed is `subject`, or the renewal is refused.
    pub async fn refresh(
        &self,
        token: &str,
        subject: &str,
        wanted: &[ClaimName],
        now: i64,
    ) -> Result<SignedIn, RefreshError> {
        let _ = (token, subject, wanted, now);
        Err(RefreshError::Unavailable(ProviderError::Ended))
    }

    /// Judges a bearer token (RFC 9068, or an ID token): at once if its key is known.
    pub fn bearer(&self, token: &str, audiences: &[Box<str>], wanted: &[ClaimName], now: i64) -> BearerCheck {
        let _ = (token, audiences, wanted, now);
        BearerCheck::Refused(token::Refused::Key)
    }

    /// Judges a logout token (OpenID Connect Back-Channel Logout section 2.6). Whether its `jti` came before is the caller's to know.
    pub async fn logout_token(&self, token: &str, now: i64) -> Result<token::Logout, LogoutError> {
        let _ = (token, now);
        Err(LogoutError::Unavailable(ProviderError::Ended))
    }

    /// Where a browser is sent to end its session at the provider (OpenID Connect RP-Initiated Logout section 2); `None` if the
    /// provider has no such place.
    pub async fn end_session(
        &self,
        id_token_hint: Option<&str>,
        return_to: &str,
        state: &str,
    ) -> Option<String> {
        let _ = (id_token_hint, return_to, state);
        None
    }

    /// The issuer, or the base URL of GitHub.
    pub fn issuer(&self) -> &str {
        &self.provider.issuer
    }
}
