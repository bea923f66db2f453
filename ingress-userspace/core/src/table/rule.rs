//! One path of one rule of one Ingress, as it is served.

use std::sync::Arc;

use super::path;
use super::{AccessId, BackendId, ClassId};
use crate::objects::NamespacedName;

/// How a rule's path is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathType {
    /// Equal, to the byte.
    Exact,
    /// Element by element, split at `/`.
    Prefix,
}

impl PathType {
    /// The type as Kubernetes spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "Exact",
            Self::Prefix => "Prefix",
        }
    }
}

/// Why a route that exists is not served (law 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Denied {
    /// The Secret that the host's TLS needs is missing or refused.
    TlsSecret,
    /// The backend's Service or port does not exist or is not allowed.
    Backend,
    /// The class of the Ingress has parameters that cannot be resolved.
    Class,
    /// The host is served with another TLS policy than the class of the Ingress asks for.
    TlsPolicy,
    /// The Ingress has an access policy, and its connections are passed through: nobody could enforce it.
    Access,
}

impl Denied {
    /// One word for logs and dumps.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TlsSecret => "tls-secret",
            Self::Backend => "backend",
            Self::Class => "class",
            Self::TlsPolicy => "tls-policy",
            Self::Access => "access",
        }
    }
}

/// How connections to a host are passed through to the backend, undecrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passthrough {
    /// Whether the backend is told the client's address by a PROXY protocol header of version 2.
    pub proxy_protocol: bool,
}

/// One path of one rule of one Ingress.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// The Ingress that it comes from; both names are empty for the default backend of the configuration.
    pub ingress: NamespacedName,
    /// The host as written, `*.suffix` for a wildcard, empty for any.
    pub host: Arc<str>,
    /// The path as matched: normalised, without the trailing slash that a prefix ignores; `/` for a default backend.
    pub path: Arc<str>,
    /// How it is compared.
    pub path_type: PathType,
    /// `namespace/name/path`: what logs call the rule.
    pub label: Arc<str>,
    /// Where requests go.
    pub backend: BackendId,
    /// What it is served with.
    pub class: ClassId,
    /// Who may use it; `None` is open to all.
    pub access: Option<AccessId>,
    /// `Some` if every request of the rule is answered 503.
    pub denied: Option<Denied>,
    /// Whether the rule's host is covered by `spec.tls` of the rule's Ingress: then plain HTTP is redirected.
    pub tls: bool,
    /// Whether it is served in plaintext ahead of the redirect (ACME HTTP-01 solver).
    pub acme_http01: bool,
    /// `Some` if connections to the host are passed through: then no request is ever routed by this rule.
    pub passthrough: Option<Passthrough>,
}

impl Rule {
    /// Whether the rule's path matches a normalised request path; says nothing about the host.
    pub fn matches_path(&self, request: &str) -> bool {
        match self.path_type {
            PathType::Exact => *self.path == *request,
            PathType::Prefix => {
                let rest = path::trim(request).strip_prefix(path::trim(&self.path));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }
}
