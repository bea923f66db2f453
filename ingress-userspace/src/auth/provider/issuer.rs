//! What is known of an issuer, whatever IdentityProviders name it: metadata, keys, and renewals that are under way.

use std::sync::Arc;
use std::time::Duration;

use ingress_core::auth::token::{Refused, Unverified};
use ingress_core::identity_provider::IdentityProviderSpec;

use super::ProviderError;
use super::ask::{Ask, get};
use super::cached::Cached;
use super::flights::Flights;
use super::jwks::KeySet;
use super::metadata::{self, Metadata};
use super::presets;
use crate::auth::client::HttpClient;
use crate::sys::clock::Clock;

/// How often keys are asked for because a token of anybody names one that is not known.
pub(super) const UNKNOWN_KEY_PAUSE: Duration = Duration::from_secs(30);

/// The same for tokens that came from the provider itself: a new key is in use, and nobody else can make us ask.
const NEW_KEY_PAUSE: Duration = Duration::from_secs(1);

/// Whose token names a key that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// The provider's own answer.
    Provider,
    /// Anybody's.
    Anybody,
}

impl From {
    fn pause(self) -> Duration {
        match self {
            Self::Provider => NEW_KEY_PAUSE,
            Self::Anybody => UNKNOWN_KEY_PAUSE,
        }
    }
}

/// An issuer, asked through one client.
pub(super) struct Issuer {
    /// Sends requests.
    pub(super) http: Arc<dyn HttpClient>,
    /// Renewals.
    pub(super) flights: Flights,
    metadata: Cached<Metadata>,
    keys: Cached<KeySet>,
}

/// What a signature is worth by the keys that are known.
pub(super) enum Signature {
    /// It is right, by these keys.
    Right(Arc<KeySet>),
    /// The token is refused.
    Refused(Refused),
    /// No key is known that could tell, and the provider may be asked.
    Unknown,
}

impl Issuer {
    /// Nothing is known yet.
    pub(super) fn new(http: Arc<dyn HttpClient>, clock: &Arc<dyn Clock>) -> Self {
        let clock = || Arc::clone(clock);
        Self {
            http,
            flights: Flights::new(clock()),
            metadata: Cached::new(clock()),
            keys: Cached::new(clock()),
        }
    }

    /// Its metadata.
    pub(super) async fn metadata(
        &self,
        spec: &IdentityProviderSpec,
        issuer: &str,
    ) -> Result<Arc<Metadata>, ProviderError> {
        let expected = presets::metadata_issuer(spec, issuer);
        let metadata = self.metadata.get(|| metadata::fetch(&*self.http, issuer, &expected)).await?;
        // They are shared by objects with other presets, which expect other names.
        if metadata.issuer().as_str() == expected {
            Ok(metadata)
        } else {
            Err(ProviderError::Issuer(metadata.issuer().as_str().into()))
        }
    }

    /// What is known of the metadata without asking.
    pub(super) fn known_metadata(&self) -> Option<Arc<Metadata>> {
        self.metadata.peek().map(|(metadata, _)| metadata)
    }

    /// What is known of the keys without asking, and whether they should be asked for again.
    pub(super) fn known_keys(&self) -> Option<(Arc<KeySet>, bool)> {
        self.keys.peek()
    }

    /// Checks a signature without asking anybody. The flag says that the keys should be asked for again, although they count.
    pub(super) fn check_signature(&self, token: &Unverified<'_>) -> (Signature, bool) {
        let Some((keys, stale)) = self.keys.peek() else { return (Signature::Unknown, true) };
        let signature = match keys.verify(token) {
            Ok(()) => Signature::Right(keys),
            Err(Refused::Key) if self.keys.may_renew(UNKNOWN_KEY_PAUSE) => Signature::Unknown,
            Err(refused) => Signature::Refused(refused),
        };
        (signature, stale)
    }

    /// Checks a signature. Keys are asked for if none is known that could tell, within what is allowed.
    pub(super) async fn verify(
        &self,
        metadata: &Metadata,
        token: &Unverified<'_>,
        from: From,
    ) -> Result<Result<(), Refused>, ProviderError> {
        let fetch = || self.fetch_keys(metadata.jwks_uri().as_str());
        let keys = self.keys.get(fetch).await?;
        match keys.verify(token) {
            Err(Refused::Key) => {
                let newer = self.keys.renew(Some(&keys), from.pause(), fetch).await;
                // If there are no newer ones, the token is signed by none that we could know.
                Ok(newer.map_or(Err(Refused::Key), |newer| newer.verify(token)))
            }
            outcome => Ok(outcome),
        }
    }

    /// Asks for the keys again, because those that are known are old.
    pub(super) async fn freshen_keys(&self, metadata: &Metadata) {
        // A failure leaves the keys that are known.
        let _ = self.keys.get(|| self.fetch_keys(metadata.jwks_uri().as_str())).await;
    }

    async fn fetch_keys(&self, url: &str) -> Result<KeySet, ProviderError> {
        let what = "its keys";
        let answer = get(&*self.http, &Ask { what, url, bearer: None, accept: "application/json" }).await?;
        KeySet::parse(answer.body())
            .ok()
            .filter(|keys| !keys.is_empty())
            .ok_or(ProviderError::Answer { what, problem: "no key in it can be used".into() })
    }
}
