//! A client's connection after the handshake: plain TCP, or TLS over it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWrite as _;
use tokio::net::TcpStream;

use crate::relay::{Duplex, poll_tcp_read};
use crate::sys::tcp;
use crate::tls::Session;
use crate::tls::ktls::{self, KernelSession, Refused, Switch};

/// How long until it is looked again whether what was sent has arrived. The kernel has no event for it.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A client's connection.
#[derive(Debug)]
pub struct ClientStream {
    /// `None` while a tunnel has it, or if it was lost meanwhile. It is always there with TLS.
    tcp: Option<TcpStream>,
    layer: Layer,
    /// So many of the next bytes are followed by others at once, which shall share their record.
    held: usize,
}

/// What is above TCP.
#[derive(Debug)]
enum Layer {
    /// Nothing.
    Plain,
    /// TLS, whose records rustls makes.
    Userspace(Box<Session>),
    /// TLS, whose records the kernel makes.
    Kernel(Box<KernelSession>),
    /// TLS that nobody can speak any more: nothing may be written.
    Failed,
}

fn failed<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
}

impl ClientStream {
    /// Plain TCP.
    pub fn plain(tcp: TcpStream) -> Self {
        Self::new(tcp, Layer::Plain)
    }

    /// TLS whose handshake is done.
    pub fn tls(tcp: TcpStream, session: Session) -> Self {
        Self::new(tcp, Layer::Userspace(Box::new(session)))
    }

    /// TLS in the kernel.
    pub(crate) fn kernel(tcp: TcpStream, session: Box<KernelSession>) -> Self {
        Self::new(tcp, Layer::Kernel(session))
    }

    fn new(tcp: TcpStream, layer: Layer) -> Self {
        Self { tcp: Some(tcp), layer, held: 0 }
    }

    /// Lets the kernel make and open the records from now on, if it can be done at this moment; plain TCP needs nothing.
    pub fn offload(&mut self) -> Result<(), Refused> {
        let Layer::Userspace(session) = &self.layer else { return Ok(()) };
        if !ktls::supports(session.state().negotiated_cipher_suite()) {
            return Err(Refused::Cipher);
        }
        let Self { tcp: Some(tcp), layer, .. } = self else { return Ok(()) };
        let Layer::Userspace(session) = std::mem::replace(layer, Layer::Failed) else { return Ok(()) };
        match ktls::switch(tcp, session) {
            Switch::Kernel(session) => self.layer = Layer::Kernel(session),
            Switch::Refused(session, why) => {
                self.layer = Layer::Userspace(session);
                return Err(why);
            }
            Switch::Failed(error) => {
                tracing::warn!(%error, "the kernel refused the keys of a TLS connection, which is closed");
                return Err(Refused::Socket);
            }
        }
        Ok(())
    }

    /// Says how many of the next bytes are followed by others at once, which shall share their record. Only the kernel can wait
    /// for them.
    pub fn hold(&mut self, bytes: usize) {
        self.held = if matches!(self.layer, Layer::Kernel(_)) { bytes } else { 0 };
    }

    /// Whether the connection should end with the request in hand.
    pub fn should_end(&self) -> bool {
        matches!(&self.layer, Layer::Kernel(session) if session.should_end())
    }

    /// Whether what the client sends cannot be read any more, though it is still there.
    pub fn deaf(&self) -> bool {
        matches!(&self.layer, Layer::Kernel(session) if session.deaf())
    }

    /// The socket below; `None` while a tunnel has it.
    pub fn tcp(&self) -> Option<&TcpStream> {
        self.tcp.as_ref()
    }

    /// Says that nothing more will be sent, where the protocol has words for it: close_notify (RFC 8446 section 6.1).
    pub fn poll_goodbye(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { tcp: Some(tcp), layer, .. } = self else { return failed() };
        match layer {
            Layer::Plain => Poll::Ready(Ok(())),
            Layer::Userspace(session) => session.poll_goodbye(tcp, cx),
            Layer::Kernel(session) => session.poll_goodbye(tcp, cx),
            Layer::Failed => failed(),
        }
    }

