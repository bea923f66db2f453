//! How handshakes are done: one rustls configuration for each TLS policy in use.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ingress_core::settings::{TlsPolicy, TlsVersion, Word as _};
use ingress_core::table::{Identity, RoutingTable};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};

use super::names::registered_name;
use super::{TlsError, provider};
use crate::control::Published;

/// The configurations that workers share. Which one a handshake gets, its server name decides; certificates are looked up at
/// each handshake in the table that is published then, so a changed Secret needs nothing else. Open connections never notice.
///
/// Sessions are resumed by tickets, sealed with keys that live in this process and rotate every six hours; there is no
/// session cache, which workers would have to share. Each policy has keys of its own: a ticket that was given under a weaker
/// policy does not resume under a stricter one. There is no early data: it can be replayed (RFC 8446, section 8).
pub struct Handshakes {
    resolver: Arc<Resolver>,
    /// Kept by the workers that use them.
    by_policy: Mutex<HashMap<TlsPolicy, Weak<ServerConfig>>>,
}

impl Handshakes {
    /// For the certificates of the published table; `fallback` is for names of which it has none.
    pub fn new(published: Arc<Published>, fallback: Arc<Identity>) -> Self {
        Self { resolver: Arc::new(Resolver { published, fallback }), by_policy: Mutex::default() }
    }

    /// The configuration of a policy: the one that another worker uses, or a new one.
    pub fn config(&self, policy: TlsPolicy) -> Result<Arc<ServerConfig>, TlsError> {
        let mut by_policy = self.by_policy.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = by_policy.get(&policy).and_then(Weak::upgrade) {
            return Ok(config);
        }
        by_policy.retain(|_, config| config.strong_count() > 0);
        let config = Arc::new(server_config(policy, Arc::clone(&self.resolver))?);
        by_policy.insert(policy, Arc::downgrade(&config));
        Ok(config)
    }
}

fn server_config(policy: TlsPolicy, resolver: Arc<Resolver>) -> Result<ServerConfig, TlsError> {
    let versions = match policy.min_version {
        TlsVersion::V1_2 => &[&TLS13, &TLS12][..],
        TlsVersion::V1_3 => &[&TLS13],
    };
    let mut server = ServerConfig::builder_with_provider(Arc::new(suites(policy)))
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.ticketer = Ticketer::new()?;
    // Browsers use one; each more is bytes and a sealing in every full handshake.
    server.send_tls13_tickets = 1;
    server.max_early_data_size = 0;
    // The kernel takes the keys over (`tls::ktls`).
    server.enable_secret_extraction = true;
    Ok(server)
}

/// The cryptography with the suites that a policy allows.
fn suites(policy: TlsPolicy) -> CryptoProvider {
    let mut provider = (*provider()).clone();
    let allowed = |name: &str| policy.cipher_suites.iter().any(|suite| suite.as_str() == name);
    provider.cipher_suites.retain(|suite| allowed(registered_name(suite.suite())));
    provider
}

/// The policy that a handshake with this server name has to fulfil.
pub fn policy(table: &RoutingTable, server_name: Option<&str>) -> TlsPolicy {
    let name = server_name.map(canonical);
    table.settings(table.tls_class(name.as_deref())).tls.policy()
}

/// Chooses the certificate by the name that the client asks for (SNI, RFC 6066 section 3).
struct Resolver {
    published: Arc<Published>,
    fallback: Arc<Identity>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = client_hello.server_name().map(canonical);
        let table = self.published.table();
        let identity = table.identity(name.as_deref()).unwrap_or(&self.fallback);
        Some(Arc::clone(&identity.key))
    }
}

/// A name in the form of the table: lower case, no trailing dot.
fn canonical(name: &str) -> Cow<'_, str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests {
    use ingress_core::settings::{CipherSuite, Settings};

    use super::*;

    #[test]
    fn names_are_brought_to_the_form_of_the_table() {
        assert_eq!(canonical("Shop.Example."), "shop.example");
        assert!(matches!(canonical("shop.example"), Cow::Borrowed("shop.example")));
    }

    #[test]
    fn every_suite_that_can_be_named_exists_and_no_other() {
        let mut policy = Settings::default().tls.policy();
        assert_eq!(suites(policy).cipher_suites.len(), provider().cipher_suites.len());
        for suite in CipherSuite::ALL {
            policy.cipher_suites = [*suite].into_iter().collect();
            assert_eq!(suites(policy).cipher_suites.len(), 1, "{}", suite.as_str());
        }
    }
}
