//! HTTP towards clients.

pub(crate) mod h1;
pub mod problem;
