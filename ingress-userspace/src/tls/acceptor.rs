//! How handshakes are done.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};

use super::{DefaultIdentity, TlsError, provider};
use crate::control::Published;
use ingress_core::settings::{Tls, TlsVersion};

/// The configuration that all workers share. Certificates are looked up at each handshake in the table that is
/// published then, so a changed Secret needs nothing else, and open connections never notice.
///
/// Sessions are resumed by tickets, sealed with keys that live in this process and rotate every six hours; there is no
/// session cache, which workers would have to share. There is no early data: it can be replayed (RFC 8446, section 8).
pub fn server_config(
    config: &Tls,
    published: Arc<Published>,
    default: Arc<DefaultIdentity>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let versions = match config.min_version {
        TlsVersion::V1_2 => &[&TLS13, &TLS12][..],
        TlsVersion::V1_3 => &[&TLS13],
    };
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Resolver { published, default }));
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.ticketer = Ticketer::new()?;
    // Browsers use one; each more is bytes and a sealing in every full handshake.
    server.send_tls13_tickets = 1;
    server.max_early_data_size = 0;
    Ok(Arc::new(server))
}

/// Chooses the certificate by the name that the client asks for (SNI, RFC 6066 section 3).
struct Resolver {
    published: Arc<Published>,
    default: Arc<DefaultIdentity>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl Resolver {
    fn key(&self, server_name: Option<&str>) -> Arc<CertifiedKey> {
        let name = server_name.map(canonical);
        match self.published.table().identity(name.as_deref()) {
            Some(identity) => Arc::clone(&identity.key),
            None => Arc::clone(&self.default.current().key),
        }
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.key(client_hello.server_name()))
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
    use super::*;

    #[test]
    fn names_are_brought_to_the_form_of_the_table() {
        assert_eq!(canonical("Shop.Example."), "shop.example");
        assert!(matches!(canonical("shop.example"), Cow::Borrowed("shop.example")));
    }
}
