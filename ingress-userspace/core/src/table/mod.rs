//! The routing table: immutable and numbered. One request sees exactly one table from head to end.
//!
//! ```text
//! RoutingTable
//!  ├─ hosts: exact name | *.suffix (one label) | any | defaults ──► Arc<HostRules>
//!  │                                                      ├─ exact paths, prefix paths ──► Arc<Rule>
//!  │                                                      └─ default (per-Ingress defaultBackend)
//!  ├─ backends: BackendId ──► Arc<Backend> ──► endpoints       (an EndpointSlice change replaces one slot)
//!  ├─ identities: host ──► class, Arc<Identity>                (certificate chain and signing key)
//!  ├─ classes: ClassId ──► Arc<Class> ──► settings             (a ProxyClass change replaces one slot)
//!  └─ access: AccessId ──► Arc<Access> ──► policy, provider    (an AccessPolicy change replaces one slot)
//! ```
//!
//! A request tries the levels of hosts in that order and takes the first rule that matches its path: an Ingress rule
//! matches by host *and* path (Ingress v1 API reference), so a host that has no matching path does not end the search.

mod access;
mod backend;
mod class;
mod diff;
mod dump;
mod explain;
mod external;
mod host;
mod identity;
mod path;
mod precedence;
mod routing;
mod rule;
mod sources;

pub use access::{Access, AccessId, ClientSecret, Pages, Provider};
pub use backend::{Backend, BackendId, Endpoint};
pub use class::{Class, ClassId};
pub use diff::{Names, TableDiff};
pub use explain::{Candidate, Verdict};
pub use external::{External, UrlTemplate};
pub use host::{HostKey, HostRules};
pub use identity::Identity;
pub use path::MAX_ELEMENTS;
pub use precedence::{HostLevel, Rank, RankedRule};
pub use routing::RoutingTable;
pub use rule::{Denied, Passthrough, PathType, Rule};
pub use sources::{SourceRule, SourceRules};

pub(crate) use access::AccessSlots;
pub(crate) use class::ClassSlots;
pub(crate) use host::Hosts;
pub(crate) use identity::{Binding, TlsHosts};
pub(crate) use path::{elements, trim};
