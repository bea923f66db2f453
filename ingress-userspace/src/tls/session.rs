//! TLS towards a client in userspace: rustls makes and opens the records, and the buffers around it are ours.
//!
//! rustls' unbuffered interface is used from the first byte, because it keeps no ciphertext to itself: what was received and
//! is not decrypted yet lies in [`Session::incoming`], so that it is known at any time whether the record layer stands at
//! the boundary of a record, where the kernel can take it over (`tls::ktls`).

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{CommonState, ServerConfig};
use tokio::io::AsyncWrite as _;
use tokio::net::TcpStream;

use super::record;
use crate::relay::{SCRATCH, poll_tcp_read};

/// What records add to the bytes of one write: their headers, nonces and tags, and the message of a key update.
const OVERHEAD: usize = 1024;

thread_local! {
    /// Ciphertext on its way to rustls, one buffer per worker.
    static RECEIVED: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
    /// Ciphertext on its way to the socket, one buffer per worker.
    static ENCRYPTED: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH + OVERHEAD].into_boxed_slice());
}

/// A TLS session whose record layer is in userspace.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and most combinations occur")]
pub struct Session {
    connection: UnbufferedServerConnection,
    /// Received and not decrypted: a part of a record, or what came while the reader's buffer was full. At most [`SCRATCH`]
    /// bytes.
    incoming: Vec<u8>,
    /// Decrypted while there was no room for it; at most [`SCRATCH`] bytes and a record.
    plaintext: Queue,
    /// Encrypted and not sent.
    outgoing: Queue,
    /// Whether decryption stopped for lack of room, so that there may be whole records in `incoming`.
    interrupted: bool,
    /// Reads nothing behind the end of the present record.
    to_boundary: bool,
    peer_closed: bool,
    said_goodbye: bool,
    tcp_ended: bool,
}

/// Bytes that leave at the front.
#[derive(Default)]
pub(super) struct Queue {
    bytes: Vec<u8>,
    taken: usize,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.taken == self.bytes.len()
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    fn append(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn take(&mut self, count: usize) {
        self.taken += count;
        if self.is_empty() {
            // Most sessions never need it again.
            *self = Self::default();
        }
    }

    pub(super) fn read(&mut self, buf: &mut [u8]) -> usize {
        let count = self.rest().len().min(buf.len());
        buf[..count].copy_from_slice(&self.rest()[..count]);
        self.take(count);
        count
    }
}

/// Where decrypted bytes go: the reader's buffer, and what does not fit to the queue.
struct Sink<'a> {
    buf: &'a mut [u8],
    filled: usize,
}

impl Sink<'_> {
    fn put(&mut self, payload: &[u8], queue: &mut Queue) {
        let fits = if queue.is_empty() { payload.len().min(self.buf.len() - self.filled) } else { 0 };
        self.buf[self.filled..self.filled + fits].copy_from_slice(&payload[..fits]);
        self.filled += fits;
        if fits < payload.len() {
            queue.append(&payload[fits..]);
        }
    }

    fn full(&self) -> bool {
        self.filled == self.buf.len()
    }
}

