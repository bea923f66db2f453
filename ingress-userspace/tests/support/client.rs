//! A client that sends exactly the bytes it is given, over TCP or TLS, and reads responses with a deadline.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ProtocolVersion, StreamOwned};
use socket2::{Domain, SockRef, Socket, Type};

use super::DEADLINE;
use super::message::{Message, parse_response};

/// Why nothing more was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// FIN; with TLS after its close_notify.
    Closed,
    /// FIN without the close_notify of TLS: the data may be cut short (RFC 8446 section 6.1).
    Truncated,
    /// RST
    Reset,
    /// The peer broke TLS, or sent an alert.
    TlsError,
    /// Still open at the deadline.
    Deadline,
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    /// Complete responses in order, interim ones among them.
    pub(crate) responses: Vec<Message>,
    /// Bytes after them.
    pub(crate) rest: Vec<u8>,
    /// How reading ended; `None` if all the expected responses came.
    pub(crate) end: Option<End>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// A connection to Penstock.
pub(crate) struct Client {
    stream: Stream,
    received: Vec<u8>,
    end: Option<End>,
    limit: Duration,
}

impl Client {
    /// Plain TCP.
    #[track_caller]
    pub(crate) fn http(address: SocketAddr) -> Self {
        Self::new(Stream::Plain(connect(address).unwrap()))
    }

    /// Plain TCP, from an address of this machine.
    pub(crate) fn http_from(source: IpAddr, address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
        socket.connect_timeout(&address.into(), DEADLINE)?;
        let socket = TcpStream::from(socket);
        socket.set_write_timeout(Some(DEADLINE))?;
        Ok(Self::new(Stream::Plain(socket)))
    }

    /// TLS with a completed handshake; `name` goes into SNI unless it is an address.
    #[track_caller]
    pub(crate) fn https(address: SocketAddr, name: &str, config: &ClientConfig) -> Self {
        Self::try_https(address, name, config).unwrap()
    }

    /// TLS, after bytes that come before the handshake.
    #[track_caller]
    pub(crate) fn https_after(address: SocketAddr, bytes: &[u8], name: &str, config: &ClientConfig) -> Self {
        Self::shake_hands(address, bytes, name, config).unwrap()
    }

    /// TLS; the error tells why the handshake failed.
    pub(crate) fn try_https(address: SocketAddr, name: &str, config: &ClientConfig) -> io::Result<Self> {
        Self::shake_hands(address, &[], name, config)
    }

