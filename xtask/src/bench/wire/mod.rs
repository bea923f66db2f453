//! Load of our own, for what no load generator makes: bytes that are passed through, tunnels, and bodies that nobody looks at.
//!
//! It is as cheap as it can be, so that the proxies are busy: one thread and epoll, and what need not be looked at is
//! thrown away by the kernel (`MSG_TRUNC`, see tcp(7)).

pub(super) mod backend;
pub(super) mod client;
mod plain;
mod poller;
mod records;

use clap::ValueEnum;

use super::certificate::HOST;

/// What is said on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Dialect {
    /// A ClientHello, then whatever the backend sends, without end. A request is one MiB.
    Bulk,
    /// A ClientHello, then messages that the backend sends back.
    PingPong,
    /// An upgraded connection, then messages that the backend sends back.
    WebSocket,
    /// HTTP requests without TLS.
    Plain,
    /// HTTP requests with TLS 1.3.
    Tls,
}

/// A message of ping-pong, and the payload of a WebSocket message, in bytes.
pub(super) const MESSAGE: usize = 200;

/// One request of [`Dialect::Bulk`], in bytes.
pub(super) const BULK: usize = 1 << 20;

/// Where a ClientHello says what the backend is to do: the first byte of its random, behind the headers of record and
/// handshake and the version.
const MODE_AT: usize = 11;

/// [`MODE_AT`]: send without end.
const MODE_BULK: u8 = 1;

/// [`MODE_AT`]: send back.
const MODE_ECHO: u8 = 2;

/// The header of a TLS record.
const RECORD_HEADER: usize = 5;

/// A ClientHello (RFC 8446 section 4.1.2) for our host. Nobody answers it: no proxy looks further than the server name.
fn client_hello(mode: u8) -> Vec<u8> {
    let name = HOST.as_bytes();
    let entry = [&[0][..], &length16(name.len()), name].concat();
    let server_name = extension(0, &[&length16(entry.len())[..], &entry].concat());
    let groups = extension(10, &[0, 2, 0, 29]);
    let signatures = extension(13, &[0, 2, 4, 3]);
    let versions = extension(43, &[2, 3, 4]);
    let share = extension(51, &[&[0, 36, 0, 29, 0, 32][..], &[7; 32]].concat());
    let extensions = [server_name, groups, signatures, versions, share].concat();
    let hello = [
        &[3, 3, mode][..],
        &[5; 31],
        &[32],
        &[6; 32],
        &[0, 2, 0x13, 0x01, 1, 0],
        &length16(extensions.len()),
        &extensions,
    ]
    .concat();
    let handshake = [&[1, 0][..], &length16(hello.len()), &hello].concat();
    [&[22, 3, 1][..], &length16(handshake.len()), &handshake].concat()
}

fn extension(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[0, kind][..], &length16(content.len()), content].concat()
}

fn length16(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}

/// A binary message as a client frames it (RFC 6455 section 5.2), masked with zeros.
fn web_socket_message() -> Vec<u8> {
    let head = [&[0x82, 0x80 | 0x7e][..], &length16(MESSAGE), &[0; 4]].concat();
    [head, vec![b'm'; MESSAGE]].concat()
}

/// What begins a WebSocket.
fn upgrade_request() -> Vec<u8> {
    format!(
        "GET /ws HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    .into_bytes()
}

/// A request for a body of this length.
fn body_request(length: usize) -> Vec<u8> {
    format!("GET /{length} HTTP/1.1\r\nHost: {HOST}\r\n\r\n").into_bytes()
}

/// Where the body begins, if the head is complete.
fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|position| position + 4)
}

#[cfg(test)]
mod tests {
    use ingress_core::tls::client_hello::Reader;

    use super::*;

    #[test]
    fn the_hello_has_a_server_name_and_a_mode() {
        let bytes = client_hello(MODE_ECHO);
        assert_eq!(bytes[MODE_AT], MODE_ECHO);
        let hello = Reader::default().take(&bytes).unwrap().unwrap();
        assert_eq!(hello.server_name.as_deref(), Some(HOST));
    }
}
