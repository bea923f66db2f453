//! Heads as they leave: written anew from what was parsed, with one framing field and one Host.

use super::field::{Field, classify};
use super::forwarded::{ForwardContext, write_authority, write_forwarded};
use super::framing::BodyLength;
use super::head::Version;
use super::request::RequestHead;
use super::response::ResponseHead;
use crate::auth::cookie;

/// Room for what we add to a head: measured, so that the buffer grows at most once.
const ADDED: usize = 512;

fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn write_content_length(out: &mut Vec<u8>, length: u64) {
    write_field(out, "Content-Length", itoa::Buffer::new().format(length).as_bytes());
}

/// Appends the request head for the backend: HTTP/1.1, origin-form, one Host, one framing field at most, no field of
/// this hop, no cookie and no identity field that is ours to know or to say, and what we know about the client.
pub fn write_request_head(out: &mut Vec<u8>, head: &RequestHead<'_>, forward: &ForwardContext<'_>) {
    out.reserve(head.len + ADDED);
    out.extend_from_slice(head.method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.path.as_bytes());
    if let Some(query) = head.query {
        out.push(b'?');
        out.extend_from_slice(query.as_bytes());
    }
    // First, as RFC 9110 section 7.2 wishes. Empty if an HTTP/1.0 client named no host (RFC 9112 section 3.2).
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    write_authority(out, head);
    out.extend_from_slice(b"\r\n");
    for header in head.headers {
        if forward.protected.is_some_and(|protected| protected.contains(header.name.as_bytes()))
            || (forward.hides_authorization && header.name.eq_ignore_ascii_case("authorization"))
        {
            continue;
        }
        match classify(header.name.as_bytes()) {
            Field::TrustedOnly if !forward.trusted => continue,
            Field::Cookie => {
                if let Some(others) = cookie::without_ours(header.value) {
                    write_field(out, header.name, &others);
                }
                continue;
            }
            // A request that carries the response's field means nothing by it.
            Field::Other | Field::StrictTransportSecurity | Field::SetCookie | Field::TrustedOnly => {}
            // Written below from what was parsed, or meant for us alone. 100-continue is ours to answer: the head goes
            // to the backend when it has been authorized, the body right after.
            _ => continue,
        }
        if !head.connection.removes(head.headers, header.name) {
            write_field(out, header.name, header.value);
        }
    }
    write_forwarded(out, head, forward);
    out.extend_from_slice(forward.identity);
    match head.body {
        BodyLength::Known(length) => write_content_length(out, length),
        BodyLength::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        BodyLength::Empty | BodyLength::UntilClose => {}
    }
    if let Some(protocol) = head.upgrade {
        out.extend_from_slice(b"Connection: upgrade\r\n");
        write_field(out, "Upgrade", protocol.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// What we know about a response beside its head.
#[derive(Clone, Copy, Debug)]
pub struct ResponseContext<'a> {
    /// The client's version.
    pub client_version: Version,
    /// Whether the client's connection is closed after the response.
    pub close: bool,
    /// The Strict-Transport-Security field to set; the backend's is passed on if `None`.
    pub hsts: Option<&'a str>,
    /// How the body is framed towards the client: see [`ResponseHead::client_framing`].
    pub body: BodyLength,
    /// Whole lines of our own, each with its end: cookies.
    pub added: &'a [u8],
}

/// Appends the response head for the client. The version is ours (RFC 9110 section 6.2), the framing is re-stated.
pub fn write_response_head(out: &mut Vec<u8>, head: &ResponseHead<'_>, context: &ResponseContext<'_>) {
    out.reserve(head.len + ADDED);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(head.status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.reason.as_bytes());
    out.extend_from_slice(b"\r\n");
    let interim = head.is_interim();
    let hsts = context.hsts.filter(|_| !interim);
    for header in head.headers {
        let keep = match classify(header.name.as_bytes()) {
            Field::Connection | Field::ContentLength | Field::TransferEncoding | Field::HopByHop => false,
            Field::Upgrade => head.upgrade,
            Field::SetCookie => !cookie::sets_ours(header.value),
            Field::StrictTransportSecurity => hsts.is_none(),
            _ => !head.connection.removes(head.headers, header.name),
        };
        if keep {
            write_field(out, header.name, header.value);
        }
    }
    if let Some(value) = hsts {
        write_field(out, "Strict-Transport-Security", value.as_bytes());
    }
    out.extend_from_slice(context.added);
    if head.upgrade {
        out.extend_from_slice(b"Connection: upgrade\r\n");
    } else if !interim {
        write_response_framing(out, head, context);
    }
    out.extend_from_slice(b"\r\n");
}

/// Framing and persistence (RFC 9112 sections 6 and 9).
fn write_response_framing(out: &mut Vec<u8>, head: &ResponseHead<'_>, context: &ResponseContext<'_>) {
    match (head.body, context.body) {
        // HEAD and 304 say how long the body would have been. 204 has no length (RFC 9110 section 8.6).
        (BodyLength::Empty, _) => {
            if let Some(length) = head.content_length.filter(|_| head.status != 204) {
                write_content_length(out, length);
            }
        }
        (_, BodyLength::Known(length)) => write_content_length(out, length),
        (_, BodyLength::Empty) => write_content_length(out, 0),
        (_, BodyLength::Chunked) => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        (_, BodyLength::UntilClose) => {}
    }
    let ends_by_close = head.body != BodyLength::Empty && context.body == BodyLength::UntilClose;
    if context.close || ends_by_close {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if context.client_version == Version::Http10 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
}
