//! Why a message is refused, as data: the engine turns it into a problem response, a log field and a metric label.

use std::fmt;

/// A refusal. It holds nothing that a peer sent, so each part of it may be logged, counted and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reject {
    /// The status to answer with: 4xx, 501 or 505 for requests, 502 for what a backend sent.
    pub status: u16,
    /// A kebab-case word from a bounded set: usable as a metric label.
    pub kind: &'static str,
    /// What is wrong, for a person.
    pub detail: &'static str,
}

impl Reject {
    /// 400 Bad Request.
    pub(crate) const fn bad(kind: &'static str, detail: &'static str) -> Self {
        Self { status: 400, kind, detail }
    }

    /// Any other status.
    pub(crate) const fn new(status: u16, kind: &'static str, detail: &'static str) -> Self {
        Self { status, kind, detail }
    }

    /// The same fault in what a backend sent: the client is not to blame (RFC 9110 section 15.6.3).
    pub(crate) const fn upstream(self) -> Self {
        Self { status: 502, ..self }
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, self.kind, self.detail)
    }
}

impl std::error::Error for Reject {}
