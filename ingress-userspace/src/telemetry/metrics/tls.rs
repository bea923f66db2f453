//! Why TLS handshakes fail, as a bounded set.

use std::io;

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
    /// There is no certificate for the name that was asked for.
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

    /// The reason in an error of tokio-rustls, which wraps that of rustls.
    pub fn from_io(error: &io::Error) -> Self {
        if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
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

    fn from_rustls(error: &rustls::Error) -> Self {
        use rustls::Error;
        match error {
            Error::AlertReceived(_) => Self::Alert,
            Error::PeerIncompatible(_) => Self::Incompatible,
            Error::NoCertificatesPresented | Error::General(_) => Self::NoCertificate,
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
