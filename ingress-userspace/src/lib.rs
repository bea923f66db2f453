//! Penstock's I/O shell around `ingress-core`.

pub mod admin;
pub mod bpf;
pub mod cli;
pub mod config;
mod config_units;
pub mod control;
pub mod http;
pub mod listener;
pub mod relay;
pub mod sys;
pub mod telemetry;
pub mod tls;
pub mod upstream;
pub mod worker;

pub use config_units::{ByteSize, Cidr};
