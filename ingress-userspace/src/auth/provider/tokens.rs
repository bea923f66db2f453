//! Which tokens are believed: ID tokens, bearer tokens, logout tokens.

use std::sync::{Arc, Weak};

use ingress_core::auth::claims::ClaimName;
use ingress_core::auth::token::{Demands, Logout, MAX_ID_TOKEN, Refused, Unverified, seconds};
use serde_json::{Map, Value};

use super::issuer::{From, Signature};
use super::jwks::at_hash;
use super::metadata::Metadata;
use super::oidc::Oidc;
use super::presets;
use super::{BearerError, Believed, LogoutError, ProviderError, SignInError};

/// What can be said of a bearer token without asking the provider.
pub(super) enum AtOnce {
    Believed(Box<Believed>),
    Refused(Refused),
    /// The provider has to be asked.
    Ask,
}

impl Oidc {
    /// Checks an ID token that came from the token endpoint. What it says of `nonce` is the caller's to compare.
    pub(super) async fn id_token(
        &self,
        metadata: &Metadata,
        token: &str,
        access_token: Option<&str>,
        now: i64,
    ) -> Result<Result<Map<String, Value>, Refused>, ProviderError> {
        let unverified = match Unverified::parse_within(token, MAX_ID_TOKEN) {
            Ok(unverified) => unverified,
            Err(refused) => return Ok(Err(refused)),
        };
        if let Err(refused) = self.issuer.verify(metadata, &unverified, From::Provider).await? {
            return Ok(Err(refused));
        }
        Ok(self.check_id_token(metadata, &unverified, access_token, now))
    }

    fn check_id_token(
        &self,
        metadata: &Metadata,
        token: &Unverified<'_>,
        access_token: Option<&str>,
        now: i64,
    ) -> Result<Map<String, Value>, Refused> {
        if !is_of_kind(token, "JWT") {
            return Err(Refused::Kind);
        }
        let claims = token.claims()?;
        let audiences = [self.provider.spec.client_id.as_str().into()];
        self.demands(metadata, &claims, &audiences, |demands| demands.check_id_token(&claims, now))?;
        // OpenID Connect Core section 3.1.3.8.
        match (claims.get("at_hash"), access_token) {
            (None, _) | (_, None) => {}
            (Some(Value::String(hash)), Some(access)) if *hash == at_hash(token.algorithm, access) => {}
            _ => return Err(Refused::AccessToken),
        }
        Ok(claims)
    }

    /// Judges a bearer token by what is known. The flag says that the keys should be asked for again.
    pub(super) fn bearer_at_once(
        &self,
        token: &str,
        audiences: &[Box<str>],
        wanted: &[ClaimName],
        now: i64,
    ) -> (AtOnce, bool) {
        let unverified = match Unverified::parse(token).and_then(of_access) {
            Ok(unverified) => unverified,
            Err(refused) => return (AtOnce::Refused(refused), false),
        };
        let Some(metadata) = self.issuer.known_metadata() else { return (AtOnce::Ask, true) };
        let (signature, stale) = self.issuer.check_signature(&unverified);
        let at_once = match signature {
            Signature::Unknown => AtOnce::Ask,
            Signature::Refused(refused) => AtOnce::Refused(refused),
            Signature::Right(keys) => match self.believe(&metadata, &unverified, audiences, wanted, now) {
                Ok(believed) => {
                    AtOnce::Believed(Box::new(Believed { keys: Arc::downgrade(&keys), ..believed }))
                }
                Err(refused) => AtOnce::Refused(refused),
            },
        };
        (at_once, stale)
    }

    /// Judges a bearer token, and asks for keys where that is allowed.
    pub(super) async fn bearer(
        &self,
        token: &str,
        audiences: &[Box<str>],
        wanted: &[ClaimName],
        now: i64,
    ) -> Result<Believed, BearerError> {
        let unverified = Unverified::parse(token).and_then(of_access)?;
        let metadata = self.metadata().await?;
        self.issuer.verify(&metadata, &unverified, From::Anybody).await??;
        Ok(self.believe(&metadata, &unverified, audiences, wanted, now)?)
    }

    /// Whether what a token was found right by is still what is known, and whether it should be asked for again.
    pub(super) fn stands(&self, token: &Believed) -> (bool, bool) {
        let (Some(_), Some((keys, stale))) = (self.issuer.known_metadata(), self.issuer.known_keys()) else {
            return (false, true);
        };
        (std::ptr::eq(token.keys.as_ptr(), Arc::as_ptr(&keys)), stale)
    }

    /// Asks for keys that are old.
    pub(super) async fn freshen(self: Arc<Self>) {
        if let Ok(metadata) = self.metadata().await {
            self.issuer.freshen_keys(&metadata).await;
        }
    }

    /// Reads a token whose signature is right.
    fn believe(
        &self,
        metadata: &Metadata,
        token: &Unverified<'_>,
        audiences: &[Box<str>],
        wanted: &[ClaimName],
        now: i64,
    ) -> Result<Believed, Refused> {
        let claims = token.claims()?;
        self.demands(metadata, &claims, audiences, |demands| demands.check_access(&claims, now))?;
        let identity = self.identity(&claims, wanted).map_err(|error| match error {
            SignInError::Token(refused) => refused,
            _ => Refused::Issuer,
        })?;
        let expires = seconds(&claims, "exp").ok_or(Refused::Expired)?;
        let until = expires.saturating_add(self.provider.spec.clock_skew());
        Ok(Believed { identity, until, keys: Weak::new() })
    }

    /// Judges a logout token (OpenID Connect Back-Channel Logout section 2.6).
    pub(super) async fn logout_token(&self, token: &str, now: i64) -> Result<Logout, LogoutError> {
        let unverified = Unverified::parse(token)?;
        if !is_of_kind(&unverified, "logout+jwt") && !is_of_kind(&unverified, "JWT") {
            return Err(Refused::Kind.into());
        }
        let metadata = self.metadata().await?;
        self.issuer.verify(&metadata, &unverified, From::Anybody).await??;
        let claims = unverified.claims()?;
        let audiences = [self.provider.spec.client_id.as_str().into()];
        Ok(self.demands(&metadata, &claims, &audiences, |demands| demands.check_logout(&claims, now))?)
    }

    fn demands<T>(
        &self,
        metadata: &Metadata,
        claims: &Map<String, Value>,
        audiences: &[Box<str>],
        check: impl FnOnce(&Demands<'_>) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let issuer = presets::token_issuer(&self.provider.spec, metadata.issuer().as_str(), claims);
        check(&Demands { issuer: &issuer, audiences, skew: self.provider.spec.clock_skew() })
    }
}

/// An access token (RFC 9068 section 2.1), or one of those that say nothing of their kind but `JWT`.
fn of_access(token: Unverified<'_>) -> Result<Unverified<'_>, Refused> {
    if is_of_kind(&token, "at+jwt") || is_of_kind(&token, "JWT") { Ok(token) } else { Err(Refused::Kind) }
}

/// Whether a token is of a kind; many say nothing, which is as good as `JWT` (RFC 7519 section 5.1).
fn is_of_kind(token: &Unverified<'_>, kind: &str) -> bool {
    token.is_of_kind(kind) || (token.kind.is_none() && kind == "JWT")
}
