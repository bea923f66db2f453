//! Penstock's I/O shell around `ingress-core`.

pub mod config;
mod config_units;
pub mod sys;
pub mod upstream;

pub use config_units::{ByteSize, Cidr};
