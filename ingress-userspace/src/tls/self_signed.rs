//! The certificate for names of which nobody has a better one.

use std::sync::Arc;

use ingress_core::objects::NamespacedName;
use ingress_core::table::Identity;
use ingress_core::translate::read_identity;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use rcgen::{CertificateParams, DnType, KeyPair};

use super::{TlsError, key_provider};
use crate::sys::clock::Clock;

/// The name in the certificate; `.invalid` is nobody's (RFC 6761 section 6.4).
const NAME: &str = "penstock.invalid";

/// Makes a certificate that is good for nothing but the handshake. It comes from no Secret: its names are empty.
pub fn self_signed(clock: &dyn Clock) -> Result<Arc<Identity>, TlsError> {
    let seconds = i64::try_from(clock.since_epoch().as_secs()).unwrap_or(i64::MAX);
    let now = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    let year = i32::from(now.to_zoned(jiff::tz::TimeZone::UTC).year());
    let mut params = CertificateParams::new(vec![NAME.to_owned()])?;
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
        .map(Arc::new)
        .map_err(|finding| TlsError::SelfSignedRefused(finding.message))
}
