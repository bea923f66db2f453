//! TLS towards clients.

use std::time::Duration;

use super::reference::{Maybe, SecretReference};
use super::section::section;
use super::units::{Count, DAY, Span};
use super::words::{Words, words};

words! {
    /// A TLS protocol version.
    TlsVersion {
        /// RFC 5246
        V1_2 = "1.2",
        /// RFC 8446
        V1_3 = "1.3",
    }
}

words! {
    /// A cipher suite, by its name in the IANA registry of TLS cipher suites.
    CipherSuite {
        /// TLS 1.3
        Tls13Aes256GcmSha384 = "TLS_AES_256_GCM_SHA384",
        /// TLS 1.3
        Tls13Aes128GcmSha256 = "TLS_AES_128_GCM_SHA256",
        /// TLS 1.3
        Tls13Chacha20Poly1305Sha256 = "TLS_CHACHA20_POLY1305_SHA256",
        /// TLS 1.2
        EcdheEcdsaAes256GcmSha384 = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        /// TLS 1.2
        EcdheEcdsaAes128GcmSha256 = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        /// TLS 1.2
        EcdheEcdsaChacha20Poly1305Sha256 = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        /// TLS 1.2
        EcdheRsaAes256GcmSha384 = "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        /// TLS 1.2
        EcdheRsaAes128GcmSha256 = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        /// TLS 1.2
        EcdheRsaChacha20Poly1305Sha256 = "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    }
}

impl CipherSuite {
    /// The version of TLS that it belongs to: each belongs to one.
    pub fn version(self) -> TlsVersion {
        match self {
            Self::Tls13Aes256GcmSha384 | Self::Tls13Aes128GcmSha256 | Self::Tls13Chacha20Poly1305Sha256 => {
                TlsVersion::V1_3
            }
            _ => TlsVersion::V1_2,
        }
    }
}

words! {
    /// A curve of the key in a certificate.
    Curve {
        /// NIST P-256 (secp256r1)
        P256 = "P-256",
        /// NIST P-384 (secp384r1)
        P384 = "P-384",
        /// NIST P-521 (secp521r1)
        P521 = "P-521",
        /// RFC 8410
        Ed25519 = "Ed25519",
    }
}

section! {
    /// TLS towards clients.
    Tls by TlsSpec {
        /// The lowest version of TLS that a client may use: 1.2 (RFC 5246) or 1.3 (RFC 8446). Older versions are never
        /// served (RFC 8996).
        min_version: TlsVersion = TlsVersion::V1_2,
        /// The cipher suites that may be used, by their IANA names. Suites without authenticated encryption or forward
        /// secrecy do not exist here (RFC 9325 section 4.2). What is left must have a suite for every version that
        /// minVersion asks for.
        cipher_suites: Words<CipherSuite> = Words::all(),
        /// How strong the key in a certificate has to be. A Secret whose key is weaker is refused, and the routes of its
        /// hosts are answered 503.
        keys: KeysSpec = Keys::default(),
        /// HTTP Strict Transport Security on responses over TLS of hosts in spec.tls (RFC 6797); it replaces the
        /// backend's.
        hsts: HstsSpec = Hsts::default(),
        /// The Secret of type kubernetes.io/tls for hosts whose Ingress names none. Without it, a self-signed
        /// certificate is served, which no client trusts. If it is named and cannot be used, the routes of these hosts
        /// are answered 503.
        default_certificate: Maybe<SecretReference> = None,
    }
}

section! {
    /// How strong the key in a certificate has to be (NIST SP 800-57 part 1, tables 2 and 4).
    Keys by KeysSpec {
        /// The shortest RSA modulus in bits. 2048 has 112 bits of strength, 3072 has 128.
        min_rsa_bits: Count<u16, 2048, 8192> = 2048,
        /// The curves of ECDSA and EdDSA keys that are allowed (RFC 8422 section 5.1.1, RFC 8410).
        curves: Words<Curve> = Words::all(),
    }
}

section! {
    /// HTTP Strict Transport Security (RFC 6797).
    Hsts by HstsSpec {
        /// Whether the response field Strict-Transport-Security is set.
        enabled: bool = true,
        /// How long a browser uses HTTPS only: max-age, RFC 6797 section 6.1.1. 0s makes browsers forget the host.
        max_age: Span<0, { 3650 * DAY }> = Duration::from_hours(365 * 24),
        /// Whether it covers all subdomains, which may belong to other namespaces: includeSubDomains, RFC 6797 section
        /// 6.1.2.
        include_subdomains: bool = false,
        /// Asks browsers to build the host into their lists, which is hard to undo. It needs includeSubdomains, and the
        /// lists a maxAge of at least 365d.
        preload: bool = false,
    }
}

/// What a handshake has to fulfil. Hosts with equal policies can share connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TlsPolicy {
    /// The lowest version.
    pub min_version: TlsVersion,
    /// The suites that may be used.
    pub cipher_suites: Words<CipherSuite>,
    /// The shortest RSA key of a certificate.
    pub min_rsa_bits: u16,
    /// The curves of other keys.
    pub curves: Words<Curve>,
}

impl Tls {
    /// What a handshake has to fulfil.
    pub fn policy(&self) -> TlsPolicy {
        TlsPolicy {
            min_version: self.min_version,
            cipher_suites: self.cipher_suites,
            min_rsa_bits: self.keys.min_rsa_bits,
            curves: self.keys.curves,
        }
    }

    /// Whether a suite is left for the versions that may be used.
    pub(super) fn has_suites(&self) -> bool {
        self.cipher_suites.iter().any(|suite| suite.version() >= self.min_version)
    }
}

/// The kind and strength of a key in a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyStrength {
    /// RSA with so many bits.
    Rsa(usize),
    /// ECDSA or EdDSA on this curve.
    Curve(Curve),
}

impl TlsPolicy {
    /// Whether a certificate with such a key may be served.
    pub fn admits(&self, key: KeyStrength) -> bool {
        match key {
            KeyStrength::Rsa(bits) => bits >= usize::from(self.min_rsa_bits),
            KeyStrength::Curve(curve) => self.curves.contains(curve),
        }
    }
}

impl Hsts {
    /// The value of Strict-Transport-Security (RFC 6797 section 6.1), if it is set.
    pub fn field_value(&self) -> Option<String> {
        let subdomains = if self.include_subdomains { "; includeSubDomains" } else { "" };
        let preload = if self.preload { "; preload" } else { "" };
        self.enabled.then(|| format!("max-age={}{subdomains}{preload}", self.max_age.as_secs()))
    }
}
