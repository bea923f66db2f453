//! What the client is told when no backend has answered.

use std::rc::Rc;

use ingress_core::http::{Reject, Version, header_storage, parse_request};

use super::body::BodyEnd;
use super::connection::Connection;
use super::decide::{Request, bad_body, refused};
use super::exchange::{After, Tally};
use crate::http::problem::{self, Problem, kinds};
use crate::telemetry::metrics::limit;
use crate::upstream::AcquireError;
use crate::worker::timers::Bound;

/// Why there is no response.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No connection to an endpoint.
    Acquire(AcquireError),
    /// A bound on time, while the backend was to go on.
    Bound(Bound),
    /// A bound on time, while the client was to go on with its body.
    ClientSlow(Bound),
    /// The client is gone.
    ClientGone,
    /// The request's body.
    Body(BodyEnd),
    /// The backend closed before its response head was complete.
    BackendClosed,
    /// The backend's response is refused.
    BackendProtocol(Reject),
}

impl Failure {
    /// Whether it counts against the endpoint.
    pub(crate) fn is_backends(&self) -> bool {
        matches!(
            self,
            Self::BackendClosed
                | Self::BackendProtocol(_)
                | Self::Bound(Bound::Response | Bound::Idle | Bound::Total)
        )
    }

    /// Counts what has happened, also if another attempt makes up for it.
    pub(crate) fn count(&self, connection: &Connection) {
        let metrics = &connection.worker.metrics;
        match self {
            Self::Acquire(error) => {
                metrics.upstream_error(error.kind());
                match error {
                    AcquireError::ConnectTimeout { .. } => metrics.limit_hit(limit::CONNECT),
                    AcquireError::AllBusy => metrics.limit_hit(limit::REQUESTS_PER_ENDPOINT),
                    _ => {}
                }
            }
            Self::Bound(bound) => {
                connection.count(*bound);
                if *bound != Bound::Stop {
                    metrics.upstream_error("timeout");
                }
            }
            Self::ClientSlow(bound) => connection.count(*bound),
            Self::BackendClosed => metrics.upstream_error("closed"),
            Self::BackendProtocol(reject) => {
                metrics.upstream_error("protocol");
                if reject.kind == "response-head-too-large" {
                    metrics.limit_hit(limit::RESPONSE_HEAD);
                }
            }
            Self::Body(BodyEnd::TooLarge) => metrics.limit_hit(limit::REQUEST_BODY),
            Self::ClientGone | Self::Body(_) => {}
        }
    }

    /// What the client is told; `None` if there is nobody to tell.
    fn problem(&self) -> Option<Problem> {
        Some(Problem::new(match self {
            Self::Acquire(AcquireError::NoEndpoints) => &kinds::NO_ENDPOINTS,
            Self::Acquire(AcquireError::AllBusy | AcquireError::AllEjected) => &kinds::UPSTREAM_BUSY,
            Self::Acquire(AcquireError::ConnectTimeout { .. }) => &kinds::UPSTREAM_CONNECT_TIMEOUT,
            Self::Acquire(_) => &kinds::UPSTREAM_CONNECT,
            Self::Bound(Bound::Stop) => &kinds::DRAINING,
            Self::Bound(_) => &kinds::UPSTREAM_TIMEOUT,
            Self::ClientSlow(_) => &kinds::REQUEST_TIMEOUT,
            Self::Body(end @ (BodyEnd::Malformed(_) | BodyEnd::TooLarge)) => {
                return Some(bad_body(end));
            }
            Self::ClientGone | Self::Body(_) => return None,
            Self::BackendClosed => &kinds::UPSTREAM_CLOSED,
            Self::BackendProtocol(reject) => return Some(refused(*reject)),
        }))
    }
}

/// The status that logs give to a request whose client did not wait for an answer.
pub(super) const CLIENT_CLOSED_REQUEST: u16 = 499;

/// Answers a request that has failed, if there is somebody to answer.
pub(crate) async fn answer(
    connection: &mut Connection,
    request: &mut Request,
    tally: &mut Tally,
    failure: Failure,
) -> After {
    let Some(problem) = failure.problem() else {
        tally.status = CLIENT_CLOSED_REQUEST;
        tally.error_class = Some("client-closed");
        return After::Abort;
    };
    // A renewal begins with the exchange: without a backend there was none.
    let begun = !matches!(failure, Failure::Acquire(_));
    if let Failure::BackendProtocol(reject) = failure {
        let endpoint = tally.endpoint.map(tracing::field::display);
        let request_id = connection.names.request_id.as_str();
        tracing::debug!(request_id, endpoint, reason = reject.kind, "a backend's response was refused");
    }
    tally.status = problem.status;
    tally.error_class = Some(problem.kind);
    let whole = request.body.delivered();
    // These responses do not say keep-alive, which HTTP/1.0 needs (RFC 9112 section 9.3).
    let draining = connection.worker.draining.get();
    let close = !request.keep_alive || !whole || draining || request.version == Version::Http10;
    connection.input_abandoned |= !whole || draining;
    connection.worker.metrics.problem_response(problem.kind);
    if begun {
        // The cookie of a renewal must not be lost with the response. Its own bound is short.
        let timer = Rc::clone(&connection.timer);
        timer.clear();
        let _ = timer.bound(|cx| request.poll_renewed(cx)).await;
    }
    connection.output = render(connection, &problem, close);
    add(&mut connection.output, &request.grant.cookie_lines());
    match connection.write_output().await {
        Err(_) => After::Abort,
        Ok(()) if close => After::Close,
        Ok(()) => After::KeepAlive,
    }
}

/// Adds lines to a response: behind its status line.
fn add(response: &mut Vec<u8>, lines: &str) {
    if let Some(at) = response.windows(2).position(|end| end == b"\r\n") {
        response.splice(at + 2..at + 2, lines.bytes());
    }
}

/// The head is parsed once more, because only failures need its Accept field.
fn render(connection: &Connection, problem: &Problem, close: bool) -> Vec<u8> {
    let mut storage = header_storage();
    let head = parse_request(&connection.head, &mut storage, &connection.head_limits).ok().flatten();
    let accept = head.as_ref().and_then(|head| head.header("accept"));
    let head_only = head.as_ref().is_some_and(|head| head.method == "HEAD");
    problem::response(problem, &connection.names.request_id, accept, head_only, close)
}
