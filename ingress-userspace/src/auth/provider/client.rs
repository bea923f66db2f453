//! One provider, as the rest of the program sees it. The work is done on the runtime for sign-on.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ingress_core::auth::claims::ClaimName;
use ingress_core::auth::identity::Identity;
use ingress_core::auth::login::{Callback, Login};
use ingress_core::auth::token;
use ingress_core::table::Provider;

use super::github::GitHub;
use super::jwks::KeySet;
use super::oidc::Oidc;
use super::tokens::AtOnce;
use super::{BearerError, LogoutError, ProviderError, RefreshError, SignInError};
use crate::auth::client::HttpError;
use crate::auth::runtime::AuthRuntime;

/// How long everything may take that one call leads to: a token, keys, user info, some pages of groups. Each request has a bound of its own.
const DEADLINE: Duration = Duration::from_secs(25);

/// What talks to one provider. Everything here may be awaited on a worker: the work is done elsewhere, in bounded time, and goes on
/// if whoever waits for it is gone.
pub struct ProviderClient {
    pub(super) provider: Arc<Provider>,
    pub(super) runtime: Arc<AuthRuntime>,
    pub(super) kind: Kind,
}

/// By which protocol.
pub(super) enum Kind {
    Oidc(Arc<Oidc>),
    GitHub(Arc<GitHub>),
    /// What the IdentityProvider refers to cannot be used.
    Broken(ProviderError),
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
    /// When the ID token expires, in Unix seconds.
    pub id_token_expires_at: Option<i64>,
    /// The access token.
    pub access_token: Option<Box<str>>,
}

/// A bearer token that is believed.
#[derive(Clone, Debug)]
pub struct Believed {
    /// Whom it stands for.
    pub identity: Identity,
    /// Until when it counts, in Unix seconds: `exp`, and what clocks differ by.
    pub until: i64,
    /// The keys that it was found right by; none if they were asked for because of it.
    pub(super) keys: Weak<KeySet>,
}

/// What sign-out at the provider is told about whose session ends.
#[derive(Clone, Copy, Default)]
pub struct Hints<'h> {
    /// The ID token, as `id_token_hint`.
    pub id_token: Option<&'h str>,
    /// What the provider itself calls such a hint, as `logout_hint`.
    pub logout: Option<&'h str>,
}

/// What a bearer token is worth.
pub enum BearerCheck {
    /// Whom it stands for.
    Identity(Box<Believed>),
    /// It is not believed.
    Refused(token::Refused),
    /// Its key is not known: this future asks the provider, if it was not asked a moment ago.
    AskAgain(Pin<Box<dyn Future<Output = Result<Believed, BearerError>> + Send>>),
}

impl ProviderClient {
    /// The URL that a browser is sent to. `redirect_uri` is our callback on the host that was asked for.
    pub async fn begin(&self, login: &Login, redirect_uri: &str) -> Result<String, ProviderError> {
        match &self.kind {
            Kind::Oidc(oidc) => {
                let (oidc, login, redirect_uri) = (Arc::clone(oidc), login.clone(), redirect_uri.to_owned());
                self.run(async move { oidc.begin(&login, &redirect_uri).await }).await
            }
            Kind::GitHub(github) => Ok(github.begin(login, redirect_uri)),
            Kind::Broken(error) => Err(error.clone()),
        }
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
        let (login, callback, redirect_uri) = (login.clone(), callback.clone(), redirect_uri.to_owned());
        let wanted = wanted.to_vec();
        match &self.kind {
            Kind::Oidc(oidc) => {
                let oidc = Arc::clone(oidc);
                self.run(async move { oidc.finish(&login, &callback, &redirect_uri, &wanted, now).await })
                    .await
            }
            Kind::GitHub(github) => {
                let github = Arc::clone(github);
                self.run(async move { github.finish(&login, &callback, &redirect_uri, &wanted, now).await })
                    .await
            }
            Kind::Broken(error) => Err(error.clone().into()),
        }
    }

    /// Renews an identity. One request at a time is made for a refresh token: whoever comes meanwhile, or in the 30 seconds after,
    /// gets the same result. Whoever is renewed is `subject`, or the renewal is refused.
    pub async fn refresh(
        &self,
        token: &str,
        subject: &str,
        wanted: &[ClaimName],
        now: i64,
    ) -> Result<SignedIn, RefreshError> {
        let (token, subject, wanted) = (token.to_owned(), subject.to_owned(), wanted.to_vec());
        match &self.kind {
            Kind::Oidc(oidc) => {
                let oidc = Arc::clone(oidc);
                self.run(async move { oidc.refresh(&token, &subject, &wanted, now).await }).await
            }
            Kind::GitHub(github) => {
                let github = Arc::clone(github);
                self.run(async move { github.refresh(&token, &subject, &wanted).await }).await
            }
            Kind::Broken(error) => Err(error.clone().into()),
        }
    }

