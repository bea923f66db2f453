//! What the integration tests stand on: the built `penstock`, raw backends, raw clients, manifests and certificates.
//!
//! ```text
//! Client (raw TCP or TLS) ──► Penstock (the binary) ──► RawBackend (scripted; records every byte)
//!                                 ▲ Manifests (a directory)      Authority (certificates for both)
//!                                 ▲ or Cluster (a real API server)
//! ```
//!
//! Nothing sleeps: what a test waits for is an event, bounded by [`DEADLINE`]. All traffic is on loopback.

#![expect(dead_code, reason = "each test file uses a part of this")]
#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

pub(crate) mod api;
pub(crate) mod authority;
pub(crate) mod backend;
pub(crate) mod classes;
pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod control_plane;
pub(crate) mod github;
pub(crate) mod load;
pub(crate) mod log;
pub(crate) mod manifests;
pub(crate) mod message;
pub(crate) mod oidc;
pub(crate) mod peer;
pub(crate) mod process;
pub(crate) mod script;
pub(crate) mod scripted_provider;
pub(crate) mod site;
pub(crate) mod sso;
pub(crate) mod stage;
pub(crate) mod tls_server;
pub(crate) mod visitor;

use std::time::Duration;

/// The bound on every wait: far above what a loaded machine needs, so that reaching it is a failure.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
