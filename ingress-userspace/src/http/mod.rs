//! HTTP towards clients.

pub mod h1;
pub mod problem;
