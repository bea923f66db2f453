//! Penstock's I/O shell around `ingress-core`.

pub mod admin;
pub mod cli;
pub mod config;
mod config_units;
pub mod http;
pub mod relay;
pub mod sys;
pub mod telemetry;
pub mod upstream;

pub use config_units::{ByteSize, Cidr};
