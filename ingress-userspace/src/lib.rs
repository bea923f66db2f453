//! Penstock's I/O shell around `ingress-core`.

pub mod cli;
pub mod config;
mod config_units;
pub mod relay;
pub mod sys;
pub mod upstream;

pub use config_units::{ByteSize, Cidr};
