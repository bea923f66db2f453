//! Listening sockets: each worker has its own, joined by SO_REUSEPORT, so that accepting takes no lock.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel may hold for one listener before they are accepted. Linux caps it at net.core.somaxconn
/// (4096 since 5.4).
pub(super) const BACKLOG: i32 = 4096;

/// Listens on `address` at least once per worker: with the sockets that were inherited, and with as many more as are
/// missing. Port 0 lets the kernel choose one port for all of them.
pub(crate) fn bind_reuseport(
    address: SocketAddr,
    workers: usize,
    inherited: Vec<TcpListener>,
) -> io::Result<Vec<TcpListener>> {
    let mut listeners = inherited;
    if listeners.is_empty() {
        listeners.push(bind_one(address)?);
    }
    let bound = listeners[0].local_addr()?;
    while listeners.len() < workers {
        listeners.push(bind_one(bound)?);
    }
    Ok(listeners)
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // [::] serves IPv4 too, as mapped addresses; a specific IPv6 address cannot.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
