//! From a request head to a decision: which rule authorizes it, or what it is answered.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use ingress_core::http::{
    BodyLength, ForwardContext, HeadScan, RequestHead, Scheme, Version, header_storage, lenient_reading,
    parse_request_resumed, write_request_head,
};
use ingress_core::table::{Backend, RoutingTable, Rule};
use ingress_core::upstream::retry::is_idempotent;

use super::body::Body;
use super::connection::{Connection, Peer};
use crate::http::problem::{self, Problem, kinds};
use crate::telemetry::metrics::Listener;
use crate::telemetry::metrics::limit;
use crate::telemetry::{RequestId, RequestRecord};

/// An authorized request.
#[expect(clippy::struct_excessive_bools, reason = "six independent facts of the head")]
pub(crate) struct Request {
    /// Its name in logs and in X-Request-Id.
    pub(crate) id: RequestId,
    /// When its head was complete.
    pub(crate) started: Instant,
    /// The rule that authorizes it.
    pub(crate) rule: Arc<Rule>,
    /// Where it goes.
    pub(crate) backend: Arc<Backend>,
    /// The client's version.
    pub(crate) version: Version,
    /// Whether the client wants to go on.
    pub(crate) keep_alive: bool,
    /// Its body.
    pub(crate) body: Body,
    /// Whether all of it is in the first write, so that it can be sent again.
    pub(crate) replayable: bool,
    /// RFC 9110 section 9.2.2
    pub(crate) idempotent: bool,
    /// Whether the client waits for 100 (Continue).
    pub(crate) expect_continue: bool,
    /// Whether it asks for another protocol.
    pub(crate) upgrade: bool,
    /// Whether it has content that the method gives no meaning to.
    pub(crate) odd_content: bool,
}

/// The words of a request that logs repeat; reused from request to request.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// As sent.
    pub(crate) method: String,
    /// Normalised.
    pub(crate) host: String,
    /// Normalised, without the query.
    pub(crate) path: String,
}

impl Names {
    fn set(&mut self, method: &str, host: &str, path: &str) {
        for (name, value) in [(&mut self.method, method), (&mut self.host, host), (&mut self.path, path)] {
            name.clear();
            name.push_str(value);
        }
    }
}

/// What came of the received bytes.
pub(crate) enum Decided {
    /// The head is not complete.
    Incomplete,
    /// It goes to a backend.
    Forward(Box<Request>),
    /// The answer is in the connection's output.
    Answer {
        /// Whether the connection ends with it.
        close: bool,
    },
}

/// Why a request does not go to a backend.
enum Instead {
    Problem(Problem),
    /// 308 to the same host and path over TLS.
    Redirect,
}

/// Takes one request off the connection's input, if its head is complete.
pub(crate) fn take_request(connection: &mut Connection) -> Decided {
    let input = std::mem::take(&mut connection.input);
    let mut storage = header_storage();
    let mut scan = connection.scan;
    let limits = connection.worker.request_limits;
    let decided = match parse_request_resumed(&mut scan, &input, &mut storage, &limits) {
        Ok(None) => None,
        Ok(Some(head)) => Some((decide(connection, &head, &input[head.len..]), head.len)),
        Err(reject) => {
            connection.names.set("", "", "");
            if let Some(limit) = limit_of(reject.status) {
                connection.worker.metrics.limit_hit(limit);
            }
            connection.input = input;
            refuse(connection, &Problem::refused(reject.status, reject.kind, reject.detail));
            connection.input_abandoned = true;
            return Decided::Answer { close: true };
        }
    };
    let Some(((decided, body_bytes), head_len)) = decided else {
        connection.input = input;
        connection.scan = scan;
        return Decided::Incomplete;
    };
    connection.scan = HeadScan::new();
    // The head stays readable until the end of the request; what follows it is the next input.
    let rest = head_len + body_bytes;
    let spare = std::mem::replace(&mut connection.head, input);
    connection.input = spare;
    connection.input.clear();
    connection.input.extend_from_slice(&connection.head[rest..]);
    connection.head.truncate(head_len);
    decided
}

/// Which limit a refused head has hit.
fn limit_of(status: u16) -> Option<&'static str> {
    match status {
        414 => Some(limit::URI),
        431 => Some(limit::REQUEST_HEAD),
        _ => None,
    }
}

