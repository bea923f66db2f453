//! One authorized request and its response.

use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use ingress_core::http::Reject;
use ingress_core::upstream::retry::may_retry;
use tokio::net::TcpStream;

use super::body::BodyEnd;
use super::connection::{Connection, WriteError};
use super::decide::Request;
use super::deliver;
use super::failure::{self, Failure};
use super::offload;
use super::response::{Reader, Refused, Response};
use crate::relay::{Duplex, scratch};
use crate::telemetry::RequestRecord;
use crate::upstream::Lease;
use crate::worker::timers::Bound;

/// What becomes of the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// The next request, please.
    KeepAlive,
    /// Closed in order.
    Close,
    /// Reset: the response is not whole.
    Abort,
}

/// What is known of a request at its end.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// The status that the client got; 0 if none.
    pub(crate) status: u16,
    /// The endpoint that was asked last.
    pub(crate) endpoint: Option<SocketAddr>,
    /// How long its connect took, if there was one.
    pub(crate) connect: Option<Duration>,
    /// From the request sent to the response's head.
    pub(crate) first_byte: Option<Duration>,
    /// Payload from the client.
    pub(crate) bytes_in: u64,
    /// Payload to the client.
    pub(crate) bytes_out: u64,
    /// What went wrong.
    pub(crate) error_class: Option<&'static str>,
    /// Further attempts after the first.
    pub(crate) retries: u32,
}

/// What became of one attempt at one endpoint.
pub(crate) enum Attempt {
    /// The request is over.
    Done(After),
    /// Nothing of it was answered; another endpoint may be asked.
    Retry(Failure),
    /// It cannot be answered by a backend.
    Failed(Failure),
}

/// Forwards a request, relays its response, and writes both down.
pub(crate) async fn forward(connection: &mut Connection, mut request: Box<Request>) -> After {
    let worker = Rc::clone(&connection.worker);
    connection.timer.set_total(connection.head_began, connection.class.settings.timeouts.total);
    let mut tally = Tally::default();
    let after = attempts(connection, &mut request, &mut tally).await;
    tally.bytes_in += request.body.payload();
    request.body.count(&worker.metrics);
    // What the client still sends may be read until the connection is closed.
    connection.joined = request.body.pair();
    let record = RequestRecord {
        rule: Some(&request.rule),
        backend: Some(&request.backend),
        endpoint: tally.endpoint,
        status: tally.status,
        bytes_in: tally.bytes_in,
        bytes_out: tally.bytes_out,
        total: connection.elapsed(),
        connect: tally.connect,
        first_byte: tally.first_byte,
        error_class: tally.error_class,
        retries: tally.retries,
        subject: request.grant.who.as_ref().map(|who| &*who.subject).filter(|subject| !subject.is_empty()),
        ..connection.record()
    };
    worker.metrics.finish_request(&record);
    after
}

async fn attempts(connection: &mut Connection, request: &mut Request, tally: &mut Tally) -> After {
    let mut tried = Vec::new();
    loop {
        let failure = match attempt(connection, request, tally, &tried).await {
            Attempt::Done(after) => return after,
            Attempt::Failed(failure) => failure,
            Attempt::Retry(failure) => {
                if tally.retries == 0 && connection.worker.upstreams.spend_retry() {
                    tally.retries += 1;
                    tried.extend(tally.endpoint);
                    continue;
                }
                failure
            }
        };
        return failure::answer(connection, request, tally, failure).await;
    }
}

async fn attempt(
    connection: &mut Connection,
    request: &mut Request,
    tally: &mut Tally,
    tried: &[SocketAddr],
) -> Attempt {
    let mut lease = match acquire(connection, request, tried).await {
        Ok(lease) => lease,
        Err(failure) => return not_acquired(connection, request, tally, failure),
    };
    tally.endpoint = Some(lease.endpoint());
    tally.connect = lease.connect_time();
    let mut sending = Sending::new(connection, request);
    loop {
        match exchange(connection, request, &mut lease, &mut sending).await {
            Event::Continue => {
                if say_continue(connection, request).await.is_err() {
                    return Attempt::Failed(Failure::ClientGone);
                }
            }
            Event::Interim => {
                if connection.write_output().await.is_err() {
                    return Attempt::Failed(Failure::ClientGone);
                }
            }
            Event::Response(response) => {
                tally.first_byte = Some(connection.worker.now().duration_since(sending.since));
                return Attempt::Done(deliver::deliver(connection, request, lease, response, tally).await);
            }
            Event::Failed(failure) => return failed(connection, request, lease, &sending, tally, failure),
        }
    }
}

