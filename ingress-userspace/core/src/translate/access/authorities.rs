//! Authorities that an object trusts instead of the public ones.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// Whether there are certificates, and nothing that is broken. The error says what is wrong; nothing of the value is repeated.
pub(super) fn check(pem: &[u8]) -> Result<(), &'static str> {
    let mut certificates = CertificateDer::pem_slice_iter(pem).peekable();
    let good = certificates.peek().is_some() && certificates.all(|certificate| certificate.is_ok());
    if good { Ok(()) } else { Err("the Secret's value holds no certificates in PEM form") }
}
