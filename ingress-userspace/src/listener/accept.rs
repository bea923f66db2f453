//! Accepts connections, keeps the bounds, reads the PROXY protocol header, does the TLS handshake, and hands over to HTTP.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use ingress_core::proxy_protocol::Addresses;
use tokio::net::{TcpListener, TcpStream};

use super::bind::BACKLOG;
use super::passthrough::{Opener, Passing};
use super::proxy_protocol::{HeaderError, read_header};
use super::stream::ClientStream;
use crate::http::h1;
use crate::http::h1::connection::{Connection, Peer};
use crate::telemetry::metrics::{HandshakeError, Listener, limit};
use crate::tls::{self, Negotiated, Session};
use crate::worker::timers::{Bound, SWEEP_INTERVAL, Timer};
use crate::worker::{ClassState, Full, Worker};

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
    /// What was counted in.
    address: Cell<Option<IpAddr>>,
}

impl Admission {
    /// Counts a connection in, unless a bound is reached.
    fn new(worker: &Rc<Worker>, listening: Listener, address: Option<IpAddr>) -> Result<Self, Full> {
        worker.admit(address)?;
        worker.metrics.connection_opened(listening);
        Ok(Self { worker: Rc::clone(worker), listening, address: Cell::new(address) })
    }

    /// Counts the client in that a header has told of.
    fn count(&self, address: IpAddr) -> Result<(), Full> {
        self.worker.admit_address(address)?;
        self.address.set(Some(address));
        Ok(())
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.worker.release(self.address.get());
        self.worker.metrics.connection_closed(self.listening);
    }
}

fn count_full(worker: &Worker, full: Full) {
    worker.metrics.limit_hit(match full {
        Full::Worker => limit::CONNECTIONS_PER_WORKER,
        Full::Address => limit::CONNECTIONS_PER_ADDRESS,
    });
}

fn open(worker: &Rc<Worker>, listening: Listener, tcp: TcpStream, peer: SocketAddr) {
    let peer = canonical(peer);
    let process = worker.process();
    // A load balancer's address is nobody's: whom to count, its header tells.
    let address = (!process.expects_proxy_header(peer.ip())).then_some(peer.ip());
    // The kernel has refused most of them. Those that it has not, it has accepted: what is left is a reset.
    if address.is_some_and(|address| worker.shared.published.table().denies_always(address)) {
        worker.metrics.connection_refused();
        let _ = socket2::SockRef::from(&tcp).set_linger(Some(Duration::ZERO));
        return;
    }
    match Admission::new(worker, listening, address) {
        Ok(admission) => drop(tokio::task::spawn_local(async move {
            serve(&admission, &process, tcp, peer).await;
        })),
        Err(full) => count_full(worker, full),
    }
}

/// An IPv4 client of a `[::]` listener is an IPv4 client.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

async fn serve(admission: &Admission, process: &ClassState, mut tcp: TcpStream, peer: SocketAddr) {
    let worker = &admission.worker;
    // Whole messages are written at once, so Nagle's delay would only hurt. A failure means that the client is gone.
    let _ = tcp.set_nodelay(true);
    let Ok(local) = tcp.local_addr() else { return };
    let timer = worker.timers.register();
    let (mut client, mut destination) = (peer, canonical(local));
    // The bound on the handshake is for both.
    timer.set(Bound::Handshake, worker.now(), process.settings.timeouts.handshake);
    if admission.address.get().is_none() {
        let Some(told) = proxy_header(worker, &timer, &mut tcp).await else { return };
        if let Some(addresses) = told {
            (client, destination) = (canonical(addresses.source), canonical(addresses.destination));
        }
        if worker.shared.published.table().denies_always(client.ip()) {
            return worker.metrics.connection_refused();
        }
        if let Err(full) = admission.count(client.ip()) {
            return count_full(worker, full);
        }
    }
    let (stream, negotiated) = match admission.listening {
        Listener::Http => (ClientStream::plain(tcp), None),
        Listener::Https => {
            let received = match open_tls(worker, &timer, &mut tcp, (client, destination)).await {
                Some((received, None)) => received,
                Some((received, Some(passing))) => {
                    return Box::pin(passing.serve(&timer, tcp, received)).await;
                }
                None => return,
            };
            match handshake(worker, &timer, &mut tcp, received, client.ip()).await {
                Some((session, negotiated)) => (ClientStream::tls(tcp, session), Some(negotiated)),
                None => return,
            }
        }
    };
    let peer = Peer::new(admission.listening, client, destination.port(), negotiated.as_ref());
    h1::serve(Connection::new(Rc::clone(worker), timer, stream, peer)).await;
}

