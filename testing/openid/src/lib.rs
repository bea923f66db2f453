//! A real OpenID provider on this machine: npm's certified `oidc-provider`, over TLS on loopback, which its user can command.
//!
//! ```text
//! npm ci (once, by the lock file) ─► a directory in the cache ─► node server.js ─┬► https://localhost:PORT  the issuer
//!                                                                                └► http://127.0.0.1:PORT   commands
//! ```
//!
//! What can be commanded is listed in `provider/server.js`. The process ends with the program that started it, even if that
//! is killed.

mod error;
mod install;
mod provider;

pub use error::{Error, Result};
pub use provider::Provider;
