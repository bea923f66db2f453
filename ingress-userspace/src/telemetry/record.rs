//! What is known of a request when it has ended.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ingress_core::table::{Backend, Rule};

/// One request from head to end, as the access log and the metrics see it.
#[derive(Clone, Copy, Debug)]
pub struct RequestRecord<'a> {
    /// The peer of the client connection.
    pub client: SocketAddr,
    /// `http` or `https`; `tls` for a connection that was passed through.
    pub scheme: &'a str,
    /// The host that was asked for, as matched; empty if the request had none.
    pub host: &'a str,
    /// The method; empty if the head could not be parsed.
    pub method: &'a str,
    /// The normalised path without its query, which may carry secrets.
    pub path: &'a str,
    /// The rule that matched.
    pub rule: Option<&'a Arc<Rule>>,
    /// The backend that was chosen.
    pub backend: Option<&'a Arc<Backend>>,
    /// The endpoint that was asked last.
    pub endpoint: Option<SocketAddr>,
    /// The status that the client received.
    pub status: u16,
    /// Bytes of the request's content.
    pub bytes_in: u64,
    /// Bytes of the response's content.
    pub bytes_out: u64,
    /// From the first byte of the head to the last of the response.
    pub total: Duration,
    /// How long connecting to the endpoint took; `None` on a reused connection.
    pub connect: Option<Duration>,
    /// From the head sent to the backend until the first byte of its response.
    pub first_byte: Option<Duration>,
    /// `TLSv1.3` or `TLSv1.2`.
    pub tls_version: Option<&'static str>,
    /// The cipher suite as IANA names it.
    pub tls_suite: Option<&'static str>,
    /// The id in `X-Request-Id`.
    pub request_id: &'a str,
    /// What went wrong: the kind of a problem, or how the connection broke.
    pub error_class: Option<&'static str>,
    /// `HTTP/1.1`, …
    pub protocol: &'static str,
    /// Attempts on further endpoints.
    pub retries: u32,
    /// Who has asked, by a pseudonym.
    pub subject: Option<&'a str>,
    /// Whether it is in the access log.
    pub logged: bool,
}
