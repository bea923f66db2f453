//! Accepts connections, keeps the bounds, does the TLS handshake, and hands over to HTTP.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;

use rustls::server::Acceptor;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::bind::BACKLOG;
use super::stream::ClientStream;
use crate::http::h1;
use crate::http::h1::connection::{Connection, Peer};
use crate::telemetry::metrics::{HandshakeError, Listener, limit};
use crate::tls::tls_version_name;
use crate::worker::timers::{Bound, SWEEP_INTERVAL, Timer};
use crate::worker::{Full, Worker};

/// Accepts until it is dropped.
pub async fn run(worker: Rc<Worker>, listening: Listener, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((tcp, client)) => open(&worker, listening, tcp, client),
            Err(error) => pause_after(&error).await,
        }
    }
}

/// Accepts what the kernel has accepted already: closing the listener would reset those connections.
pub fn accept_queued(worker: &Rc<Worker>, listening: Listener, listener: &std::net::TcpListener) {
    for _ in 0..BACKLOG {
        let Ok((tcp, client)) = listener.accept() else { return };
        if let Ok(tcp) = tcp.set_nonblocking(true).and_then(|()| TcpStream::from_std(tcp)) {
            open(worker, listening, tcp, client);
        }
    }
}

/// An accept that fails for one connection (ECONNABORTED) must not stop the next; one that fails for lack of file descriptors
/// or memory would fail again at once, so it waits a moment.
async fn pause_after(error: &io::Error) {
    if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        return;
    }
    tracing::warn!(%error, "cannot accept a connection; if it says too many open files, raise the limit (ulimit -n)");
    tokio::time::sleep(SWEEP_INTERVAL).await;
}

/// Counts a connection out when it ends, however it ends.
struct Admission {
    worker: Rc<Worker>,
    listening: Listener,
    client: SocketAddr,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.worker.release(self.client.ip());
        self.worker.metrics.connection_closed(self.listening);
    }
}

fn open(worker: &Rc<Worker>, listening: Listener, tcp: TcpStream, client: SocketAddr) {
    // An IPv4 client of a [::] listener is an IPv4 client.
    let client = SocketAddr::new(client.ip().to_canonical(), client.port());
    if let Err(full) = worker.admit(client.ip()) {
        worker.metrics.limit_hit(match full {
            Full::Worker => limit::CONNECTIONS_PER_WORKER,
            Full::Address => limit::CONNECTIONS_PER_ADDRESS,
        });
        return;
    }
    worker.metrics.connection_opened(listening);
    let admission = Admission { worker: Rc::clone(worker), listening, client };
    tokio::task::spawn_local(async move {
        serve(&admission, tcp).await;
    });
}

async fn serve(admission: &Admission, tcp: TcpStream) {
    let worker = &admission.worker;
    // Whole messages are written at once, so Nagle's delay would only hurt. A failure means that the client is gone.
    let _ = tcp.set_nodelay(true);
    let Ok(local) = tcp.local_addr() else { return };
    let timer = worker.timers.register();
    let stream = match admission.listening {
        Listener::Http => ClientStream::plain(tcp),
        Listener::Https => match handshake(worker, &timer, tcp).await {
            Some(stream) => stream,
            None => return,
        },
    };
    let peer = Peer::new(admission.listening, admission.client, local.port(), stream.session());
    h1::serve(Connection::new(Rc::clone(worker), timer, stream, peer)).await;
}

async fn handshake(worker: &Worker, timer: &Timer, tcp: TcpStream) -> Option<ClientStream> {
    timer.set(Bound::Handshake, worker.now(), worker.process().settings.timeouts.handshake);
    let mut shaking = pin!(shake_hands(worker, tcp));
    match timer.bound(|cx| shaking.as_mut().poll(cx)).await {
        Ok(Ok(stream)) => {
            let (tcp, session) = stream.into_inner();
            worker.metrics.handshake(Ok(tls_version_name(&session)));
            Some(ClientStream::tls(tcp, session))
        }
        Ok(Err(error)) => {
            worker.metrics.handshake(Err(HandshakeError::from_io(&error)));
            None
        }
        Err(Bound::Stop) => None,
        Err(_) => {
            worker.metrics.handshake(Err(HandshakeError::Timeout));
            worker.metrics.limit_hit(limit::HANDSHAKE);
            None
        }
    }
}

/// The name that the client asks for decides how the rest of the handshake is done.
async fn shake_hands(worker: &Worker, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), tcp).await?;
    let config = worker.handshake(start.client_hello().server_name()).map_err(|error| {
        tracing::error!(%error, "a TLS policy cannot be served, so its handshakes fail");
        io::Error::other(error)
    })?;
    start.into_stream(config).await
}