    /// Ends the sending direction of the socket.
    pub fn shut_down(&self) -> io::Result<()> {
        let tcp = self.tcp.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        socket2::SockRef::from(tcp).shutdown(std::net::Shutdown::Write)
    }

    /// Reads what the socket holds, without a look at it: to discard it.
    pub fn poll_raw_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let Self { tcp: Some(tcp), layer, .. } = self else { return failed() };
        match layer {
            Layer::Kernel(session) => session.poll_discard(tcp, cx, buf),
            _ => poll_tcp_read(tcp, cx, buf),
        }
    }

    /// Waits until the client has acknowledged all that was sent, is gone, or has acknowledged nothing for so long.
    pub async fn wait_delivered(&self, patience: Duration) {
        let Some(tcp) = &self.tcp else { return };
        let mut least = u64::MAX;
        let mut since = tokio::time::Instant::now();
        while let Ok(left @ 1..) = tcp::undelivered(tcp) {
            if left < least {
                (least, since) = (left, tokio::time::Instant::now());
            } else if since.elapsed() >= patience {
                return;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Makes the coming close a reset, so that a truncated message cannot be taken for a whole one.
    pub fn abort(&mut self) {
        if let Some(tcp) = &self.tcp {
            // The only failure is a socket that is gone already.
            let _ = socket2::SockRef::from(tcp).set_linger(Some(Duration::ZERO));
        }
    }
}

impl Duplex for ClientStream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let Self { tcp: Some(tcp), layer, .. } = self else { return failed() };
        match layer {
            Layer::Plain => poll_tcp_read(tcp, cx, buf),
            Layer::Userspace(session) => session.poll_read(tcp, cx, buf),
            Layer::Kernel(session) => session.poll_read(tcp, cx, buf),
            Layer::Failed => failed(),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let Self { tcp: Some(tcp), layer, held } = self else { return failed() };
        match layer {
            Layer::Plain => Pin::new(tcp).poll_write(cx, data),
            Layer::Userspace(session) => session.poll_write(tcp, cx, data),
            Layer::Kernel(session) => {
                let more = data.len() <= *held;
                let sent = ready!(session.poll_write(tcp, cx, data, more))?;
                *held = held.saturating_sub(sent);
                Poll::Ready(Ok(sent))
            }
            Layer::Failed => failed(),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { tcp: Some(tcp), layer, .. } = self else { return failed() };
        match layer {
            Layer::Plain => Poll::Ready(Ok(())),
            Layer::Userspace(session) => session.poll_flush(tcp, cx),
            Layer::Kernel(session) => session.poll_flush(tcp, cx),
            Layer::Failed => failed(),
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_goodbye(cx))?;
        let Some(tcp) = &mut self.tcp else { return failed() };
        Pin::new(tcp).poll_shutdown(cx)
    }

    fn plain_socket(&self) -> Option<&TcpStream> {
        self.tcp.as_ref().filter(|_| matches!(self.layer, Layer::Plain))
    }

    fn lend(&mut self) -> Option<TcpStream> {
        if matches!(self.layer, Layer::Plain) { self.tcp.take() } else { None }
    }

    fn take_back(&mut self, socket: TcpStream) {
        self.tcp = Some(socket);
    }

    fn kernel_source(&self) -> Option<&TcpStream> {
        let tcp = self.tcp.as_ref()?;
        let may = match &self.layer {
            Layer::Plain => true,
            Layer::Kernel(session) => session.may_source(),
            Layer::Userspace(_) | Layer::Failed => false,
        };
        may.then_some(tcp)
    }

    fn kernel_end(&self) -> io::Result<()> {
        match &self.layer {
            Layer::Plain => Ok(()),
            // A goodbye is no data, so that splice(2) stops before it: this is the end of TCP without one.
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn kernel_sink(&self) -> Option<&TcpStream> {
        let tcp = self.tcp.as_ref()?;
        let may = match &self.layer {
            Layer::Plain => true,
            Layer::Kernel(session) => session.may_sink(tcp),
            Layer::Userspace(_) | Layer::Failed => false,
        };
        may.then_some(tcp)
    }
}
