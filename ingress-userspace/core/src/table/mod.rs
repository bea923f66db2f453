//! The routing table: immutable and numbered. One request sees exactly one table from head to end.
//!
//! ```text
//! RoutingTable
//!  ├─ hosts: exact name | *.suffix (one label) | any ──► Arc<HostRules>
//!  │                                                      ├─ exact paths, prefix paths ──► Arc<Rule>
//!  │                                                      └─ default (per-Ingress defaultBackend)
//!  ├─ backends: BackendId ──► Arc<Backend> ──► endpoints       (an EndpointSlice change replaces one slot)
//!  └─ identities: host ──► Arc<Identity>                       (certificate chain and signing key)
//! ```

use std::net::SocketAddr;
use std::sync::Arc;

use crate::objects::NamespacedName;

/// Index of a backend in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId(pub u32);

/// How a rule's path is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathType {
    /// Equal, to the byte.
    Exact,
    /// Element by element, split at `/`.
    Prefix,
}

/// Why a route that exists is not served (law 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Denied {
    /// The Secret that the host's TLS needs is missing or refused.
    TlsSecret,
    /// The backend's Service or port does not exist or is not allowed.
    Backend,
}

/// One path of one rule of one Ingress.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// The Ingress that it comes from.
    pub ingress: NamespacedName,
    /// The host as written, `*.suffix` for a wildcard, empty for any.
    pub host: Arc<str>,
    /// The path as matched (normalised; `/` for a default backend).
    pub path: Arc<str>,
    /// How it is compared.
    pub path_type: PathType,
    /// `namespace/name/path`: what logs call the rule.
    pub label: Arc<str>,
    /// Where requests go.
    pub backend: BackendId,
    /// `Some` if every request of the rule is answered 503.
    pub denied: Option<Denied>,
    /// Whether the rule's host is covered by `spec.tls` of the rule's Ingress: then plain HTTP is redirected.
    pub tls: bool,
    /// Whether it is served in plaintext ahead of the redirect (ACME HTTP-01 solver).
    pub acme_http01: bool,
}

/// One Service port with its endpoints.
#[derive(Debug, PartialEq, Eq)]
pub struct Backend {
    /// The Service.
    pub service: NamespacedName,
    /// `namespace/service:port`: what logs and metrics call the backend.
    pub label: Arc<str>,
    /// Where requests may go now.
    pub endpoints: Arc<[Endpoint]>,
}

/// One address of a backend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Address and port of the pod.
    pub address: SocketAddr,
}