    /// Judges a bearer token (RFC 9068, or an ID token): at once if its key is known.
    pub fn bearer(&self, token: &str, audiences: &[Box<str>], wanted: &[ClaimName], now: i64) -> BearerCheck {
        let oidc = match &self.kind {
            Kind::Oidc(oidc) => oidc,
            // GitHub's tokens are no JWTs: only GitHub can tell what they are worth.
            Kind::GitHub(_) => return BearerCheck::Refused(token::Refused::Malformed),
            Kind::Broken(error) => {
                let error = error.clone();
                return BearerCheck::AskAgain(Box::pin(async { Err(error.into()) }));
            }
        };
        let (at_once, stale) = oidc.bearer_at_once(token, audiences, wanted, now);
        match at_once {
            AtOnce::Ask => self.ask_about(oidc, token, audiences, wanted, now),
            AtOnce::Believed(believed) => {
                if stale {
                    self.freshen(oidc);
                }
                BearerCheck::Identity(believed)
            }
            AtOnce::Refused(refused) => BearerCheck::Refused(refused),
        }
    }

    /// Whether a token that was found right before is right still, but for the time: the keys of the provider are the same, and count.
    pub fn stands(&self, token: &Believed) -> bool {
        let Kind::Oidc(oidc) = &self.kind else { return false };
        let (stands, stale) = oidc.stands(token);
        if stands && stale {
            self.freshen(oidc);
        }
        stands
    }

    /// Asks for what is old. Nobody waits for it: what is known counts meanwhile.
    fn freshen(&self, oidc: &Arc<Oidc>) {
        drop(self.runtime.run(Arc::clone(oidc).freshen()));
    }

    fn ask_about(
        &self,
        oidc: &Arc<Oidc>,
        token: &str,
        audiences: &[Box<str>],
        wanted: &[ClaimName],
        now: i64,
    ) -> BearerCheck {
        let (oidc, token) = (Arc::clone(oidc), token.to_owned());
        let (audiences, wanted) = (audiences.to_vec(), wanted.to_vec());
        let asking = self.run(async move { oidc.bearer(&token, &audiences, &wanted, now).await });
        BearerCheck::AskAgain(Box::pin(asking))
    }

    /// Judges a logout token (OpenID Connect Back-Channel Logout section 2.6). Whether its `jti` came before is the caller's to know.
    pub async fn logout_token(&self, token: &str, now: i64) -> Result<token::Logout, LogoutError> {
        match &self.kind {
            Kind::Oidc(oidc) => {
                let (oidc, token) = (Arc::clone(oidc), token.to_owned());
                self.run(async move { oidc.logout_token(&token, now).await }).await
            }
            Kind::GitHub(_) => Err(token::Refused::Malformed.into()),
            Kind::Broken(error) => Err(error.clone().into()),
        }
    }

    /// Where a browser is sent to end its session at the provider (OpenID Connect RP-Initiated Logout section 2); `None` if the
    /// provider has no such place, or cannot be asked where it is.
    pub async fn end_session(&self, hints: Hints<'_>, return_to: &str, state: &str) -> Option<String> {
        let Kind::Oidc(oidc) = &self.kind else { return None };
        let oidc = Arc::clone(oidc);
        let [id_token, logout] = [hints.id_token, hints.logout].map(|hint| hint.map(str::to_owned));
        let (return_to, state) = (return_to.to_owned(), state.to_owned());
        let asking = async move {
            let hints = Hints { id_token: id_token.as_deref(), logout: logout.as_deref() };
            Ok::<_, ProviderError>(oidc.end_session(hints, &return_to, &state).await)
        };
        self.run(asking).await.ok().flatten()
    }

    /// Tells the provider that a refresh token is not needed any more (RFC 7009). Nobody waits for it; a provider that does not take
    /// it lets it expire.
    pub fn revoke(&self, refresh_token: &str, now: i64) {
        let Kind::Oidc(oidc) = &self.kind else { return };
        let (oidc, token) = (Arc::clone(oidc), refresh_token.to_owned());
        drop(self.run(async move {
            let revoked = oidc.revoke(&token, now).await;
            if let Err(error) = &revoked {
                tracing::debug!(issuer = %oidc.provider.issuer, %error, "a refresh token was not revoked");
            }
            revoked
        }));
    }

    /// The issuer, or the base URL of GitHub.
    pub fn issuer(&self) -> &str {
        &self.provider.issuer
    }

    /// Runs something elsewhere, in bounded time.
    fn run<T, E>(
        &self,
        work: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> impl Future<Output = Result<T, E>> + Send + 'static
    where
        T: Send + 'static,
        E: From<ProviderError> + Send + 'static,
    {
        // The timer belongs to the other runtime: it is made there.
        let running = self.runtime.run(async move { tokio::time::timeout(DEADLINE, work).await });
        async move {
            match running.await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Err(ProviderError::Unreachable(HttpError::Time(DEADLINE.as_secs())).into()),
                Err(_) => Err(ProviderError::Ended.into()),
            }
        }
    }

    /// How many references to its provider are this client's own.
    pub(super) fn references(&self) -> usize {
        match self.kind {
            Kind::Broken(_) => 1,
            Kind::Oidc(_) | Kind::GitHub(_) => 2,
        }
    }
}
