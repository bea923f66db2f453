//! The server's side of a handshake, whose configuration the name in the ClientHello chooses (SNI, RFC 6066 section 3).

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ServerConfig;
use rustls::server::{AcceptedAlert, Acceptor};
use tokio::io::AsyncWrite as _;
use tokio::net::TcpStream;

use super::names::Negotiated;
use super::session::{Session, tls_error};
use crate::relay::{poll_tcp_read, scratch};

/// The alert that refuses a client (RFC 8446 section 6.2): fatal, access_denied, in a plain record.
const ACCESS_DENIED: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];

/// Does a handshake as `choose` says for the client's server name. `received` was read from the socket before. A client for
/// whom `choose` fails with [`PermissionDenied`](io::ErrorKind::PermissionDenied) is told so.
pub async fn accept(
    tcp: &mut TcpStream,
    received: Vec<u8>,
    choose: impl FnOnce(Option<&str>) -> io::Result<Arc<ServerConfig>>,
) -> io::Result<(Session, Negotiated)> {
    let mut hello = Hello { acceptor: Acceptor::default(), unread: received.len(), received };
    let server_name = poll_fn(|cx| hello.poll(tcp, cx)).await?;
    let config = choose(server_name.as_deref()).inspect_err(|error| {
        if error.kind() == io::ErrorKind::PermissionDenied {
            // It is closed, whether or not it can be said.
            let _ = tcp.try_write(&ACCESS_DENIED);
        }
    })?;
    let mut session = Session::new(config, hello.received).map_err(tls_error)?;
    poll_fn(|cx| session.poll_handshake(tcp, cx)).await?;
    let negotiated = Negotiated::new(session.state(), server_name);
    Ok((session, negotiated))
}

/// The ClientHello, which is kept for the session while it is looked at.
struct Hello {
    acceptor: Acceptor,
    received: Vec<u8>,
    /// How many of the received bytes the acceptor has not seen.
    unread: usize,
}

impl Hello {
    fn poll(&mut self, tcp: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<Option<Box<str>>>> {
        loop {
            if self.unread > 0 {
                let mut rest = &self.received[self.received.len() - self.unread..];
                self.acceptor.read_tls(&mut rest)?;
                self.unread = rest.len();
            }
            match self.acceptor.accept() {
                Ok(Some(accepted)) => {
                    return Poll::Ready(Ok(accepted.client_hello().server_name().map(Box::from)));
                }
                Ok(None) if self.unread > 0 => {}
                Ok(None) => ready!(self.poll_receive(tcp, cx))?,
                Err((error, alert)) => {
                    send_alert(alert, tcp, cx);
                    return Poll::Ready(Err(tls_error(error)));
                }
            }
        }
    }

    fn poll_receive(&mut self, tcp: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        scratch::with(|buffer| {
            let received = ready!(poll_tcp_read(tcp, cx, buffer))?;
            if received == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            self.received.extend_from_slice(&buffer[..received]);
            self.unread += received;
            Poll::Ready(Ok(()))
        })
    }
}

/// Says what was wrong (RFC 8446 section 6.2), if it can be said at once.
fn send_alert(mut alert: AcceptedAlert, tcp: &mut TcpStream, cx: &mut Context<'_>) {
    let mut bytes = Vec::new();
    if alert.write_all(&mut bytes).is_ok() {
        let _ = Pin::new(tcp).poll_write(cx, &bytes);
    }
}