/// What rustls wants next, when what it was given is used up.
enum Step {
    Again,
    Blocked,
    Traffic,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

pub(super) fn tls_error(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl Session {
    /// A session that begins with bytes that were received already: the ClientHello.
    pub(super) fn new(config: Arc<ServerConfig>, received: Vec<u8>) -> Result<Self, rustls::Error> {
        Ok(Self {
            connection: UnbufferedServerConnection::new(config)?,
            incoming: received,
            plaintext: Queue::default(),
            outgoing: Queue::default(),
            interrupted: false,
            to_boundary: false,
            peer_closed: false,
            said_goodbye: false,
            tcp_ended: false,
        })
    }

    /// What was agreed on.
    pub fn state(&self) -> &CommonState {
        &self.connection
    }

    /// From now on nothing is received behind the end of a record, so that a boundary is reached.
    pub(super) fn stop_at_boundary(&mut self) {
        self.to_boundary = true;
    }

    /// Whether nothing is on its way in this session, so that its keys can be used elsewhere from here on. Whole records that
    /// wait are opened for that.
    pub(super) fn at_boundary(&mut self) -> bool {
        if self.interrupted {
            self.interrupted = false;
            // An error is kept by rustls for the reader.
            if self.settle(&mut |_| Ok(())).is_err() {
                return false;
            }
        }
        self.incoming.is_empty() && self.outgoing.is_empty() && !self.tcp_ended && !self.said_goodbye
    }

    /// The parts: what was decrypted and not read, whether the client has said its goodbye, and the keys' owner.
    pub(super) fn into_parts(self) -> (Queue, bool, UnbufferedServerConnection) {
        (self.plaintext, self.peer_closed, self.connection)
    }

    /// Does the handshake. Ready when it is done and all that belongs to it, tickets too, is with the kernel.
    pub(super) fn poll_handshake(
        &mut self,
        tcp: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut input = std::mem::take(&mut self.incoming);
        let mut processed = self.process_owned(&mut input);
        loop {
            if let Err(error) = processed {
                self.send_alert(tcp, cx);
                return Poll::Ready(Err(error));
            }
            ready!(self.poll_flush(tcp, cx))?;
            if !self.connection.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            processed = match ready!(self.poll_receive(tcp, cx, &mut [])) {
                Ok(_) if self.tcp_ended => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => Ok(0),
                Err(error) => Err(error),
            };
        }
    }

    /// Reads plaintext; 0 is the client's close_notify.
    pub(crate) fn poll_read(
        &mut self,
        tcp: &mut TcpStream,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            if !self.plaintext.is_empty() {
                return Poll::Ready(Ok(self.plaintext.read(buf)));
            }
            if self.peer_closed {
                return Poll::Ready(Ok(0));
            }
            if self.tcp_ended {
                // The end of TCP without close_notify: what came before may be a part only (RFC 8446 section 6.1).
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            let read = if self.interrupted {
                let mut input = std::mem::take(&mut self.incoming);
                Poll::Ready(self.process(&mut input, buf))
            } else {
                self.poll_receive(tcp, cx, buf)
            };
            match ready!(read) {
                // A part of a record, a key update or the end: look again.
                Ok(0) => {}
                Ok(read) => return Poll::Ready(Ok(read)),
                Err(error) => {
                    self.send_alert(tcp, cx);
                    return Poll::Ready(Err(error));
                }
            }
        }
    }

    /// Receives what has come and decrypts it.
    fn poll_receive(
        &mut self,
        tcp: &mut TcpStream,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        // What the session wants to say (a key update's answer) goes out when it can; reading does not wait for it.
        if let Poll::Ready(Err(error)) = self.poll_flush(tcp, cx) {
            return Poll::Ready(Err(error));
        }
        RECEIVED.with_borrow_mut(|scratch| {
            let held = self.incoming.len();
            if held >= scratch.len() {
                return Poll::Ready(Err(tls_error(rustls::Error::PeerSentOversizedRecord)));
            }
            let mut room = scratch.len() - held;
            if self.to_boundary {
                room = room.min(record::missing(&self.incoming));
            }
            let received = ready!(poll_tcp_read(tcp, cx, &mut scratch[held..held + room]))?;
            if received == 0 {
                self.tcp_ended = true;
                return Poll::Ready(Ok(0));
            }
            scratch[..held].copy_from_slice(&self.incoming);
            self.incoming.clear();
            Poll::Ready(self.process(&mut scratch[..held + received], buf))
        })
    }

    fn process_owned(&mut self, input: &mut [u8]) -> io::Result<usize> {
        if input.is_empty() { Ok(0) } else { self.process(input, &mut []) }
    }

    /// Decrypts until `buf` is full or the input is used up; what is left of it is kept.
    fn process(&mut self, input: &mut [u8], buf: &mut [u8]) -> io::Result<usize> {
        let mut sink = Sink { buf, filled: 0 };
        let mut used = 0;
        self.interrupted = false;
        let result = loop {
            match self.step(input, &mut used, &mut sink, &mut |_| Ok(())) {
                Ok(Step::Again) if sink.full() && !self.plaintext.is_empty() => {
                    self.interrupted = true;
                    break Ok(sink.filled);
                }
                Ok(Step::Again) => {}
                Ok(Step::Blocked | Step::Traffic) => break Ok(sink.filled),
                Err(error) => break Err(error),
            }
        };
        self.incoming.extend_from_slice(&input[used..]);
        result
    }

    /// Lets rustls look at what is not used of the input, and does what it wants.
    fn step(
        &mut self,
        input: &mut [u8],
        used: &mut usize,
        sink: &mut Sink<'_>,
        on_traffic: &mut dyn FnMut(&mut WriteTraffic<'_>) -> io::Result<()>,
    ) -> io::Result<Step> {
        let UnbufferedStatus { mut discard, state, .. } =
            self.connection.process_tls_records(&mut input[*used..]);
        let step = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                match traffic.next_record() {
                    None => break Ok(Step::Again),
                    Some(Err(error)) => break Err(tls_error(error)),
                    Some(Ok(record)) => {
                        discard += record.discard;
                        sink.put(record.payload, &mut self.plaintext);
                    }
                }
            },
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                self.outgoing.encode(|room| data.encode(room)).map(|()| Step::Again)
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                // It is sent in order, before anything that is encrypted later.
                data.done();
                Ok(Step::Again)
            }
            Ok(ConnectionState::PeerClosed) => {
                self.peer_closed = true;
                Ok(Step::Again)
            }
            Ok(ConnectionState::BlockedHandshake) => Ok(Step::Blocked),
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                on_traffic(&mut traffic).map(|()| Step::Traffic)
            }
            Ok(ConnectionState::Closed) => Ok(Step::Traffic),
            // Early data is not offered: it can be replayed (RFC 8446 section 8).
            Ok(_) => Err(io::ErrorKind::InvalidData.into()),
            Err(error) => Err(tls_error(error)),
        };
        *used += discard;
        step
    }

    /// Shows rustls what waits, until it has no more to do with it.
    fn settle(
        &mut self,
        on_traffic: &mut dyn FnMut(&mut WriteTraffic<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut input = std::mem::take(&mut self.incoming);
        let mut used = 0;
        let result = loop {
            let mut sink = Sink { buf: &mut [], filled: 0 };
            match self.step(&mut input, &mut used, &mut sink, on_traffic) {
                Ok(Step::Again) => {}
                Ok(Step::Blocked | Step::Traffic) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        input.drain(..used);
        self.incoming = input;
        result
    }

    /// The alert that says why (RFC 8446 section 6.2) is sent if it can be at once.
    fn send_alert(&mut self, tcp: &mut TcpStream, cx: &mut Context<'_>) {
        // rustls repeats its error once it has handed the alert over.
        let _ = self.settle(&mut |_| Ok(()));
        let _ = self.poll_flush(tcp, cx);
    }

    /// Sends what is encrypted. Ready when all of it is with the kernel.
    pub(crate) fn poll_flush(&mut self, tcp: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let sent = ready!(Pin::new(&mut *tcp).poll_write(cx, self.outgoing.rest()))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing.take(sent);
        }
        Poll::Ready(Ok(()))
    }

    /// Encrypts some bytes, once all earlier ones are out, and sends what the socket takes.
    pub(crate) fn poll_write(
        &mut self,
        tcp: &mut TcpStream,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(tcp, cx))?;
        let data = &data[..data.len().min(SCRATCH)];
        ENCRYPTED.with_borrow_mut(|scratch| {
            let encrypted = self.encrypt(|traffic| traffic.encrypt(data, scratch))?;
            // What rustls had to say before comes first.
            if !self.outgoing.is_empty() {
                self.outgoing.append(&scratch[..encrypted]);
                return self.sent_later(tcp, cx, data.len());
            }
            let mut sent = 0;
            while sent < encrypted {
                match Pin::new(&mut *tcp).poll_write(cx, &scratch[sent..encrypted]) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(count)) => sent += count,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => break,
                }
            }
            self.outgoing.append(&scratch[sent..encrypted]);
            Poll::Ready(Ok(data.len()))
        })
    }

    /// Taken, though not all of it may be out: the next call waits for that.
    fn sent_later(
        &mut self,
        tcp: &mut TcpStream,
        cx: &mut Context<'_>,
        taken: usize,
    ) -> Poll<io::Result<usize>> {
        match self.poll_flush(tcp, cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(taken)),
        }
    }

    /// Brings rustls to where it encrypts, and lets it.
    fn encrypt(
        &mut self,
        mut with: impl FnMut(&mut WriteTraffic<'_>) -> Result<usize, EncryptError>,
    ) -> io::Result<usize> {
        let mut encrypted = None;
        self.settle(&mut |traffic| {
            encrypted = Some(with(traffic).map_err(io::Error::other)?);
            Ok(())
        })?;
        encrypted.ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    /// Says that nothing more will be sent: close_notify (RFC 8446 section 6.1), once.
    pub(crate) fn poll_goodbye(&mut self, tcp: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.said_goodbye {
            self.said_goodbye = true;
            let mut alert = [0; OVERHEAD];
            let encrypted = self.encrypt(|traffic| traffic.queue_close_notify(&mut alert))?;
            self.outgoing.append(&alert[..encrypted]);
        }
        self.poll_flush(tcp, cx)
    }
}

type WriteTraffic<'c> = rustls::unbuffered::WriteTraffic<'c, ServerConnectionData>;

impl Queue {
    /// Appends what `encode` writes, which first says how much room it needs.
    fn encode(&mut self, mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) -> io::Result<()> {
        let required = match encode(&mut []) {
            Ok(_) => return Ok(()),
            Err(EncodeError::InsufficientSize(error)) => error.required_size,
            Err(error) => return Err(io::Error::other(error)),
        };
        let length = self.bytes.len();
        self.bytes.resize(length + required, 0);
        let written = encode(&mut self.bytes[length..]).map_err(io::Error::other)?;
        self.bytes.truncate(length + written);
        Ok(())
    }
}