async fn acquire(connection: &Connection, request: &Request, tried: &[SocketAddr]) -> Result<Lease, Failure> {
    // Connecting has a bound of its own; the timer ends it for the request's total.
    connection.timer.clear();
    let mut acquiring =
        pin!(connection.worker.upstreams.acquire(&request.backend, tried, connection.class.upstream));
    match connection.timer.bound(|cx| acquiring.as_mut().poll(cx)).await {
        Ok(acquired) => acquired.map_err(Failure::Acquire),
        Err(bound) => Err(Failure::Bound(bound)),
    }
}

/// Settles an attempt that got no connection. Where there was an endpoint to connect to, nothing was sent to it, and another
/// may be asked.
fn not_acquired(connection: &Connection, request: &Request, tally: &mut Tally, failure: Failure) -> Attempt {
    failure.count(connection);
    let endpoint = match &failure {
        Failure::Acquire(error) => error.endpoint(),
        _ => None,
    };
    tally.endpoint = endpoint.or(tally.endpoint);
    let may = may_retry(tally.retries + 1, endpoint.is_some(), request.idempotent, false, true);
    if may { Attempt::Retry(failure) } else { Attempt::Failed(failure) }
}

/// RFC 9110 section 10.1.1: a client that waits is told to go on, now that its request is authorized and has a backend.
async fn say_continue(connection: &mut Connection, request: &mut Request) -> Result<(), WriteError> {
    request.expect_continue = false;
    connection.output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
    connection.write_output().await
}

/// How far the request is on its way, and what has come back.
pub(crate) struct Sending {
    sent: usize,
    /// The backend takes no more; it may have answered all the same.
    refused: bool,
    /// Whether the request was wholly sent; then the response's bound begins.
    complete: bool,
    /// When that was, or, until then, when it began.
    since: Instant,
    reader: Reader,
}

impl Sending {
    fn new(connection: &Connection, request: &Request) -> Self {
        let (now, timeouts) = (connection.worker.now(), &connection.class.settings.timeouts);
        let complete = request.body.complete();
        if complete {
            connection.timer.set(Bound::Response, now, timeouts.response);
        } else {
            connection.timer.set(Bound::Idle, now, timeouts.idle);
        }
        Self { sent: 0, refused: false, complete, since: now, reader: Reader::default() }
    }

    /// Whether it is the client that has to go on.
    fn waits_for_client(&self, connection: &Connection, request: &Request) -> bool {
        !self.refused
            && self.sent == connection.to_backend.len()
            && !request.body.complete()
            && !request.body.waits_for_sink()
    }
}

/// What happened next.
enum Event {
    /// The client waits for 100 (Continue).
    Continue,
    /// Interim responses are in the output.
    Interim,
    /// The response's head is in the output.
    Response(Response),
    /// It failed.
    Failed(Failure),
}

/// Sends what is to be sent and reads what comes, both at once: a backend may answer before it has read everything.
async fn exchange(
    connection: &mut Connection,
    request: &mut Request,
    lease: &mut Lease,
    sending: &mut Sending,
) -> Event {
    let timer = Rc::clone(&connection.timer);
    let upstream = lease.stream();
    let bounded = timer.bound(|cx| {
        if let Poll::Ready(event) = poll_send(cx, connection, request, upstream, sending) {
            return Poll::Ready(event);
        }
        poll_receive(cx, connection, request, upstream, sending)
    });
    match bounded.await {
        Ok(event) => event,
        Err(bound @ (Bound::Idle | Bound::Total)) if sending.waits_for_client(connection, request) => {
            Event::Failed(Failure::ClientSlow(bound))
        }
        // It is not the backend that is late. The renewal is not waited for any more; its result is kept for the next request.
        Err(Bound::Response) if request.grant.renewing.take().is_some() => {
            timer.set(Bound::Response, connection.worker.now(), connection.class.settings.timeouts.response);
            Event::Interim
        }
        Err(bound) => Event::Failed(Failure::Bound(bound)),
    }
}

