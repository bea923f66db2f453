//! TLS 1.3 connections whose responses are counted and not decrypted: a client that decrypts costs as much as the proxy.
//!
//! The first response is decrypted, and says how long each is. Of those that follow, the headers of the records are read
//! and the rest is thrown away by the kernel.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, Stream};

use super::super::certificate::HOST;
use super::client::{PATIENCE, Turn};
use super::poller::discard;
use super::{RECORD_HEADER, body_request, head_end};
use crate::shell::Outcome;

/// A record's tag and its type, which are in it beside its text (RFC 8446 section 5.2).
const OVERHEAD: usize = 17;

/// A connection on which each request has a response of the same length.
pub(super) struct Records {
    socket: TcpStream,
    tls: ClientConnection,
    request: Vec<u8>,
    /// Of a response, with its head.
    response: usize,
    header: [u8; RECORD_HEADER],
    has_header: usize,
    /// What is missing of the record.
    record: usize,
    /// What is missing of the response.
    left: usize,
}

impl Records {
    /// Connects and has one response.
    pub(super) fn open(address: SocketAddr, config: &Arc<ClientConfig>, length: usize) -> Outcome<Self> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut tls = ClientConnection::new(Arc::clone(config), HOST.try_into()?)?;
        let request = body_request(length);
        let mut stream = Stream::new(&mut tls, &mut socket);
        stream.write_all(&request)?;
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        let mut response = usize::MAX;
        while bytes.len() < response {
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                return Err("the proxy closed a connection".into());
            }
            bytes.extend_from_slice(&buffer[..count]);
            response = head_end(&bytes).map_or(usize::MAX, |end| end + length);
        }
        if !bytes.starts_with(b"HTTP/1.1 200 ") || bytes.len() != response {
            return Err("not the response that was expected".into());
        }
        let header = [0; RECORD_HEADER];
        Ok(Self { socket, tls, request, response, header, has_header: 0, record: 0, left: 0 })
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(super) fn start(&mut self) -> Outcome {
        self.left = self.response;
        self.tls.writer().write_all(&self.request)?;
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.socket)?;
        }
        Ok(())
    }

    /// Takes what is there.
    pub(super) fn turn(&mut self, buffer: &mut [u8]) -> Outcome<Turn> {
        let mut bytes = 0;
        loop {
            if self.record == 0 && !self.next_record()? {
                return Ok(Turn { bytes, complete: false });
            }
            let room = self.record.min(buffer.len());
            let Some(count) = discard(&self.socket, &mut buffer[..room])? else {
                return Ok(Turn { bytes, complete: false });
            };
            if count == 0 {
                return Err("the proxy closed a connection".into());
            }
            bytes += count;
            self.record -= count;
            if self.record == 0 && self.left == 0 {
                return Ok(Turn { bytes, complete: true });
            }
        }
    }

    /// Reads the header of a record; false if it is not all there.
    fn next_record(&mut self) -> Outcome<bool> {
        while self.has_header < RECORD_HEADER {
            match self.socket.read(&mut self.header[self.has_header..]) {
                Ok(0) => return Err("the proxy closed a connection".into()),
                Ok(count) => self.has_header += count,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        self.has_header = 0;
        self.record = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
        let text = self.record.checked_sub(OVERHEAD).filter(|text| *text <= self.left);
        self.left -= text.ok_or("records that do not fit the response")?;
        Ok(true)
    }
}
