//! How a tunnel ends: an end in order is passed on as one, and nothing else is.

use std::io;
use std::task::{Context, Poll, Waker};

use penstock::relay::{Duplex, Rungs, Tunnel, TunnelEnd};

/// A connection that has been reset, of which the kernel tells once, to whatever call comes first: then its end looks like one
/// in order.
#[derive(Default)]
struct Reset {
    told: bool,
}

impl Reset {
    fn tell(&mut self) -> Option<io::Error> {
        (!std::mem::replace(&mut self.told, true)).then(|| io::ErrorKind::ConnectionReset.into())
    }
}

impl Duplex for Reset {
    fn poll_read(&mut self, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.tell().map_or(Ok(0), Err))
    }

    fn poll_write(&mut self, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(self.tell().unwrap_or(io::ErrorKind::BrokenPipe.into())))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A connection that has sent something, and notes whether it is told of an end in order.
#[derive(Default)]
struct Talking {
    spoken: bool,
    ended: bool,
}

impl Duplex for Talking {
    fn poll_read(&mut self, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if std::mem::replace(&mut self.spoken, true) {
            return Poll::Pending;
        }
        buffer[0] = b'!';
        Poll::Ready(Ok(1))
    }

    fn poll_write(&mut self, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ended = true;
        Poll::Ready(Ok(()))
    }
}

#[test]
fn a_reset_that_a_write_has_met_is_no_end_in_order() {
    let mut context = Context::from_waker(Waker::noop());
    let (mut client, mut backend) = (Talking::default(), Reset::default());
    let mut tunnel = Tunnel::new(Rungs::COPY, (&mut client, b""), (&mut backend, b""));
    let end = tunnel.poll(&mut context, &mut client, &mut backend, |_| {});
    assert!(matches!(end, Poll::Ready(TunnelEnd::Backend(_))), "{end:?}");
    assert!(!client.ended, "the client was told of an end in order");

    let (mut client, mut backend) = (Reset::default(), Talking::default());
    let mut tunnel = Tunnel::new(Rungs::COPY, (&mut client, b""), (&mut backend, b""));
    let end = tunnel.poll(&mut context, &mut client, &mut backend, |_| {});
    assert!(matches!(end, Poll::Ready(TunnelEnd::Client(_))), "{end:?}");
    assert!(!backend.ended, "the backend was told of an end in order");
}
