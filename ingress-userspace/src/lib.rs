//! Penstock's I/O shell around `ingress-core`.

pub mod admin;
pub mod app;
pub mod auth;
pub mod bpf;
pub mod cli;
pub mod cli_writeback;
pub mod commands;
pub mod config;
pub mod control;
pub mod http;
mod inspect;
pub mod kernel;
pub mod listener;
pub mod relay;
mod serve;
pub mod sys;
pub mod telemetry;
mod text;
pub mod tls;
pub mod upstream;
pub mod worker;
