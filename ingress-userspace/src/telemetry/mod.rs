//! Seeing what Penstock does: the program log, the access log, metrics and request ids.
//!
//! ```text
//! worker ─ finish_request(record) ─┬─► WorkerMetrics: its own atomics ◄── summed by a scrape of /metrics
//!                                  └─► event "penstock::access" ─► per-thread buffer ─► writer thread ─► stdout
//! anyone ─ tracing events ────────────► filter PENSTOCK_LOG ─────► one line each ─────► writer thread ─► stderr
//! ```
//!
//! The access log goes to stdout and the program log to stderr, so that a container runtime or a shell can tell them
//! apart: the first is data, the second is about the program.

pub mod access_log;
mod address;
mod handshake;
mod init;
pub(crate) mod json;
mod line_sink;
pub mod metrics;
mod record;
pub mod request_id;
#[cfg(test)]
mod testing;

pub use init::{InitError, LogFormat, Options, Telemetry, init};
pub use line_sink::LineSink;
pub use metrics::{Metrics, WorkerMetrics};
pub use record::RequestRecord;
pub use request_id::{RequestId, RequestIds};
