//! What the client is told when no backend has answered.

use std::rc::Rc;

use ingress_core::http::{header_storage, parse_request};

use super::body::BodyEnd;
use super::connection::Connection;
use super::decide::Request;
use super::exchange::{After, Tally};
use crate::http::problem::kinds;
use crate::http::problem::{self, Problem};
use crate::telemetry::metrics::limit;
use crate::upstream::AcquireError;
use crate::worker::timers::Bound;

/// Why there is no response.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No connection to an endpoint.
    Acquire(AcquireError),
    /// A bound on time.
    Bound(Bound),
    /// The client was too slow with the body.
    BodyTimeout,
    /// The client is gone.
    ClientGone,
    /// The request's body.
    Body(BodyEnd),
    /// The backend closed before its response head was complete.
    BackendClosed,
    /// The backend's response is refused.
    BackendProtocol(&'static str),
}

impl Failure {
    /// Whether it counts against the endpoint.
    pub(crate) fn is_backends(&self) -> bool {
        matches!(self, Self::BackendClosed | Self::BackendProtocol(_) | Self::Bound(_))
    }

    /// What the client is told; `None` if there is nobody to tell.
    fn problem(&self) -> Option<Problem> {
        let kind = match self {
            Self::Acquire(AcquireError::NoEndpoints) => &kinds::NO_ENDPOINTS,
            Self::Acquire(AcquireError::AllBusy | AcquireError::AllEjected) => &kinds::UPSTREAM_BUSY,
            Self::Acquire(AcquireError::ConnectTimeout { .. }) => &kinds::UPSTREAM_CONNECT_TIMEOUT,
            Self::Acquire(_) => &kinds::UPSTREAM_CONNECT,
            Self::Bound(_) => &kinds::UPSTREAM_TIMEOUT,
            Self::BodyTimeout => &kinds::REQUEST_TIMEOUT,
            Self::Body(end) => return end.problem(),
            Self::ClientGone => return None,
            Self::BackendClosed => &kinds::UPSTREAM_CLOSED,
            Self::BackendProtocol(_) => &kinds::UPSTREAM_PROTOCOL,
        };
        Some(Problem::new(kind))
    }

    /// The limit that was hit, if one was.
    fn limit(&self) -> Option<&'static str> {
        match self {
            Self::Bound(bound) => bound.limit(),
            Self::BodyTimeout => Some(limit::IDLE),
            Self::Body(end) => end.limit(),
            _ => None,
        }
    }
}

impl BodyEnd {
    /// What the client is told of a body that is refused.
    pub(crate) fn problem(&self) -> Option<Problem> {
        match self {
            Self::Malformed(reject) => Some(Problem::refused(reject.status, reject.kind, reject.detail)),
            Self::TooLarge => Some(Problem::new(&kinds::BODY_TOO_LARGE)),
            _ => None,
        }
    }

    /// The limit that was hit, if one was.
    pub(crate) fn limit(&self) -> Option<&'static str> {
        matches!(self, Self::TooLarge).then_some(limit::REQUEST_BODY)
    }
}

/// The status that logs give to a request whose client did not wait for an answer.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// Answers a request that has failed, if there is somebody to answer.
pub(crate) async fn answer(
    connection: &mut Connection,
    request: &Request,
    tally: &mut Tally,
    failure: Failure,
) -> After {
    let worker = Rc::clone(&connection.worker);
    if let Some(limit) = failure.limit() {
        worker.metrics.limit_hit(limit);
    }
    let Some(problem) = failure.problem() else {
        tally.status = CLIENT_CLOSED_REQUEST;
        tally.error_class = Some("client-closed");
        return After::Abort;
    };
    if problem.status >= 500 {
        worker.metrics.upstream_error(problem.kind);
    }
    tally.status = problem.status;
    tally.error_class = Some(match failure {
        Failure::BackendProtocol(reason) => reason,
        _ => problem.kind,
    });
    let whole = request.body.delivered();
    let close = !request.keep_alive || !whole || worker.draining.get();
    connection.input_abandoned |= !whole;
    worker.metrics.problem_response(problem.kind);
    connection.output = render(connection, request, &problem, close);
    match connection.write_output().await {
        Err(_) => After::Abort,
        Ok(()) if close => After::Close,
        Ok(()) => After::KeepAlive,
    }
}

/// The head is parsed once more, because only failures need its Accept field.
fn render(connection: &Connection, request: &Request, problem: &Problem, close: bool) -> Vec<u8> {
    let mut storage = header_storage();
    let head =
        parse_request(&connection.head, &mut storage, &connection.worker.request_limits).ok().flatten();
    let accept = head.as_ref().and_then(|head| head.header("accept"));
    let head_only = head.as_ref().is_some_and(|head| head.method == "HEAD");
    problem::response(problem, request.id.as_str(), accept, head_only, close)
}
