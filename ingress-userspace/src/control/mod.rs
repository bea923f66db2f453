<<<<<<< HEAD
//! temp
use std::sync::Arc;
use arc_swap::ArcSwap;
use ingress_core::table::RoutingTable;
/// t
pub struct Published { /// t
 pub table: ArcSwap<RoutingTable> }
impl Published { 
/// t
pub fn table(&self) -> arc_swap::Guard<Arc<RoutingTable>> { self.table.load() } }
=======
//! The control plane: where objects come from, and how a new table reaches the workers.
//!
//! ```text
//! ObjectSource ──Batch──► Translator ──► Published ──► workers, TLS resolver, admin
//!  (manifests)             (pure)          (ArcSwap)
//! ```

pub mod manifests;
pub mod source;

pub use source::{Batch, ObjectSource, SourceProblem};
>>>>>>> control
