//! Which cipher suites the running kernel can take over.

use std::sync::OnceLock;

use ktls::CryptoInfo;
use rustls::{CipherSuite, ConnectionTrafficSecrets, SupportedCipherSuite};

use super::control::Version;
use crate::sys::ktls::Keys;

/// What the probe has found to work on this kernel.
static FOUND: OnceLock<Found> = OnceLock::new();

/// A cipher of the record layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cipher {
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
}

impl Cipher {
    pub(super) fn of(suite: SupportedCipherSuite) -> Option<Self> {
        Some(match suite.suite() {
            CipherSuite::TLS13_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => Self::Aes128Gcm,
            CipherSuite::TLS13_AES_256_GCM_SHA384
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => Self::Aes256Gcm,
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => Self::ChaCha20Poly1305,
            _ => return None,
        })
    }
}

/// What works here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) suites: Vec<(Version, Cipher)>,
    /// What stays with rustls, and why.
    pub(super) missing: Vec<((Version, Cipher), String)>,
    /// Whether keys of an open connection can be replaced (Linux 6.14, commit 47069594e67e).
    pub(super) rekey: bool,
}

/// What a probe has found, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What the kernel takes over.
    pub suites: Vec<String>,
    /// What stays with rustls, and why.
    pub missing: Vec<(String, String)>,
    /// Whether keys of an open connection can be replaced.
    pub rekey: bool,
}

/// What was found, if a probe came through.
pub fn report() -> Option<Report> {
    FOUND.get().map(|found| Report {
        suites: found.suites.iter().map(|suite| name(*suite)).collect(),
        missing: found.missing.iter().map(|(suite, why)| (name(*suite), why.clone())).collect(),
        rekey: found.rekey,
    })
}

fn name((version, cipher): (Version, Cipher)) -> String {
    let version = match version {
        Version::V1_2 => "TLS 1.2",
        Version::V1_3 => "TLS 1.3",
    };
    let cipher = match cipher {
        Cipher::Aes128Gcm => "AES-128-GCM",
        Cipher::Aes256Gcm => "AES-256-GCM",
        Cipher::ChaCha20Poly1305 => "ChaCha20-Poly1305",
    };
    format!("{version} {cipher}")
}

/// Keeps what was found. The first finding counts: a kernel does not change while it runs.
pub(super) fn remember(found: Found) {
    let _ = FOUND.set(found);
}

/// Whether the kernel can take over connections with this suite.
pub(super) fn supported(suite: SupportedCipherSuite) -> bool {
    let Some(cipher) = Cipher::of(suite) else { return false };
    FOUND.get().is_some_and(|found| found.suites.contains(&(version(suite), cipher)))
}

/// Whether the kernel can replace keys.
pub(super) fn can_rekey() -> bool {
    FOUND.get().is_some_and(|found| found.rekey)
}

pub(super) fn version(suite: SupportedCipherSuite) -> Version {
    match suite {
        SupportedCipherSuite::Tls12(_) => Version::V1_2,
        SupportedCipherSuite::Tls13(_) => Version::V1_3,
    }
}

/// How many records may be made with one key.
pub(super) fn confidentiality_limit(suite: SupportedCipherSuite) -> u64 {
    match suite {
        SupportedCipherSuite::Tls12(suite) => suite.common.confidentiality_limit,
        SupportedCipherSuite::Tls13(suite) => suite.common.confidentiality_limit,
    }
}

/// The secrets of one direction in the kernel's form, with the sequence number of the next record.
pub(super) fn keys(suite: SupportedCipherSuite, secrets: (u64, ConnectionTrafficSecrets)) -> Option<Keys> {
    CryptoInfo::from_rustls(suite, secrets).ok().map(Keys::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::provider;

    #[test]
    fn every_suite_that_is_offered_has_a_cipher() {
        for suite in &provider().cipher_suites {
            assert!(Cipher::of(*suite).is_some(), "{:?}", suite.suite());
        }
    }

    #[test]
    fn limits_are_those_of_the_ciphers() {
        for suite in &provider().cipher_suites {
            let limit = confidentiality_limit(*suite);
            match Cipher::of(*suite) {
                Some(Cipher::ChaCha20Poly1305) => assert_eq!(limit, u64::MAX),
                _ => assert_eq!(limit, 1 << 24),
            }
        }
    }
}