/// Ready only with an event; Pending while there is nothing to say, whether all is sent or not.
fn poll_send(
    cx: &mut Context<'_>,
    connection: &mut Connection,
    request: &mut Request,
    upstream: &mut TcpStream,
    sending: &mut Sending,
) -> Poll<Event> {
    while !sending.refused && sending.sent < connection.to_backend.len() {
        match ready!(upstream.poll_write(cx, &connection.to_backend[sending.sent..])) {
            Ok(taken) => sending.sent += taken,
            Err(_) => sending.refused = true,
        }
    }
    if !sending.refused && !request.body.delivered() {
        if request.expect_continue {
            return Poll::Ready(Event::Continue);
        }
        let end = ready!(poll_body(cx, connection, request, upstream));
        match end {
            BodyEnd::Complete => {}
            BodyEnd::Sink => sending.refused = true,
            end => return Poll::Ready(Event::Failed(Failure::Body(end))),
        }
    }
    if !sending.complete {
        let worker = &connection.worker;
        (sending.complete, sending.since) = (true, worker.now());
        connection.timer.set(Bound::Response, sending.since, connection.class.settings.timeouts.response);
    }
    if sending.refused && !request.body.delivered() {
        // What the client still sends is not read: it is not ours to judge whether it is gone.
        return Poll::Pending;
    }
    connection.poll_client(cx).map(|()| Event::Failed(Failure::ClientGone))
}

/// Moves the request's body on.
pub(crate) fn poll_body(
    cx: &mut Context<'_>,
    connection: &mut Connection,
    request: &mut Request,
    upstream: &mut TcpStream,
) -> Poll<BodyEnd> {
    if let Err(end) = ready!(offload::poll_approach(cx, connection, request, upstream)) {
        return Poll::Ready(end);
    }
    let (worker, timer) = (&connection.worker, &connection.timer);
    let idle = connection.class.settings.timeouts.idle;
    let progress = |_| timer.set(Bound::Idle, worker.now(), idle);
    request.body.poll(cx, &mut connection.stream, upstream, &mut connection.input, progress)
}

fn poll_receive(
    cx: &mut Context<'_>,
    connection: &mut Connection,
    request: &mut Request,
    upstream: &mut TcpStream,
    sending: &mut Sending,
) -> Poll<Event> {
    ready!(request.poll_renewed(cx));
    scratch::with(|scratch| {
        loop {
            let early = request.body.take_from_sink();
            let received = if early.is_empty() {
                match ready!(upstream.poll_read(cx, scratch)) {
                    Ok(0) | Err(_) => return Poll::Ready(Event::Failed(Failure::BackendClosed)),
                    Ok(received) => &scratch[..received],
                }
            } else {
                &early
            };
            if early.is_empty() {
                request.body.sink_was_read(received.len());
            }
            match sending.reader.take(connection, request, received) {
                Ok(Some(response)) => return Poll::Ready(Event::Response(response)),
                Ok(None) if connection.output.is_empty() => {}
                Ok(None) => return Poll::Ready(Event::Interim),
                Err(refused) => return Poll::Ready(Event::Failed(refused.into())),
            }
        }
    })
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::BackendProtocol(match refused {
            Refused::Reject(reject) => reject,
            Refused::Unexpected => UNEXPECTED,
        })
    }
}

const UNEXPECTED: Reject = Reject {
    status: 502,
    kind: "response-unexpected",
    detail: "the backend switched protocols unasked, or sent interim responses without end",
};

/// Settles the lease after an attempt without a response.
fn failed(
    connection: &mut Connection,
    request: &Request,
    lease: Lease,
    sending: &Sending,
    tally: &Tally,
    failure: Failure,
) -> Attempt {
    connection.output.clear();
    let stale = matches!(failure, Failure::BackendClosed) && lease.reused() && sending.reader.is_empty();
    if stale {
        connection.worker.metrics.upstream_error("stale");
    } else {
        failure.count(connection);
    }
    if failure.is_backends() {
        // A connection that was closed while it waited says nothing about the endpoint.
        if stale { lease.stale() } else { lease.fail() }
    } else {
        lease.client_gone();
    }
    let may = may_retry(tally.retries + 1, false, request.idempotent, stale, request.replayable);
    if may { Attempt::Retry(failure) } else { Attempt::Failed(failure) }
}
