//! The pure core of Penstock: no I/O, no clock, no randomness of its own, and the dependency list enforces it.
//!
//! ```text
//! objects ──► translate ──► table ──► (one lookup per request)
//!                 └──► report ──► Events, status, exit codes
//! settings, proxy_class: what an operator can set
//! http: head, framing, normalise, forwarded        tls: ClientHello        upstream: balance, outlier, retry
//! ```

pub mod access_policy;
pub mod auth;
pub mod custom;
pub mod http;
pub mod identity_provider;
pub mod names;
pub mod objects;
pub mod proxy_class;
pub mod proxy_protocol;
pub mod report;
pub mod settings;
pub mod table;
pub mod tls;
pub mod translate;
pub mod trim;
pub mod upstream;
