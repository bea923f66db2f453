//! Connections without TLS of their own: requests and responses are counted by their bytes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use super::client::{PATIENCE, Turn};
use super::poller::discard;
use super::{
    BULK, Dialect, MESSAGE, MODE_BULK, MODE_ECHO, body_request, client_hello, head_end, upgrade_request,
    web_socket_message,
};
use crate::shell::Outcome;

/// A connection on which each request has a response of a known length.
pub(super) struct Exchange {
    socket: TcpStream,
    request: Vec<u8>,
    response: usize,
    /// What is missing of the response.
    left: usize,
    /// One request starts responses without end.
    endless: bool,
}

impl Exchange {
    /// Connects, and sees that the path works.
    pub(super) fn open(address: SocketAddr, dialect: Dialect, length: usize) -> Outcome<Self> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let (request, response) = match dialect {
            Dialect::Bulk => {
                socket.write_all(&client_hello(MODE_BULK))?;
                (vec![b'!'], BULK)
            }
            Dialect::PingPong => {
                socket.write_all(&client_hello(MODE_ECHO))?;
                (vec![b'm'; MESSAGE], MESSAGE)
            }
            Dialect::WebSocket => {
                socket.write_all(&upgrade_request())?;
                let head = read_head(&mut socket)?;
                if !head.starts_with(b"HTTP/1.1 101 ") {
                    return Err(format!("no upgrade: {}", String::from_utf8_lossy(&head)).into());
                }
                let message = web_socket_message();
                let response = message.len();
                (message, response)
            }
            Dialect::Plain | Dialect::Tls => (body_request(length), 0),
        };
        let mut exchange = Self { socket, request, response, left: 0, endless: dialect == Dialect::Bulk };
        if !exchange.endless {
            exchange.try_out(length)?;
        }
        Ok(exchange)
    }

    /// The first request; of bodies, it shows how long the responses are.
    fn try_out(&mut self, length: usize) -> Outcome {
        self.socket.write_all(&self.request)?;
        if self.response == 0 {
            let head = read_head(&mut self.socket)?;
            if !head.starts_with(b"HTTP/1.1 200 ") {
                return Err(format!("unexpected: {}", String::from_utf8_lossy(&head)).into());
            }
            let end = head_end(&head).unwrap_or(head.len());
            self.response = end + length;
            self.socket.read_exact(&mut vec![0; self.response - head.len()])?;
            return Ok(());
        }
        Ok(self.socket.read_exact(&mut vec![0; self.response])?)
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(super) fn start(&mut self) -> Outcome {
        if self.left == 0 {
            self.left = self.response;
        }
        // Requests are short, and the one before it is answered: there is room.
        Ok(self.socket.write_all(&self.request)?)
    }

    pub(super) fn turn(&mut self, buffer: &mut [u8]) -> Outcome<Turn> {
        let room = if self.endless { buffer.len() } else { self.left.min(buffer.len()) };
        let Some(count) = discard(&self.socket, &mut buffer[..room])? else { return Ok(Turn::default()) };
        if count == 0 {
            return Err("the proxy closed a connection".into());
        }
        if self.endless {
            return Ok(Turn { bytes: count, complete: false });
        }
        self.left -= count;
        Ok(Turn { bytes: count, complete: self.left == 0 })
    }
}

/// Reads at least to the end of a head.
fn read_head(socket: &mut TcpStream) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while head_end(&bytes).is_none() {
        let count = socket.read(&mut buffer)?;
        if count == 0 {
            return Err(format!("no response: {}", String::from_utf8_lossy(&bytes)).into());
        }
        bytes.extend_from_slice(&buffer[..count]);
    }
    Ok(bytes)
}
