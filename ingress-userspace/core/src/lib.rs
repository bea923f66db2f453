//! The pure core of Penstock: no I/O, no clock, no randomness of its own, and the dependency list enforces it.
//!
//! ```text
//! objects ──► translate ──► table ──► (one lookup per request)
//!                 └──► report ──► Events, status, exit codes
//! http: head, framing, normalise, forwarded        upstream: balance, outlier, retry
//! ```

pub mod http;
pub mod objects;
pub mod report;
pub mod table;
pub mod translate;
pub mod trim;
pub mod upstream;
