//! Response heads (RFC 9112 section 4). A backend is held to the same grammar as a client; its faults are 502.

use std::fmt;
use std::mem::MaybeUninit;

use httparse::Header;

use super::field::{Field, classify};
use super::framing::{BodyLength, FramingFields};
use super::head::{HeadError, HeadLimits, HeadScan, Version};
use super::hop_by_hop::ConnectionOptions;
use super::reject::Reject;

/// A response head that has exactly one reading.
pub struct ResponseHead<'b> {
    /// Its length in the buffer: the body starts here.
    pub len: usize,
    /// The status, 100 to 599.
    pub status: u16,
    /// The reason phrase, perhaps empty.
    pub reason: &'b str,
    /// The backend's version.
    pub version: Version,
    /// How long the body is, given the request's method.
    pub body: BodyLength,
    /// `Content-Length` as received, also where it only describes a body that is not sent (HEAD, 304).
    pub content_length: Option<u64>,
    /// Whether the connection to the backend can serve another request after this response.
    pub keep_alive: bool,
    /// 101 (Switching Protocols): the connection is a tunnel now. Only right if the request asked for it.
    pub upgrade: bool,
    pub(crate) headers: &'b [Header<'b>],
    pub(crate) connection: ConnectionOptions,
}

impl<'b> ResponseHead<'b> {
    /// All fields as received, in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> {
        self.headers.iter().map(|h| (h.name, h.value))
    }

    /// The value of the first field of this name.
    pub fn header(&self, name: &str) -> Option<&'b [u8]> {
        self.headers().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// 1xx other than 101: another response follows (RFC 9110 section 15.2).
    pub fn is_interim(&self) -> bool {
        matches!(self.status, 100 | 102..=199)
    }

    /// How the body is framed towards the client: HTTP/1.0 knows no chunks, and HTTP/1.1 need not close.
    pub fn client_framing(&self, client: Version) -> BodyLength {
        match (self.body, client) {
            (BodyLength::Chunked | BodyLength::UntilClose, Version::Http11) => BodyLength::Chunked,
            (BodyLength::Chunked | BodyLength::UntilClose, Version::Http10) => BodyLength::UntilClose,
            (length, _) => length,
        }
    }
}

impl fmt::Debug for ResponseHead<'_> {
    /// Without fields: they carry credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseHead")
            .field("status", &self.status)
            .field("version", &self.version)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

/// Parses a response head at the start of `buf`; `None` if it is incomplete.
///
/// Each call starts from the first byte: where heads arrive in pieces use [`parse_response_resumed`].
pub fn parse_response<'b, 's: 'b>(
    buf: &'s [u8],
    storage: &'b mut [MaybeUninit<Header<'s>>],
    limits: &HeadLimits,
    request_method: &str,
) -> Result<Option<ResponseHead<'b>>, Reject> {
    parse_response_resumed(&mut HeadScan::new(), buf, storage, limits, request_method)
}

/// Parses a response head at the start of `buf`; `None` if it is incomplete: call again with the same scan when more
/// has been appended to the same bytes. Use a new scan for each head.
pub fn parse_response_resumed<'b, 's: 'b>(
    scan: &mut HeadScan,
    buf: &'s [u8],
    storage: &'b mut [MaybeUninit<Header<'s>>],
    limits: &HeadLimits,
    request_method: &str,
) -> Result<Option<ResponseHead<'b>>, Reject> {
    match scan.advance(buf, false, limits.headers).map_err(refuse)? {
        Some(end) if end <= limits.head => parse_complete(&buf[..end], storage, request_method).map(Some),
        Some(_) => Err(refuse(HeadError::TooLarge)),
        None => {
            const START: &[u8] = b"HTTP/1.";
            if !START.starts_with(&buf[..buf.len().min(START.len())]) {
                return Err(STATUS_LINE);
            }
            scan.check_lines(buf).map_err(refuse)?;
            if buf.len() < limits.head { Ok(None) } else { Err(refuse(HeadError::TooLarge)) }
        }
    }
}

const STATUS_LINE: Reject =
    Reject::new(502, "status-line-invalid", "the backend's status line is not one of HTTP/1.0 or HTTP/1.1");

fn refuse(error: HeadError) -> Reject {
    match error {
        HeadError::TooManyFields => {
            Reject::new(502, "too-many-response-headers", "the backend's response has too many header fields")
        }
        HeadError::TooLarge => {
            Reject::new(502, "response-head-too-large", "the backend's response head is too large")
        }
        other => Reject::from(other).upstream(),
    }
}

fn parse_complete<'b, 's: 'b>(
    head: &'s [u8],
    storage: &'b mut [MaybeUninit<Header<'s>>],
    request_method: &str,
) -> Result<ResponseHead<'b>, Reject> {
    let mut parsed = httparse::Response::new(&mut []);
    let result =
        httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, head, storage);
    match result {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(refuse(HeadError::TooManyFields)),
        Err(e @ (httparse::Error::HeaderName | httparse::Error::HeaderValue)) => {
            return Err(refuse(HeadError::Field(e)));
        }
        Ok(_) | Err(_) => return Err(STATUS_LINE),
    }
    let (Some(minor), Some(status @ 100..=599)) = (parsed.version, parsed.code) else {
        return Err(STATUS_LINE);
    };
    let headers: &'b [Header<'b>] = parsed.headers;
    let http11 = minor == 1;
    let (framing, connection) = collect(headers).map_err(Reject::upstream)?;
    framing.check(!http11).map_err(Reject::upstream)?;
    let body = framing.of_response(request_method, status);
    // A body announced where there can be none may follow all the same: the connection is not to be trusted.
    let contradiction = match status {
        100..=199 | 204 => framing.chunked || framing.content_length.is_some_and(|n| n > 0),
        304 => framing.chunked,
        _ => false,
    };
    Ok(ResponseHead {
        len: head.len(),
        status,
        reason: parsed.reason.unwrap_or_default(),
        version: if http11 { Version::Http11 } else { Version::Http10 },
        body,
        content_length: framing.content_length,
        keep_alive: !connection.close
            && (http11 || connection.keep_alive)
            && body != BodyLength::UntilClose
            && status != 101
            && !contradiction,
        upgrade: status == 101,
        headers,
        connection,
    })
}

fn collect(headers: &[Header<'_>]) -> Result<(FramingFields, ConnectionOptions), Reject> {
    let mut framing = FramingFields::default();
    let mut connection = ConnectionOptions::default();
    for header in headers {
        match classify(header.name.as_bytes()) {
            Field::ContentLength => framing.add_content_length(header.value)?,
            Field::TransferEncoding => framing.add_transfer_encoding(header.value)?,
            Field::Connection => connection.add(header.value)?,
            _ => {}
        }
    }
    Ok((framing, connection))
}
