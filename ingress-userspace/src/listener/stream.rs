//! A client's connection after the handshake: plain TCP, or TLS over it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite as _;
use tokio::net::TcpStream;

use crate::relay::{Duplex, poll_tcp_read};
use crate::tls::Session;

/// A client's connection.
#[derive(Debug)]
pub struct ClientStream {
    tcp: TcpStream,
    layer: Layer,
}

/// What is above TCP.
#[derive(Debug)]
enum Layer {
    /// Nothing.
    Plain,
    /// TLS, whose records rustls makes.
    Userspace(Box<Session>),
}

impl ClientStream {
    /// Plain TCP.
    pub fn plain(tcp: TcpStream) -> Self {
        Self { tcp, layer: Layer::Plain }
    }

    /// TLS whose handshake is done.
    pub fn tls(tcp: TcpStream, session: Session) -> Self {
        Self { tcp, layer: Layer::Userspace(Box::new(session)) }
    }

    /// The socket below.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Says that nothing more will be sent, where the protocol has words for it: close_notify (RFC 8446 section 6.1).
    pub fn poll_goodbye(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.layer {
            Layer::Plain => Poll::Ready(Ok(())),
            Layer::Userspace(session) => session.poll_goodbye(&mut self.tcp, cx),
        }
    }

    /// Ends the sending direction of the socket.
    pub fn shut_down(&self) -> io::Result<()> {
        socket2::SockRef::from(&self.tcp).shutdown(std::net::Shutdown::Write)
    }

    /// Reads what the socket holds, without a look at it: to discard it.
    pub fn poll_raw_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        poll_tcp_read(&mut self.tcp, cx, buf)
    }

    /// Makes the coming close a reset, so that a truncated message cannot be taken for a whole one.
    pub fn abort(&mut self) {
        // The only failure is a socket that is gone already.
        let _ = socket2::SockRef::from(&self.tcp).set_linger(Some(std::time::Duration::ZERO));
    }
}

impl Duplex for ClientStream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match &mut self.layer {
            Layer::Plain => poll_tcp_read(&mut self.tcp, cx, buf),
            Layer::Userspace(session) => session.poll_read(&mut self.tcp, cx, buf),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.layer {
            Layer::Plain => Pin::new(&mut self.tcp).poll_write(cx, data),
            Layer::Userspace(session) => session.poll_write(&mut self.tcp, cx, data),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.layer {
            Layer::Plain => Poll::Ready(Ok(())),
            Layer::Userspace(session) => session.poll_flush(&mut self.tcp, cx),
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_goodbye(cx))?;
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    fn kernel_source(&self) -> Option<&TcpStream> {
        matches!(self.layer, Layer::Plain).then_some(&self.tcp)
    }

    fn kernel_sink(&self) -> Option<&TcpStream> {
        matches!(self.layer, Layer::Plain).then_some(&self.tcp)
    }
}
