//! The backend: it does what the first bytes of a connection ask for.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use clap::Args;

use super::poller::Poller;
use super::{MODE_AT, MODE_BULK, MODE_ECHO, RECORD_HEADER, head_end};
use crate::shell::Outcome;

/// `bench wire-backend`: serves until it is killed.
#[derive(Args)]
pub(in crate::bench) struct WireBackend {
    #[arg(long)]
    address: SocketAddr,
}

/// The number of the listener; connections have others.
const LISTENER: usize = 0;

/// What is sent at a time.
const CHUNK: usize = 256 << 10;

/// A connection.
struct Peer {
    socket: TcpStream,
    talk: Talk,
    /// What the socket had no room for.
    pending: Vec<u8>,
    /// What is to be sent after it.
    body: usize,
    waits_for_room: bool,
}

/// What is said on a connection.
enum Talk {
    /// It is not known yet, or is HTTP: what was read of a hello or a request.
    Opening(Vec<u8>),
    /// What comes is sent back.
    Echo,
    /// The first byte that comes starts a body without end.
    Bulk,
}

/// Serves every connection, on one thread.
pub(in crate::bench) fn run(args: &WireBackend) -> Outcome {
    let listener = TcpListener::bind(args.address)?;
    listener.set_nonblocking(true)?;
    let mut poller = Poller::new()?;
    poller.add(&listener, LISTENER, false)?;
    let mut peers: HashMap<usize, Peer> = HashMap::new();
    let (mut buffer, chunk) = (vec![0; CHUNK], vec![b'x'; CHUNK]);
    let mut next = LISTENER;
    loop {
        for number in poller.wait(None)? {
            if number == LISTENER {
                while let Ok((socket, _)) = listener.accept() {
                    next += 1;
                    socket.set_nonblocking(true)?;
                    socket.set_nodelay(true)?;
                    poller.add(&socket, next, false)?;
                    let talk = Talk::Opening(Vec::new());
                    peers.insert(
                        next,
                        Peer { socket, talk, pending: Vec::new(), body: 0, waits_for_room: false },
                    );
                }
                continue;
            }
            let Some(peer) = peers.get_mut(&number) else { continue };
            let going_on = peer.turn(&mut buffer, &chunk).and_then(|()| peer.watch(&poller, number));
            if going_on.is_err() {
                peers.remove(&number);
            }
        }
    }
}

impl Peer {
    /// Does what can be done now. An error is the end, whatever it is: proxies close connections.
    fn turn(&mut self, buffer: &mut [u8], chunk: &[u8]) -> io::Result<()> {
        if !self.owes() {
            match self.socket.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.take(&buffer[..count])?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        self.send(chunk)
    }

    fn owes(&self) -> bool {
        !self.pending.is_empty() || self.body > 0
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.talk {
            Talk::Echo => {
                let sent = self.write(bytes)?;
                self.pending.extend_from_slice(&bytes[sent..]);
            }
            Talk::Bulk => self.body = usize::MAX,
            Talk::Opening(read) => {
                read.extend_from_slice(bytes);
                let read = std::mem::take(read);
                self.open(read)?;
            }
        }
        Ok(())
    }

    /// Understands a hello or a request, once it is complete.
    fn open(&mut self, mut read: Vec<u8>) -> io::Result<()> {
        if read.first() == Some(&22) {
            let length = read.get(3..RECORD_HEADER).map(|length| u16::from_be_bytes([length[0], length[1]]));
            let end = RECORD_HEADER + length.map_or(usize::MAX - RECORD_HEADER, usize::from);
            if read.len() >= end {
                self.talk = match read[MODE_AT] {
                    MODE_BULK => Talk::Bulk,
                    MODE_ECHO => Talk::Echo,
                    _ => return Err(ErrorKind::InvalidData.into()),
                };
                return if read.len() > end { self.take(&read[end..]) } else { Ok(()) };
            }
        } else if let Some(end) = head_end(&read) {
            let head = String::from_utf8_lossy(&read[..end]).into_owned();
            read.drain(..end);
            return self.answer(&head, read);
        }
        self.talk = Talk::Opening(read);
        Ok(())
    }

    fn answer(&mut self, head: &str, rest: Vec<u8>) -> io::Result<()> {
        let path = head.split(' ').nth(1).unwrap_or_default();
        if path == "/ws" {
            self.talk = Talk::Echo;
            // The key is always the same, and nobody looks at the answer to it.
            self.pending =
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\n"
                    .to_vec();
            return if rest.is_empty() { Ok(()) } else { self.take(&rest) };
        }
        let length: usize =
            path.trim_start_matches('/').parse().map_err(|_| io::Error::from(ErrorKind::InvalidData))?;
        self.pending = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
        if length <= CHUNK {
            // Head and body in one call, as good servers send them.
            self.pending.resize(self.pending.len() + length, b'x');
        } else {
            self.body = length;
        }
        self.talk = Talk::Opening(rest);
        Ok(())
    }

    /// Sends until there is no room, or once: other connections have a right to their turn.
    fn send(&mut self, chunk: &[u8]) -> io::Result<()> {
        if !self.pending.is_empty() {
            let pending = std::mem::take(&mut self.pending);
            let sent = self.write(&pending)?;
            self.pending = pending[sent..].to_vec();
        }
        if self.pending.is_empty() && self.body > 0 {
            let sent = self.write(&chunk[..self.body.min(chunk.len())])?;
            // A body without end does not get shorter.
            self.body -= if self.body == usize::MAX { 0 } else { sent };
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.socket.write(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            written => written,
        }
    }

    fn watch(&mut self, poller: &Poller, number: usize) -> io::Result<()> {
        if self.owes() != self.waits_for_room {
            self.waits_for_room = self.owes();
            poller.change(&self.socket, number, self.waits_for_room)?;
        }
        Ok(())
    }
}
