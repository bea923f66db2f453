//! From a request head to a decision: which rule authorizes it, or what it is answered.

use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;

use ingress_core::http::{
    BodyLength, ForwardContext, HeadScan, Reject, RequestHead, Scheme, Version, header_storage,
    parse_request_resumed, write_request_head,
};
use ingress_core::table::{Backend, RoutingTable, Rule};
use ingress_core::upstream::retry::is_idempotent;

use super::body::{Body, BodyEnd};
use super::connection::{Connection, Peer};
use crate::http::problem::{self, Problem, kinds};
use crate::telemetry::RequestRecord;
use crate::telemetry::metrics::Listener;
use crate::telemetry::metrics::limit;

/// An authorized request.
#[expect(clippy::struct_excessive_bools, reason = "six independent facts of the head")]
pub(crate) struct Request {
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
    /// What the backend gets as X-Request-ID, and a client whose request has failed.
    pub(crate) request_id: String,
    /// `HTTP/1.1`
    pub(crate) protocol: &'static str,
}

impl Names {
    fn set(&mut self, words: [&str; 4], protocol: &'static str) {
        let names = [&mut self.method, &mut self.host, &mut self.path, &mut self.request_id];
        for (name, word) in names.into_iter().zip(words) {
            name.clear();
            name.push_str(word);
        }
        self.protocol = protocol;
    }

