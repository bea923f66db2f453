//! Penstock's I/O shell around `ingress-core`.

pub mod admin;
pub mod config;
mod config_units;
pub mod control;
pub mod http;
pub mod sys;
pub mod telemetry;

pub use config_units::{ByteSize, Cidr};
