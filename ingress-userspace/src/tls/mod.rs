//! TLS towards clients, by rustls with aws-lc-rs.

mod acceptor;
mod identities;
mod names;
mod provider;

pub use acceptor::server_config;
pub use identities::DefaultIdentity;
pub use names::{suite_name, tls_version_name};
pub use provider::{key_provider, provider};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No self-signed certificate.
    #[error("cannot make a self-signed certificate: {0}")]
    SelfSigned(#[from] rcgen::Error),
    /// The self-signed certificate is not accepted as a Secret would be.
    #[error("the self-signed certificate cannot be used: {0}")]
    SelfSignedRefused(String),
    /// rustls refuses.
    #[error("cannot set up TLS: {0}")]
    Rustls(#[from] rustls::Error),
}
