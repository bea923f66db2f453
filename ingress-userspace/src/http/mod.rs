//! HTTP towards clients.

pub mod problem;