/// Decides, and returns how many of the bytes after the head were used for the body.
fn decide(connection: &mut Connection, head: &RequestHead<'_>, rest: &[u8]) -> (Decided, usize) {
    let worker = std::rc::Rc::clone(&connection.worker);
    let started = worker.now();
    connection.requests += 1;
    connection.names.set(head.method, &head.host, &head.path);
    let limits = &worker.shared.config.limits;
    let last = limits.requests_per_connection != 0 && connection.requests >= limits.requests_per_connection;
    let keep_alive = head.keep_alive && !last && !worker.draining.get();
    if last {
        worker.metrics.limit_hit(limit::REQUESTS_PER_CONNECTION);
    }
    let id = worker.request_ids.next();
    let table = worker.shared.published.table();
    let body_limit = limits.request_body.0;
    let routed = match head.body {
        BodyLength::Known(length) if body_limit != 0 && length > body_limit => {
            worker.metrics.limit_hit(limit::REQUEST_BODY);
            Err(Instead::Problem(Problem::new(&kinds::BODY_TOO_LARGE)))
        }
        _ => route(&table, &connection.peer, head),
    };
    let (rule, backend) = match routed {
        Ok(routed) => routed,
        Err(instead) => return (answer(connection, head, &id, started, keep_alive, &instead), 0),
    };
    let mut body = Body::request(head.body, body_limit);
    let forward = ForwardContext {
        client: connection.peer.client.ip(),
        trusted: is_trusted(connection),
        scheme: scheme(&connection.peer),
        local_port: connection.peer.local_port,
        request_id: id.as_str(),
    };
    connection.to_backend.clear();
    write_request_head(&mut connection.to_backend, head, &forward);
    let used = match body.feed(rest, &mut connection.to_backend) {
        Ok(used) => used,
        Err(end) => {
            // Malformed or too long chunks that came with the head: nothing has been sent to a backend.
            let problem = end.problem().unwrap_or(Problem::new(&kinds::BAD_REQUEST));
            if let Some(limit) = end.limit() {
                worker.metrics.limit_hit(limit);
            }
            return (answer(connection, head, &id, started, false, &Instead::Problem(problem)), 0);
        }
    };
    let request = Request {
        id,
        started,
        rule,
        backend,
        version: head.version,
        keep_alive,
        replayable: body.complete(),
        expect_continue: head.expect_continue && !body.complete() && used == 0,
        body,
        idempotent: is_idempotent(head.method),
        upgrade: head.upgrade.is_some(),
        odd_content: has_odd_content(head),
    };
    (Decided::Forward(Box::new(request)), used)
}

/// Some backends do not read such content, and then take it for the next request (RFC 9110 sections 9.3.1, 9.3.2, 9.3.5).
fn has_odd_content(head: &RequestHead<'_>) -> bool {
    matches!(head.method, "GET" | "HEAD" | "DELETE")
        && !matches!(head.body, BodyLength::Empty | BodyLength::Known(0))
}

fn is_trusted(connection: &Connection) -> bool {
    let trusted = &connection.worker.shared.config.forwarded.trusted_proxies;
    !trusted.is_empty() && trusted.iter().any(|net| net.contains(connection.peer.client.ip()))
}

fn scheme(peer: &Peer) -> Scheme {
    match peer.listening {
        Listener::Http => Scheme::Http,
        Listener::Https => Scheme::Https,
    }
}

/// Which rule authorizes the request on this connection.
fn route(
    table: &RoutingTable,
    peer: &Peer,
    head: &RequestHead<'_>,
) -> Result<(Arc<Rule>, Arc<Backend>), Instead> {
    let rule = table.route(&head.host, &head.path);
    match peer.listening {
        Listener::Https => check_server_name(table, peer, head)?,
        Listener::Http => {
            let plaintext = rule.is_some_and(|rule| rule.acme_http01 || !rule.tls);
            if !plaintext && (table.tls_host(&head.host) || rule.is_some()) {
                return Err(Instead::Redirect);
            }
        }
    }
    check_lenient_reading(table, head, rule)?;
    let rule = rule.ok_or(Instead::Problem(Problem::new(&kinds::NO_ROUTE)))?;
    if rule.denied.is_some() {
        return Err(Instead::Problem(Problem::new(&kinds::ROUTE_DENIED)));
    }
    Ok((Arc::clone(rule), Arc::clone(table.backend(rule.backend))))
}

