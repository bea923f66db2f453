//! Translation as its users see it: manifests in, table and reports out.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod certificates;
mod demand;
mod golden;
mod guards;
mod identities;
mod lookup;
mod manifests;
mod properties;
mod universe;
