//! The control plane: where objects come from, and how a new table reaches the workers.
//!
//! ```text
//! ObjectSource ──Batch──► Translator ──► Published ──► workers, TLS resolver, admin
//!  (manifests)             (pure)          (ArcSwap)
//! ```

pub mod manifests;
pub mod source;

pub use source::{Batch, ObjectSource, SourceProblem};
