//! Single sign-on: the I/O around what `ingress_core::auth` decides.

pub mod keys;
pub mod revocations;
pub mod seal;
