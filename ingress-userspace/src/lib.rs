//! Penstock's I/O shell around `ingress-core`.

pub mod bpf;
pub mod config;
mod config_units;
pub mod sys;

pub use config_units::{ByteSize, Cidr};