    /// Gives back what exceptionally long words took.
    pub(crate) fn shrink_to(&mut self, kept: usize) {
        self.path.shrink_to(kept);
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
            if let Some(limit) = limit_of(reject.kind) {
                connection.worker.metrics.limit_hit(limit);
            }
            connection.input = input;
            refuse(connection, &refused(reject));
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
fn limit_of(kind: &str) -> Option<&'static str> {
    match kind {
        "uri-too-long" => Some(limit::URI),
        "request-head-too-large" => Some(limit::REQUEST_HEAD),
        "too-many-request-headers" => Some(limit::REQUEST_HEADERS),
        _ => None,
    }
}

/// What a client is told about a message that was refused.
pub(crate) fn refused(reject: Reject) -> Problem {
    Problem::refused(reject.status, reject.kind, reject.detail)
}

/// Decides, and returns how many of the bytes after the head were used for the body.
fn decide(connection: &mut Connection, head: &RequestHead<'_>, rest: &[u8]) -> (Decided, usize) {
    let worker = Rc::clone(&connection.worker);
    connection.requests += 1;
    let trusted = is_trusted(connection);
    let own = worker.request_ids.next();
    let id = head.request_id().filter(|_| trusted).unwrap_or(own.as_str());
    connection.names.set([head.method, &head.host, &head.path, id], head.version.as_str());
    let keep_alive = keep_alive(connection, head);
    let table = worker.shared.published.table();
    let body_limit = worker.shared.config.settings().limits.request_body;
    let routed = match head.body {
        BodyLength::Known(length) if body_limit != 0 && length > body_limit => {
            worker.metrics.limit_hit(limit::REQUEST_BODY);
            Err(Instead::Problem(Problem::new(&kinds::BODY_TOO_LARGE)))
        }
        _ => route(&table, &connection.peer, head),
    };
    let (rule, backend) = match routed {
        Ok(routed) => routed,
        Err(instead) => return answer(connection, head, rest.len(), keep_alive, &instead),
    };
    let mut body = Body::request(head.body, body_limit);
    let forward = ForwardContext {
        client: connection.peer.client.ip(),
        trusted,
        scheme: scheme(&connection.peer),
        local_port: connection.peer.local_port,
        request_id: id,
    };
    connection.to_backend.clear();
    write_request_head(&mut connection.to_backend, head, &forward);
    let used = match body.feed(rest, &mut connection.to_backend) {
        Ok(used) => used,
        Err(end) => {
            // Nothing of it has been sent to a backend.
            if matches!(end, BodyEnd::TooLarge) {
                worker.metrics.limit_hit(limit::REQUEST_BODY);
            }
            let instead = Instead::Problem(bad_body(&end));
            connection.input_abandoned = true;
            return answer(connection, head, 0, false, &instead);
        }
    };
    let request = Request {
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

/// Whether another request may follow. If it is we who say no, the client may have sent it already.
fn keep_alive(connection: &mut Connection, head: &RequestHead<'_>) -> bool {
    let worker = &connection.worker;
    let most = worker.shared.config.settings().limits.requests_per_connection;
    let last = most != 0 && connection.requests >= most;
    if last {
        worker.metrics.limit_hit(limit::REQUESTS_PER_CONNECTION);
    }
    let keep_alive = head.keep_alive && !last && !worker.draining.get();
    connection.input_abandoned |= head.keep_alive && !keep_alive;
    keep_alive
}

/// Some backends do not read such content, and then take it for the next request (RFC 9110 sections 9.3.1, 9.3.2, 9.3.5).
fn has_odd_content(head: &RequestHead<'_>) -> bool {
    matches!(head.method, "GET" | "HEAD" | "DELETE")
        && !matches!(head.body, BodyLength::Empty | BodyLength::Known(0))
}

/// What a client is told about its body.
pub(crate) fn bad_body(end: &BodyEnd) -> Problem {
    if let BodyEnd::Malformed(reject) = end { refused(*reject) } else { Problem::new(&kinds::BODY_TOO_LARGE) }
}

fn is_trusted(connection: &Connection) -> bool {
    let trusted = &connection.worker.shared.config.settings().forwarded.trusted_proxies;
    trusted.contain(connection.peer.client.ip())
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
            // Without a name there is nowhere to send the client (HTTP/1.0).
            if !plaintext && !head.host.is_empty() && (table.tls_host(&head.host) || rule.is_some()) {
                return Err(Instead::Redirect);
            }
            if !plaintext {
                return Err(Instead::Problem(Problem::new(&kinds::NO_ROUTE)));
            }
        }
    }
    let rule = rule.ok_or(Instead::Problem(Problem::new(&kinds::NO_ROUTE)))?;
    if table.is_ambiguous(&head.host, &head.path) {
        return Err(Instead::Problem(Problem::new(&kinds::PATH_AMBIGUOUS)));
    }
    if let Some(denied) = rule.denied {
        return Err(Instead::Problem(Problem::denied(denied)));
    }
    Ok((Arc::clone(rule), Arc::clone(table.backend(rule.backend))))
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

/// Answers a request here, and returns how many of the bytes after the head were its body. `arrived` of them are there.
fn answer(
    connection: &mut Connection,
    head: &RequestHead<'_>,
    arrived: usize,
    keep_alive: bool,
    instead: &Instead,
) -> (Decided, usize) {
    let body = match head.body {
        BodyLength::Empty => Some(0),
        BodyLength::Known(length) => usize::try_from(length).ok().filter(|length| *length <= arrived),
        BodyLength::Chunked | BodyLength::UntilClose => None,
    };
    // A body that nobody will read: the connection cannot be used again.
    connection.input_abandoned |= body.is_none();
    // These responses do not say keep-alive, which HTTP/1.0 needs (RFC 9112 section 9.3).
    let close = !keep_alive || body.is_none() || head.version == Version::Http10;
    let (status, class) = match instead {
        Instead::Problem(problem) => {
            let head_only = head.method == "HEAD";
            connection.worker.metrics.problem_response(problem.kind);
            connection.output = problem::response(
                problem,
                &connection.names.request_id,
                head.header("accept"),
                head_only,
                close,
            );
            (problem.status, Some(problem.kind))
        }
        Instead::Redirect => {
            redirect(connection, head, close);
            (308, None)
        }
    };
    let record =
        RequestRecord { status, error_class: class, total: connection.elapsed(), ..connection.record() };
    connection.worker.metrics.finish_request(&record);
    (Decided::Answer { close }, body.unwrap_or_default())
}

/// RFC 9110 section 15.4.9: method and body stay.
fn redirect(connection: &mut Connection, head: &RequestHead<'_>, close: bool) {
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
    connection.output.extend_from_slice(connection.names.request_id.as_bytes());
    connection.output.extend_from_slice(if close { b"\r\nConnection: close\r\n\r\n" } else { b"\r\n\r\n" });
}

/// Answers a request whose head, still in the input, never became one.
pub(crate) fn refuse(connection: &mut Connection, problem: &Problem) {
    let id = connection.worker.request_ids.next();
    connection.names.set(["", "", "", id.as_str()], "");
    connection.worker.metrics.problem_response(problem.kind);
    // Whatever else is wrong with it: a client that has sent HEAD reads no content (RFC 9110 section 9.3.2).
    let head_only = connection.input.trim_ascii_start().starts_with(b"HEAD ");
    connection.output = problem::response(problem, id.as_str(), None, head_only, true);
    let record = RequestRecord {
        status: problem.status,
        error_class: Some(problem.kind),
        total: connection.elapsed(),
        ..connection.record()
    };
    connection.worker.metrics.finish_request(&record);
}