/// A backend may take an encoded slash for a slash, or drop parameters. What it would read must not belong to another
/// rule: that rule's policies would have been avoided.
fn check_lenient_reading(
    table: &RoutingTable,
    head: &RequestHead<'_>,
    rule: Option<&Arc<Rule>>,
) -> Result<(), Instead> {
    let Some(lenient) = lenient_reading(&head.path) else { return Ok(()) };
    let same = match (rule, table.route(&head.host, &lenient)) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    };
    let detail = "A backend could read the path in another way, in which it belongs to another rule.";
    if same { Ok(()) } else { Err(Instead::Problem(Problem::with_detail(&kinds::PATH_AMBIGUOUS, detail))) }
}

/// A request for another host than the handshake's may only use this connection if both hosts have the same certificate
/// (RFC 9110 section 7.4): otherwise a host's TLS policy could be avoided by naming another in the handshake.
fn check_server_name(table: &RoutingTable, peer: &Peer, head: &RequestHead<'_>) -> Result<(), Instead> {
    let Some(name) = peer.server_name.as_deref() else { return Ok(()) };
    if name == head.host {
        return Ok(());
    }
    let same = match (table.identity(Some(name)), table.identity(Some(&head.host))) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    };
    if same { Ok(()) } else { Err(Instead::Problem(Problem::new(&kinds::MISDIRECTED))) }
}

fn answer(
    connection: &mut Connection,
    head: &RequestHead<'_>,
    id: &RequestId,
    started: Instant,
    keep_alive: bool,
    instead: &Instead,
) -> Decided {
    // A body that nobody will read: the connection cannot be used again.
    let has_body = !matches!(head.body, BodyLength::Empty);
    let close = !keep_alive || has_body;
    connection.input_abandoned |= has_body;
    let (status, class) = match instead {
        Instead::Problem(problem) => {
            let head_only = head.method == "HEAD";
            connection.worker.metrics.problem_response(problem.kind);
            connection.output =
                problem::response(problem, id.as_str(), head.header("accept"), head_only, close);
            (problem.status, Some(problem.kind))
        }
        Instead::Redirect => {
            redirect(connection, head, id, close);
            (308, None)
        }
    };
    let record = RequestRecord {
        status,
        error_class: class,
        total: connection.worker.now().duration_since(started),
        ..connection.record(id)
    };
    connection.worker.metrics.finish_request(&record);
    Decided::Answer { close }
}

/// RFC 9110 section 15.4.9: method and body stay.
fn redirect(connection: &mut Connection, head: &RequestHead<'_>, id: &RequestId, close: bool) {
    let mut location = format!("https://{}", head.host);
    // A client that named our port came without a port mapping, so it is sent to our other port.
    if head.port.is_some_and(|port| port == connection.peer.local_port)
        && let Some(port) = connection.worker.shared.https_port
        && port != 443
    {
        // Writing to a String does not fail.
        let _ = write!(location, ":{port}");
    }
    location.push_str(&head.path);
    if let Some(query) = head.query {
        location.push('?');
        location.push_str(query);
    }
    connection.output.clear();
    connection
        .output
        .extend_from_slice(b"HTTP/1.1 308 Permanent Redirect\r\nContent-Length: 0\r\nLocation: ");
    connection.output.extend_from_slice(location.as_bytes());
    connection.output.extend_from_slice(b"\r\nX-Request-Id: ");
    connection.output.extend_from_slice(id.as_str().as_bytes());
    connection.output.extend_from_slice(if close { b"\r\nConnection: close\r\n\r\n" } else { b"\r\n\r\n" });
}

/// Answers a request whose head, still in the input, never became one.
pub(crate) fn refuse(connection: &mut Connection, problem: &Problem) {
    let id = connection.worker.request_ids.next();
    connection.worker.metrics.problem_response(problem.kind);
    // Whatever else is wrong with it: a client that has sent HEAD reads no content (RFC 9110 section 9.3.2).
    let head_only = connection.input.trim_ascii_start().starts_with(b"HEAD ");
    connection.output = problem::response(problem, id.as_str(), None, head_only, true);
    let record =
        RequestRecord { status: problem.status, error_class: Some(problem.kind), ..connection.record(&id) };
    connection.worker.metrics.finish_request(&record);
}
