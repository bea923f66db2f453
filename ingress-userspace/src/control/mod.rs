//! The control plane: where objects come from, and how a new table reaches the workers.
//!
//! ```text
//! ObjectSource ──Batch──► Translator ──► Published ──► workers, TLS resolver, admin
//!  (api, manifests)  ▲     (pure)          (ArcSwap)   └──► writeback (status, Events), by one replica
//!                    └─demand─┘ which Secrets are needed
//! ```

pub mod api;
mod findings;
mod hold;
mod maker;
pub mod manifests;
pub mod once;
pub mod publish;
pub mod session_state;
pub mod source;
pub mod writeback;

pub(crate) use maker::unix;
pub use publish::{Published, run};
pub use source::{Batch, ObjectSource, SourceProblem};
