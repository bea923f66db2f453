//! Requests that are answered here: by a redirect or a problem.

use std::fmt::Write as _;

use ingress_core::http::{BodyLength, RequestHead, Version};

use super::connection::Connection;
use super::decide::Decided;
use super::route::Instead;
use crate::auth::reply::Reply;
use crate::http::problem::{self, Problem};
use crate::telemetry::RequestRecord;
use crate::telemetry::metrics::Listener;

/// Answers a request here, and returns how many of the bytes after the head were its body. `arrived` of them are there.
pub(super) fn answer(
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
            (connection.class.settings.redirect.status.code(), None)
        }
        Instead::Reply(reply) => {
            if let Some(kind) = reply.kind {
                connection.worker.metrics.problem_response(kind);
            }
            write_reply(connection, head, reply, close);
            (reply.status, reply.kind)
        }
        // It is served before it comes here.
        Instead::Endpoint => (0, None),
    };
    let subject = match instead {
        Instead::Reply(reply) => reply.subject.as_deref(),
        _ => None,
    };
    let record = RequestRecord {
        status,
        subject,
        error_class: class,
        total: connection.elapsed(),
        ..connection.record()
    };
    connection.worker.metrics.finish_request(&record);
    (Decided::Answer { close }, body.unwrap_or_default())
}

/// The content of an answer to HEAD is left out (RFC 9110 section 9.3.2).
fn write_reply(connection: &mut Connection, head: &RequestHead<'_>, reply: &Reply, close: bool) {
    let mut numbers = itoa::Buffer::new();
    let hsts = connection.class.hsts.as_deref().filter(|_| connection.peer.listening == Listener::Https);
    let out = &mut connection.output;
    out.clear();
    let mut push = |text: &str| out.extend_from_slice(text.as_bytes());
    push("HTTP/1.1 ");
    push(numbers.format(reply.status));
    push(" ");
    push(problem::kinds::reason(reply.status));
    push("\r\n");
    push(&reply.fields);
    push("Content-Length: ");
    push(numbers.format(reply.content.len()));
    if let Some(hsts) = hsts {
        push("\r\nStrict-Transport-Security: ");
        push(hsts);
    }
    push("\r\nX-Request-Id: ");
    push(&connection.names.request_id);
    push(if close { "\r\nConnection: close\r\n\r\n" } else { "\r\n\r\n" });
    if head.method != "HEAD" {
        connection.output.extend_from_slice(&reply.content);
    }
}

/// RFC 9110 section 15.4.
fn redirect(connection: &mut Connection, head: &RequestHead<'_>, close: bool) {
    let redirect = &connection.class.settings.redirect;
    // A client that named our port came without a port mapping, so it is sent to our other port.
    let ours = || {
        head.port.filter(|port| *port == connection.peer.local_port).and(connection.worker.shared.https_port)
    };
    let mut location = format!("https://{}", head.host);
    if let Some(port) = redirect.https_port.or_else(ours).filter(|port| *port != 443) {
        // Writing to a String does not fail.
        let _ = write!(location, ":{port}");
    }
    location.push_str(&head.path);
    if let Some(query) = head.query {
        location.push('?');
        location.push_str(query);
    }
    connection.output.clear();
    connection.output.extend_from_slice(b"HTTP/1.1 ");
    connection.output.extend_from_slice(redirect.status.line().as_bytes());
    connection.output.extend_from_slice(b"\r\nContent-Length: 0\r\nLocation: ");
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
