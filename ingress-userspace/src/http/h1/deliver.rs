//! The response's way to the client, once its head is in the output.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::TcpStream;

use super::body::{Body, BodyEnd};
use super::connection::{Connection, WriteError};
use super::decide::Request;
use super::exchange::{After, Tally, poll_body};
use super::offload;
use super::response::{Response, Rest};
use crate::auth::authenticator::Lasting;
use crate::relay::{PlainStream, Tunnel, TunnelEnd};
use crate::telemetry::metrics::{TransferKind, limit};
use crate::upstream::Lease;
use crate::worker::Going;
use crate::worker::timers::Bound;

/// What access logs say where a session or token has ended.
const SESSION_ENDED: &str = "session-ended";

/// Sends the output and what follows it.
pub(crate) async fn deliver(
    connection: &mut Connection,
    request: &mut Request,
    lease: Lease,
    response: Response,
    tally: &mut Tally,
) -> After {
    tally.status = response.status;
    // What is read from the backend from now on is not reported to a request's body that is still on its way.
    let joined = !request.body.delivered() && request.body.stay();
    match response.rest {
        Rest::Tunnel(early) => {
            let lasting = request.grant.lasting.take();
            tunnel(connection, lease, &early, lasting, tally).await
        }
        Rest::Body(body) if body.complete() && request.body.delivered() => {
            tally.bytes_out = body.payload();
            // First: the next request may have the backend's connection while a slow client takes its response.
            settle(lease, tally, response.reusable);
            match connection.write_output().await {
                Err(error) => client_failed(tally, &error),
                Ok(()) if response.close => After::Close,
                Ok(()) => After::KeepAlive,
            }
        }
        Rest::Body(mut body) => {
            let mut lease = lease;
            if joined {
                body.copy_only();
            } else if !request.body.delivered() {
                // Its client is still read for the request's body.
                body.not_joined();
            }
            if body.pays() {
                offload::for_response(connection, lease.stream());
            }
            body.begin_with(std::mem::take(&mut connection.output));
            let going = by_session(connection, request, &body);
            let mut end = stream_body(connection, request, lease.stream(), &mut body).await;
            let over = going.is_some_and(|going| connection.worker.is_over(&going));
            if over && matches!(end, Ended::Bound(Bound::Total)) {
                end = Ended::Session;
            }
            tally.bytes_out = body.payload();
            body.count(&connection.worker.metrics);
            let reusable = response.reusable && !joined;
            finish(connection, request, lease, tally, &end, reusable, response.close || joined)
        }
    }
}

/// The endpoint has answered, whatever the client did with it.
fn settle(lease: Lease, tally: &Tally, reusable: bool) {
    lease.succeed(tally.first_byte.unwrap_or_default(), reusable);
}

fn client_failed(tally: &mut Tally, error: &WriteError) -> After {
    tally.error_class = Some(match error {
        WriteError::Io => "client-closed",
        WriteError::Bound(bound) => bound.as_str(),
    });
    After::Abort
}

/// How a response's body ended.
enum Ended {
    /// By itself.
    Body(BodyEnd),
    /// The client left before.
    ClientGone,
    /// By a bound on time.
    Bound(Bound),
    /// Because the session has ended that it was authorized by.
    Session,
}

/// Lets a response that may go on for ever end with the session that it was authorized by. One to a token is whole: tokens are short.
fn by_session(connection: &Connection, request: &mut Request, body: &Body) -> Option<Rc<Going>> {
    let lasting =
        request.grant.lasting.take_if(|by| matches!(by, Lasting::Session(..)) && body.is_endless())?;
    Some(connection.worker.end_with(&connection.timer, lasting))
}

/// Moves the response's body, and beside it what is left of the request's.
async fn stream_body(
    connection: &mut Connection,
    request: &mut Request,
    upstream: &mut TcpStream,
    body: &mut Body,
) -> Ended {
    let (worker, timer) = (Rc::clone(&connection.worker), Rc::clone(&connection.timer));
    let idle = connection.class.settings.timeouts.idle;
    timer.set(Bound::Idle, worker.now(), idle);
    // A backend that has answered may stop reading: then the rest of the request is not sent.
    let mut sending = !request.body.delivered();
    let mut excess = Vec::new();
    let ended = timer
        .bound(|cx: &mut Context<'_>| {
            if sending {
                match poll_body(cx, connection, request, upstream) {
                    Poll::Pending => {}
                    Poll::Ready(BodyEnd::Truncated | BodyEnd::Source) => {
                        return Poll::Ready(Ended::ClientGone);
                    }
                    Poll::Ready(end) => {
                        if matches!(end, BodyEnd::TooLarge) {
                            worker.metrics.limit_hit(limit::REQUEST_BODY);
                        }
                        if matches!(end, BodyEnd::Sink) {
                            body.doubt_end();
                        }
                        sending = false;
                    }
                }
            }
            let progress = |_| timer.set(Bound::Idle, worker.now(), idle);
            let polled = body.poll(cx, upstream, &mut connection.stream, &mut excess, progress);
            connection.input.append(&mut body.take_from_sink());
            match polled {
                // Bytes after the end of the response: its connection must not be used again.
                Poll::Ready(BodyEnd::Complete) if !excess.is_empty() => {
                    Poll::Ready(Ended::Body(BodyEnd::CompleteWithExcess))
                }
                Poll::Ready(_) if !request.body.sink_is_whole() => Poll::Ready(Ended::Body(BodyEnd::Source)),
                Poll::Ready(end) => Poll::Ready(Ended::Body(end)),
                // What is left of a body that is not sent on is no sign of the client's.
                Poll::Pending if !request.body.delivered() => Poll::Pending,
                Poll::Pending => {
                    let before = connection.input.len();
                    let watched = connection.poll_client(cx);
                    body.sink_was_read(connection.input.len() - before);
                    watched.map(|()| Ended::ClientGone)
                }
            }
        })
        .await;
    ended.unwrap_or_else(Ended::Bound)
}

