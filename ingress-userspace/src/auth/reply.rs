//! What is answered here instead of by a backend.

use crate::http::problem::{self, Problem, ProblemKind};

/// What every page may do: show itself. Nothing is loaded, and no other page frames it.
const PLAIN_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// An answer, without what belongs to the connection.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    /// The status code.
    pub(crate) status: u16,
    /// Whole lines of the head, each with its end.
    pub(crate) fields: String,
    /// The content.
    pub(crate) content: Vec<u8>,
    /// The kind of the problem that it tells, if it tells one.
    pub(crate) kind: Option<&'static str>,
    /// Whom it is for, as logs call them.
    pub(crate) subject: Option<Box<str>>,
}

/// What the form of an answer depends on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Audience {
    /// The field `Accept`.
    pub(crate) accept: Option<Box<[u8]>>,
    /// The id of the request.
    pub(crate) request_id: Box<str>,
}

impl Audience {
    /// Whether a page is preferred.
    pub(crate) fn reads_pages(&self) -> bool {
        problem::Format::negotiate(self.accept.as_deref()) == problem::Format::Html
    }
}

impl Reply {
    /// An answer without content.
    pub(crate) fn empty(status: u16) -> Self {
        let mut reply = Self { status, ..Self::default() };
        reply.uncached();
        reply
    }

    /// A page. What it may do beyond showing itself is said by `content_policy`.
    pub(crate) fn page(status: u16, content_policy: Option<&str>, html: String) -> Self {
        let mut reply = Self { content: html.into_bytes(), ..Self::empty(status) };
        reply.field("Content-Type", "text/html; charset=utf-8");
        reply.field("Content-Security-Policy", content_policy.unwrap_or(PLAIN_POLICY));
        reply.field("X-Frame-Options", "DENY");
        reply.field("Referrer-Policy", "no-referrer");
        reply
    }

    /// A problem, in the form that the client prefers.
    pub(crate) fn problem(problem: &Problem, audience: &Audience) -> Self {
        let (content_type, content) =
            problem::render(problem, &audience.request_id, audience.accept.as_deref());
        let mut reply = Self { content, kind: Some(problem.kind), ..Self::empty(problem.status) };
        reply.field("Content-Type", content_type);
        reply.field("Content-Security-Policy", PLAIN_POLICY);
        reply
    }

    /// A problem of a kind, with its default detail.
    pub(crate) fn of(kind: &'static ProblemKind, audience: &Audience) -> Self {
        Self::problem(&Problem::new(kind), audience)
    }

    /// To somewhere else (RFC 9110 section 15.4).
    pub(crate) fn redirect(status: u16, location: &str) -> Self {
        let mut reply = Self::empty(status);
        reply.field("Location", location);
        reply.field("Referrer-Policy", "no-referrer");
        reply
    }

    /// Counts as a problem of a kind.
    pub(crate) fn telling(self, kind: &'static ProblemKind) -> Self {
        Self { kind: Some(kind.name), ..self }
    }

    fn uncached(&mut self) {
        self.field("Cache-Control", "no-store");
        self.field("X-Content-Type-Options", "nosniff");
    }

    /// Adds a field. A value that is no field value would be a bug; it is left out.
    pub(crate) fn field(&mut self, name: &str, value: &str) {
        if value.bytes().all(|b| b == b'\t' || (b >= b' ' && b != 0x7f)) {
            for part in [name, ": ", value, "\r\n"] {
                self.fields.push_str(part);
            }
        }
    }

    /// Sets and removes cookies.
    pub(crate) fn cookies(&mut self, values: &[String]) {
        for value in values {
            self.field("Set-Cookie", value);
        }
    }
}
