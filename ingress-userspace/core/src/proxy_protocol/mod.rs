//! The PROXY protocol (haproxy.org, `doc/proxy-protocol.txt`): by a header before anything else, a load balancer tells whose
//! connection it passes on.
//!
//! ```text
//! version 1: PROXY TCP4 192.0.2.1 198.51.100.1 40000 443\r\n           text, at most 107 bytes
//! version 2: signature (12) │ version, command │ family │ length (2) │ addresses │ TLVs
//! ```
//!
//! Strict: what is not exactly a header is refused, because the bytes after it would be read as somebody's request.

#[cfg(test)]
mod tests;
mod v1;
mod v2;

use std::net::SocketAddr;

/// The longest header that is read. Version 1 has at most 107 bytes; of version 2, senders keep to 536 bytes unless they add
/// much about the client's certificate.
pub const MAX_HEADER: usize = 4096;

/// What was received of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// More has to come. All that was received belongs to the header.
    Incomplete,
    /// It is complete.
    Complete {
        /// How many of the received bytes belong to it.
        length: usize,
        /// Whose connection it is; `None` if the sender speaks for itself or does not tell.
        addresses: Option<Addresses>,
    },
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// Where the client has connected to.
    pub destination: SocketAddr,
}

/// Why it is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It begins with neither signature.
    Signature,
    /// It is longer than its version allows, or than [`MAX_HEADER`].
    TooLong,
    /// The version, command, family or protocol is not one of the specification, or not for TCP.
    Unsupported,
    /// An address or port is not written as it should be.
    Address,
    /// A TLV of version 2 does not fit into the header.
    Tlv,
}

/// Reads a header from the first bytes of a connection.
pub fn parse(received: &[u8]) -> Result<Header, Malformed> {
    if is_prefix(received, v2::SIGNATURE) {
        return v2::parse(received);
    }
    if is_prefix(received, v1::SIGNATURE) {
        return v1::parse(received);
    }
    Err(Malformed::Signature)
}

/// A header of version 2 that tells a backend whose connection it gets.
pub fn write_v2(addresses: &Addresses) -> Vec<u8> {
    v2::write(addresses)
}

/// Whether one begins with the other, as far as both go.
fn is_prefix(received: &[u8], signature: &[u8]) -> bool {
    received.iter().zip(signature).all(|(a, b)| a == b)
}
