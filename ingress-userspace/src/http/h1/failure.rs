//! What the client is told when no backend has answered.

use std::rc::Rc;

use ingress_core::http::{header_storage, parse_request};

use super::body::BodyEnd;
use super::connection::Connection;
use super::decide::Request;
use super::exchange::{After, Tally};
use crate::http::problem::kinds::{self, ProblemKind};
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

    /// The limit that was hit, if one was.
    fn limit(&self) -> Option<&'static str> {
        match self {
            Self::Acquire(AcquireError::AllBusy) => Some(limit::REQUESTS_PER_ENDPOINT),
            Self::Acquire(AcquireError::ConnectTimeout { .. }) => Some(limit::CONNECT),
            Self::Bound(bound) => bound.limit(),
            Self::BodyTimeout => Some(limit::IDLE),
            Self::Body(BodyEnd::TooLarge) => Some(limit::REQUEST_BODY),
            Self::BackendProtocol("response-head-too-large") => Some(limit::RESPONSE_HEAD),
            _ => None,
        }
    }

    /// What the client is told; `None` if there is nobody to tell.
    fn problem(&self) -> Option<&'static ProblemKind> {
        Some(match self {
            Self::Acquire(AcquireError::NoEndpoints) => &kinds::NO_ENDPOINTS,
            Self::Acquire(AcquireError::AllBusy | AcquireError::AllEjected) => &kinds::UPSTREAM_BUSY,
            Self::Acquire(AcquireError::ConnectTimeout { .. }) => &kinds::UPSTREAM_CONNECT_TIMEOUT,
            Self::Acquire(_) => &kinds::UPSTREAM_CONNECT,
            Self::Bound(_) => &kinds::UPSTREAM_TIMEOUT,
            Self::BodyTimeout => &kinds::REQUEST_TIMEOUT,
            Self::Body(BodyEnd::Malformed(_)) => &kinds::BAD_REQUEST,
            Self::Body(BodyEnd::TooLarge) => &kinds::BODY_TOO_LARGE,
            Self::ClientGone | Self::Body(_) => return None,
            Self::BackendClosed => &kinds::UPSTREAM_CLOSED,
            Self::BackendProtocol(_) => &kinds::UPSTREAM_PROTOCOL,
        })
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
    let Some(kind) = failure.problem() else {
        tally.status = CLIENT_CLOSED_REQUEST;
        tally.error_class = Some("client-closed");
        return After::Abort;
    };
    if kind.status >= 500 {
        worker.metrics.upstream_error(kind.name);
    }
    tally.status = kind.status;
    tally.error_class = Some(match failure {
        Failure::BackendProtocol(reason) => reason,
        _ => kind.name,
    });
    let whole = request.body.delivered();
    let close = !request.keep_alive || !whole || worker.draining.get();
    connection.input_abandoned |= !whole;
    worker.metrics.problem_response(kind.name);
    connection.output = render(connection, request, &Problem::new(kind), close);
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
