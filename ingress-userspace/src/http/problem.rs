//! Error responses that Penstock itself makes: problem details (RFC 9457), or a page for browsers.
//!
//! Each kind is one line of a table ([`kinds::ALL`]); `docs/problems.md` lists the same. Nothing that a client sent
//! is repeated in a response, except the id of the request, which is reduced to harmless characters first.

mod accept;
pub mod kinds;
mod render;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use ingress_core::table::Denied;

pub use accept::Format;
pub use kinds::ProblemKind;
pub use render::{render, response};

/// One error response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status code.
    pub status: u16,
    /// A kebab-case word for machines: the `type` member is `urn:penstock:problem:<kind>`. Bounded, so usable as a
    /// metric label.
    pub kind: &'static str,
    /// The same for every problem of the kind.
    pub title: &'static str,
    /// What happened this time and what the reader can do. Never text that a client or a backend sent.
    pub detail: Cow<'static, str>,
}

impl Problem {
    /// A problem with the detail that its kind has by default.
    pub const fn new(kind: &'static ProblemKind) -> Self {
        Self { status: kind.status, kind: kind.name, title: kind.title, detail: Cow::Borrowed(kind.detail) }
    }

    /// A problem with a detail of its own.
    pub fn with_detail(kind: &'static ProblemKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { detail: detail.into(), ..Self::new(kind) }
    }

    /// The problem of a route that is denied, with the part of the configuration that is at fault.
    pub fn denied(denied: Denied) -> Self {
        let detail = match denied {
            Denied::TlsSecret => {
                "The TLS Secret that this host needs is missing or refused; the Ingress has a report that says why."
            }
            Denied::Class => {
                "The class of this route has parameters that are missing or refused; its IngressClass has a report that says why."
            }
            Denied::TlsPolicy => {
                "This host is served with another TLS policy than this route asks for; the Ingress has a report that says why."
            }
            Denied::Access => {
                "This route has an access policy that cannot be enforced; the Ingress has a report that says why."
            }
            Denied::Backend => {
                "The Service that this route needs is missing or refused; the Ingress has a report that says why."
            }
        };
        Self::with_detail(&kinds::ROUTE_DENIED, detail)
    }

    /// A problem from the parts of a refusal by the parser. What a backend sent (502) is of the kind
    /// `upstream-protocol`, whatever its fault; the detail names it.
    pub fn refused(status: u16, kind: &'static str, detail: &'static str) -> Self {
        let known = if status == 502 { Some(&kinds::UPSTREAM_PROTOCOL) } else { kinds::find(kind) };
        match known {
            Some(known) => Self { status, ..Self::with_detail(known, detail) },
            None => Self { status, kind, title: kinds::reason(status), detail: Cow::Borrowed(detail) },
        }
    }
}
