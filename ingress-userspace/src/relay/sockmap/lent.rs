//! A socket while a tunnel has it in the sockmap: the reactor is not told of what arrives as long as the kernel moves it.
//!
//! The kernel wakes whoever waits for a joined socket for each buffer that arrives, also when a program has redirected it: a wake-up for
//! nothing, which cost more than the redirection itself (docs/benchmarks.md). So a *quiet* socket is registered for writing only. What is
//! told of it then is an end, a reset, and room for bytes to be sent; that bytes are passed the program tells by its events.

use std::io::{self, Read as _, Write as _};
use std::net::{self, Shutdown};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;

use crate::relay::Duplex;
use crate::sys::reactor;

/// How often a socket is asked again because the reactor knows of an end that the socket does not tell. After that, others have their turn.
const ROUNDS: usize = 8;

/// A plain connection that was lent to a tunnel.
#[derive(Debug)]
pub(in crate::relay) struct LentSocket {
    /// `None` once it could not be registered.
    io: Option<AsyncFd<net::TcpStream>>,
    quiet: bool,
}

/// What is waited for.
#[derive(Clone, Copy)]
enum For {
    Bytes,
    Room,
}

impl LentSocket {
    /// Takes a connection out of the hands of tokio.
    pub(in crate::relay) fn new(tcp: TcpStream) -> Self {
        Self { io: tcp.into_std().and_then(|socket| register(socket, false)).ok(), quiet: false }
    }

    /// The connection as it was before.
    pub(in crate::relay) fn into_tcp(self) -> io::Result<TcpStream> {
        let io = self.io.ok_or(io::ErrorKind::NotConnected)?;
        let socket = io.into_inner();
        let linger = SockRef::from(&socket).linger()?;
        // Should tokio refuse it, nobody may take its close for an end in order.
        SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
        let tcp = TcpStream::from_std(socket)?;
        SockRef::from(&tcp).set_linger(linger)?;
        Ok(tcp)
    }

    /// Tries, and waits if the socket is not ready.
    ///
    /// A quiet socket has one event for everything, so that what one direction has met must not be taken for what the other waits for:
    /// the socket is always asked first, and the reactor only after a refusal.
    fn poll_io(
        &self,
        cx: &mut Context<'_>,
        what: For,
        mut attempt: impl FnMut(&net::TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let Some(io) = &self.io else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        for _ in 0..ROUNDS {
            match attempt(io.get_ref()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                done => return Poll::Ready(done),
            }
            let mut ready = match what {
                For::Bytes if !self.quiet => ready!(io.poll_read_ready(cx))?,
                For::Bytes | For::Room => ready!(io.poll_write_ready(cx))?,
            };
            ready.clear_ready();
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

fn register(socket: net::TcpStream, quiet: bool) -> io::Result<AsyncFd<net::TcpStream>> {
    let interest = if quiet { Interest::WRITABLE } else { Interest::READABLE | Interest::WRITABLE };
    reactor::register(socket, interest).map_err(|(socket, error)| {
        // Nobody may take its coming close for an end in order.
        let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
        error
    })
}

impl Duplex for LentSocket {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_io(cx, For::Bytes, |mut socket| socket.read(buf))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_io(cx, For::Room, |mut socket| socket.write(data))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(io) = &self.io else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        Poll::Ready(io.get_ref().shutdown(Shutdown::Write))
    }

    fn plain_descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.io.as_ref().map(|io| io.get_ref().as_fd())
    }

    fn set_quiet(&mut self, quiet: bool) -> io::Result<bool> {
        if quiet != self.quiet {
            let io = self.io.take().ok_or(io::ErrorKind::NotConnected)?;
            self.io = Some(register(io.into_inner(), quiet)?);
            self.quiet = quiet;
        }
        Ok(quiet)
    }
}
