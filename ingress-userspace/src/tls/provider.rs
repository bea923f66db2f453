//! The cryptography, passed explicitly wherever it is needed, so that no other crate's choice of a process default matters.

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, KeyProvider, aws_lc_rs};

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// aws-lc-rs with rustls' choice of suites: AEAD with forward secrecy only, post-quantum key exchange first.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

/// Reads private keys.
pub fn key_provider() -> &'static dyn KeyProvider {
    PROVIDER.key_provider
}
