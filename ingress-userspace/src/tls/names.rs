//! What a handshake agreed on, in the words that logs and metrics use.

use rustls::{ProtocolVersion, ServerConnection};

/// The version, as OpenSSL and most logs write it; `-` before the handshake.
pub fn tls_version_name(connection: &ServerConnection) -> &'static str {
    match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        _ => "-",
    }
}

/// The cipher suite; `-` before the handshake.
pub fn suite_name(connection: &ServerConnection) -> &'static str {
    connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("-")
}
