//! Why TLS handshakes fail, as a bounded set of words.

use std::io;

use rustls::Error;

/// Why a TLS handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeError {
    /// The client closed or reset the connection.
    Closed,
    /// It took too long.
    Timeout,
    /// What the client sent is no TLS, or violates the protocol.
    Protocol,
    /// No version, suite or group in common.
    Incompatible,
    /// The client refused our certificate or reported another fault by an alert.
    Alert,
    /// There is no certificate that fits the name and the algorithms that the client asked for.
    NoCertificate,
    /// Anything else.
    Other,
}

impl HandshakeError {
    /// Labels of all but `other`, which every list of words has.
    pub(super) const LABELS: &'static [&'static str] =
        &["closed", "timeout", "protocol", "incompatible", "alert", "no-certificate"];

    /// The label of a metric, and a word for logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::Incompatible => "incompatible",
            Self::Alert => "alert",
            Self::NoCertificate => "no-certificate",
            Self::Other => "other",
        }
    }

    /// The reason in an error of the handshake, which wraps those of rustls.
    pub fn from_io(error: &io::Error) -> Self {
        if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
            return Self::from_rustls(tls);
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Self::Closed,
            io::ErrorKind::TimedOut => Self::Timeout,
            _ => Self::Other,
        }
    }

    fn from_rustls(error: &Error) -> Self {
        match error {
            Error::AlertReceived(_) => Self::Alert,
            Error::PeerIncompatible(_) => Self::Incompatible,
            // rustls has no error of its own for a resolver that returns nothing.
            Error::General(reason) if reason == "no server certificate chain resolved" => Self::NoCertificate,
            Error::InvalidMessage(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerMisbehaved(_)
            | Error::DecryptError
            | Error::PeerSentOversizedRecord => Self::Protocol,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::crypto::aws_lc_rs;
    use rustls::server::{ClientHello, ResolvesServerCert};
    use rustls::sign::CertifiedKey;
    use rustls::{ServerConfig, ServerConnection};

    use super::*;

    #[derive(Debug)]
    struct NoCertificate;

    impl ResolvesServerCert for NoCertificate {
        fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            None
        }
    }

    /// What a server says of these bytes.
    fn server_error(input: &[u8]) -> HandshakeError {
        let config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(NoCertificate));
        let mut server = ServerConnection::new(Arc::new(config)).unwrap();
        server.read_tls(&mut &*input).unwrap();
        HandshakeError::from_io(&io::Error::new(
            io::ErrorKind::InvalidData,
            server.process_new_packets().unwrap_err(),
        ))
    }

    fn client_hello() -> Vec<u8> {
        let config = rustls::ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let name = "shop.example".try_into().unwrap();
        let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        hello
    }

    #[test]
    fn real_failures_have_reasons() {
        assert_eq!(server_error(b"GET / HTTP/1.1\r\n\r\n"), HandshakeError::Protocol);
        assert_eq!(server_error(&client_hello()), HandshakeError::NoCertificate);
        // A fatal alert: unknown_ca.
        assert_eq!(server_error(&[21, 3, 3, 0, 2, 2, 48]), HandshakeError::Alert);
        let closed = io::Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(HandshakeError::from_io(&closed), HandshakeError::Closed);
    }
}
