//! Asks the proxy, on one connection, whether a change has arrived.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::penstock::LIMIT;
use crate::shell::Outcome;

/// Between two questions.
const PAUSE: Duration = Duration::from_micros(300);

/// A connection that stays open.
pub(super) struct Probe(TcpStream);

impl Probe {
    pub(super) fn connect(address: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(Self(stream))
    }

    /// The status of a response to `GET /`.
    pub(super) fn status(&mut self, host: &str) -> Outcome<u16> {
        write!(self.0, "GET / HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\n\r\n")?;
        let mut received = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            if let Some((status, length)) = response(&received)?
                && received.len() >= length
            {
                return Ok(status);
            }
            match self.0.read(&mut buffer)? {
                0 => return Err("the proxy has closed the connection".into()),
                read => received.extend_from_slice(&buffer[..read]),
            }
        }
    }

    /// Waits until a host is answered with a status, and tells since when it was waited for.
    pub(super) fn wait_for(&mut self, host: &str, status: u16, since: Instant) -> Outcome<Duration> {
        while self.status(host)? != status {
            if since.elapsed() > LIMIT {
                return Err(format!("{host} was not answered with {status} within {LIMIT:?}").into());
            }
            std::thread::park_timeout(PAUSE);
        }
        Ok(since.elapsed())
    }
}

/// The status of a response whose head is complete, and how long all of it is.
fn response(received: &[u8]) -> Outcome<Option<(u16, usize)>> {
    let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(&received[..end]);
    let status = head.split(' ').nth(1).unwrap_or_default().parse()?;
    let lengths = head.lines().filter_map(|line| line.split_once(": "));
    let mut lengths = lengths.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = lengths.next().ok_or("a response without Content-Length")?.1.parse()?;
    Ok(Some((status, end + 4 + length)))
}

/// A backend at an address that the API server accepts in an EndpointSlice: loopback addresses are refused there. Packets
/// to this machine's own address never leave it.
pub(super) fn backend() -> Outcome<SocketAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // Connecting a UDP socket sends nothing: it only chooses the address to send from.
    socket.connect(("203.0.113.1", 9)).map_err(|_| "this machine needs an address besides 127.0.0.1")?;
    let listener = TcpListener::bind((socket.local_addr()?.ip(), 0))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || crate::demo::backend::serve(&listener, "scale"));
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_its_head_and_its_length() {
        assert!(response(b"HTTP/1.1 200 OK\r\n").unwrap().is_none());
        let whole = b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno";
        assert_eq!(response(whole).unwrap(), Some((404, whole.len())));
        assert!(response(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