/// Reads the PROXY protocol header; `None` if the connection cannot go on.
async fn proxy_header(worker: &Worker, timer: &Timer, tcp: &mut TcpStream) -> Option<Option<Addresses>> {
    // Boxed: few connections have one, and all would pay for its size.
    let mut reading = Box::pin(read_header(tcp));
    let error = match timer.bound(|cx| reading.as_mut().poll(cx)).await {
        Ok(Ok(addresses)) => return Some(addresses),
        Ok(Err(error)) => error,
        Err(Bound::Stop) => return None,
        Err(_) => {
            worker.metrics.limit_hit(limit::HANDSHAKE);
            HeaderError::Timeout
        }
    };
    worker.metrics.proxy_protocol_error(error);
    None
}

/// Whether a connection is passed through, and the bytes that were read to find out: none where no host is. `None` if the
/// connection cannot go on.
async fn open_tls(
    worker: &Rc<Worker>,
    timer: &Timer,
    tcp: &mut TcpStream,
    (client, destination): (SocketAddr, SocketAddr),
) -> Option<(Vec<u8>, Option<Passing>)> {
    if !worker.shared.published.table().has_passthrough() {
        return Some((Vec::new(), None));
    }
    let mut opener = Opener::default();
    match timer.bound(|cx| opener.poll(tcp, cx)).await {
        Ok(Ok(opening)) => {
            let passing = Passing::choose(worker, opening.hello, client, destination);
            Some((opening.received, passing))
        }
        Ok(Err(error)) => {
            worker.metrics.handshake(Err(HandshakeError::from_io(&error)));
            None
        }
        Err(bound) => {
            handshake_ended(worker, bound);
            None
        }
    }
}

/// A bound was reached before a handshake was done.
fn handshake_ended(worker: &Worker, bound: Bound) {
    if bound != Bound::Stop {
        worker.metrics.handshake(Err(HandshakeError::Timeout));
        worker.metrics.limit_hit(limit::HANDSHAKE);
    }
}

/// `received` was read from the socket before.
async fn handshake(
    worker: &Worker,
    timer: &Timer,
    tcp: &mut TcpStream,
    received: Vec<u8>,
    client: IpAddr,
) -> Option<(Session, Negotiated)> {
    let denied = Cell::new(false);
    // The name that the client asks for decides how the rest of the handshake is done.
    let choose = |server_name: Option<&str>| {
        if worker.shared.published.table().denies_by_name(server_name, client) {
            denied.set(true);
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        worker.handshake(server_name).map_err(|error| {
            tracing::error!(%error, "a TLS policy cannot be served, so its handshakes fail");
            io::Error::other(error)
        })
    };
    let mut shaking = pin!(tls::accept(tcp, received, choose));
    match timer.bound(|cx| shaking.as_mut().poll(cx)).await {
        Ok(Ok((session, negotiated))) => {
            worker.metrics.handshake(Ok(negotiated.version));
            Some((session, negotiated))
        }
        Ok(Err(_)) if denied.get() => {
            worker.metrics.connection_refused();
            None
        }
        Ok(Err(error)) => {
            worker.metrics.handshake(Err(HandshakeError::from_io(&error)));
            None
        }
        Err(bound) => {
            handshake_ended(worker, bound);
            None
        }
    }
}
