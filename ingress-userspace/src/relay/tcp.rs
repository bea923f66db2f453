//! A plain TCP socket as a relay's end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;

use super::Duplex;

/// Reads from a socket; 0 is its end.
pub(crate) fn poll_tcp_read(
    tcp: &mut TcpStream,
    cx: &mut Context<'_>,
    buf: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buf = ReadBuf::new(buf);
    ready!(Pin::new(tcp).poll_read(cx, &mut buf))?;
    Poll::Ready(Ok(buf.filled().len()))
}

/// A plain connection that a tunnel may take for itself while it lasts.
#[derive(Debug)]
pub struct PlainStream {
    /// `None` while it is lent, or if it was lost meanwhile.
    tcp: Option<TcpStream>,
}

impl PlainStream {
    /// A connection.
    pub fn new(tcp: TcpStream) -> Self {
        Self { tcp: Some(tcp) }
    }

    /// Makes the coming close a reset: an end in order would say that nothing is missing.
    pub fn abort(&self) {
        if let Some(tcp) = &self.tcp {
            // The only failure is a socket that is gone already.
            let _ = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
        }
    }

    fn here(&mut self) -> io::Result<&mut TcpStream> {
        self.tcp.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Duplex for PlainStream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        poll_tcp_read(self.here()?, cx, buf)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.here()?).poll_write(cx, data)
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.here()?).poll_shutdown(cx)
    }

    fn plain_socket(&self) -> Option<&TcpStream> {
        self.tcp.as_ref()
    }

    fn kernel_source(&self) -> Option<&TcpStream> {
        self.tcp.as_ref()
    }

    fn kernel_sink(&self) -> Option<&TcpStream> {
        self.tcp.as_ref()
    }

    fn lend(&mut self) -> Option<TcpStream> {
        self.tcp.take()
    }

    fn take_back(&mut self, socket: TcpStream) {
        self.tcp = Some(socket);
    }
}

impl Duplex for TcpStream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        poll_tcp_read(self, cx, buf)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self).poll_write(cx, data)
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self).poll_shutdown(cx)
    }

    fn plain_socket(&self) -> Option<&TcpStream> {
        Some(self)
    }

    fn kernel_source(&self) -> Option<&TcpStream> {
        Some(self)
    }

    fn kernel_sink(&self) -> Option<&TcpStream> {
        Some(self)
    }
}
