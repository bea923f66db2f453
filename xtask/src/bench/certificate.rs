//! The one certificate that every server presents.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};

use crate::shell::Outcome;

/// The host of every request. It is the one name that resolves everywhere, and wrk sends as SNI what it connects to.
pub(super) const HOST: &str = "localhost";

/// A self-signed ECDSA P-256 certificate and where its forms lie.
pub(super) struct Certificate {
    pub(super) chain_pem: String,
    pub(super) key_pem: String,
    /// PEM, for nginx and for clients to trust.
    pub(super) chain_file: PathBuf,
    /// PEM, for nginx.
    pub(super) key_file: PathBuf,
    /// Certificate and key in one PEM file, for HAProxy.
    pub(super) bundle_file: PathBuf,
}

impl Certificate {
    pub(super) fn create(directory: &Path) -> Outcome<Self> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = CertificateParams::new(vec![HOST.to_owned()])?.self_signed(&key)?;
        let (chain_pem, key_pem) = (certificate.pem(), key.serialize_pem());
        let write = |name: &str, text: &str| -> Outcome<PathBuf> {
            let file = directory.join(name);
            fs::write(&file, text)?;
            Ok(file)
        };
        Ok(Self {
            chain_file: write("certificate.pem", &chain_pem)?,
            key_file: write("key.pem", &key_pem)?,
            bundle_file: write("bundle.pem", &format!("{chain_pem}{key_pem}"))?,
            chain_pem,
            key_pem,
        })
    }
}