fn finish(
    connection: &mut Connection,
    request: &Request,
    mut lease: Lease,
    tally: &mut Tally,
    ended: &Ended,
    reusable: bool,
    close: bool,
) -> After {
    let whole = request.body.delivered();
    connection.input_abandoned |= !whole;
    match ended {
        Ended::Body(BodyEnd::Complete) => settle(lease, tally, reusable && whole),
        Ended::Body(BodyEnd::CompleteWithExcess) => {
            // Its sender learns that more was sent than is taken, whether a rung has read it or not.
            abort(lease.stream());
            settle(lease, tally, false);
        }
        Ended::Body(BodyEnd::Sink) | Ended::ClientGone => {
            settle(lease, tally, false);
            tally.error_class = Some("client-closed");
            return After::Abort;
        }
        Ended::Body(BodyEnd::Malformed(_)) => return broken(connection, lease, tally, "upstream-protocol"),
        Ended::Body(BodyEnd::Truncated | BodyEnd::Source | BodyEnd::TooLarge) => {
            return broken(connection, lease, tally, "upstream-closed");
        }
        Ended::Session => {
            settle(lease, tally, false);
            tally.error_class = Some(SESSION_ENDED);
            return After::Abort;
        }
        Ended::Bound(bound) => {
            connection.count(*bound);
            settle(lease, tally, false);
            tally.error_class = Some(bound.as_str());
            return After::Abort;
        }
    }
    if close || !whole { After::Close } else { After::KeepAlive }
}

/// The backend failed in the middle of its response: the client must see that it is not whole.
fn broken(connection: &Connection, lease: Lease, tally: &mut Tally, class: &'static str) -> After {
    lease.fail();
    connection.worker.metrics.upstream_error(class);
    tally.error_class = Some(class);
    After::Abort
}

/// Both ways until both have ended (RFC 9110 section 7.8), or the session or token by which it was opened has.
async fn tunnel(
    connection: &mut Connection,
    lease: Lease,
    early: &[u8],
    lasting: Option<Lasting>,
    tally: &mut Tally,
) -> After {
    if let Err(error) = connection.write_output().await {
        lease.client_gone();
        return client_failed(tally, &error);
    }
    let (worker, timer) = (Rc::clone(&connection.worker), Rc::clone(&connection.timer));
    let idle = connection.class.settings.timeouts.idle;
    let now = worker.now();
    timer.set_total(now, Duration::ZERO);
    let going = lasting.map(|lasting| worker.end_with(&timer, lasting));
    let (upstream, engagement) = lease.into_parts();
    let mut upstream = PlainStream::new(upstream);
    let input = std::mem::take(&mut connection.input);
    let stream = &mut connection.stream;
    let mut tunnel = Tunnel::new(worker.rungs(), (&mut *stream, &input), (&mut upstream, early));
    drop(input);
    let end = tunnel.run(&timer, || worker.now(), idle, stream, &mut upstream).await;
    (tally.bytes_in, tally.bytes_out) = tunnel.moved();
    tunnel.count(&worker.metrics, TransferKind::Tunnel);
    // Where bytes are lost, neither who lacks them nor who has sent them may see an end in order. A reset goes through, too.
    let lost = tunnel.owes(stream, &mut upstream);
    if lost || matches!(end, Ok(TunnelEnd::Client(_))) {
        upstream.abort();
    }
    engagement.succeed(tally.first_byte.unwrap_or_default());
    match end {
        Ok(TunnelEnd::Complete) => After::Close,
        Ok(TunnelEnd::Client(_)) => {
            tally.error_class = Some("client-reset");
            After::Abort
        }
        Ok(TunnelEnd::Backend(_)) => {
            tally.error_class = Some("upstream-reset");
            After::Abort
        }
        Err(Bound::Total) if going.is_some() => {
            tally.error_class = Some(SESSION_ENDED);
            if lost { After::Abort } else { After::Close }
        }
        Err(bound) => {
            connection.count(bound);
            tally.error_class = Some(bound.as_str());
            if lost { After::Abort } else { After::Close }
        }
    }
}

/// Makes the coming close a reset: an end in order would say that nothing is missing.
fn abort(tcp: &TcpStream) {
    // The only failure is a socket that is gone already.
    let _ = socket2::SockRef::from(tcp).set_linger(Some(Duration::ZERO));
}
