//! Why there is no connection to a backend.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ingress_core::upstream::balance::Unavailable;

/// Why there is no connection to a backend.
#[derive(Debug, thiserror::Error)]
pub enum AcquireError {
    /// The backend has no endpoint.
    #[error("the backend has no ready endpoint")]
    NoEndpoints,
    /// Each endpoint has as many requests in flight as `upstream.requestsPerEndpoint` allows.
    #[error("every endpoint has as many requests in flight as upstream.requestsPerEndpoint allows")]
    AllBusy,
    /// Each endpoint failed several times and rests.
    #[error("every endpoint failed repeatedly and is ejected for now (upstream.outlierFailures)")]
    AllEjected,
    /// Nobody listens there.
    #[error("{endpoint} refused the connection: is the pod listening on this port?")]
    ConnectRefused {
        /// The endpoint.
        endpoint: SocketAddr,
    },
    /// No answer in time.
    #[error("{endpoint} did not accept the connection within {limit:?} (timeouts.connect)")]
    ConnectTimeout {
        /// The endpoint.
        endpoint: SocketAddr,
        /// The bound.
        limit: Duration,
    },
    /// Any other failure.
    #[error("cannot connect to {endpoint}: {source}")]
    ConnectFailed {
        /// The endpoint.
        endpoint: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

impl AcquireError {
    /// The status that the client gets (RFC 9110 section 15.6).
    pub fn status(&self) -> u16 {
        match self {
            Self::NoEndpoints | Self::AllBusy | Self::AllEjected => 503,
            Self::ConnectRefused { .. } | Self::ConnectFailed { .. } => 502,
            Self::ConnectTimeout { .. } => 504,
        }
    }

    /// The class that logs and metrics use.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoEndpoints => "no-endpoints",
            Self::AllBusy => "endpoints-busy",
            Self::AllEjected => "endpoints-ejected",
            Self::ConnectRefused { .. } => "connect-refused",
            Self::ConnectTimeout { .. } => "connect-timeout",
            Self::ConnectFailed { .. } => "connect-failed",
        }
    }

    /// The endpoint that was tried; then no byte of the request was sent, and another may be.
    pub fn endpoint(&self) -> Option<SocketAddr> {
        match self {
            Self::NoEndpoints | Self::AllBusy | Self::AllEjected => None,
            Self::ConnectRefused { endpoint }
            | Self::ConnectTimeout { endpoint, .. }
            | Self::ConnectFailed { endpoint, .. } => Some(*endpoint),
        }
    }

    pub(super) fn from_connect(endpoint: SocketAddr, limit: Duration, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::ConnectionRefused => Self::ConnectRefused { endpoint },
            io::ErrorKind::TimedOut => Self::ConnectTimeout { endpoint, limit },
            _ => Self::ConnectFailed { endpoint, source },
        }
    }

    /// Whether the endpoint or the way to it is at fault. Running out of descriptors, ports or memory is our own
    /// failure: it must not eject every endpoint.
    pub(super) fn blames_endpoint(&self) -> bool {
        match self {
            Self::NoEndpoints | Self::AllBusy | Self::AllEjected => false,
            Self::ConnectRefused { .. } | Self::ConnectTimeout { .. } => true,
            Self::ConnectFailed { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
            ),
        }
    }
}

impl From<Unavailable> for AcquireError {
    fn from(reason: Unavailable) -> Self {
        match reason {
            Unavailable::Empty => Self::NoEndpoints,
            Unavailable::Busy => Self::AllBusy,
            Unavailable::Ejected => Self::AllEjected,
        }
    }
}
