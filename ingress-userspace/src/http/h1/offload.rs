//! When the record layer of a client's connection goes to the kernel: as soon as there is a body that the kernel can then move.
//! A connection that never has a body of that size stays with rustls: it would gain nothing, and pay for the switch.

use std::mem::MaybeUninit;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::body::BodyEnd;
use super::connection::Connection;
use super::decide::Request;
use crate::kernel::Acceleration;
use crate::relay::Duplex as _;
use crate::telemetry::metrics::fallback;
use crate::tls::ktls::Refused;
use crate::worker::timers::Bound;

fn may(connection: &Connection) -> bool {
    connection.worker.shared.accelerations.proven(Acceleration::Ktls)
}

fn count(connection: &Connection, refused: Refused) {
    let reason = match refused {
        Refused::Cipher => fallback::UNSUPPORTED_CIPHER,
        Refused::MidRecord => fallback::MID_RECORD,
        Refused::Socket => fallback::REFUSED,
    };
    connection.worker.metrics.relay_fallback(Acceleration::Ktls, reason);
}

/// Lets the kernel make the records of a response whose head is in the output.
pub(crate) fn for_response(connection: &mut Connection, upstream: &TcpStream) {
    if !may(connection) {
        return;
    }
    if let Err(refused) = connection.stream.offload() {
        count(connection, refused);
    }
    // The head shares a record with what follows only if that is there: a head must not wait for a slow backend.
    let peeked =
        upstream.try_io(Interest::READABLE, || SockRef::from(upstream).peek(&mut [MaybeUninit::uninit()]));
    let held = if matches!(peeked, Ok(1..)) { connection.output.len() } else { 0 };
    connection.stream.hold(held);
}

/// Lets the kernel open the records of a request's body, if what is left of it is worth that. It takes over at the boundary of a
/// record only; what rustls has opened by then goes first, through userspace.
pub(crate) fn poll_approach(
    cx: &mut Context<'_>,
    connection: &mut Connection,
    request: &mut Request,
    upstream: &mut TcpStream,
) -> Poll<Result<(), BodyEnd>> {
    while request.body.approaches() && may(connection) && connection.stream.kernel_source().is_none() {
        match connection.stream.offload() {
            Ok(()) | Err(Refused::MidRecord) => {}
            Err(refused) => {
                count(connection, refused);
                request.body.give_up_approach();
                break;
            }
        }
        if connection.stream.kernel_source().is_some() {
            break;
        }
        let (worker, timer) = (&connection.worker, &connection.timer);
        let idle = connection.class.settings.timeouts.idle;
        let progress = |_| timer.set(Bound::Idle, worker.now(), idle);
        let (stream, input) = (&mut connection.stream, &mut connection.input);
        ready!(request.body.poll_some(cx, stream, upstream, input, progress))?;
        if request.body.pays() && !request.body.approaches() {
            count(connection, Refused::MidRecord);
        }
    }
    Poll::Ready(Ok(()))
}
