//! Single sign-on: the I/O around what `ingress_core::auth` decides.

pub mod client;
pub mod keys;
pub mod provider;
pub mod revocations;
pub mod runtime;
pub mod seal;
pub mod state;

pub use state::SessionState;
