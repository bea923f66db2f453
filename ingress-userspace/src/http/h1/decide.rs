//! From a request head to a decision: which rule authorizes it, or what it is answered.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ingress_core::http::{
    BodyLength, ForwardContext, HeadScan, Reject, RequestHead, Scheme, Version, header_storage,
    parse_request_resumed, write_request_head,
};
use ingress_core::table::{Backend, RoutingTable, Rule};
use ingress_core::upstream::retry::is_idempotent;

use super::access::{self, Waiting};
use super::answer::{answer, refuse};
use super::body::{Body, BodyEnd};
use super::connection::{Connection, Peer};
use super::route::{Instead, route};
use crate::auth::authenticator::Grant;
use crate::http::problem::{Problem, kinds};
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
    /// By what it passes the policy of its route, if that has one.
    pub(crate) grant: Grant,
    /// Whole lines for the response's head.
    pub(crate) added: String,
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
    /// Takes over the words of a new request.
    pub(super) fn set(&mut self, words: [&str; 4], protocol: &'static str) {
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
    /// Somebody else has to be asked first.
    Wait(Box<Waiting>),
}

impl Request {
    /// Waits, if the session is being renewed, until its cookie is among what is added to the response. Responses are not read before: one
    /// that went without the cookie could leave the browser with a refresh token that is used up.
    pub(crate) fn poll_renewed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(renewing) = &mut self.grant.renewing {
            self.grant.cookies = ready!(renewing.as_mut().poll(cx));
            self.grant.renewing = None;
            self.added = self.grant.lines();
        }
        Poll::Ready(())
    }
}

/// Takes one request off the connection's input, if its head is complete. One table decides it from its head to its end.
pub(crate) fn take_request(connection: &mut Connection) -> Decided {
    let worker = Rc::clone(&connection.worker);
    let table = worker.shared.published.table();
    connection.class = worker.class(&table, table.process());
    connection.head_limits = connection.class.request_limits;
    let input = std::mem::take(&mut connection.input);
    let mut storage = header_storage();
    let mut scan = connection.scan;
    let limits = connection.head_limits;
    let decided = match parse_request_resumed(&mut scan, &input, &mut storage, &limits) {
        Ok(None) => None,
        Ok(Some(head)) => Some((decide(connection, &table, &head, &input[head.len..]), head.len)),
        Err(reject) => {
            if let Some(limit) = limit_of(reject.kind) {
                worker.metrics.limit_hit(limit);
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
fn decide(
    connection: &mut Connection,
    table: &Arc<RoutingTable>,
    head: &RequestHead<'_>,
    rest: &[u8],
) -> (Decided, usize) {
    let worker = Rc::clone(&connection.worker);
    connection.requests += 1;
    let (class, routed) = route(table, &connection.peer, head);
    let client = connection.peer.client.ip();
    let routed = if table.denies(class, client) {
        Err(Instead::Problem(Problem::new(&kinds::DENIED_SOURCE)))
    } else {
        routed
    };
    let class = worker.class(table, class);
    connection.class = Rc::clone(&class);
    let trusted = class.settings.forwarded.trusted_proxies.contain(client);
    let own = worker.request_ids.next();
    let id = head.request_id().filter(|_| trusted).unwrap_or(own.as_str());
    connection.names.set([head.method, &head.host, &head.path, id], head.version.as_str());
    let keep_alive = keep_alive(connection, head);
    let body_limit = class.settings.limits.request_body;
    let routed = match head.body {
        BodyLength::Known(length) if routed.is_ok() && body_limit != 0 && length > body_limit => {
            worker.metrics.limit_hit(limit::REQUEST_BODY);
            Err(Instead::Problem(Problem::new(&kinds::BODY_TOO_LARGE)))
        }
        _ => routed,
    };
    let (rule, backend) = match routed {
        Ok(routed) => routed,
        Err(Instead::Endpoint) => return access::endpoint(connection, table, head, rest, keep_alive),
        Err(instead) => return answer(connection, head, rest.len(), keep_alive, &instead),
    };
    let route = Route { rule, backend, keep_alive };
    match route.rule.access {
        Some(id) => access::decide(connection, table, head, rest, route, id),
        None => forward(connection, table, head, rest, route, Grant::default()),
    }
}

/// Where a request goes, if it may.
pub(super) struct Route {
    /// The rule that routes it.
    pub(super) rule: Arc<Rule>,
    /// Where it goes.
    pub(super) backend: Arc<Backend>,
    /// Whether the client wants to go on.
    pub(super) keep_alive: bool,
}

/// Makes an authorized request ready to be sent, and returns how many of the bytes after the head were used for the body.
pub(super) fn forward(
    connection: &mut Connection,
    table: &RoutingTable,
    head: &RequestHead<'_>,
    rest: &[u8],
    route: Route,
    grant: Grant,
) -> (Decided, usize) {
    let worker = Rc::clone(&connection.worker);
    let (client, class) = (connection.peer.client.ip(), Rc::clone(&connection.class));
    let mut body = Body::request(head.body, class.settings.limits.request_body, worker.rungs());
    let forward = ForwardContext {
        client,
        trusted: class.settings.forwarded.trusted_proxies.contain(client),
        scheme: scheme(&connection.peer),
        local_port: connection.peer.local_port,
        request_id: &connection.names.request_id,
        protected: Some(table.protected()),
        hides_authorization: route.rule.access.is_some_and(|id| table.access(id).hides_authorization()),
        identity: grant.who.as_ref().map_or(b"", |who| &who.lines),
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
        rule: route.rule,
        backend: route.backend,
        version: head.version,
        keep_alive: route.keep_alive,
        replayable: body.complete(),
        expect_continue: head.expect_continue && !body.complete() && used == 0,
        body,
        idempotent: is_idempotent(head.method),
        upgrade: head.upgrade.is_some(),
        odd_content: has_odd_content(head),
        added: grant.lines(),
        grant,
    };
    (Decided::Forward(Box::new(request)), used)
}

/// Whether another request may follow. If it is we who say no, the client may have sent it already.
fn keep_alive(connection: &mut Connection, head: &RequestHead<'_>) -> bool {
    let worker = &connection.worker;
    let most = connection.class.settings.limits.requests_per_connection;
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

fn scheme(peer: &Peer) -> Scheme {
    match peer.listening {
        Listener::Http => Scheme::Http,
        Listener::Https => Scheme::Https,
    }
}
