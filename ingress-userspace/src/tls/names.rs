//! What a handshake agreed on, in the words that logs and metrics use.

use rustls::{CipherSuite, CommonState, ProtocolVersion};

/// What a handshake agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The name that the client asked for (SNI), as it wrote it.
    pub server_name: Option<Box<str>>,
    /// `TLSv1.3`
    pub version: &'static str,
    /// `TLS_AES_128_GCM_SHA256`
    pub suite: &'static str,
}

impl Negotiated {
    pub(super) fn new(connection: &CommonState, server_name: Option<Box<str>>) -> Self {
        Self { server_name, version: tls_version_name(connection), suite: suite_name(connection) }
    }
}

/// The version, as OpenSSL and most logs write it; `-` before the handshake.
pub fn tls_version_name(connection: &CommonState) -> &'static str {
    match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        _ => "-",
    }
}

/// The cipher suite; `-` before the handshake.
pub fn suite_name(connection: &CommonState) -> &'static str {
    connection.negotiated_cipher_suite().map_or("-", |suite| registered_name(suite.suite()))
}

/// The name in IANA's registry of cipher suites, which differs from rustls' own for TLS 1.3.
pub(super) fn registered_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_named_as_registered() {
        for suite in rustls::crypto::aws_lc_rs::default_provider().cipher_suites {
            let name = registered_name(suite.suite());
            assert!(name.starts_with("TLS_"), "{name}");
        }
    }
}
