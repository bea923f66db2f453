//! Identity providers: signing in, renewing, and believing tokens.
//!
//! ```text
//!  table::Provider ─► Providers::client ─► ProviderClient ─┬► OpenID Connect ─┬► Issuer: metadata, keys, renewals
//!                     (one for all workers)                └► GitHub ─────────┘     (kept while the issuer is the same)
//! ```
//!
//! The crate `openidconnect` speaks the protocol; tokens are checked by `ingress_core::auth::token` and [`jwks`], the same for ID tokens,
//! bearer tokens and logout tokens.

mod ask;
mod cached;
mod client;
mod counters;
mod credentials;
mod error;
mod flights;
mod github;
mod github_user;
mod issuer;
pub mod jwks;
mod metadata;
mod oidc;
mod presets;
mod token_endpoint;
mod tokens;
mod user_info;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;
use ingress_core::identity_provider::ProviderKind;
use ingress_core::objects::NamespacedName;
use ingress_core::table::Provider;

pub use client::{BearerCheck, Believed, Hints, ProviderClient, SignedIn};
pub use counters::{OUTCOMES, ProviderCounters};
pub use error::{BearerError, LogoutError, ProviderError, RefreshError, SignInError};

use self::client::Kind;
use self::counters::Counted;
use self::github::GitHub;
use self::issuer::Issuer;
use self::oidc::Oidc;
use super::client::{HttpClient, HyperClient, Schemes, TrustError};
use super::runtime::AuthRuntime;
use crate::sys::clock::Clock;

/// Makes a client that trusts authorities in PEM, or the public ones.
pub type MakeClient = Box<dyn Fn(Option<&[u8]>) -> Result<Arc<dyn HttpClient>, TrustError> + Send + Sync>;

/// The clients of all providers that a table names; shared by all workers.
pub struct Providers {
    runtime: Arc<AuthRuntime>,
    clock: Arc<dyn Clock>,
    make_client: MakeClient,
    counters: Arc<ProviderCounters>,
    /// By the name of the IdentityProvider. Reading takes no lock.
    clients: ArcSwap<HashMap<NamespacedName, Arc<ProviderClient>>>,
    /// By issuer and authorities, as long as a client uses it. Held while clients are made.
    issuers: Mutex<HashMap<IssuerKey, Weak<Issuer>>>,
}

type IssuerKey = (Box<str>, Option<Box<[u8]>>);

impl Providers {
    /// Clients that ask by TLS.
    pub fn new(runtime: Arc<AuthRuntime>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let make = |authorities: Option<&[u8]>| {
            HyperClient::new(authorities, Schemes::Https)
                .map(|client| Arc::new(client) as Arc<dyn HttpClient>)
        };
        Self::with_client(runtime, clock, Box::new(make))
    }

    /// Clients that ask by something else.
    pub fn with_client(
        runtime: Arc<AuthRuntime>,
        clock: Arc<dyn Clock>,
        make_client: MakeClient,
    ) -> Arc<Self> {
        Arc::new(Self {
            runtime,
            clock,
            make_client,
            counters: Arc::default(),
            clients: ArcSwap::default(),
            issuers: Mutex::default(),
        })
    }

    /// What is counted.
    pub fn counters(&self) -> &Arc<ProviderCounters> {
        &self.counters
    }

    /// The client of a provider. It is made once, and made anew when the IdentityProvider or what it refers to changes;
    /// keys and metadata are kept if the issuer is the same.
    pub fn client(&self, provider: &Arc<Provider>) -> Arc<ProviderClient> {
        let is_same = |client: &&Arc<ProviderClient>| {
            Arc::ptr_eq(&client.provider, provider) || *client.provider == **provider
        };
        if let Some(client) = self.clients.load().get(&provider.name).filter(is_same) {
            return Arc::clone(client);
        }
        let mut issuers = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
        let clients = self.clients.load();
        if let Some(client) = clients.get(&provider.name).filter(is_same) {
            return Arc::clone(client);
        }
        let kind = self.kind(provider, &mut issuers).unwrap_or_else(Kind::Broken);
        let client = Arc::new(ProviderClient {
            provider: Arc::clone(provider),
            runtime: Arc::clone(&self.runtime),
            kind,
        });
        // Clients whose provider no table has any more are forgotten.
        let in_use = |client: &Arc<ProviderClient>| Arc::strong_count(&client.provider) > client.references();
        let kept = clients.iter().filter(|(name, client)| **name != provider.name && in_use(client));
        let mut kept: HashMap<_, _> = kept.map(|(name, client)| (name.clone(), Arc::clone(client))).collect();
        kept.insert(provider.name.clone(), Arc::clone(&client));
        self.clients.store(Arc::new(kept));
        issuers.retain(|_, issuer| issuer.strong_count() > 0);
        client
    }

    fn kind(
        &self,
        provider: &Arc<Provider>,
        issuers: &mut HashMap<IssuerKey, Weak<Issuer>>,
    ) -> Result<Kind, ProviderError> {
        let issuer = self.issuer(provider, issuers)?;
        let provider = Arc::clone(provider);
        Ok(match provider.spec.kind() {
            ProviderKind::OpenIdConnect => Kind::Oidc(Arc::new(Oidc::new(provider, issuer)?)),
            ProviderKind::GitHub => {
                Kind::GitHub(Arc::new(GitHub::new(provider, issuer, Arc::clone(&self.clock))?))
            }
        })
    }

    fn issuer(
        &self,
        provider: &Provider,
        issuers: &mut HashMap<IssuerKey, Weak<Issuer>>,
    ) -> Result<Arc<Issuer>, ProviderError> {
        let key = (provider.issuer.clone(), provider.authorities.clone());
        if let Some(issuer) = issuers.get(&key).and_then(Weak::upgrade) {
            return Ok(issuer);
        }
        let unusable = |error: TrustError| ProviderError::Configuration(error.to_string().into());
        let http = (self.make_client)(provider.authorities.as_deref()).map_err(unusable)?;
        let counters = Arc::clone(&self.counters);
        let counted = Counted { http, issuer: provider.issuer.clone(), counters };
        let issuer = Arc::new(Issuer::new(Arc::new(counted), &self.clock));
        issuers.insert(key, Arc::downgrade(&issuer));
        Ok(issuer)
    }
}
