//! Single sign-on: the I/O around what `ingress_core::auth` decides.
//!
//! ```text
//! request ─► authenticator ─┬─► backend, with identity fields      keys, revocations ◄─ other replicas
//!            │ local: opened │
//!            │ sessions      ├─► refusal: page, problem, gRPC status
//!            ▼               └─► wait for provider or external service
//! endpoints: sign-in ─► provider ─► callback ─► session (a sealed cookie)
//! ```

pub(crate) mod authenticator;
pub(crate) mod bearer;
pub mod client;
pub(crate) mod counters;
pub mod endpoints;
pub(crate) mod external;
mod external_clients;
pub mod keys;
pub(crate) mod local;
mod logout_tokens;
mod pages;
pub mod provider;
mod recent;
pub(crate) mod refusal;
pub(crate) mod reply;
pub mod revocations;
pub mod runtime;
pub mod seal;
mod sessions;
pub mod shared;
pub mod state;

pub use shared::Auth;
pub use state::SessionState;
