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
