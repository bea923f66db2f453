//! TLS towards clients, by rustls with aws-lc-rs.

mod accept;
mod handshakes;
pub mod ktls;
mod names;
mod provider;
mod record;
mod self_signed;
mod session;

pub use accept::accept;
pub use handshakes::{Handshakes, policy};
pub use names::{Negotiated, suite_name, tls_version_name};
pub use provider::{key_provider, provider};
pub use self_signed::self_signed;
pub use session::Session;

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