    fn shake_hands(
        address: SocketAddr,
        before: &[u8],
        name: &str,
        config: &ClientConfig,
    ) -> io::Result<Self> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut tls = ClientConnection::new(Arc::new(config.clone()), name).map_err(io::Error::other)?;
        let mut socket = connect(address)?;
        socket.set_read_timeout(Some(DEADLINE))?;
        socket.write_all(before)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut socket)?;
        }
        Ok(Self::new(Stream::Tls(Box::new(StreamOwned::new(tls, socket)))))
    }

    fn new(stream: Stream) -> Self {
        Self { stream, received: Vec::new(), end: None, limit: DEADLINE }
    }

    /// Bounds each wait by less than [`DEADLINE`], where a test expects nothing to come.
    pub(crate) fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Sends bytes at once.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.try_send(bytes.as_ref()).unwrap();
        self
    }

    /// Sends bytes; the error tells that the peer is gone.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(socket) => socket.write_all(bytes),
            Stream::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
        }
    }

    /// Sends until nothing more is taken for a moment: the buffers on the way are full, or fill up by drops only.
    pub(crate) fn send_until_stuck(&mut self) {
        let begin = Instant::now();
        self.socket().set_write_timeout(Some(Duration::from_millis(100))).unwrap();
        while begin.elapsed() < Duration::from_secs(2) && self.try_send(&[b'x'; 1 << 14]).is_ok() {}
        self.socket().set_write_timeout(Some(DEADLINE)).unwrap();
    }

    /// Sends bytes one by one, each in a packet (and a TLS record) of its own.
    #[track_caller]
    pub(crate) fn dribble(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        for byte in bytes.as_ref().chunks(1) {
            self.send(byte);
        }
        self
    }

    /// The next response to a request of `method`, interim ones included.
    #[track_caller]
    pub(crate) fn response(&mut self, method: &str) -> Message {
        match self.try_response(method, Instant::now() + self.limit) {
            Ok(response) => response,
            Err(end) => {
                let received = String::from_utf8_lossy(&self.received);
                panic!("no complete response ({end:?}), received {received:?}")
            }
        }
    }

    /// Sends a request and returns its final response.
    #[track_caller]
    pub(crate) fn request(&mut self, request: impl AsRef<[u8]>) -> Message {
        let request = request.as_ref();
        self.send(request);
        let method =
            String::from_utf8_lossy(request.split(|b| *b == b' ').next().unwrap_or_default()).into_owned();
        loop {
            let response = self.response(&method);
            if !response.is_interim() {
                return response;
            }
        }
    }

    /// `GET path` for `host`.
    #[track_caller]
    pub(crate) fn get(&mut self, host: &str, path: &str) -> Message {
        self.request(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
    }

    /// Reads until the final responses to requests of these methods are complete, or nothing more comes.
    #[track_caller]
    pub(crate) fn responses(&mut self, methods: &[&str]) -> Exchange {
        let deadline = Instant::now() + self.limit;
        let (mut responses, mut methods) = (Vec::new(), methods.iter());
        let mut method = methods.next();
        let mut end = None;
        while let Some(current) = method {
            match self.try_response(current, deadline) {
                Ok(response) => {
                    if !response.is_interim() {
                        method = methods.next();
                    }
                    responses.push(response);
                }
                Err(reason) => {
                    end = Some(reason);
                    break;
                }
            }
        }
        Exchange { responses, rest: std::mem::take(&mut self.received), end }
    }

    /// Reads until the peer ends the connection; returns how, and all bytes since the last response.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> (End, Vec<u8>) {
        let deadline = Instant::now() + self.limit;
        while self.end.is_none() && self.fill(deadline) {}
        (self.end.unwrap_or(End::Deadline), std::mem::take(&mut self.received))
    }

    /// Reads until `count` bytes came since the last response, as in a tunnel.
    #[track_caller]
    pub(crate) fn exactly(&mut self, count: usize) -> Vec<u8> {
        let deadline = Instant::now() + self.limit;
        while self.received.len() < count {
            assert!(self.fill(deadline), "{:?} after {} of {count} bytes", self.end, self.received.len());
        }
        self.received.drain(..count).collect()
    }

    /// Reads until the bytes since the last response contain `what`; returns and removes them.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str) -> Vec<u8> {
        let deadline = Instant::now() + self.limit;
        while !self.received.windows(what.len()).any(|window| window == what.as_bytes()) {
            let so_far = String::from_utf8_lossy(&self.received).into_owned();
            assert!(self.fill(deadline), "{:?} instead of {what:?} after {so_far:?}", self.end);
        }
        std::mem::take(&mut self.received)
    }

    /// A second handle to the same plain connection, so that one thread can send while another receives.
    #[track_caller]
    pub(crate) fn try_clone(&self) -> Self {
        match &self.stream {
            Stream::Plain(socket) => Self::new(Stream::Plain(socket.try_clone().unwrap())),
            Stream::Tls(_) => panic!("a TLS session has one owner"),
        }
    }

    fn try_response(&mut self, method: &str, deadline: Instant) -> Result<Message, End> {
        loop {
            // A length that is not kept, or a reset, is no way to end a body that lasts until the close.
            let closed = self.end == Some(End::Closed);
            match parse_response(&self.received, method, closed) {
                Ok(Some(response)) => {
                    self.received.drain(..response.raw.len());
                    return Ok(response);
                }
                Ok(None) => {}
                Err(reason) => panic!("{reason}: {:?}", String::from_utf8_lossy(&self.received)),
            }
            if let Some(end) = self.end {
                return Err(end);
            }
            if !self.fill(deadline) && self.end.is_none() {
                return Err(End::Deadline);
            }
        }
    }

    /// Reads once; false if nothing came.
    fn fill(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.socket().set_read_timeout(Some(left)).unwrap();
        let mut buffer = [0; 1 << 14];
        let read = match &mut self.stream {
            Stream::Plain(socket) => socket.read(&mut buffer),
            Stream::Tls(tls) => tls.read(&mut buffer),
        };
        match read {
            Ok(0) => self.end = Some(End::Closed),
            Ok(n) => self.received.extend_from_slice(&buffer[..n]),
            Err(e) => {
                self.end = match e.kind() {
                    ErrorKind::Interrupted => return true,
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return false,
                    ErrorKind::UnexpectedEof => Some(End::Truncated),
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Some(End::Reset),
                    _ => Some(End::TlsError),
                };
            }
        }
        self.end.is_none()
    }

    fn socket(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(socket) => socket,
            Stream::Tls(tls) => &tls.sock,
        }
    }

    /// Ends the sending direction: close_notify if TLS, then FIN. Receiving goes on.
    #[track_caller]
    pub(crate) fn half_close(&mut self) {
        if let Stream::Tls(tls) = &mut self.stream {
            tls.conn.send_close_notify();
            tls.flush().unwrap();
        }
        match self.socket().shutdown(Shutdown::Write) {
            // To a peer that was told of the end by TLS and has closed, there is no other end to tell.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
            ended => ended.unwrap(),
        }
    }

    /// Resets the connection (RST).
    pub(crate) fn reset(self) {
        SockRef::from(self.socket()).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Our end of the connection.
    pub(crate) fn local_address(&self) -> SocketAddr {
        self.socket().local_addr().unwrap()
    }

    /// The certificates that the server sent, the leaf first.
    #[track_caller]
    pub(crate) fn certificates(&self) -> Vec<CertificateDer<'static>> {
        self.tls().peer_certificates().unwrap().iter().map(|c| c.clone().into_owned()).collect()
    }

    /// The negotiated version.
    #[track_caller]
    pub(crate) fn tls_version(&self) -> ProtocolVersion {
        self.tls().protocol_version().unwrap()
    }

    /// The negotiated application protocol.
    #[track_caller]
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        self.tls().alpn_protocol()
    }

    #[track_caller]
    fn tls(&self) -> &ClientConnection {
        match &self.stream {
            Stream::Plain(_) => panic!("this connection is not TLS"),
            Stream::Tls(tls) => &tls.conn,
        }
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&address, DEADLINE)?;
    socket.set_nodelay(true)?;
    socket.set_write_timeout(Some(DEADLINE))?;
    Ok(socket)
}
