//! What the backend is told about the client: X-Forwarded-*, X-Real-IP, X-Request-ID and Forwarded (RFC 7239).

use std::io::Write as _;
use std::net::IpAddr;

use httparse::Header;

use super::field::{Field, classify};
use super::head::is_value;
use super::host::parse_authority;
use super::request::RequestHead;
use super::scheme::Scheme;
use crate::auth::fields::Protected;

/// What we know about a request from the connection that it came in on.
#[derive(Clone, Copy, Debug)]
pub struct ForwardContext<'a> {
    /// The peer's address.
    pub client: IpAddr,
    /// Whether the peer is a proxy whose word about its own client is taken.
    pub trusted: bool,
    /// How it is connected.
    pub scheme: Scheme,
    /// The port that it connected to.
    pub local_port: u16,
    /// The request's id, as in the log: visible characters, chosen by the caller
    /// (see [`RequestHead::request_id`]).
    pub request_id: &'a str,
    /// Fields that no client may send. `None` is for those who have no table, which holds them.
    pub protected: Option<&'a Protected>,
    /// Whether the client's `Authorization` is not for the backend.
    pub hides_authorization: bool,
    /// Whole lines, each with its end, about who is asking. What a client lists in `Connection` does not remove them.
    pub identity: &'a [u8],
}

/// An address as text, without an allocation.
struct AddressText {
    bytes: [u8; 45],
    length: usize,
}

impl AddressText {
    /// An IPv4 client of a dual-stack listener is written as IPv4.
    fn new(address: IpAddr) -> Self {
        let mut bytes = [0; 45];
        let mut rest = &mut bytes[..];
        // The longest address has 45 characters: it fits.
        let _ = write!(rest, "{}", address.to_canonical());
        let length = 45 - rest.len();
        Self { bytes, length }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The values of a field, in their order.
fn values<'h>(headers: &'h [Header<'h>], field: Field) -> impl Iterator<Item = &'h [u8]> {
    headers
        .iter()
        .filter(move |h| classify(h.name.as_bytes()) == field)
        .map(|h| h.value)
        .filter(|v| !v.is_empty())
}

/// The value of a field that occurs once.
fn single<'h>(headers: &'h [Header<'h>], field: Field) -> Option<&'h [u8]> {
    let mut all = values(headers, field);
    let first = all.next()?;
    all.next().is_none().then_some(first)
}

/// Writes every field of the family, and nothing that the client said unless it is trusted.
pub(crate) fn write_forwarded(out: &mut Vec<u8>, head: &RequestHead<'_>, context: &ForwardContext<'_>) {
    // An untrusted client's fields are not even looked at.
    let theirs = if context.trusted { head.headers } else { &[] };
    let address = AddressText::new(context.client);
    let client = address.as_bytes();

    write_list_start(out, b"X-Forwarded-For: ", values(theirs, Field::XForwardedFor));
    out.extend_from_slice(client);

    out.extend_from_slice(b"\r\nX-Real-IP: ");
    let is_address = |v: &&[u8]| std::str::from_utf8(v).is_ok_and(|v| v.parse::<IpAddr>().is_ok());
    out.extend_from_slice(single(theirs, Field::XRealIp).filter(is_address).unwrap_or(client));

    out.extend_from_slice(b"\r\nX-Forwarded-Proto: ");
    let is_scheme = |v: &&[u8]| matches!(*v, b"http" | b"https" | b"ws" | b"wss");
    let scheme = context.scheme.as_str().as_bytes();
    out.extend_from_slice(single(theirs, Field::XForwardedProto).filter(is_scheme).unwrap_or(scheme));

    let host = single(theirs, Field::XForwardedHost).filter(|v| parse_authority(v).is_ok());
    if host.is_some() || !head.host.is_empty() {
        out.extend_from_slice(b"\r\nX-Forwarded-Host: ");
        match host {
            Some(host) => out.extend_from_slice(host),
            None => write_authority(out, head),
        }
    }

    out.extend_from_slice(b"\r\nX-Forwarded-Port: ");
    let is_port = |v: &&[u8]| std::str::from_utf8(v).is_ok_and(|v| v.parse::<u16>().is_ok_and(|p| p > 0));
    match single(theirs, Field::XForwardedPort).filter(is_port) {
        Some(port) => out.extend_from_slice(port),
        None => out.extend_from_slice(itoa::Buffer::new().format(context.local_port).as_bytes()),
    }

    out.extend_from_slice(b"\r\nX-Request-ID: ");
    debug_assert!(is_value(context.request_id.as_bytes()), "a request id is written into a field");
    out.extend_from_slice(context.request_id.as_bytes());

    out.extend_from_slice(b"\r\n");
    write_list_start(out, b"Forwarded: ", values(theirs, Field::Forwarded));
    write_forwarded_element(out, head, client, context);
    out.extend_from_slice(b"\r\n");
}

/// Name and earlier elements of a list, ready for one more.
fn write_list_start<'h>(out: &mut Vec<u8>, name: &[u8], earlier: impl Iterator<Item = &'h [u8]>) {
    out.extend_from_slice(name);
    for value in earlier {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
    }
}

/// RFC 7239 section 4: IPv6 addresses and hosts with a port are quoted.
fn write_forwarded_element(
    out: &mut Vec<u8>,
    head: &RequestHead<'_>,
    client: &[u8],
    context: &ForwardContext<'_>,
) {
    if client.contains(&b':') {
        out.extend_from_slice(b"for=\"[");
        out.extend_from_slice(client);
        out.extend_from_slice(b"]\"");
    } else {
        out.extend_from_slice(b"for=");
        out.extend_from_slice(client);
    }
    if !head.host.is_empty() {
        out.extend_from_slice(b";host=\"");
        write_authority(out, head);
        out.extend_from_slice(b"\"");
    }
    out.extend_from_slice(b";proto=");
    out.extend_from_slice(context.scheme.as_str().as_bytes());
}

/// `host[:port]`, as the client sent it and in normal form.
pub(crate) fn write_authority(out: &mut Vec<u8>, head: &RequestHead<'_>) {
    out.extend_from_slice(head.host.as_bytes());
    if let Some(port) = head.port {
        out.push(b':');
        out.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
    }
}
