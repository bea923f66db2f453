//! The certificate for clients that name no host of ours.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use ingress_core::objects::NamespacedName;
use ingress_core::settings::Tls;
use ingress_core::table::Identity;
use ingress_core::translate::read_identity;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use rcgen::{CertificateParams, DnType, KeyPair};

use super::{TlsError, key_provider};
use crate::sys::clock::Clock;

/// The name in a self-signed certificate; `.invalid` is nobody's (RFC 6761 section 6.4).
const SELF_SIGNED_NAME: &str = "penstock.invalid";

/// The default certificate: what `tls.defaultCertificate` names, and a self-signed one until that can be used.
pub struct DefaultIdentity {
    configured: Option<NamespacedName>,
    served: ArcSwap<Identity>,
}

impl DefaultIdentity {
    /// Starts with a self-signed certificate, and says so in the log.
    pub fn new(config: &Tls, clock: &dyn Clock) -> Result<Self, TlsError> {
        let configured = config.default_certificate.clone();
        let identity = self_signed(clock)?;
        let fingerprint = &identity.fingerprint;
        if let Some(secret) = &configured {
            tracing::info!(%secret, "a self-signed certificate is served until the default certificate is read");
        } else {
            tracing::warn!(
                fingerprint,
                "hosts without a certificate get a self-signed one, which no client trusts; \
                 tls.defaultCertificate names a better one"
            );
        }
        Ok(Self { configured, served: ArcSwap::from_pointee(identity) })
    }

    /// The Secret that the configuration names.
    pub fn configured(&self) -> Option<&NamespacedName> {
        self.configured.as_ref()
    }

    /// What is served now; without a Secret's name, it is self-signed.
    pub fn current(&self) -> Guard<Arc<Identity>> {
        self.served.load()
    }

    /// Whether the certificate is self-signed.
    pub fn is_self_signed(&self) -> bool {
        self.current().secret.name.is_empty()
    }

    /// Serves another certificate from the next handshake on.
    pub fn set(&self, identity: Identity) {
        self.served.store(Arc::new(identity));
    }
}

/// Makes a certificate that is good for nothing but the handshake.
fn self_signed(clock: &dyn Clock) -> Result<Identity, TlsError> {
    let seconds = i64::try_from(clock.since_epoch().as_secs()).unwrap_or(i64::MAX);
    let now = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    let year = i32::from(now.to_zoned(jiff::tz::TimeZone::UTC).year());
    let mut params = CertificateParams::new(vec![SELF_SIGNED_NAME.to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, "Penstock self-signed certificate");
    // Whole years, so that a clock that is a little off does not matter.
    params.not_before = rcgen::date_time_ymd(year - 1, 1, 1);
    params.not_after = rcgen::date_time_ymd(year + 10, 1, 1);
    let pair = KeyPair::generate()?;
    let certificate = params.self_signed(&pair)?;
    let data = [("tls.crt", certificate.pem()), ("tls.key", pair.serialize_pem())];
    let data = data.into_iter().map(|(name, pem)| (name.to_owned(), ByteString(pem.into_bytes()))).collect();
    let secret =
        Secret { data: Some(data), type_: Some("kubernetes.io/tls".to_owned()), ..Secret::default() };
    read_identity(&NamespacedName::default(), &secret, key_provider(), seconds)
        .map_err(|finding| TlsError::SelfSignedRefused(finding.message))
}
