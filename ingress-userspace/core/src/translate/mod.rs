//! From Kubernetes objects to the routing table.
//!
//! ```text
//! Ingress ──read──► Draft ─┬─ rules by host ──settle_host──► HostRules ─┐
//! IngressClass ──select──┤ ├─ spec.tls ──────settle_tls────► TlsHosts ──┼──► RoutingTable
//! ProxyClass ──overlay──►┴ traits                                        │
//!              └─────────── settings ─────────────────────► class slots ─┤
//! Secret ──load──────────────────────────────────────────► identities ───┤
//! AccessPolicy, IdentityProvider, Secret ──build─────────► accesses ─────┤
//! Service, EndpointSlice ──resolve──► slots ────────────────────────────┘
//! ```
//!
//! Each arrow is a pure function of its inputs, and each result is kept with what it was made from, so that a change
//! repeats only the arrows it touches: an EndpointSlice one slot, a ProxyClass one slot, an AccessPolicy one slot, a Secret the hosts that it serves, an
//! Ingress its hosts.

mod absorb;
mod access;
mod backend;
mod bindings;
mod chain;
mod class;
mod class_table;
mod class_updates;
mod conflict;
mod demand;
mod expiry;
mod held;
mod identity;
mod index;
mod ingress;
pub(crate) mod marks;
mod names;
mod options;
mod passthrough;
mod path;
mod proxy_class;
pub mod reason;
mod reports;
mod secrets;
mod single;
mod slots;
mod tls;
mod translator;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub use demand::SecretDemand;
pub use expiry::expiry_warning;
pub use options::{CONTROLLER_NAME, TranslateOptions};
pub use single::read_identity;
pub use translator::Translator;

/// `creationTimestamp` in Unix seconds. An object without one was never seen by an API server, and counts as the youngest.
fn created(meta: &ObjectMeta) -> i64 {
    meta.creation_timestamp.as_ref().map_or(i64::MAX, |time| time.0.as_second())
}
